"""The segments of one log: which there are, which are open, and which have been checked.

Only the names of all segments are known; a segment is opened when it is needed, checked before it is handed out,
and let go again when others were used since. So the price of opening a log, or of finding a number in it, does
not grow with its length (docs/LOG.md).
"""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections import OrderedDict
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from rewinder._native import HEADER_BYTES
from rewinder.checkpoint import CHECKPOINT_SUFFIX
from rewinder.errors import BadHeader, MissingSegment, StorageFull
from rewinder.segment import INDEX_SUFFIX, Header, Segment, segment_name

if TYPE_CHECKING:
    from rewinder.storage import Storage

OPEN_LIMIT = 64
"""Sealed segments kept open: more than clients usually read at once, far fewer than descriptors allow.

A reader keeps the segment that he reads; the limit is on those that wait for the next reader.
"""


class SegmentSet:
    """The segments of a log, oldest first. `firsts` are their first numbers.

    The last one is the tail: it is open, and the only one that is written. The others are sealed: each ends
    where the next begins.
    """

    def __init__(self, storage: Storage, session: bytes, firsts: list[int]) -> None:
        """Know the segments by name. Opens the first one, for its ordinal. Raises BadSegment."""
        self._storage = storage
        self._session = session
        self.firsts = firsts
        self.tail: Segment | None = None
        self.verified: set[int] = set()
        self._open: OrderedDict[int, Segment] = OrderedDict()
        self._resident: WeakValueDictionary[int, Segment] = WeakValueDictionary()
        self._ordinal = 0
        self._ordinal = self.bare(0).header.ordinal

    def __len__(self) -> int:
        return len(self.firsts)

    def position(self, number: int) -> int:
        """The position of the segment in which `number` lies; -1 before the first."""
        return bisect_right(self.firsts, number) - 1

    def sealed_count(self, position: int) -> int:
        """How many records a sealed segment holds."""
        return self.firsts[position + 1] - self.firsts[position]

    def name(self, position: int) -> str:
        """The file name of a segment."""
        return segment_name(self.firsts[position])

    def bare(self, position: int) -> Segment:
        """A segment whose header was checked, and nothing else. Raises BadSegment.

        Asked for the tail, it finds out by the ordinal whether a segment between it and the first is missing.
        """
        name = self.name(position)
        try:
            blob = self._storage.open(name)
        except FileNotFoundError:
            raise MissingSegment(self._storage.describe(name), "the file has gone") from None
        segment = Segment(self._storage, blob, self._session)
        if position > 0 and segment.header.ordinal != self._ordinal + position:
            self.check_chain()
            raise BadHeader(
                segment.file,
                f"its ordinal is {segment.header.ordinal}, but {position} segments lie between it and "
                f"ordinal {self._ordinal}",
            )
        return segment

    def at(self, position: int) -> Segment:
        """A segment that is checked. Raises CorruptRecord or BadSegment, and never hands out such a one."""
        if position == len(self.firsts) - 1 and self.tail is not None:
            return self.tail
        segment = self.resident(position)
        if segment is None:
            segment = self.bare(position)
            self._check(segment, self.sealed_count(position))
        self.keep(segment)
        return segment

    def resident(self, position: int) -> Segment | None:
        """The segment, if somebody has it. There is never a second object for one segment that is in use.

        Else a reader would keep an index that knows nothing of a cut.
        """
        first = self.firsts[position]
        if self.tail is not None and self.tail.first == first:
            return self.tail
        return self._resident.get(first)

    def keep(self, segment: Segment) -> None:
        """A sealed segment was checked: hold it open for a while."""
        self.verified.add(segment.first)
        self._resident[segment.first] = segment
        self._open[segment.first] = segment
        self._open.move_to_end(segment.first)
        while len(self._open) > OPEN_LIMIT:
            self._open.popitem(last=False)

    def seal(self, new_tail: Segment) -> None:
        """The present tail is full; `new_tail` is the new one."""
        assert self.tail is not None
        self.write_index(self.tail)
        self.keep(self.tail)
        self.firsts.append(new_tail.first)
        self.tail = new_tail

    def reopen(self, tail: Segment) -> None:
        """`tail`, the last segment, is written again; its index and later sidecars are of no use any more."""
        self._storage.remove(segment_name(tail.first, INDEX_SUFFIX))
        self._open.pop(tail.first, None)
        self._resident.pop(tail.first, None)
        self.verified.discard(tail.first)
        self.tail = tail

    def drop_last(self) -> None:
        """Remove the last segment and its sidecars; the one before it must be reopened."""
        first = self.firsts.pop()
        for suffix in (CHECKPOINT_SUFFIX, INDEX_SUFFIX):
            self._storage.remove(segment_name(first, suffix))
        self._storage.remove(segment_name(first))
        self._open.pop(first, None)
        self._resident.pop(first, None)
        self.verified.discard(first)
        self.tail = None

    def check_chain(self) -> None:
        """Raise MissingSegment when a segment between the first and the last is not there.

        Ordinals tell: the last one's says how many there must be. When they do not agree, the gap is found by
        bisection.
        """
        low, high = 0, len(self.firsts) - 1
        if high == 0 or self._gap(high) == 0:
            return
        if self._gap(high) < 0:
            raise BadHeader(
                self._storage.describe(self.name(high)),
                "its ordinal is below the number of segments before it",
            )
        while high - low > 1:
            middle = (low + high) // 2
            if self._gap(middle) == 0:
                low = middle
            else:
                high = middle
        raise MissingSegment(
            self._storage.describe(self.name(low)),
            f"{self._gap(high)} segment file(s) between this one and {self.name(high)} are missing",
        )

    def write_index(self, segment: Segment) -> None:
        """Write the index sidecar of a sealed segment. A cache: a disk that is full does without."""
        if self._storage.writable:
            with contextlib.suppress(StorageFull):
                self._storage.write_atomically(
                    segment_name(segment.first, INDEX_SUFFIX), segment.encode_index(), durable=False
                )

    def refresh_index(self, segment: Segment) -> None:
        """A sealed segment was read through: write its index sidecar where it is missing or wrong."""
        if self._read_index(segment.first) != segment.encode_index():
            self.write_index(segment)

    def _check(self, segment: Segment, count: int) -> None:
        if segment.first in self.verified and segment.load_index(self._read_index(segment.first), count):
            segment.verified = True
            return
        segment.verify(count)
        self.refresh_index(segment)

    def _read_index(self, first: int) -> bytes:
        try:
            return self._storage.read(segment_name(first, INDEX_SUFFIX))
        except FileNotFoundError:
            return b""

    def _gap(self, position: int) -> int:
        """How many segments are missing before this one."""
        name = self.name(position)
        blob = self._storage.open(name)
        return Segment(self._storage, blob, self._session).header.ordinal - self._ordinal - position


def session_of(storage: Storage, first: int) -> bytes:
    """The session of the segment that begins with record `first`. Raises BadSegment."""
    name = segment_name(first)
    return Header.decode(storage.open(name).view[:HEADER_BYTES], storage.describe(name)).session
