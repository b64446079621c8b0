"""A follower: a node that keeps a copy of the primary's log.

It logs in to the primary's node port at the number after its own last record, learns the primary's epoch and its
table of epochs, cuts what the two logs do not share, appends what comes, and says what it holds. Nothing it holds
is shown to a receiver before the primary has said that it is committed. It follows nobody of an epoch below the
one that its node has promised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from rewinder._native import Incoming
from rewinder.errors import ForkedLog, NotPrimary, RefusedRecord
from rewinder.replication import Committed, Epochs, Go, decode, held, shared_last

if TYPE_CHECKING:
    from collections.abc import Callable

    from native.messages import Messages
    from rewinder.counters import Counters
    from rewinder.replication import Answer, Table
    from rewinder.voter import Voter


IDLE_REPORT_NS = 200_000_000
"""How often a follower that does not vote says what it holds, at most."""


@define(eq=False)
class Follower:
    """The machine of one follower; a new connection begins with `accepted`.

    Invariants: no record is appended before the epoch table of this connection was compared with our own, and
    none while a higher epoch is promised than that of the connection.
    """

    voter: Voter
    counters: Counters
    before_cut: Callable[[], None] = lambda: None
    """Told before the log is cut: nobody may be reading there."""
    epoch: int = field(default=0, init=False)
    owner: str = field(default="", init=False)
    refused: str | None = field(default=None, init=False)
    """Why whom we are connected to is not followed; None while it may be."""
    handed_over: bool = field(default=False, init=False)
    """Whether the primary has stopped and wants this node to take over."""
    _accepted: int = field(default=0, init=False)
    _owner: str = field(default="", init=False)
    _wanted: Answer | None = field(default=None, init=False)
    _compared: bool = field(default=False, init=False)
    _reported: int = field(default=0, init=False)
    _not_before_ns: int = field(default=0, init=False)
    _queue: list[bytes] = field(factory=list, init=False)
    _incoming: Incoming = field(
        factory=Incoming, init=False
    )  # its commit number may run ahead of the records

    @property
    def login_number(self) -> int:
        """The number to log in at."""
        return self.voter.log.next_number

    @property
    def in_step(self) -> bool:
        """Whether the log is known to be the beginning of that of whom we follow."""
        return self._compared

    @property
    def missing(self) -> int:
        """How many records are committed, as whom we follow says, that are not in the log yet."""
        return max(0, self._incoming.commit - self.voter.log.last)

    def accepted(self, sequence_number: int, owner: str, wanted: Answer | None = None) -> None:
        """We are let in, and `sequence_number` comes next. Only the epoch of `owner` is meant to be followed.

        With `wanted`, the log has to be the one that was told of in this answer.
        """
        self._accepted = sequence_number
        self._owner = owner
        self._wanted = wanted
        self._compared = False
        self._reported = 0
        self._incoming.commit = 0
        self.refused = None
        self.handed_over = False
        self._queue = [self.voter.state().encode()]

    def unsequenced(self, payload: bytes) -> bool:
        """A packet beside the log. False: log in anew, at `login_number`.

        Raises NotPrimary when the log is that of another epoch than was looked for, ForkedLog when it contradicts
        what this node knows to be committed.
        """
        if self.refused is not None:
            return True
        match decode(payload):
            case Epochs(epoch, owner, table):
                return self._meet(epoch, owner, table)
            case Committed(epoch, number) if epoch == self.epoch and self._compared:
                self._incoming.commit = max(self._incoming.commit, number)
                self._commit()
            case Committed():
                self.counters.add("follower.stale_commit")
            case Go(epoch, number) if epoch == self.epoch and number == self.voter.log.last:
                self.handed_over = self._compared and self.voter.votes
            case _:
                self.counters.add("follower.unknown")
        return True

    def sequenced(self, first_number: int, messages: Messages) -> None:
        """Records from the primary: check and append them.

        Raises LogError naming the record that is wrong, StorageFull when there is no room.
        """
        log = self.voter.log
        if self.refused is not None or self.voter.epoch > self.epoch:
            self.counters.add("follower.fenced", len(messages))
            return
        if not self._compared:
            raise RefusedRecord(first_number, "it came before the epoch table")
        if first_number != log.next_number:
            raise RefusedRecord(first_number, f"record {log.next_number} was expected")
        self.handed_over = False  # it goes on after all
        log.append_records(messages)
        self._commit()

    def skim(self, view: memoryview, start: int, end: int) -> tuple[int, int]:
        """What mostly comes, records and commit numbers, taken out of the receive buffer in one call.

        Returns up to where it was taken, and how many records were; what is left comes by `sequenced` and
        `unsequenced`, which know every case.
        """
        if not self._compared or self.refused is not None or self.voter.epoch > self.epoch:
            return start, 0
        log, incoming = self.voter.log, self._incoming
        appended, control = 0, True
        while control and log.ended is None:
            start, count, control = incoming.take(
                log.tail.kernel, log.senders.kernel, view, start, end, self.epoch
            )
            appended += count
            if control:
                log.note_control()
        if appended:
            self.handed_over = False
        self._commit()
        return start, appended

    def outgoing(self, now_ns: int) -> list[bytes]:
        """What to tell the primary now.

        Commits wait for a voter, so he tells at once what he holds. From anybody else it is for the status, and
        may be late.
        """
        packets, self._queue = self._queue, []
        packet = self._held(now_ns)
        if packet is not None:
            packets.append(packet)
        return packets

    def _held(self, now_ns: int) -> bytes | None:
        voter, log = self.voter, self.voter.log
        number = log.last if log.durability == "memory" else log.synced
        if number == self._reported or not self._compared or voter.epoch > self.epoch:
            return None
        if voter.name not in voter.voters and now_ns < self._not_before_ns:
            return None
        whole = log.ended is not None and number == log.ended
        if whole and self.epoch > log.epochs[-1][0] and not voter.adopt(self.epoch):
            return None
        self._not_before_ns = now_ns + IDLE_REPORT_NS
        self._reported = number
        return held(self.epoch, number)

    def _commit(self) -> None:
        """Follow the primary's commit number as far as the records are here."""
        log = self.voter.log
        more = min(self._incoming.commit, log.last) - log.commit
        if more > 0:
            log.commit += more
        if self.voter.look_for_admission():
            self._queue.append(self.voter.state().encode())
            self._reported = 0

    def _check_wanted(self, table: Table) -> None:
        """A voter that has lost records since it answered must not have us cut what we hold ourselves."""
        wanted = self._wanted
        if wanted is not None:
            least = min(self.login_number, wanted.last + 1)
            if table != wanted.table or self._accepted < least:
                raise NotPrimary("its log is not the one that it answered with")

    def _meet(self, epoch: int, owner: str, table: tuple[tuple[int, int], ...]) -> bool:
        """Follow who serves the log, if we may; compare the two logs."""
        voter = self.voter
        if owner != self._owner:
            raise NotPrimary(f"it serves the log of epoch {epoch} to {owner}")
        self._check_wanted(table)
        if voter.log.epochs and epoch < voter.log.epochs[-1][0]:
            raise NotPrimary(
                f"its epoch, {epoch}, is over: there is one of {voter.log.epochs[-1][0]} in our log"
            )
        if not voter.follow(epoch, owner):
            promise = voter.promise
            self.refused = f"epoch {promise.epoch} is promised to {promise.owner}, this is {owner} of {epoch}"
            self.counters.add("follower.refused")
            self._queue.append(voter.answer().encode())
            return True
        self.epoch, self.owner = epoch, owner
        log = voter.log
        # The primary lets us in at our own number, or at the end of its log when that comes first.
        shared = shared_last(log.epochs, log.last, table, self._accepted - 1)
        if shared < log.last:
            if shared < log.commit:
                raise ForkedLog(
                    f"the log of {owner} shares only records up to {shared} with this one, "
                    f"but records up to {log.commit} are committed here"
                )
            self.counters.add("follower.cut", log.last - shared)
            self.before_cut()
            log.cut(shared)
        self._compared = log.next_number == self._accepted
        return self._compared
