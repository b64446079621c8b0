"""Records as the MoldUDP64 packets that carry them, with the times of their stamps."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from attrs import define, field

from moldudp import MOLDUDP64
from seqcast._native import stamps_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from native.messages import Messages

    Packet = tuple[int, bytes, int]

OVERHEAD_BYTES = MOLDUDP64.header_bytes + MOLDUDP64.length_struct.size
"""Of a packet with one message."""


@define(eq=False)
class Packer:
    """Packs the records of one stream: those of one time share packets of `capacity` bytes at most.

    A record that needs more has a packet of its own. What comes out follows from the records alone, however they
    come in: the last packet of a batch waits for the next one, or for `rest`. Without `timed` nothing waits, and the
    records of a batch share packets whatever their times are.
    """

    session: bytes
    capacity: int
    timed: bool = True
    _waiting: list[bytes] = field(factory=list, init=False)
    _number: int = field(default=0, init=False)  # of the first that waits
    _time_ns: int = field(default=0, init=False)

    def take(self, records: Messages) -> Iterator[Packet]:
        """(time of the stamps in UTC nanoseconds, packet, records in it), as far as they are sure."""
        times = stamps_of(records).times
        start, count = 0, len(records)
        if self._waiting and count:
            if times[0] == self._time_ns:
                start = bisect_right(times, times[0])
                self._waiting += map(bytes, records.before(start))
            yield from self._let_go(keep=start == count)
        while start < count:
            stop = bisect_right(times, times[start], start) if self.timed else count
            while start < stop:
                number = records.number(start)
                packet, packed = pack(self.session, number, records.before(stop), start, self.capacity)
                if self.timed and start + packed == count:
                    self._waiting = [bytes(record) for record in records.after(start)]
                    self._number, self._time_ns = number, times[start]
                    return
                yield times[start], packet, packed
                start += packed

    def rest(self) -> Iterator[Packet]:
        """The same for what waits."""
        yield from self._let_go(keep=False)

    def _let_go(self, *, keep: bool) -> Iterator[Packet]:
        """Pack what waits; with `keep` all but the last packet."""
        while self._waiting:
            packet, packed = pack(self.session, self._number, self._waiting, 0, self.capacity)
            if keep and packed == len(self._waiting):
                return
            yield self._time_ns, packet, packed
            del self._waiting[:packed]
            self._number += packed


def pack(
    session: bytes, number: int, records: Messages | Sequence[bytes], start: int, capacity: int
) -> tuple[bytes, int]:
    """One packet of `records` from `start` on, where record `number` is, and how many it holds."""
    packet, packed = MOLDUDP64.pack(session, number, records, capacity, start)
    if packed:
        return packet, packed
    alone = [bytes(records[start])]
    return MOLDUDP64.pack(session, number, alone, OVERHEAD_BYTES + len(alone[0]))
