"""The sequencer process: a node that may become primary, and then orders, commits and publishes.

It is a standby first, which follows the primary there is. Without one it is a candidate, and then the primary
itself (`sequencer.takeover`). A primary that is deposed ends its process; started again, it is a standby.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from moldudp import Cadence
from rewinder.access import Role
from rewinder.admission import Admission
from rewinder.errors import StorageFull
from rewinder.node import Node
from rewinder.node_settings import NodeSettings
from rewinder.record import STAMP_BYTES
from rewinder.replication import Query
from sequencer.candidate import Candidate
from sequencer.elector import RankElector
from sequencer.express import Express
from sequencer.mending import mend
from sequencer.notices import Notices
from sequencer.ordering import Ordering
from sequencer.orders import Orders
from sequencer.primary import Primary
from sequencer.publisher import Line, Publisher
from sequencer.submit import SubmitPort
from sequencer.takeover import Phase
from sequencer.why import Progress, why_candidate, why_primary, why_standby

if TYPE_CHECKING:
    from rewinder.replication import Answer
    from rewinder.why import Reason
    from sequencer.elector import Elector

MOLD_OVERHEAD_BYTES = 22
"""MoldUDP64 header (20) and the length field of one message block (2)."""

REPEAT_LIMIT_RECORDS = 1 << 16
"""What a new primary publishes again at most: receivers that lack more ask the rewinders anyway."""

CHECKS_IN_SILENCE = 2
"""A primary without a quorum asks after this part of the time of silence whether it was deposed."""


def payload_limit(datagram_bytes: int) -> int:
    """Largest payload in bytes of a record that fits one datagram."""
    return datagram_bytes - MOLD_OVERHEAD_BYTES - STAMP_BYTES


@frozen
class SequencerSettings(NodeSettings):
    """What a sequencer needs beside what every node needs.

    `lines` are the multicast groups (address, port) of line A and, if there is one, line B. `rewinders` are the
    replay ports where a sequencer that votes alone gets back what its own log has lost.
    """

    submit_port: int = 0
    lines: tuple[tuple[str, int], ...] = ()
    interface: str = "127.0.0.1"
    ttl: int = 1
    datagram_bytes: int = 1472
    heartbeat_ns: int = 1_000_000_000
    rewinders: tuple[tuple[str, int], ...] = ()


@define(eq=False)
class SequencerProcess(Node):
    """The process. `run` is all that a caller needs."""

    settings: SequencerSettings
    elector: Elector = field(init=False)
    submit: SubmitPort = field(init=False)
    candidate: Candidate = field(init=False)
    primary: Primary | None = field(default=None, init=False)
    orders: Orders = field(init=False)
    takeovers: int = field(default=0, init=False)
    _lines: list[Line] = field(factory=list, init=False)
    _progress: Progress = field(factory=Progress, init=False)
    _notices: Notices = field(init=False)
    _failure: str = field(default="", init=False)  # why the last attempt to take over was lost
    _try_ns: int | None = field(default=None, init=False)
    _gone: str | None = field(default=None, init=False)  # the primary that was followed last
    _alone_ns: int | None = field(default=None, init=False)  # when a primary without a quorum in contact asks

    @property
    def role(self) -> str:  # type: ignore[override]
        """What the sequencer is at present."""
        if self.primary is not None:
            return "primary"
        return "candidate" if self.candidate.takeover is not None else "standby"

    def open_ports(self) -> None:
        """Multicast lines and the submit port; who votes alone is primary at once.

        Raises RecordsLost when who votes alone has lost committed records and no rewinder has them.
        """
        settings, surroundings, log, counters = self.settings, self.surroundings, self.log, self.counters
        alone = len(settings.voters) == 1
        if alone:
            mended = mend(log, settings.rewinders, settings.name, settings.node_password)
            if mended is not None:
                self.report("fetched records that the log had lost", first=mended[0], last=mended[1])
        self.elector = RankElector(
            settings.name, list(settings.sequencers), surroundings.random, settings.patience.silence_ns
        )
        self._lines = [
            Line(name, surroundings.network.multicast(group, port, settings.interface, settings.ttl))
            for name, (group, port) in zip("ab", settings.lines, strict=False)
        ]
        self.submit = SubmitPort(
            log,
            Ordering(log, payload_limit(settings.datagram_bytes)),
            Admission(settings.authority, Role.PUBLISH, log.session),
            counters,
            self.pump.clock,
            self._storage_full,
        )
        self.candidate = Candidate(
            self.pump,
            surroundings.network,
            settings.identity,
            settings.patience,
            self.follower,
            settings.write_quorum,
            {name: address for name, address in settings.peers.items() if name != settings.name},
            counters,
            self._heard_of,
        )
        self.orders = Orders(
            settings.name,
            settings.sequencers,
            self.pump,
            lambda: self.primary,
            lambda: self.role,
            self.report,
        )
        self.serve("submit", settings.submit_port, self.submit)
        now_ns = self.pump.clock.now_ns
        if alone:
            self.candidate.begin(now_ns, insist=True)
            self._advance(now_ns)
        else:
            self._try_ns = now_ns + self.elector.wait_ns(0, None)
            self.pump.timers.watch(self.link)
            self.pump.timers.watch(self)

    def commands(self) -> dict[str, Any]:
        """The node's commands, and those of a primary."""
        return {**super().commands(), **self.orders.handlers()}

    def finish(self, now_ns: int) -> int:
        """Commit, publish, answer; or follow, and look whether it is time to take over."""
        work = 0
        if self.deposed is None:
            if self.primary is None:
                self._stand_by(now_ns)
            if self.primary is not None:
                work = self._lead(self.primary, now_ns)
        return work + super().finish(now_ns)

    def each_second(self) -> None:
        """Also say what has changed around a primary."""
        super().each_second()
        if self.primary is not None:
            self._notices.look(self.primary)

    # timers

    def deadline_ns(self) -> int | None:
        """When to try to become primary, or to ask whether somebody else is."""
        if self.primary is None:
            return self._try_ns if self.candidate.takeover is None and self._missing_primary else None
        return self._alone_ns

    def handle_timer(self, _now_ns: int) -> None:
        """The turn itself does what is due."""

    # standby

    @property
    def _missing_primary(self) -> bool:
        """Whether there is none as far as this node can tell: it could not be found, or nobody else can be it."""
        return self.link.suspicion is not None or not self.link.primaries

    def _stand_by(self, now_ns: int) -> None:
        link, candidate = self.link, self.candidate
        self.log.sync()
        link.answer(now_ns)
        if link.following is not None:
            self._gone = link.following
            self._try_ns = None
            if candidate.asking and not candidate.insisting:
                candidate.end(failed=True)
                self.report("a primary was found; not taking over")
            candidate.failures = 0
        if candidate.takeover is not None:
            self._advance(now_ns)
        elif self.follower.handed_over and link.following is not None:
            self.report("the primary hands over", primary=link.following)
            self.follower.handed_over = False
            candidate.begin(now_ns, insist=True)
            self._advance(now_ns)
        elif self._missing_primary:
            if self._try_ns is None:
                self._try_ns = now_ns + self.elector.wait_ns(candidate.failures, self._gone)
            if now_ns >= self._try_ns:
                if candidate.failures == 0:
                    self.warn("no primary; asking the voters", suspicion=link.suspicion)
                candidate.begin(now_ns, insist=False)
                self._advance(now_ns)
            else:
                self.pump.timers.watch(self)

    def _advance(self, now_ns: int) -> None:
        """Move the attempt, and act on its outcome."""
        candidate = self.candidate
        takeover = candidate.takeover
        assert takeover is not None
        phase = candidate.turn(now_ns)
        if phase is not Phase.ASKING:
            self.link.close()  # the promise is to ourselves now
        if phase is Phase.WON:
            self._begin(takeover.lowest_commit, now_ns)
        elif phase is Phase.LOST:
            self.counters.add("takeover.lost")
            self._fall_back(takeover.reason, now_ns)
            self._try_ns = now_ns + self.elector.wait_ns(candidate.failures, self._gone)
            self.pump.timers.watch(self)

    def _fall_back(self, reason: str, now_ns: int) -> None:
        """The attempt has failed: look for a primary again. The caller says when to try again."""
        self.report("not primary", detail=reason)
        self._failure = reason
        self.candidate.end(failed=True)
        self.link.turn_to(self.voter.promise.owner, now_ns)

    # primary

    def _begin(self, lowest_commit: int, now_ns: int) -> None:
        """Become primary of the epoch that was won."""
        settings, log = self.settings, self.log
        publisher = Publisher(
            log,
            self._lines,
            self.counters,
            settings.datagram_bytes,
            # What was committed may not have left: a receiver that has it drops the repeat.
            next_number=max(log.first, lowest_commit, log.commit - REPEAT_LIMIT_RECORDS),
            cadence=Cadence(steady_ns=settings.heartbeat_ns),
        )
        primary = Primary(
            self.voter,
            settings.write_quorum,
            publisher,
            self.submit,
            self.port,
            self._depose,
            lambda: self.pump.clock.utc_ns,
            self.pump.clock.exact_ns,
        )
        try:
            primary.open(now_ns)
        except StorageFull as error:
            self._fall_back(f"nothing can be stamped: {error}", now_ns)
            self._try_ns = now_ns + settings.patience.silence_ns
            self.pump.timers.watch(self)
            return
        self.primary = primary
        self._progress = Progress()
        self._notices = Notices(self.counters, self.report, self.warn)
        self.takeovers += 1
        self.report("primary", epoch=primary.epoch, last=log.last, commit=log.commit)
        self.candidate.announce(primary.epoch, now_ns)
        self.candidate.end(failed=False)
        self.pump.timers.watch(primary)
        Express.install(primary, self.pump)

    def _lead(self, primary: Primary, now_ns: int) -> int:
        """A primary's turn."""
        work = primary.turn(now_ns)
        self.pump.timers.watch(primary)
        self.orders.turn(self.log.commit, now_ns)
        self._progress.look(self.log.last, self.log.commit, now_ns)
        self._look_for_quorum(primary, now_ns)
        return work

    def _look_for_quorum(self, primary: Primary, now_ns: int) -> None:
        """A primary without a quorum asks the voters whether it was deposed; it cannot find out otherwise.

        Meanwhile those who do not vote are sent away, because there may be another primary.
        """
        if primary.followers.quorate:
            self._alone_ns = None
            if self.candidate.peers.open and primary.established:
                self.candidate.peers.close()
        elif self._alone_ns is None or now_ns >= self._alone_ns:
            if self._alone_ns is not None:
                self.candidate.peers.ask(lambda _name: Query().encode(), now_ns)
                self.port.hang_up("there is no quorum here", now_ns, keep=self.settings.voters)
            self._alone_ns = now_ns + self.settings.patience.silence_ns // CHECKS_IN_SILENCE
            self.pump.timers.watch(self)

    def _heard_of(self, name: str, answer: Answer) -> None:
        """A voter answers though no attempt runs."""
        if self.primary is not None and answer.epoch > self.primary.epoch:
            self.orders.sealed(answer.owner, answer.epoch)
            self._depose(f"{name} has promised epoch {answer.epoch} to {answer.owner}")

    def _depose(self, reason: str) -> None:
        """This node is not the primary any more: it does nothing further, and ends."""
        if self.deposed is None:
            self.deposed = reason
            self.warn(
                "deposed", detail=reason, epoch=self.voter.epoch, last=self.log.last, commit=self.log.commit
            )
            self.port.primary = None
            self.primary = None
            self.submit.refuse = f"this node was deposed: {reason}"
            self.orders.deposed(reason)
            self.pump.stop()

    # the node port's side

    @property
    def hears(self) -> bool:
        """Whether it follows a primary now, or is one."""
        return self.primary is not None or super().hears

    def promised(self, owner: str, now_ns: int) -> None:
        """A higher epoch was promised: a primary is none any more, a candidate has lost."""
        if self.primary is not None:
            self.orders.sealed(owner, self.voter.epoch)
            self._depose(f"epoch {self.voter.epoch} is promised to {owner}")
            return
        if self.candidate.takeover is not None:
            self.candidate.end(failed=True)
        self._try_ns = None
        super().promised(owner, now_ns)

    def opened(self, owner: str, now_ns: int) -> None:
        """`owner` is primary now."""
        if self.primary is None:
            super().opened(owner, now_ns)

    def _storage_full(self, error: StorageFull) -> None:
        assert self.primary is not None  # else no message was let in
        if self.primary.storage_error is None:
            self.warn("storage full", detail=str(error))
        self.primary.storage_full(error)

    def close(self) -> None:
        """Let go of the other voters and of the multicast lines first."""
        candidate = getattr(self, "candidate", None)
        if candidate is not None:
            candidate.close()
        for line in self._lines:
            line.socket.close()
        super().close()

    # for people

    def status(self) -> dict[str, Any]:
        """The node's status, with what a sequencer knows."""
        primary = self.primary
        status = {
            **super().status(),
            "stamped": self.submit.ordering.stamped,
            "duplicates": self.submit.ordering.duplicates,
            "refusing": self.submit.refuse,
            "takeovers": self.takeovers,
            "attempts": self.candidate.attempts,
            "handover": None if self.orders.handover is None else self.orders.handover.target,
            "datagrams": {line.name: line.datagrams for line in self._lines},
        }
        if primary is not None:
            status["epoch"] = primary.epoch  # after the end of the session no record says so
            status["established"] = primary.established
            status["in_contact"] = sorted(primary.followers.in_contact)
            status["published"] = primary.publisher.next_number - 1
            status["voters"] = primary.commit.voters()
            status["followers"] = primary.followers.status()
            status["latency"] = primary.stages.state()
        return status

    def stream_reason(self) -> Reason | None:
        """The weightiest reason why the stream does not move here."""
        name, primary, candidate = self.settings.name, self.primary, self.candidate
        if primary is not None:
            return why_primary(primary, self._progress, self.orders.handover, self.pump.clock.now_ns)
        if candidate.takeover is not None:
            return why_candidate(name, candidate.takeover)
        if self.link.following is None:
            failure = self._failure if candidate.failures else None
            return why_standby(name, self.link.suspicion, self.deposed or failure)
        return super().stream_reason()
