"""Keys for the control plane over TCP, in the directory `keys` beside the configuration; `seqcast keys` makes them.

| file | what it is | who needs it |
|---|---|---|
| `NODE.key` | where the node listens, and how it is known | whoever asks it |
| `NODE.secret` | its secret; a node listens on TCP where this is | the machine of that node |
| `clients/NAME.key` | who may ask, and what | the machines of all nodes |
| `clients/NAME.secret` | the secret of a client | the machine of that client |

What both sides make of them is `rewinder.curve`.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, ClassVar

import zmq
from attrs import frozen

from rewinder.curve import KEY_SUFFIX, SECRET_SUFFIX, Key, KeyRole, RemoteControl, read_key
from seqcast.config import shown
from seqcast.errors import SeqcastError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from seqcast.settings import Configuration, Node

DIRECTORY, CLIENTS = "keys", "clients"
VARIABLE = "SEQCAST_KEY"
"""Environment variable with the name of the client's key, where there are several."""

FILE_MODE, DIRECTORY_MODE = 0o600, 0o700

ADMIN = "admin"
"""The client that is made with the first keys."""

NODE_PORTS = 2
"""Commands, and counters."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,31}")


class KeysError(SeqcastError):
    """Keys that cannot be used or made as asked."""

    exit_status: ClassVar[int] = 2


@frozen
class RemoteNode:
    """A node on TCP: where it listens, its key, and ours. `name` is that of the node, `client` that of our key."""

    name: str
    host: str
    port: int
    server: Key
    client: str
    ours: Key

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def keys_directory(configuration: Configuration) -> Path:
    """Where the keys of a bus are."""
    return configuration.path.parent / DIRECTORY


def remote_control(configuration: Configuration, node: Node) -> RemoteControl | None:
    """Where a node is to listen on TCP; None without a secret of its own. Raises AccessError naming a file."""
    directory = keys_directory(configuration)
    secret = directory / f"{node.name}{SECRET_SUFFIX}"
    if not secret.exists():
        return None
    public, key = read_key(secret.with_suffix(KEY_SUFFIX)), read_key(secret)
    if key.secret is None or key.public != public.public:
        raise KeysError(f"{shown(secret)}: does not belong to {node.name}{KEY_SUFFIX}")
    return RemoteControl(node.host, _port_of(configuration, node, public), key, directory / CLIENTS)


def remote_node(
    configuration: Configuration, node: Node, environment: Mapping[str, str] = os.environ
) -> RemoteNode | None:
    """How a node is reached over TCP; None without a key of it, or one of ours. Raises AccessError naming a file."""
    public = keys_directory(configuration) / f"{node.name}{KEY_SUFFIX}"
    client = _client_secret(configuration, environment) if public.exists() else None
    if client is None:
        return None
    key, ours = read_key(public), read_key(client)
    if ours.secret is None:
        raise KeysError(f"{shown(client)}: there is no secret in it")
    return RemoteNode(node.name, node.host, _port_of(configuration, node, key), key, client.stem, ours)


def check_keys(configuration: Configuration) -> None:
    """See that all keys that are here can be used. Raises AccessError, KeysError naming the file that cannot."""
    for node in configuration.nodes:
        remote_control(configuration, node)
        remote_node(configuration, node)
    list_clients(configuration)


def make_node_keys(configuration: Configuration, first_port: int | None) -> list[Path]:
    """Make keys for every node that has none, on ports from `first_port` on; returns the files. Raises KeysError."""
    directory = keys_directory(configuration)
    missing = [node for node in configuration.nodes if not (directory / f"{node.name}{KEY_SUFFIX}").exists()]
    made = []
    port = _highest_port(configuration) + 1 if first_port is None else first_port
    if port + NODE_PORTS * len(missing) > 65_536:
        raise KeysError(
            f"there are no {NODE_PORTS * len(missing)} ports from {port} on: name the first with --port"
        )
    for node in missing:
        _check_port(configuration, node, port, directory / f"{node.name}{KEY_SUFFIX}")
        made += _write(
            directory / node.name,
            f"port = {port}\n",
            f"commands to node {node.name}, counters at the next port",
        )
        port += NODE_PORTS
    return made


def add_client(configuration: Configuration, name: str, role: KeyRole) -> list[Path]:
    """Make a key for a client; returns the files. Raises KeysError when there is one of that name."""
    path = _client_path(configuration, name)
    if path.with_suffix(KEY_SUFFIX).exists():
        raise KeysError(f"there is a key {name} already: {shown(path.with_suffix(KEY_SUFFIX))}")
    return _write(path, f'role = "{role.value}"\n', f"client {name}")


def remove_client(configuration: Configuration, name: str) -> None:
    """Remove a client's key; nodes turn it away from then on. Raises KeysError when there is none."""
    path = _client_path(configuration, name)
    if not path.with_suffix(KEY_SUFFIX).exists():
        raise KeysError(f"there is no key {name}: {shown(path.with_suffix(KEY_SUFFIX))}")
    path.with_suffix(KEY_SUFFIX).unlink()
    path.with_suffix(SECRET_SUFFIX).unlink(missing_ok=True)


def list_clients(configuration: Configuration) -> dict[str, Key]:
    """The keys of clients by name."""
    paths = sorted((keys_directory(configuration) / CLIENTS).glob(f"*{KEY_SUFFIX}"))
    return {path.stem: read_key(path) for path in paths}


def list_nodes(configuration: Configuration) -> dict[str, Key]:
    """The keys of nodes by name."""
    directory = keys_directory(configuration)
    paths = {node.name: directory / f"{node.name}{KEY_SUFFIX}" for node in configuration.nodes}
    return {name: read_key(path) for name, path in paths.items() if path.exists()}


def _client_path(configuration: Configuration, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise KeysError(f"{name!r}: the name of a key has 1 to 32 small letters, digits, dots, dashes")
    return keys_directory(configuration) / CLIENTS / f"{name}{KEY_SUFFIX}"


def _client_secret(configuration: Configuration, environment: Mapping[str, str]) -> Path | None:
    """The secret to use: the one that is named, else the only one, else that of the first client."""
    directory = keys_directory(configuration) / CLIENTS
    named = environment.get(VARIABLE)
    if named:
        path = _client_path(configuration, named).with_suffix(SECRET_SUFFIX)
        if not path.exists():
            raise KeysError(f"{shown(path)}, named by {VARIABLE}, does not exist")
        return path
    found = sorted(directory.glob(f"*{SECRET_SUFFIX}"))
    if len(found) <= 1:
        return found[0] if found else None
    admin = directory / f"{ADMIN}{SECRET_SUFFIX}"
    if admin in found:
        return admin
    raise KeysError(f"there are several keys in {shown(directory)}: name one in {VARIABLE}")


def _port_of(configuration: Configuration, node: Node, key: Key) -> int:
    path = keys_directory(configuration) / f"{node.name}{KEY_SUFFIX}"
    if key.port is None:
        raise KeysError(f"{shown(path)}: port is missing")
    _check_port(configuration, node, key.port, path)
    return key.port


def _check_port(configuration: Configuration, node: Node, port: int, path: Path) -> None:
    """Refuse a port that the configuration uses on the same host."""
    for other in configuration.nodes:
        for key, used in other.ports.items():
            if other.host == node.host and used in range(port, port + NODE_PORTS):
                raise KeysError(
                    f"{shown(path)}: port = {port} takes {port} and {port + 1}: nodes.{other.name}.{key} uses {used}"
                )


def _highest_port(configuration: Configuration) -> int:
    nodes = [port for node in configuration.nodes for port in node.ports.values()]
    keys = [key.port + NODE_PORTS - 1 for key in list_nodes(configuration).values() if key.port is not None]
    return max(*nodes, *keys, *(line.port for line in configuration.multicast.lines))


def _write(path: Path, more: str, whose: str) -> list[Path]:
    """Write a new pair of keys as `path` with two suffixes; never over another."""
    try:
        public, secret = (key.decode("ascii") for key in zmq.curve_keypair())
    except zmq.ZMQError as error:
        raise KeysError(f"this libzmq has no CURVE: {error.strerror}") from None
    for directory in (path.parent.parent, path.parent):
        if directory.name in (DIRECTORY, CLIENTS):
            directory.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
    texts = {
        SECRET_SUFFIX: f'# Secret of {whose}: for its owner alone.\npublic = "{public}"\nsecret = "{secret}"\n{more}',
        KEY_SUFFIX: f'# Public key of {whose}.\npublic = "{public}"\n{more}',
    }
    made = []
    for suffix, text in texts.items():
        file = path.with_name(path.name.removesuffix(KEY_SUFFIX) + suffix)
        new = file.with_name(f".{file.name}.{os.getpid()}")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(text)
        new.rename(file)
        made.append(file)
    return made
