"""The values of a configuration, and what follows from them. `seqcast.config` reads them from a file.

Durations in the file are milliseconds, which is what people can read; the properties named `*_ns` are what
the machines want.
"""

from __future__ import annotations

import hashlib
import json
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

from attrs import asdict, field, frozen

from rewinder.pump import Idle
from rewinder.retention import Keep
from seqcast.errors import SeqcastError

SESSION_CHARACTERS = 10
"""Width of the session field of MoldUDP64 and SoupBinTCP."""

NODE_CHARACTERS = 6
"""Width of the user name field of SoupBinTCP: a node logs in under its name."""

DATAGRAM_BYTES_ETHERNET = 1472
"""Largest UDP payload in one Ethernet frame of 1500 bytes."""

NODE_HEARTBEATS = 5
"""Heartbeats between nodes in the time after which a silent one is suspected: a few may be late."""

PLACE_KEYS = ("idle", "core", "priority")
"""What a node has to itself: the others need not know, so it does not belong to the fingerprint."""

PORT_KEYS = ("node_port", "submit_port", "replay_port", "request_port")

TABLES = ("multicast", "log", "access", "timing", "receiver")
"""The tables of the file, but for that of the nodes."""


class ConfigError(SeqcastError, ValueError):
    """A configuration that cannot be used: one sentence with file, key and value."""

    exit_status: ClassVar[int] = 2


class NodeRole(Enum):
    """What a node does."""

    SEQUENCER = "sequencer"
    REWINDER = "rewinder"


class Durability(Enum):
    """What it means that a voter holds a record."""

    MEMORY = "memory"
    """In the page cache: survives the process, not the machine."""
    GROUP = "group"
    """On the disk, with one fdatasync for many batches; the acknowledgement waits for it."""
    ALWAYS = "always"
    """On the disk, with one fdatasync for each batch."""


@frozen
class Line:
    """One multicast line: group and UDP port."""

    group: str
    port: int


@frozen
class Multicast:
    """Where the stream is multicast. Line B carries the same packets and is optional."""

    group: str
    port: int
    group_b: str | None = None
    port_b: int | None = None
    interface: str = "127.0.0.1"
    ttl: int = 1
    datagram_bytes: int = DATAGRAM_BYTES_ETHERNET

    @property
    def lines(self) -> tuple[Line, ...]:
        """Line A, and line B where there is one."""
        first = Line(self.group, self.port)
        if self.group_b is None or self.port_b is None:
            return (first,)
        return (first, Line(self.group_b, self.port_b))


@frozen
class Log:
    """Where a node keeps the stream, and how safe a record is before it counts as held."""

    directory: Path
    segment_mib: int = 64
    ahead_mib: int = 16
    keep: Keep = field(factory=Keep)
    durability: Durability = Durability.MEMORY

    @property
    def segment_bytes(self) -> int:
        """Size of one segment file."""
        return self.segment_mib << 20


@frozen
class Access:
    """Who is let in; see `rewinder.access`."""

    open: bool = False
    users: Path | None = None
    node_secret: Path | None = None


@frozen
class Timing:
    """How often the multicast lines carry a heartbeat, and when a primary that nodes hear nothing of is suspected.

    The two have nothing to do with each other: receivers do not take part in a takeover.
    """

    heartbeat_ms: int = 1000
    suspect_ms: int = 1000

    @property
    def heartbeat_ns(self) -> int:
        """Nanoseconds between heartbeats of the multicast lines in quiet times."""
        return self.heartbeat_ms * 1_000_000

    @property
    def suspect_ns(self) -> int:
        """Nanoseconds of silence on a connection between nodes after which the primary is suspected."""
        return self.suspect_ms * 1_000_000

    @property
    def node_heartbeat_ns(self) -> int:
        """Nanoseconds between heartbeats that nodes send each other."""
        return self.suspect_ns // NODE_HEARTBEATS


@frozen
class ReceiverSettings:
    """What a receiver does about loss."""

    reorder_delay_ms: int = 1

    @property
    def reorder_delay_ns(self) -> int:
        """Nanoseconds that a hole may stay open before it is asked for: the other line may fill it."""
        return self.reorder_delay_ms * 1_000_000


@frozen
class Node:
    """One node: a process with a log, under a name that is also its SoupBinTCP user name."""

    name: str
    role: NodeRole
    voter: bool
    host: str
    node_port: int
    submit_port: int | None = None
    replay_port: int | None = None
    request_port: int | None = None
    idle: Idle = Idle.BLOCK
    core: int | None = None
    priority: int | None = None

    @property
    def places(self) -> dict[str, Any]:
        """How it waits and where it runs, as plain values, by key."""
        return {"idle": self.idle.value, "core": self.core, "priority": self.priority}

    @property
    def ports(self) -> dict[str, int]:
        """The ports that this node has, by key."""
        ports = {key: getattr(self, key) for key in PORT_KEYS}
        return {key: port for key, port in ports.items() if port is not None}


@frozen
class Configuration:
    """All of it. `path` is the absolute path of the file; all other paths are absolute too."""

    path: Path
    session: str
    multicast: Multicast
    log: Log
    access: Access
    timing: Timing
    receiver: ReceiverSettings
    nodes: tuple[Node, ...]

    @property
    def session_field(self) -> bytes:
        """The session as ten bytes, padded with spaces on the right, as the MoldUDP64 header carries it."""
        return self.session.encode("ascii").ljust(SESSION_CHARACTERS)

    @property
    def sequencers(self) -> tuple[Node, ...]:
        """The nodes that may become primary, in the order of the file."""
        return tuple(node for node in self.nodes if node.role is NodeRole.SEQUENCER)

    @property
    def rewinders(self) -> tuple[Node, ...]:
        """The nodes that receivers ask, in the order of the file."""
        return tuple(node for node in self.nodes if node.role is NodeRole.REWINDER)

    @property
    def voters(self) -> tuple[Node, ...]:
        """The N nodes whose copy counts."""
        return tuple(node for node in self.nodes if node.voter)

    @property
    def write_quorum(self) -> int:
        """W: how many voters must hold a record before it is committed."""
        return len(self.voters) // 2 + 1

    @property
    def seal_quorum(self) -> int:
        """R: how many voters must promise a new epoch. W + R > N, so that the two always share a voter."""
        return len(self.voters) - self.write_quorum + 1

    def node(self, name: str) -> Node:
        """Return the node called `name`, in any case. Raises `ConfigError` naming those there are."""
        for node in self.nodes:
            if node.name == name.upper():
                return node
        names = ", ".join(node.name for node in self.nodes)
        raise ConfigError(f"{shown(self.path)}: there is no node {name!r}; the nodes are {names}")

    def node_directory(self, name: str) -> Path:
        """Where the node called `name` keeps its log and its sockets."""
        return self.log.directory / self.node(name).name

    def control_path(self, name: str) -> Path:
        """Return the control socket of the node called `name`."""
        return self.node_directory(name) / "control.sock"

    def shared(self) -> dict[str, Any]:
        """Return what all nodes of a bus must agree on, as plain values."""
        return {
            "session": self.session,
            "lines": [[line.group, line.port] for line in self.multicast.lines],
            "datagram_bytes": self.multicast.datagram_bytes,
            "durability": self.log.durability.value,
            "heartbeat_ms": self.timing.heartbeat_ms,
            "suspect_ms": self.timing.suspect_ms,
            "nodes": {
                node.name: {"role": node.role.value, "voter": node.voter, "host": node.host, **node.ports}
                for node in self.nodes
            },
        }

    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that are equal on two machines when `shared()` is."""
        canonical = json.dumps(self.shared(), sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(canonical.encode("ascii"), digest_size=6).hexdigest()

    def as_plain(self) -> dict[str, Any]:
        """Everything, with defaults filled in and what is derived, as plain values for JSON."""
        return {
            "path": str(self.path),
            "session": self.session,
            **{table: _plain(asdict(getattr(self, table), recurse=False)) for table in TABLES},
            "nodes": {node.name: {**self.shared()["nodes"][node.name], **node.places} for node in self.nodes},
            "derived": {
                "voters": [node.name for node in self.voters],
                "write_quorum": self.write_quorum,
                "seal_quorum": self.seal_quorum,
                "fingerprint": self.fingerprint(),
            },
        }


def shown(path: Path) -> str:
    """Return the path as people want to read it: relative when it lies below the working directory."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Paths, enumerations and policies as text."""
    plain: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Path | Keep):
            plain[key] = str(value)
        else:
            plain[key] = value.value if isinstance(value, Enum) else value
    return plain
