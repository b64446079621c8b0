"""The primary: one epoch of ordering, committing and publishing (DESIGN: epochs, voters, quorums).

A turn moves data one way: submissions were ordered into the log as they were read; then the log goes to the
followers, is made as durable as the stream claims, the commit number moves, and what became committed is
published and acknowledged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from rewinder._native import StagesKernel
from rewinder.errors import StorageFull
from rewinder.promise import PROMISE_FILE
from rewinder.record import SENDER_BYTES, Kind, Stamp, admission_payload, epoch_payload
from sequencer.commit import Commit
from sequencer.followers import Followers

if TYPE_CHECKING:
    from collections.abc import Callable

    from rewinder.log import MessageLog
    from rewinder.node_port import NodePort
    from rewinder.voter import Voter
    from sequencer.publisher import Publisher
    from sequencer.submit import SubmitPort

GROUP_NS = 1_000_000
"""Durability `group`: records wait at most this long to share one fdatasync."""

STORAGE_RETRY_NS = 500_000_000
"""How often a primary whose log could not grow looks whether there is room again."""


@define(eq=False)
class Primary:
    """The primary of the epoch that its voter has promised to itself. `open` begins it; `turn` ends each turn.

    `deposed(reason)` is told when somebody is found to have promised a higher epoch.
    """

    voter: Voter
    write_quorum: int
    publisher: Publisher
    submit: SubmitPort
    port: NodePort
    deposed: Callable[[str], None]
    utc_ns: Callable[[], int]
    exact_ns: Callable[[], int]  # the monotonic clock within a turn, for measuring
    epoch: int = field(default=0, init=False)
    commit: Commit = field(init=False)
    followers: Followers = field(init=False)
    storage_error: str | None = field(default=None, init=False)
    stages: StagesKernel = field(init=False)
    _storage_retry_ns: int = field(default=0, init=False)
    _sync_due_ns: int | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        """The name of the node."""
        return self.voter.name

    @property
    def log(self) -> MessageLog:
        """The stream."""
        return self.voter.log

    def open(self, now_ns: int) -> None:
        """Write the epoch-start record and take up the work; senders are let in when it is committed.

        Raises StorageFull when the log has no room for it.
        """
        log = self.log
        self.epoch = self.voter.epoch
        if log.ended is None:
            start = self._append(Kind.EPOCH, epoch_payload(self.epoch, self.name), self.epoch)
            self.submit.refuse = f"epoch {self.epoch} is being opened"
        else:  # nothing follows the end of the session; what is there is committed and served on
            start = log.last
            if not self.voter.adopt(self.epoch):
                raise StorageFull(log.storage.describe(PROMISE_FILE), 0)
            self.submit.refuse = self._ended_sentence()
        self.submit.open()
        self.commit = Commit(self.write_quorum, start, log.commit)
        self.stages = StagesKernel(log.last)
        self.followers = Followers(
            self.epoch,
            self.commit,
            self.port,
            self.voter.voters,
            self._admit,
            self.deposed,
            self.port.counters,
        )
        self.port.hang_up(f"epoch {self.epoch} begins", now_ns)
        self.port.visible = log.last
        self.port.primary = self.followers

    @property
    def established(self) -> bool:
        """Whether the start of the epoch is committed."""
        return self.log.commit >= self.commit.epoch_start

    @property
    def calm(self) -> bool:
        """Whether all is committed and told, and what comes now needs nobody's decision."""
        log, submit = self.log, self.submit
        return (
            log.last == log.commit
            and submit.open_to_all
            and self.voter.epoch == self.epoch
            and log.ended is None
            and self.publisher.idle
            and self.storage_error is None
        )

    def end_session(self) -> int:
        """Write the end-of-session record; returns its number. Submissions are refused from now on."""
        log = self.log
        if log.ended is None:
            self._append(Kind.END, b"", 0)
            self.submit.refuse = self._ended_sentence()
        assert log.ended is not None
        return log.ended

    def storage_full(self, error: Exception) -> None:
        """The log could not grow: stop stamping, and say so."""
        if self.storage_error is None:
            self.storage_error = str(error)
            self.submit.refuse = f"nothing can be stamped: {error}"
        self._storage_retry_ns = 0

    def turn(self, now_ns: int) -> int:
        """Bring followers, durability, commit, publication and answers up to date; returns work done."""
        log = self.log
        last = log.last
        work = 0
        moved = last > self.port.visible
        if moved:
            work += self.port.show(last, now_ns)
        if self.voter.epoch == self.epoch:
            self.commit.held(self.name, self._hold(last, now_ns))
        number = self.commit.advance()
        before = log.commit
        commit_ns = now_ns
        if number > before:
            commit_ns = self.exact_ns()
            log.commit = number
            work += number - before
            if before < self.commit.epoch_start and log.ended is None and self.storage_error is None:
                self.submit.refuse = None
        sent = self.publisher.publish(number, now_ns)
        work += sent
        if moved or number > before or sent:
            published = self.publisher.next_number - 1
            self.stages.turn(last, number, published, now_ns, commit_ns, self.exact_ns())
        if number > before:
            self.submit.committed(before + 1, number, now_ns)
        if moved or number > before:
            self.followers.moved(now_ns)
        work += self.followers.tell(now_ns)
        if log.ended is not None and log.commit >= log.ended and not self.submit.over:
            self.submit.end(now_ns)
        self.submit.press(now_ns)
        if self.storage_error is not None and now_ns >= self._storage_retry_ns:
            self._look_for_room(now_ns)
        return work

    def deadline_ns(self) -> int:
        """When a turn is wanted though nothing arrives."""
        due_ns = self.publisher.deadline_ns()
        for other_ns in (self._sync_due_ns, self.followers.deadline_ns()):
            if other_ns is not None and other_ns < due_ns:
                due_ns = other_ns
        return due_ns if self.storage_error is None else min(due_ns, self._storage_retry_ns)

    def handle_timer(self, now_ns: int) -> None:
        """Heartbeats; the turn itself does what else is due."""
        self.publisher.handle_timer(now_ns)

    def _admit(self, voter: str, incarnation: int) -> None:
        """Write that a voter which had lost its vote has caught up."""
        if self.log.ended is None:
            try:
                self._append(Kind.ADMIT, admission_payload(voter, incarnation), 0)
            except StorageFull as error:
                self.storage_full(error)

    def _append(self, kind: Kind, payload: bytes, sequence: int) -> int:
        """Append a record of our own; returns its number."""
        stamp = Stamp(
            time_ns=max(self.utc_ns(), self.log.last_time_ns),
            sender_sequence=sequence,
            sender=self.name.encode("ascii").ljust(SENDER_BYTES),
            kind=kind,
        )
        return self.log.append(payload, stamp)

    def _hold(self, last: int, now_ns: int) -> int:
        """What this node holds, to the durability that the stream claims."""
        log = self.log
        if log.durability == "memory":
            return last
        if last == log.synced:
            return last
        if log.durability == "group":
            if self._sync_due_ns is None:
                self._sync_due_ns = now_ns + GROUP_NS
            if now_ns < self._sync_due_ns:
                return log.synced
            self._sync_due_ns = None
        log.sync()
        return log.synced

    def _look_for_room(self, now_ns: int) -> None:
        self._storage_retry_ns = now_ns + STORAGE_RETRY_NS
        try:
            self.log.roll()
        except StorageFull:
            return
        self.storage_error = None
        if self.log.ended is None and self.established:
            self.submit.refuse = None

    def _ended_sentence(self) -> str:
        return f"session {self.log.session.decode('ascii', 'replace').strip()} has ended"
