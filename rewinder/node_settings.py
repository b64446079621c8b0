"""What every node needs to know; each kind of node adds what it needs beside that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

from rewinder.dial import Identity, Patience
from rewinder.placement import Placement
from rewinder.pump import Idle
from rewinder.retention import Keep

if TYPE_CHECKING:
    from pathlib import Path

    from rewinder.access import Authority
    from rewinder.curve import RemoteControl


@frozen
class NodeSettings:
    """What every node needs to know.

    `directory` belongs to this node alone; the log of a session lies in a folder of that name inside it.
    `session` has ten bytes. `durability` is `memory`, `group` or `always`. `voters` are the names of the nodes
    whose copy counts, `write_quorum` how many of them must hold a record. `sequencers` are the node ports of
    those that may be primary, `peers` those of all voters, by name; `node_password` lets this node in there.
    `patience` is for the connections between nodes. `idle` and `placement` are how it waits, and where it runs.
    """

    name: str
    session: bytes
    directory: Path
    segment_bytes: int
    durability: str
    host: str
    authority: Authority
    control_path: Path
    node_port: int
    voters: frozenset[str]
    write_quorum: int
    sequencers: dict[str, tuple[str, int]]
    peers: dict[str, tuple[str, int]]
    node_password: str
    patience: Patience
    ahead_bytes: int = 0  # of room that is made ready behind the end of the log
    remote: RemoteControl | None = None  # where commands are taken over TCP
    keep: Keep = field(factory=Keep)
    fingerprint: str = ""  # of the configuration that the nodes share
    idle: Idle = Idle.BLOCK
    placement: Placement = field(factory=Placement)

    @property
    def session_name(self) -> str:
        """The session without its padding."""
        return self.session.decode("ascii").strip()

    @property
    def identity(self) -> Identity:
        """Who this node is to the others."""
        return Identity(self.name, self.node_password, self.session)
