"""A session multicast again, with the timing that it had: for tests, and for trying an app on the past.

The packets have the records of the session as they are, so a receiver of the bus takes them for the session itself;
a heartbeat fills the pauses, and End of Session follows the last record. When each packet is due is said by the
stamps. The machine gives packets; `seqcast.cli.retransmit` has the sockets and the clock.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from attrs import define, field

from moldudp import MOLDUDP64, Cadence
from seqcast.latency import LatencyHistogram
from seqcast.packing import Packer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from native.messages import Messages
    from seqcast.packing import Packet

MAX_SPEED = float("inf")
"""As fast as it goes."""

AHEAD_PACKETS = 1024
"""Packets that are made before they are due: reading a log must not delay them."""

MADE_PACKETS = 16
"""Of those, how many are made in one turn: some tens of microseconds."""

END_NS = 3_000_000_000
"""How long End of Session is repeated, unless it is said."""


@define(eq=False)
class Timetable:
    """When records are due, in monotonic nanoseconds: as far apart as their stamps are, divided by `speed`.

    A pause of more than `longest_ns` between two of them is made as long as that; 0 for no limit. Times never
    decrease from call to call.
    """

    speed: float
    longest_ns: int = 0
    _start_ns: int | None = field(default=None, init=False)
    _first_ns: int = field(default=0, init=False)
    _before_ns: int = field(default=0, init=False)

    def due_ns(self, time_ns: int, now_ns: int) -> int:
        """When what was stamped at `time_ns` is due; the first of all is due now."""
        if self.speed == MAX_SPEED:
            return 0
        if self._start_ns is None:
            self._start_ns, self._first_ns = now_ns, time_ns
        elif self.longest_ns:
            pause_ns = time_ns - self._before_ns
            self._first_ns += max(0, pause_ns - int(self.longest_ns * self.speed))
        self._before_ns = time_ns
        return self._start_ns + int((time_ns - self._first_ns) / self.speed)


@define(eq=False)
class Retransmission:
    """The machine. `records` are those of the session, in batches; the next is asked for when it is needed.

    `take` gives what is due. `lateness` has how much later than due each packet left, in nanoseconds.
    """

    session: bytes
    records: Iterator[Messages]
    timetable: Timetable
    capacity: int
    end_ns: int = END_NS
    heartbeat_ns: int = 1_000_000_000
    sent: int = field(default=0, init=False)
    """Records that left."""
    next_number: int = field(default=0, init=False)
    lateness: LatencyHistogram = field(factory=LatencyHistogram, init=False)
    _packer: Packer = field(init=False)
    _packets: Iterator[Packet] = field(init=False)
    _cadence: Cadence = field(init=False)
    _queue: deque[tuple[int, bytes, int]] = field(factory=deque, init=False)
    _exhausted: bool = field(default=False, init=False)
    _idle: bool = field(default=False, init=False)  # the source has more, but had nothing when it was asked
    _over_ns: int | None = field(default=None, init=False)  # when to say no more

    def __attrs_post_init__(self) -> None:
        self._packer = Packer(self.session, self.capacity, timed=self.timetable.speed != MAX_SPEED)
        self._packets = self._made()
        self._cadence = Cadence(self.heartbeat_ns)

    @property
    def ended(self) -> bool:
        """Whether every record has left, and End of Session is what is sent now."""
        return self._over_ns is not None

    def over(self, now_ns: int) -> bool:
        """Whether all was said."""
        return self._over_ns is not None and now_ns >= self._over_ns

    def deadline_ns(self) -> int:
        """When `take` has something next."""
        heartbeat_ns = self._cadence.deadline_ns()
        if self._queue:
            return min(self._queue[0][0], heartbeat_ns)
        return heartbeat_ns if self._exhausted or self._idle else 0

    def take(self, now_ns: int, limit: int) -> Iterator[tuple[bytes, int]]:
        """(packet, records in it) for what is due now, `limit` packets at most."""
        self._fill(now_ns)
        queue = self._queue
        for _ in range(limit):
            if not queue or queue[0][0] > now_ns:
                break
            due_ns, packet, count = queue.popleft()
            if due_ns:
                self.lateness.record(now_ns - due_ns)
            self.next_number = MOLDUDP64.decode_header(packet).sequence_number + count
            self.sent += count
            self._cadence.sent(now_ns)
            yield packet, count
        if self._exhausted and not queue and self._over_ns is None:
            self._over_ns = now_ns + self.end_ns
            self._cadence.sent(now_ns)
            yield MOLDUDP64.end_of_session(self.session, self.next_number), 0
        elif self.next_number and self._cadence.due(now_ns):
            quiet = MOLDUDP64.end_of_session if self.ended else MOLDUDP64.heartbeat
            yield quiet(self.session, self.next_number), 0

    def _fill(self, now_ns: int) -> None:
        """Make some packets ready: few at a time, so that none that is due waits for it."""
        for made in range(AHEAD_PACKETS):
            if len(self._queue) >= AHEAD_PACKETS or (made >= MADE_PACKETS and self._queue):
                return
            packet = next(self._packets, None)
            if packet is None:
                self._exhausted = True
                return
            self._idle = not packet[2]
            if self._idle:
                return
            time_ns, data, count = packet
            self._queue.append((self.timetable.due_ns(time_ns, now_ns), data, count))

    def _made(self) -> Iterator[Packet]:
        """All packets; an empty one where the source has nothing now."""
        for records in self.records:
            if len(records):
                yield from self._packer.take(records)
            else:
                yield 0, b"", 0
        yield from self._packer.rest()
