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
from rewinder.control import Deferred, Refusal
from rewinder.errors import StorageFull
from rewinder.node import Node, NodeSettings
from rewinder.record import STAMP_BYTES
from rewinder.replication import Query
from sequencer.candidate import Candidate
from sequencer.elector import RankElector
from sequencer.handover import Handover
from sequencer.mending import mend
from sequencer.ordering import Ordering
from sequencer.primary import Primary
from sequencer.publisher import Line, Publisher
from sequencer.submit import SubmitPort
from sequencer.takeover import Phase

if TYPE_CHECKING:
    from rewinder.replication import Answer
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
    takeovers: int = field(default=0, init=False)
    _lines: list[Line] = field(factory=list, init=False)
    _handover: Handover | None = field(default=None, init=False)
    _waiting: list[tuple[int, Deferred]] = field(factory=list, init=False)
    _try_ns: int | None = field(default=None, init=False)
    _gone: str | None = field(default=None, init=False)  # the primary that was followed last
    _alone_ns: int | None = field(default=None, init=False)  # since when a primary has no quorum in contact

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
        settings, surroundings = self.settings, self.surroundings
        log, counters = self.log, self.counters
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
        return {**super().commands(), "end-session": self._end_session, "promote": self._promote}

    def finish(self, now_ns: int) -> int:
        """Commit, publish, answer; or follow, and look whether it is time to take over."""
        work = 0
        if self.deposed is None:
            if self.primary is None:
                self._stand_by(now_ns)
            if self.primary is not None:
                work = self._lead(self.primary, now_ns)
        return work + super().finish(now_ns)

    # timers

    def deadline_ns(self) -> int | None:
        """When to try to become primary, or to ask whether somebody else is."""
        if self.primary is None:
            return self._try_ns if self.candidate.takeover is None and self.link.suspicion else None
        return self._alone_ns

    def handle_timer(self, _now_ns: int) -> None:
        """The turn itself does what is due."""

    # standby

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
        elif link.suspicion is not None:
            if self._try_ns is None:
                self._try_ns = now_ns + self.elector.wait_ns(candidate.failures, self._gone)
            if now_ns >= self._try_ns:
                if candidate.failures == 0:
                    self.report("no primary; asking the voters", suspicion=link.suspicion)
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
            self.report("not primary", detail=takeover.reason)
            self.counters.add("takeover.lost")
            candidate.end(failed=True)
            self._try_ns = now_ns + self.elector.wait_ns(candidate.failures, self._gone)
            self.link.turn_to(self.voter.promise.owner, now_ns)
            self.pump.timers.watch(self)

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
        )
        try:
            primary.open(now_ns)
        except StorageFull as error:
            self.candidate.end(failed=True)
            self.report("not primary: nothing can be stamped", detail=str(error))
            self._try_ns = now_ns + settings.patience.silence_ns
            return
        self.primary = primary
        self.takeovers += 1
        self.report("primary", epoch=primary.epoch, last=log.last, commit=log.commit)
        self.candidate.announce(primary.epoch, now_ns)
        self.candidate.end(failed=False)
        self.pump.timers.watch(publisher)

    def _lead(self, primary: Primary, now_ns: int) -> int:
        """A primary's turn."""
        work = primary.turn(now_ns)
        timers = self.pump.timers
        timers.watch(primary.publisher)
        timers.watch(primary)
        if self._handover is not None:
            self._handover.turn(now_ns)
            timers.watch(self._handover)
            if self._handover.over:
                self._handover = None
        if self._waiting:
            self._answer_waiting()
        self._look_for_quorum(primary, now_ns)
        return work

    def _look_for_quorum(self, primary: Primary, now_ns: int) -> None:
        """A primary without a quorum asks the voters whether it was deposed; it cannot find out otherwise."""
        if len(primary.followers.in_contact) + 1 >= self.settings.write_quorum:
            self._alone_ns = None
            if self.candidate.peers.open and primary.established:
                self.candidate.peers.close()
        elif self._alone_ns is None:
            self._alone_ns = now_ns + self.settings.patience.silence_ns // CHECKS_IN_SILENCE
            self.pump.timers.watch(self)
        elif now_ns >= self._alone_ns:
            self._alone_ns = now_ns + self.settings.patience.silence_ns // CHECKS_IN_SILENCE
            self.candidate.peers.ask(lambda _name: Query().encode(), now_ns)
            self.pump.timers.watch(self)

    def _heard_of(self, name: str, answer: Answer) -> None:
        """A voter answers though no attempt runs."""
        if self.primary is not None and answer.epoch > self.primary.epoch:
            self._depose(f"{name} has promised epoch {answer.epoch} to {answer.owner}")

    def _depose(self, reason: str) -> None:
        """This node is not the primary any more: it does nothing further, and ends."""
        if self.deposed is None:
            self.deposed = reason
            self.report(
                "deposed", detail=reason, epoch=self.voter.epoch, last=self.log.last, commit=self.log.commit
            )
            self.port.primary = None
            self.primary = None
            self.submit.refuse = f"this node was deposed: {reason}"
            for _, deferred in self._waiting:
                deferred.refuse(f"the primary was deposed: {reason}")
            self._waiting.clear()
            self.pump.stop()

    # the node port's side

    @property
    def hears(self) -> bool:
        """Whether it follows a primary now, or is one."""
        return self.primary is not None or super().hears

    def promised(self, owner: str, now_ns: int) -> None:
        """A higher epoch was promised: a primary is none any more, a candidate has lost."""
        if self.primary is not None:
            if self._handover is not None:
                self._handover.sealed(owner, self.voter.epoch)
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

    # commands

    def _end_session(self, _arguments: dict[str, Any]) -> Deferred:
        primary = self._require_primary("end the session")
        deferred = Deferred()
        number = primary.end_session()
        self.report("ending the session", number=number)
        self._waiting.append((number, deferred))
        return deferred

    def _promote(self, arguments: dict[str, Any]) -> Deferred:
        primary = self._require_primary("hand over")
        target = str(arguments.get("name", ""))
        if target == self.settings.name:
            raise Refusal(f"{target} is the primary already")
        if target not in self.settings.sequencers:
            raise Refusal(f"{target or 'nobody'} is not a sequencer of this bus")
        if self._handover is not None:
            raise Refusal(f"a handover to {self._handover.target} is under way")
        deferred = Deferred()
        self.report("handing over", to=target)
        self._handover = Handover(primary, target, deferred, self.pump.clock.now_ns)
        self.pump.timers.watch(self._handover)
        return deferred

    def _require_primary(self, what: str) -> Primary:
        if self.primary is None:
            raise Refusal(f"{self.settings.name} is {self.role} and cannot {what}")
        return self.primary

    def _answer_waiting(self) -> None:
        commit = self.log.commit
        for number, deferred in self._waiting:
            if number <= commit:
                deferred.reply({"number": number})
        self._waiting = [entry for entry in self._waiting if entry[0] > commit]

    def _storage_full(self, error: StorageFull) -> None:
        assert self.primary is not None  # else no message was let in
        if self.primary.storage_error is None:
            self.report("storage full", detail=str(error))
        self.primary.storage_full(error)

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
            "datagrams": {line.name: line.datagrams for line in self._lines},
        }
        if primary is not None:
            status["published"] = primary.publisher.next_number - 1
            status["voters"] = primary.commit.voters()
            status["followers"] = primary.followers.status()
        return status
