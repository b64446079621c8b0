"""The control plane over TCP: encrypted, and for those alone whose keys are known (CURVE, and ZAP of RFC 27).

A key is a file in TOML. That of a node says at which port it listens: commands there, live counters at the next one.
Its secret lies beside it on the machine of that node. Keys of clients lie in a directory, and say what they may do;
whoever is removed from there is turned away from then on. libzmq encrypts in a thread of its own, without the
interpreter; whether a key is known is decided in the node's turns.
"""

from __future__ import annotations

import logging
import socket
import stat
import tomllib
from enum import Enum
from typing import TYPE_CHECKING, Any

import zmq
from attrs import define, field, frozen
from zmq.utils import z85

from rewinder.users import AccessError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from rewinder.counters import Counters

KEY_SUFFIX, SECRET_SUFFIX = ".key", ".secret"

KEY_CHARACTERS = 40
"""A CURVE key in Z85, as libzmq writes it."""

FILE_BYTES = 4096
"""Largest key file that is read."""

CLIENTS_LIMIT = 1024
"""Clients that are known to a node."""

HANDSHAKE_MS = 2000
"""How long a handshake may take: strangers hold a descriptor no longer."""

ZAP_ADDRESS = "inproc://zeromq.zap.01"
ZAP_VERSION = b"1.0"
ZAP_DOMAIN = b"seqcast"
ZAP_REQUEST_FRAMES = 7
"""Version, request, domain, address, identity, mechanism, and the client's key."""

DECISIONS_PER_TURN = 16
"""Handshakes decided in one turn: more wait for the next, because the stream goes first."""

OBSERVER_COMMANDS = frozenset({"status", "why", "log"})
"""What a client may ask that may only look."""

FAILURES = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL

logger = logging.getLogger("seqcast")


class KeyRole(Enum):
    """What the owner of a key may do."""

    ADMIN = "admin"
    """Everything."""
    OBSERVE = "observe"
    """Look, and change nothing."""


@frozen
class Key:
    """The contents of a key file: `public` and `secret` in Z85, `port` of a node, `role` of a client."""

    public: bytes
    secret: bytes | None = None
    port: int | None = None
    role: KeyRole = KeyRole.OBSERVE


@frozen
class RemoteControl:
    """Where a node listens for commands on TCP, at `port`, and for whom: `clients` is a directory of keys.

    Live counters are at the next port.
    """

    host: str
    port: int
    key: Key
    clients: Path


def read_key(path: Path) -> Key:
    """Read a key file. Raises AccessError naming it, also when others could read a secret."""
    try:
        with path.open("rb") as stream:
            mode, data = stat.S_IMODE(path.stat().st_mode), stream.read(FILE_BYTES + 1)
        values: dict[str, Any] = tomllib.loads(data[:FILE_BYTES].decode("ascii"))
    except OSError as error:
        raise AccessError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise AccessError(f"{path}: is not a key file") from None
    if "secret" in values and mode & 0o077:
        raise AccessError(f"{path}: others may read this secret: chmod 600 {path}")
    keys = {name: values.get(name) for name in ("public", "secret")}
    for name, text in keys.items():
        if not (isinstance(text, str) and len(text) == KEY_CHARACTERS) and (
            name == "public" or text is not None
        ):
            raise AccessError(f"{path}: {name} must be a key of {KEY_CHARACTERS} characters")
    port, role = values.get("port"), values.get("role", KeyRole.OBSERVE.value)
    if port is not None and not (type(port) is int and 1 <= port < 65_535):
        raise AccessError(f"{path}: port must be 1 to 65534: the next one is used too")
    if role not in [each.value for each in KeyRole]:
        raise AccessError(f"{path}: role must be admin or observe")
    secret = keys["secret"]
    return Key(
        str(keys["public"]).encode("ascii"),
        None if secret is None else secret.encode("ascii"),
        port,
        KeyRole(role),
    )


def user_of(frame: zmq.Frame) -> str | None:
    """Whose key a message came with; None of one that came over the Unix socket."""
    try:
        return str(frame.get("User-Id")) or None
    except zmq.ZMQError:
        return None


@define(eq=False)
class Doorkeeper:
    """Decides who may connect over TCP. Raises OSError naming the address, AccessError naming a file."""

    remote: RemoteControl
    context: zmq.Context[zmq.Socket[bytes]]
    counters: Counters
    _handler: zmq.Socket[bytes] = field(init=False)
    _monitors: list[zmq.Socket[bytes]] = field(factory=list, init=False)
    _clients: dict[bytes, tuple[str, KeyRole]] = field(factory=dict, init=False)
    _read_ns: int = field(default=-1, init=False)

    def __attrs_post_init__(self) -> None:
        if not zmq.has("curve"):
            raise AccessError("this libzmq has no CURVE: remove the keys, or install another pyzmq")
        self._handler = self.context.socket(zmq.REP)
        self._handler.setsockopt(zmq.LINGER, 0)
        self._handler.bind(ZAP_ADDRESS)
        self._refresh()

    def open(self, sockets: Iterable[zmq.Socket[bytes]]) -> None:
        """Have each socket listen on TCP too, one at the port and one at the next. The Unix sockets stay open."""
        remote = self.remote
        for port, each in enumerate(sockets, remote.port):
            each.setsockopt(zmq.CURVE_SERVER, 1)  # these hold for what is bound from now on
            each.setsockopt(zmq.CURVE_PUBLICKEY, remote.key.public)
            each.setsockopt(zmq.CURVE_SECRETKEY, remote.key.secret or b"")
            each.setsockopt(zmq.ZAP_DOMAIN, ZAP_DOMAIN)
            each.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
            try:
                each.bind(f"tcp://{socket.gethostbyname(remote.host)}:{port}")
            except (zmq.ZMQError, OSError) as error:
                raise OSError(f"control plane at {remote.host}:{port}: {error.strerror}") from None
            self._monitors.append(each.get_monitor_socket(FAILURES))

    def filenos(self) -> Iterator[int]:
        """The descriptors to wait on."""
        yield self._handler.fileno()
        yield from (each.fileno() for each in self._monitors)

    def turn(self) -> bool:
        """Decide on those who knock; True when more of them wait."""
        for monitor in self._monitors:
            for _ in range(DECISIONS_PER_TURN):
                if not int(monitor.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                    break
                monitor.recv_multipart(zmq.NOBLOCK)
                self.counters.add("control.handshake_failed")
        for _ in range(DECISIONS_PER_TURN):
            if not int(self._handler.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                break
            self._decide(self._handler.recv_multipart(zmq.NOBLOCK))
        sources = (self._handler, *self._monitors)
        return any(int(each.getsockopt(zmq.EVENTS)) & zmq.POLLIN for each in sources)

    def why_not(self, user: str, command: str) -> str | None:
        """Why a client may not give a command; None when it may."""
        self._refresh()
        roles = [role for name, role in self._clients.values() if name == user]
        if not roles:
            return f"the key {user} was removed here"
        if KeyRole.ADMIN not in roles and command not in OBSERVER_COMMANDS:
            return f"the key {user} may only look"
        return None

    def _decide(self, request: list[bytes]) -> None:
        """Answer libzmq about one handshake."""
        self._refresh()
        known = None
        if len(request) == ZAP_REQUEST_FRAMES and request[0] == ZAP_VERSION and request[5] == b"CURVE":
            known = self._clients.get(z85.encode(request[6]))
        number = request[1] if len(request) > 1 else b""
        if known is None:
            self.counters.add("control.refused_key")
            peer = request[3].decode("ascii", "replace") if len(request) > 3 else ""
            logger.warning("an unknown key was refused", extra={"values": {"port": "control", "peer": peer}})
            status, text, user = b"400", b"unknown key", b""
        else:
            status, text, user = b"200", b"OK", known[0].encode("ascii")
        self._handler.send_multipart([ZAP_VERSION, number, status, text, user, b""], zmq.NOBLOCK)

    def _refresh(self) -> None:
        """Read the keys of clients again when the directory has changed. One that cannot be read counts for none."""
        directory = self.remote.clients
        try:
            changed_ns = directory.stat().st_mtime_ns
            if changed_ns == self._read_ns:
                return
            paths = sorted(directory.glob(f"*{KEY_SUFFIX}"))[:CLIENTS_LIMIT]
        except OSError:
            changed_ns, paths = 0, []
        self._read_ns = changed_ns
        self._clients = {}
        for path in paths:
            try:
                key = read_key(path)
            except AccessError as error:
                logger.warning("a key cannot be used", extra={"values": {"detail": str(error)}})
                continue
            self._clients[key.public] = path.stem, key.role
