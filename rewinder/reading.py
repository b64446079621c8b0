"""Reading a log: its numbers, and where its records lie.

The writing half is `rewinder.log`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from native.messages import Messages, MessageTable
from rewinder._native import NO_LIMIT
from rewinder.errors import NotInLog

if TYPE_CHECKING:
    from rewinder.segment import Segment
    from rewinder.segments import SegmentSet
    from rewinder.senders import SenderTable
    from rewinder.state import StreamState

READ_LIMIT = 1 << 16
"""Most records that one call of `messages` gives: their table takes 1 MiB."""


class LogReader:
    """What can be asked of an open log. `tail` is its last segment, which is the one that grows."""

    def __init__(self, session: bytes, segments: SegmentSet, state: StreamState) -> None:
        assert segments.tail is not None
        self.session = session
        self.tail: Segment = segments.tail
        self._segments = segments
        self._state = state

    # numbers

    @property
    def first(self) -> int:
        """Number of the first record that is kept."""
        return self._segments.firsts[0]

    @property
    def last(self) -> int:
        """Number of the last record; one below `first`, which is 0 in a new log, while there is none."""
        return self.tail.last

    @property
    def next_number(self) -> int:
        """The number that the next record gets."""
        return self.tail.last + 1

    @property
    def last_time_ns(self) -> int:
        """Time of the last record, UTC nanoseconds; 0 while there is none."""
        return self.tail.last_time_ns

    @property
    def epochs(self) -> list[tuple[int, int]]:
        """(epoch, number of its first record), ascending."""
        return self._state.epochs

    @property
    def admissions(self) -> dict[str, tuple[int, int]]:
        """By name of each voter that was re-admitted: its incarnation, and the number of the record that says so."""
        return self._state.admissions

    @property
    def ended(self) -> int | None:
        """Number of the end-of-session record; None while the session goes on."""
        return self._state.ended

    @property
    def senders(self) -> SenderTable:
        """How far every sender has come. The same object as long as the log is open."""
        return self._state.senders

    @property
    def segments(self) -> list[int]:
        """First numbers of the segments, oldest first."""
        return list(self._segments.firsts)

    # records

    def segment_of(self, number: int) -> Segment:
        """The segment that holds record `number`; every record of it was checked.

        Raises NotInLog; CorruptRecord or BadSegment when the segment cannot be trusted.
        """
        tail = self.tail
        if tail.first <= number <= tail.last:
            return tail
        if not self.first <= number <= tail.last:
            raise NotInLog(f"the log holds records {self.first} to {self.last}, not {number}")
        return self._segments.at(self._segments.position(number))

    def locate(self, number: int) -> tuple[Segment, int]:
        """(segment, offset of the frame) of record `number`, which may be the next one: then of the log's end.

        Raises as `segment_of` does.
        """
        if number == self.next_number:
            return self.tail, self.tail.end
        segment = self.segment_of(number)
        return segment, segment.offset_of(number)

    def end_offset(self, number: int) -> int:
        """Offset behind the frame of record `number`, in its segment. Raises as `segment_of` does."""
        return self.segment_of(number).offset_of(number + 1)

    def rows(self, number: int, count: int, table: MessageTable, max_bytes: int = NO_LIMIT) -> Messages:
        """Records from `number` on, into `table`: at most `count`, of one segment, without a copy.

        They have `max_bytes` together at most, except that the first is always given. Valid until the table
        is filled again. Raises as `segment_of` does.
        """
        segment = self.segment_of(number)
        filled = segment.kernel.rows(number, count, max_bytes, table)
        return table.view(segment.view, filled, segment.kernel.cdata.base)

    def messages(self, first: int, count: int, max_bytes: int = NO_LIMIT) -> Messages:
        """As `rows`, with a table of its own: at most `READ_LIMIT` records."""
        return self.rows(first, count, MessageTable(max(1, min(count, READ_LIMIT))), max_bytes)
