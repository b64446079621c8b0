"""The log of a session that is not the present one: whether it can be trusted, and how much of it may be shown.

Nobody writes such a log any more, so what it holds is final. Shown is what this node knows to be committed, and
nothing else: the tail of a session that was left behind (`seqcast promote --force`) may never have been. So the
commit mark is the end of what is shown, whether or not the log ends with the end of the session.

A log is not shown at all when something is wrong with it: damage, marks that are missing, committed records that
are not there. Opening costs one segment, however long the log is, and can be done in steps; sealed segments are
checked before they are first served, as those of any log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field

from rewinder._native import STOP_REASONS, Stop
from rewinder.errors import LogError, LogMissing
from rewinder.marks import Marks
from rewinder.policy import SESSION_BYTES
from rewinder.reading import LogReader
from rewinder.recovery import refuse_damage
from rewinder.segment import first_numbers
from rewinder.segments import SegmentSet
from rewinder.state import StreamState
from rewinder.voter import NO_MARKS

if TYPE_CHECKING:
    from rewinder.storage import Storage

SLICE_RECORDS = 256
"""Records read between two looks at how much was done: 16 MiB of the longest ones."""


@define(eq=False)
class OldSession:
    """An old session whose log is open: records up to `shown` may be served. It owns its storage.

    `shown` is one below `log.first`, or less, when nothing may be. Of epochs and senders `log` knows only what is
    in its last segment.
    """

    name: str
    log: LogReader
    shown: int
    storage: Storage

    @property
    def ended(self) -> bool:
        """Whether the end of the session is among what is shown."""
        return self.log.ended is not None and self.log.ended <= self.shown

    def close(self) -> None:
        """Let go of the log; a client that still reads keeps the segment that it reads."""
        self.storage.close()

    def row(self) -> dict[str, Any]:
        """What a list says of it: first and last record that are there, the last that is shown, and `problem`, None."""
        return {
            "session": self.name,
            "first": self.log.first,
            "shown": self.shown,
            "last": self.log.last,
            "ended": self.ended,
            "problem": None,
        }


def failed_row(name: str, problem: str) -> dict[str, Any]:
    """What a list says of a session that is not served."""
    numbers = dict.fromkeys(("first", "shown", "last", "ended"))
    return {"session": name, **numbers, "problem": problem}


@define(eq=False)
class Opening:
    """An old session that is being opened, `step` by step. Every method raises LogError or OSError: then it is over.

    `storage` only reads, and is closed when opening fails.
    """

    name: str
    storage: Storage
    _segments: SegmentSet = field(init=False)
    _state: StreamState = field(factory=StreamState, init=False)
    _marks: Marks = field(init=False)

    def __attrs_post_init__(self) -> None:
        try:
            self._look()
        except BaseException:
            self.storage.close()
            raise

    def step(self, limit_bytes: int) -> OldSession | None:
        """Read on, for `limit_bytes` and what is left of a slice; the session when everything was read."""
        try:
            stop = self._read(limit_bytes)
            return None if stop is Stop.NONE else self._finish(stop)
        except BaseException:
            self.storage.close()
            raise

    def _look(self) -> None:
        """The marks first: a log beside which somebody writes must not be shorter than they say."""
        session = self.name.encode("ascii").ljust(SESSION_BYTES)
        firsts = first_numbers(self.storage.names())
        if not firsts:
            raise LogMissing(f"{self.storage.describe('')}: there is no log")
        self._marks = Marks(self.storage, session)
        if self._marks.rebuilt:
            raise LogError(f"{self.storage.describe('')}: {NO_MARKS}")
        self._segments = SegmentSet(self.storage, session, firsts)
        self._segments.tail = self._segments.bare(len(firsts) - 1)

    def _read(self, limit_bytes: int) -> Stop:
        """Take up records of the tail; NONE when there may be more of them."""
        tail = self._segments.tail
        assert tail is not None
        end = tail.end
        while tail.end - end < limit_bytes:
            stop = self._state.read(tail, tail.count + SLICE_RECORDS)
            if stop is not Stop.NONE:
                return stop
        return Stop.NONE

    def _finish(self, stop: Stop) -> OldSession:
        """Everything was read: find out whether it is what there should be."""
        tail = self._segments.tail
        assert tail is not None
        if stop is not Stop.EMPTY:
            # Beside a writer: what was being written when it was read is whole by now.
            stop = self._state.read(tail)
        if stop is Stop.SENDERS:
            raise LogError(f"{tail.file}: record {tail.last + 1}: {STOP_REASONS[stop]}")
        if stop is not Stop.EMPTY and not self._marks.lost_machine:
            refuse_damage(tail, stop)  # else what was not synced may have holes
        commit = self._marks.commit
        if commit > tail.last:
            raise LogError(
                f"{tail.file}: records up to {commit} were committed, and those above {tail.last} are not there"
            )
        tail.verified = True
        session = self.name.encode("ascii").ljust(SESSION_BYTES)
        return OldSession(self.name, LogReader(session, self._segments, self._state), commit, self.storage)


def open_old_session(name: str, storage: Storage) -> OldSession:
    """Open an old session, all at once. Raises LogError, OSError; the storage is closed then."""
    opening = Opening(name, storage)
    while True:
        found = opening.step(1 << 62)
        if found is not None:
            return found
