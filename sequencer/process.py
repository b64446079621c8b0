"""The sequencer process: a node that orders, commits and publishes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from moldudp import Cadence
from moldudp.sockets import multicast_sender
from rewinder.access import Role
from rewinder.admission import Admission
from rewinder.control import Deferred
from rewinder.node import Node, NodeSettings
from rewinder.record import STAMP_BYTES
from rewinder.service import Service
from sequencer.mending import mend
from sequencer.ordering import Ordering
from sequencer.primary import Primary
from sequencer.publisher import Line, Publisher
from sequencer.replication import ReplicationPort
from sequencer.submit import SubmitPort
from souptcp import Listener

if TYPE_CHECKING:
    from rewinder.errors import StorageFull

MOLD_OVERHEAD_BYTES = 22
"""MoldUDP64 header (20) and the length field of one message block (2)."""


def payload_limit(datagram_bytes: int) -> int:
    """Largest payload in bytes of a record that fits one datagram."""
    return datagram_bytes - MOLD_OVERHEAD_BYTES - STAMP_BYTES


@frozen
class SequencerSettings(NodeSettings):
    """What a sequencer needs beside what every node needs.

    `lines` are the multicast groups (address, port) of line A and, if there is one, line B. `voters` are the
    names of the nodes whose copy counts, `write_quorum` how many of them must hold a record. `rewinders` are the
    replay ports where this node gets back what its own log has lost; `node_password` lets it in there.
    """

    submit_port: int = 0
    node_port: int = 0
    lines: tuple[tuple[str, int], ...] = ()
    interface: str = "127.0.0.1"
    ttl: int = 1
    datagram_bytes: int = 1472
    heartbeat_ns: int = 1_000_000_000
    voters: frozenset[str] = frozenset()
    write_quorum: int = 1
    rewinders: tuple[tuple[str, int], ...] = ()
    node_password: str = ""


@define(eq=False)
class SequencerProcess(Node):
    """The process. `run` is all that a caller needs."""

    settings: SequencerSettings
    primary: Primary = field(init=False)
    _waiting: list[tuple[int, Deferred]] = field(factory=list, init=False)

    role = "primary"

    def open_ports(self) -> None:
        """Multicast lines, the submit port, the node port; then the epoch begins.

        Raises RecordsLost when committed records are gone and no rewinder has them.
        """
        settings = self.settings
        log, counters = self.log, self.counters
        mended = mend(log, settings.rewinders, settings.name, settings.node_password)
        if mended is not None:
            self.report("fetched records that the log had lost", first=mended[0], last=mended[1])
        lines = [
            Line(name, multicast_sender(group, port, settings.interface, ttl=settings.ttl))
            for name, (group, port) in zip("ab", settings.lines, strict=False)
        ]
        publisher = Publisher(
            log,
            lines,
            counters,
            settings.datagram_bytes,
            # What was committed before may not have left: a receiver that has it drops the repeat.
            next_number=max(log.first, log.commit),
            cadence=Cadence(steady_ns=settings.heartbeat_ns),
        )
        submit = SubmitPort(
            log,
            Ordering(log, payload_limit(settings.datagram_bytes)),
            Admission(settings.authority, Role.PUBLISH, log.session),
            counters,
            self.pump.clock,
            self._storage_full,
        )
        replication = ReplicationPort(
            log,
            Admission(settings.authority, Role.REPLICATE, log.session),
            counters,
            name="node",
            says_end=False,
            voters=settings.voters,
        )
        self.primary = Primary(settings.name, log, settings.write_quorum, publisher, submit, replication)
        self.primary.open((log.epochs[-1][0] if log.epochs else 0) + 1, self.pump.clock.utc_ns)
        for name, port, application in (
            ("submit", settings.submit_port, submit),
            ("node", settings.node_port, replication),
        ):
            listener = Listener(settings.host, port)
            self.services.append(Service(name, self.pump, listener, application, counters))
        self.pump.timers.watch(publisher)

    def commands(self) -> dict[str, Any]:
        """The node's commands, and those of a primary."""
        return {**super().commands(), "end-session": self._end_session}

    def finish(self, now_ns: int) -> int:
        """Commit, publish, answer."""
        primary = self.primary
        work = primary.turn(now_ns)
        self.pump.timers.watch(primary.publisher)
        self.pump.timers.watch(primary)
        if self._waiting:
            self._answer_waiting()
        return work + super().finish(now_ns)

    def status(self) -> dict[str, Any]:
        """The node's status, with what a primary knows."""
        primary = self.primary
        return {
            **super().status(),
            "published": primary.publisher.next_number - 1,
            "stamped": primary.submit.ordering.stamped,
            "duplicates": primary.submit.ordering.duplicates,
            "voters": primary.commit.voters(),
            "followers": primary.replication.followers(),
            "refusing": primary.submit.refuse,
            "datagrams": {line.name: line.datagrams for line in primary.publisher.lines},
        }

    def _end_session(self, _arguments: dict[str, Any]) -> Deferred:
        deferred = Deferred()
        number = self.primary.end_session(self.pump.clock.utc_ns)
        self.report("ending the session", number=number)
        self._waiting.append((number, deferred))
        return deferred

    def _answer_waiting(self) -> None:
        commit = self.log.commit
        for number, deferred in self._waiting:
            if number <= commit:
                deferred.reply({"number": number})
        self._waiting = [entry for entry in self._waiting if entry[0] > commit]

    def _storage_full(self, error: StorageFull) -> None:
        if self.primary.storage_error is None:
            self.report("storage full", detail=str(error))
        self.primary.storage_full(error)

    def close(self) -> None:
        """Leave the multicast lines as well."""
        primary = getattr(self, "primary", None)
        if primary is not None:
            for line in primary.publisher.lines:
                line.socket.close()
        super().close()
