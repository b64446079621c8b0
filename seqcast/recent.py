"""The packets that were sent last, for MoldUDP64 re-requests: as many as a number of bytes allows."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import TYPE_CHECKING

from attrs import define, field

from moldudp import MOLDUDP64

if TYPE_CHECKING:
    from collections.abc import Iterator

RECENT_BYTES = 64 << 20
"""Kept unless it is said: some hundred thousand packets."""

_LENGTH = MOLDUDP64.length_struct
_HEADER = MOLDUDP64.header_bytes


@define(eq=False)
class RecentPackets:
    """The store of a request server (`moldudp.MessageStore`) for one session.

    Packets are added in the order of their numbers, without a gap; the oldest go when there are more than
    `limit_bytes`.
    """

    session: bytes
    limit_bytes: int = RECENT_BYTES
    size: int = field(default=0, init=False)
    _firsts: deque[int] = field(factory=deque, init=False)
    _packets: deque[bytes] = field(factory=deque, init=False)
    _next: int = field(default=1, init=False)

    @property
    def first(self) -> int:
        """Number of the oldest message that is kept; that of the next one while there is none."""
        return self._firsts[0] if self._firsts else self._next

    def add(self, number: int, packet: bytes, count: int) -> None:
        """A packet with `count` messages from `number` on was sent."""
        if number != self._next:  # a stream that does not begin with 1
            self._firsts.clear()
            self._packets.clear()
            self.size = 0
        self._firsts.append(number)
        self._packets.append(packet)
        self._next = number + count
        self.size += len(packet)
        while self.size > self.limit_bytes and len(self._packets) > 1:
            self._firsts.popleft()
            self.size -= len(self._packets.popleft())

    def last(self, session: bytes) -> int | None:
        """See `moldudp.MessageStore`."""
        return self._next - 1 if session == self.session else None

    def pack(self, session: bytes, first: int, count: int, capacity: int) -> tuple[bytes, int]:
        """See `moldudp.MessageStore`."""
        parts: list[memoryview] = []
        used = 0
        if session == self.session and self.first <= first < self._next:
            for block in self._blocks(first):
                if len(parts) == count or used + len(block) > capacity:
                    break
                parts.append(block)
                used += len(block)
        return b"".join(parts), len(parts)

    def _blocks(self, number: int) -> Iterator[memoryview]:
        """The message blocks from `number` on."""
        index = bisect_right(self._firsts, number) - 1
        passed = number - self._firsts[index]
        for position in range(index, len(self._packets)):
            packet = memoryview(self._packets[position])
            start = _HEADER
            while start < len(packet):
                end = start + _LENGTH.size + _LENGTH.unpack_from(packet, start)[0]
                if passed:
                    passed -= 1
                else:
                    yield packet[start:end]
                start = end
