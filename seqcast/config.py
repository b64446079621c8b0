"""Reading the configuration: one TOML file for every node and every command of a bus.

`read_configuration(path)` returns a `Configuration` that is complete and consistent, or raises `ConfigError`
with one sentence that names the file, the key, the value and what is wrong with it. `seqcast init` writes a
file that explains every key (see `seqcast.template`). Relative paths in the file are relative to the file.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import AttrsInstance, fields

from rewinder.placement import CORE_MOST, PRIORITY_LEAST, PRIORITY_MOST
from rewinder.pump import Idle
from rewinder.retention import Keep
from seqcast.config_table import Table
from seqcast.settings import (
    NODE_CHARACTERS,
    SESSION_CHARACTERS,
    Access,
    ConfigError,
    Configuration,
    Durability,
    Line,
    Log,
    Multicast,
    Node,
    NodeRole,
    ReceiverSettings,
    Timing,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ENVIRONMENT_VARIABLE",
    "FILE_NAME",
    "Access",
    "ConfigError",
    "Configuration",
    "Durability",
    "Line",
    "Log",
    "Multicast",
    "Node",
    "NodeRole",
    "ReceiverSettings",
    "Timing",
    "find_configuration",
    "parse_configuration",
    "read_configuration",
    "shown",
]

FILE_NAME = "seqcast.toml"
ENVIRONMENT_VARIABLE = "SEQCAST_CONFIG"

FILE_BYTES_LIMIT = 1 << 20
"""Largest configuration file: far more than the largest sensible one, and harmless to read."""

NODES_LIMIT = 64
"""Nodes of one bus. More rewinders than that would have to follow rewinders, which this file cannot say."""

DATAGRAM_BYTES_LEAST = 128
"""Header (20), block length (2) and stamp (28) must leave something for the payload."""

DATAGRAM_BYTES_MOST = 65_507
"""Largest payload of UDP over IPv4."""

SEGMENT_MIB_MOST = 2048
"""Offsets in a segment are 32 bits wide."""

HEARTBEAT_MS_LEAST = 10
"""More often than this, heartbeats are traffic."""

HEARTBEAT_MS_MOST = 10_000
"""A receiver that lost the last packets before a pause learns it from the next heartbeat, and not before."""

SUSPECT_MS_LEAST = 50
"""Sooner than this, a process that merely waits for its turn on the processor is taken for dead."""

SUSPECT_MS_MOST = 600_000
"""A takeover that waits longer is none."""

REORDER_DELAY_MS_MOST = 1000
"""A receiver that waits longer for the other line is better off asking."""

REQUIRED_PORTS = {
    NodeRole.SEQUENCER: ("node_port", "submit_port"),
    NodeRole.REWINDER: ("node_port", "replay_port"),
}
POSSIBLE_PORTS = {
    NodeRole.SEQUENCER: REQUIRED_PORTS[NodeRole.SEQUENCER],
    NodeRole.REWINDER: (*REQUIRED_PORTS[NodeRole.REWINDER], "request_port"),
}

_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")


def find_configuration(named: str | Path | None, environment: Mapping[str, str] = os.environ) -> Path:
    """Return the file to use: the one named, else that of SEQCAST_CONFIG, else ./seqcast.toml.

    A directory stands for the seqcast.toml in it. Raises `ConfigError` when there is no such file.
    """
    chosen = named or environment.get(ENVIRONMENT_VARIABLE)
    if not chosen:
        path = Path(FILE_NAME)
        if not path.is_file():
            raise ConfigError(
                f"there is no {FILE_NAME} here: make one with `seqcast init`, "
                f"or name one with --config PATH or in {ENVIRONMENT_VARIABLE}"
            )
        return path
    path = Path(chosen)
    if path.is_dir():
        path /= FILE_NAME
    if not path.is_file():
        source = "--config" if named else ENVIRONMENT_VARIABLE
        raise ConfigError(f"{path}, named by {source}, does not exist: make it with `seqcast init`")
    return path


def read_configuration(path: str | Path) -> Configuration:
    """Read and check the file at `path`. Raises `ConfigError` with file, key and value in one sentence."""
    path = Path(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(FILE_BYTES_LIMIT + 1)
    except OSError as error:
        raise ConfigError(f"{shown(path)}: cannot be read: {error.strerror}") from None
    if len(data) > FILE_BYTES_LIMIT:
        raise ConfigError(f"{shown(path)}: larger than {FILE_BYTES_LIMIT} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{shown(path)}: not UTF-8 at byte {error.start}") from None
    return parse_configuration(text, path)


def parse_configuration(text: str, path: Path) -> Configuration:
    """Check the text of a configuration file that lies, or will lie, at `path`. Raises `ConfigError`."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{shown(path)}: not TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{shown(path)}: not TOML: nested too deeply") from None
    except ValueError:
        raise ConfigError(f"{shown(path)}: a number has very many digits") from None
    top = Table(path, "", values)
    session = top.name("session", SESSION_CHARACTERS)
    tables = [top.table(name) for name in ("multicast", "log", "access", "timing", "receiver", "nodes")]
    top.finish()
    multicast, log, access, timing, receiver, nodes = tables
    configuration = Configuration(
        path=path.absolute(),
        session=session,
        multicast=_multicast(multicast),
        log=_log(log),
        access=_access(access),
        timing=_timing(timing),
        receiver=_receiver(receiver),
        nodes=_nodes(nodes),
    )
    _check_ports(configuration)
    return configuration


def _default(settings: type[AttrsInstance], key: str) -> Any:
    """Return the default of a setting, which stands with the setting and nowhere else."""
    return getattr(fields(settings), key).default


def _multicast(table: Table) -> Multicast:
    settings = Multicast(
        group=table.optional_group("group") or table.missing("group"),
        port=table.port("port"),
        group_b=table.optional_group("group_b"),
        port_b=table.optional_port("port_b"),
        interface=table.optional_text("interface") or _default(Multicast, "interface"),
        ttl=table.integer("ttl", 0, 255, _default(Multicast, "ttl")),
        datagram_bytes=table.integer(
            "datagram_bytes",
            DATAGRAM_BYTES_LEAST,
            DATAGRAM_BYTES_MOST,
            _default(Multicast, "datagram_bytes"),
        ),
    )
    table.finish()
    if (settings.group_b is None) is not (settings.port_b is None):
        table.fail(
            "port_b" if settings.port_b is None else "group_b", "is missing: line B needs group and port"
        )
    if (settings.group, settings.port) == (settings.group_b, settings.port_b):
        table.fail("group_b", "line B must differ from line A in group or port")
    try:
        ipaddress.IPv4Address(settings.interface)
    except ValueError:
        table.fail("interface", "must be the IPv4 address of a network interface of this machine")
    return settings


def _log(table: Table) -> Log:
    settings = Log(
        directory=table.optional_file("directory") or table.path.absolute().parent / "log",
        segment_mib=table.integer("segment_mib", 1, SEGMENT_MIB_MOST, _default(Log, "segment_mib")),
        ahead_mib=table.integer("ahead_mib", 0, 2 * SEGMENT_MIB_MOST, _default(Log, "ahead_mib")),
        durability=table.choice("durability", Durability, _default(Log, "durability")),
        keep=_keep(table),
    )
    table.finish()
    return settings


def _keep(table: Table) -> Keep:
    text = table.optional_text("keep")
    try:
        return Keep() if text is None else Keep.parse(text)
    except ValueError as error:
        table.fail("keep", str(error))


def _access(table: Table) -> Access:
    settings = Access(
        open=table.boolean("open", default=_default(Access, "open")),
        users=table.optional_file("users"),
        node_secret=table.optional_file("node_secret"),
    )
    table.finish()
    if not settings.open and settings.users is None:
        table.fail("users", "is missing: access is not open, so nobody could log in")
    return settings


def _timing(table: Table) -> Timing:
    settings = Timing(
        heartbeat_ms=table.integer(
            "heartbeat_ms", HEARTBEAT_MS_LEAST, HEARTBEAT_MS_MOST, _default(Timing, "heartbeat_ms")
        ),
        suspect_ms=table.integer(
            "suspect_ms", SUSPECT_MS_LEAST, SUSPECT_MS_MOST, _default(Timing, "suspect_ms")
        ),
    )
    table.finish()
    return settings


def _receiver(table: Table) -> ReceiverSettings:
    settings = ReceiverSettings(
        reorder_delay_ms=table.integer(
            "reorder_delay_ms", 0, REORDER_DELAY_MS_MOST, _default(ReceiverSettings, "reorder_delay_ms")
        ),
    )
    table.finish()
    return settings


def _nodes(table: Table) -> tuple[Node, ...]:
    if len(table.values) > NODES_LIMIT:
        raise ConfigError(
            f"{shown(table.path)}: nodes: {len(table.values)} of them, and the limit is {NODES_LIMIT}"
        )
    nodes = tuple(_node(table.table(name), name) for name in table.values)
    if not any(node.role is NodeRole.SEQUENCER for node in nodes):
        raise ConfigError(f'{shown(table.path)}: nodes: at least one needs role = "sequencer"')
    return nodes


def _node(table: Table, name: str) -> Node:
    if not 1 <= len(name) <= NODE_CHARACTERS or not (
        name.isascii() and name.isalnum() and name == name.upper()
    ):
        raise ConfigError(
            f"{shown(table.path)}: {table.name_of_table}: the name of a node must be "
            f"1 to {NODE_CHARACTERS} ASCII capital letters or digits"
        )
    role = table.choice("role", NodeRole)
    voter = table.boolean("voter", default=role is NodeRole.SEQUENCER)
    if role is NodeRole.SEQUENCER and not voter:
        table.fail("voter", "a sequencer always votes")
    host = table.optional_text("host") or "127.0.0.1"
    if not _HOST.fullmatch(host):
        table.fail("host", "must be an IPv4 address or a host name")
    if host == "0.0.0.0":  # noqa: S104  (compared, not bound)
        table.fail("host", "must be an address that other nodes can reach")
    ports = {key: table.optional_port(key) for key in POSSIBLE_PORTS[role]}
    idle = table.choice("idle", Idle, _default(Node, "idle"))
    core = table.optional_integer("core", 0, CORE_MOST)
    priority = table.optional_integer("priority", PRIORITY_LEAST, PRIORITY_MOST)
    for key in REQUIRED_PORTS[role]:
        if ports[key] is None:
            table.fail(key, f"is missing: a {role.value} needs it")
    for other in NodeRole:
        for key in POSSIBLE_PORTS[other]:
            if key in table.values and key not in ports:
                table.fail(key, f"only a {other.value} has one")
    table.finish()
    return Node(
        name=name,
        role=role,
        voter=voter,
        host=host,
        node_port=ports["node_port"] or 0,
        submit_port=ports.get("submit_port"),
        replay_port=ports.get("replay_port"),
        request_port=ports.get("request_port"),
        idle=idle,
        core=core,
        priority=priority,
    )


def _check_ports(configuration: Configuration) -> None:
    """Refuse a port that is used twice on one host; the multicast ports are used on every host.

    TCP and UDP could share a number, but then nobody can tell from a number what it is for.
    """
    where = shown(configuration.path)
    multicast = {
        line.port: key for line, key in zip(configuration.multicast.lines, ("port", "port_b"), strict=False)
    }
    used: dict[tuple[str, int], str] = {}
    for node in configuration.nodes:
        host = "127.0.0.1" if node.host.lower() == "localhost" else node.host.lower()
        for key, port in node.ports.items():
            name = f"nodes.{node.name}.{key}"
            other = used.get((host, port))
            if other is None and port in multicast:
                other = f"multicast.{multicast[port]}"
            if other is not None:
                raise ConfigError(f"{where}: {name} = {port}: {other} uses that port already")
            used[host, port] = name
