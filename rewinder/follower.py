"""A follower: a node that keeps a copy of the primary's log.

It logs in to the primary's node port at the number after its own last record, learns the primary's epoch
table, cuts what the two logs do not share, appends what comes, and says what it holds. Nothing it holds is
shown to a receiver before the primary has said that it is committed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from rewinder.errors import ForkedLog
from rewinder.replication import Committed, Epochs, Held, decode, shared_last

if TYPE_CHECKING:
    from native.messages import Messages
    from rewinder.counters import Counters
    from rewinder.log import MessageLog


IDLE_REPORT_NS = 200_000_000
"""How often a follower that does not vote says what it holds, at most."""


@define(eq=False)
class Follower:
    """The machine of one follower; a new connection begins with `accepted`.

    Invariant: no record is appended before the epoch table of this connection was compared with our own.
    """

    log: MessageLog
    counters: Counters
    voter: bool = False
    epoch: int = field(default=0, init=False)
    _accepted: int = field(default=0, init=False)
    _compared: bool = field(default=False, init=False)
    _reported: int = field(default=0, init=False)
    _not_before_ns: int = field(default=0, init=False)
    _committed: int = field(default=0, init=False)  # as told on this connection; may run ahead of the records

    @property
    def login_number(self) -> int:
        """The number to log in at."""
        return self.log.next_number

    def accepted(self, sequence_number: int) -> None:
        """The primary lets us in and will send `sequence_number` next."""
        self._accepted = sequence_number
        self._compared = False
        self._reported = 0
        self._committed = 0

    def unsequenced(self, payload: bytes) -> bool:
        """A packet beside the log. False: log in anew, at `login_number`.

        Raises ForkedLog when the primary's log contradicts what this node knows to be committed.
        """
        match decode(payload):
            case Epochs(epoch, table):
                return self._compare(epoch, table)
            case Committed(epoch, number) if epoch == self.epoch and self._compared:
                self._committed = max(self._committed, number)
                self._commit()
            case Committed():
                self.counters.add("follower.stale_commit")
            case _:
                self.counters.add("follower.unknown")
        return True

    def sequenced(self, first_number: int, messages: Messages) -> None:
        """Records from the primary: check and append them.

        Raises LogError naming the record that is wrong, StorageFull when there is no room.
        """
        if not self._compared:
            raise ForkedLog(f"the primary sent record {first_number} before its epoch table")
        if first_number != self.log.next_number:
            raise ForkedLog(f"the primary sent record {first_number}, expected {self.log.next_number}")
        self.log.append_records(messages)
        self._commit()

    def held(self, now_ns: int) -> bytes | None:
        """What to tell the primary now; None when there is nothing new.

        Commits wait for a voter, so he tells at once. From anybody else it is for the status, and may be late.
        """
        number = self.log.last if self.log.durability == "memory" else self.log.synced
        if not self._compared or number == self._reported:
            return None
        if not self.voter and now_ns < self._not_before_ns:
            return None
        self._not_before_ns = now_ns + IDLE_REPORT_NS
        self._reported = number
        return Held(self.epoch, number).encode()

    def _commit(self) -> None:
        """Follow the primary's commit number as far as the records are here."""
        self.log.commit = max(self.log.commit, min(self._committed, self.log.last))

    def _compare(self, epoch: int, table: tuple[tuple[int, int], ...]) -> bool:
        self.epoch = epoch
        log = self.log
        # The primary lets us in at our own number, or at the end of its log when that comes first.
        shared = shared_last(log.epochs, log.last, table, self._accepted - 1)
        if shared < log.last:
            if shared < log.commit:
                raise ForkedLog(
                    f"the primary's log shares only records up to {shared} with this one, "
                    f"but records up to {log.commit} are committed here"
                )
            self.counters.add("follower.cut", log.last - shared)
            log.cut(shared)
        self._compared = log.next_number == self._accepted
        return self._compared
