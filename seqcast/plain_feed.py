"""A plain feed: the messages of the stream without their stamps, as a MoldUDP64 stream of its own.

It is what a listener that knows nothing of the bus expects: numbers from 1, a message after the other, no records in
between that are none. The number of a message is how many messages there were before it in the session, so every feed
of a session gives every message the same number, whenever it was started, and two of them can be lines A and B.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from moldudp import MOLDUDP64, Cadence
from seqcast.packing import OVERHEAD_BYTES, pack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from native.messages import Messages

DATAGRAM_BYTES_MOST = 65_507
"""Largest payload of UDP over IPv4."""

MESSAGE_BYTES_MOST = DATAGRAM_BYTES_MOST - OVERHEAD_BYTES
"""Longest message that a datagram can carry."""


@define(eq=False)
class PlainFeed:
    """The machine of one session. `next_number` is the number of the next message.

    A packet has `capacity` bytes at most; a message that needs more has one of its own. What is longer than any
    datagram is passed over, by every feed alike, and counted in `oversized`.
    """

    session: bytes
    capacity: int
    next_number: int = 1
    heartbeat_ns: int = 1_000_000_000
    oversized: int = field(default=0, init=False)
    ended: bool = field(default=False, init=False)
    _cadence: Cadence = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._cadence = Cadence(self.heartbeat_ns)

    def take(self, messages: Messages, now_ns: int) -> Iterator[tuple[int, bytes, int]]:
        """(number of the first, packet, messages in it) for the next messages of the stream, in order."""
        start, count = 0, len(messages)
        while start < count:
            if len(messages[start]) > MESSAGE_BYTES_MOST:
                self.oversized += 1
                start += 1
                continue
            packet, packed = pack(self.session, self.next_number, messages, start, self.capacity)
            yield self.next_number, packet, packed
            start += packed
            self.next_number += packed
        if count:
            self._cadence.sent(now_ns)

    def end(self, now_ns: int) -> bytes:
        """The session has ended: the first End of Session packet; `due` repeats it."""
        self.ended = True
        self._cadence.sent(now_ns)
        return MOLDUDP64.end_of_session(self.session, self.next_number)

    def due(self, now_ns: int) -> bytes | None:
        """The heartbeat, or the end of the session, if it is time for one."""
        if not self._cadence.due(now_ns):
            return None
        quiet = MOLDUDP64.end_of_session if self.ended else MOLDUDP64.heartbeat
        return quiet(self.session, self.next_number)

    def deadline_ns(self) -> int:
        """When `due` gives something."""
        return self._cadence.deadline_ns()
