"""The primary: one epoch of ordering, committing and publishing (DESIGN: epochs, voters, quorums).

A turn moves data one way: submissions were ordered into the log as they were read; then the log goes to the
followers, is made as durable as the stream claims, the commit number moves, and what became committed is
published and acknowledged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from rewinder.errors import StorageFull
from rewinder.record import SENDER_BYTES, Kind, Stamp, epoch_payload
from sequencer._native import CommitKernel
from sequencer.commit import Commit

if TYPE_CHECKING:
    from rewinder.log import MessageLog
    from sequencer.publisher import Publisher
    from sequencer.replication import ReplicationPort
    from sequencer.submit import SubmitPort

GROUP_NS = 1_000_000
"""Durability `group`: records wait at most this long to share one fdatasync."""

STORAGE_RETRY_NS = 500_000_000
"""How often a primary whose log could not grow looks whether there is room again."""


@define(eq=False)
class Primary:
    """The primary of one epoch. `open` begins it; `turn` ends each turn of the process."""

    name: str
    log: MessageLog
    write_quorum: int
    publisher: Publisher
    submit: SubmitPort
    replication: ReplicationPort
    epoch: int = field(default=0, init=False)
    commit: Commit = field(init=False)
    storage_error: str | None = field(default=None, init=False)
    _acknowledgements: CommitKernel = field(init=False)
    _storage_retry_ns: int = field(default=0, init=False)
    _sync_due_ns: int | None = field(default=None, init=False)

    def open(self, epoch: int, utc_ns: int) -> None:
        """Write the epoch-start record and take up the work.

        Raises StorageFull when the log has no room for it.
        """
        self.epoch = epoch
        log = self.log
        if log.ended is None:
            start = self._append(Kind.EPOCH, epoch_payload(epoch, self.name), epoch, utc_ns)
        else:  # nothing follows the end of the session; what is there is served on
            start = log.last
            self.submit.refuse = self._ended_sentence()
        self.commit = Commit(self.write_quorum, start, log.commit)
        self._acknowledgements = CommitKernel(log.senders, log.commit)
        self.replication.commit = self.commit
        self.replication.epoch = epoch

    def end_session(self, utc_ns: int) -> int:
        """Write the end-of-session record; returns its number. Submissions are refused from now on."""
        log = self.log
        if log.ended is None:
            self._append(Kind.END, b"", 0, utc_ns)
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
        # With a quorum of one the wire comes first: whoever follows would only take the processor from it.
        alone = self.write_quorum == 1
        if not alone and last > self.replication.visible:
            work += self.replication.show(last, now_ns)
        self.commit.held(self.name, self._hold(last, now_ns))
        number = self.commit.advance()
        before = log.commit
        if number > before:
            log.commit = number
            work += number - before
        work += self.publisher.publish(number, now_ns)
        if number > before:
            self.submit.committed(self._acknowledge(before + 1, number), now_ns)
        if alone and last > self.replication.visible:
            work += self.replication.show(last, now_ns)
        if number > before:
            self.replication.committed(now_ns)
            if log.ended is not None and number >= log.ended:
                self.submit.close_all(self._ended_sentence(), now_ns)
        self.submit.press(now_ns)
        if self.storage_error is not None and now_ns >= self._storage_retry_ns:
            self._look_for_room(now_ns)
        return work

    def deadline_ns(self) -> int | None:
        """When a turn is wanted though nothing arrives."""
        deadlines = [self._sync_due_ns] if self._sync_due_ns is not None else []
        if self.storage_error is not None:
            deadlines.append(self._storage_retry_ns)
        return min(deadlines, default=None)

    def handle_timer(self, _now_ns: int) -> None:
        """The turn itself does what is due."""

    def _append(self, kind: Kind, payload: bytes, sequence: int, utc_ns: int) -> int:
        """Append a record of our own; returns its number."""
        stamp = Stamp(
            time_ns=max(utc_ns, self.log.last_time_ns),
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

    def _acknowledge(self, first: int, last: int) -> list[int]:
        """Slots of the senders that have records among `first..last`."""
        slots: dict[int, None] = {}
        while first <= last:
            segment = self.log.segment_of(first)
            through = min(last, segment.last)
            for slot in self._acknowledgements.run(segment, first, through):
                slots[slot] = None
            first = through + 1
        return list(slots)

    def _look_for_room(self, now_ns: int) -> None:
        self._storage_retry_ns = now_ns + STORAGE_RETRY_NS
        try:
            self.log.roll()
        except StorageFull:
            return
        self.storage_error = None
        if self.log.ended is None:
            self.submit.refuse = None

    def _ended_sentence(self) -> str:
        return f"session {self.log.session.decode('ascii', 'replace').strip()} has ended"
