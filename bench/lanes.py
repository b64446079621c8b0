"""Checks what several senders sent at once: the stream has no order between them, and each keeps its own.

Each sender is a lane (`bench.payload.LANE_BITS`), and its counters come 0, 1, 2 ... The checks are those of
`payload.Checker`, with that in place of one count.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from attrs import define, field

from bench.payload import LANE_BITS, MESSAGE_BYTES, VECTOR_MESSAGES

if TYPE_CHECKING:
    from native.messages import Messages

try:
    import numpy as np
except ImportError:
    np = None  # type: ignore[assignment]

_COUNTER = struct.Struct(">Q")
_LANE_MASK = (1 << LANE_BITS) - 1


@define(eq=False)
class LaneChecker:
    """Checks batches: stream numbers, lengths, and the count of every lane.

    `number` is the stream number that is due next. With `holes` a number may be higher than that: records of other
    kinds, which no app gets, lie in between. `received` counts messages, `wrong` those that were not due, and `due` is
    what each lane is due to bring next.
    """

    number: int
    message_bytes: int = MESSAGE_BYTES
    vectorized: bool = field(default=np is not None)
    holes: bool = False
    received: int = field(default=0, init=False)
    wrong: int = field(default=0, init=False)
    due: dict[int, int] = field(factory=dict, init=False)

    def check(self, messages: Messages) -> None:
        """Check one batch."""
        count = len(messages)
        if not count:
            return
        if self.vectorized and count >= VECTOR_MESSAGES:
            good = self._count_table(messages)
        else:
            good = self._count_each(messages)
        self.wrong += count - good
        self.received += count
        self.number = messages.number(count - 1) + 1

    def _count_table(self, messages: Messages) -> int:
        rows: Any = messages.rows()
        if not (rows["length"] == self.message_bytes).all():
            return self._count_each(messages)
        starts = rows["offset"].astype(np.int64)
        buffer = messages.buffer
        words = np.ndarray(buffer.nbytes - _COUNTER.size + 1, ">u8", buffer, 0, (1,))
        counters = words[starts].astype(np.uint64)
        numbers = rows["number"].astype(np.int64)
        steps = np.diff(numbers, prepend=self.number - 1)
        fine = (steps >= 1) if self.holes else (steps == 1)
        fine &= words[starts + self.message_bytes - _COUNTER.size] == counters
        # Lane by lane, each still in the order of the stream: within one, counters go up by one.
        order = np.argsort(counters >> np.uint64(LANE_BITS), kind="stable")
        by_lane = counters[order].astype(np.int64)
        lanes = by_lane >> LANE_BITS
        expected = np.empty_like(by_lane)
        expected[1:] = by_lane[:-1] + 1
        firsts = np.flatnonzero(np.diff(lanes, prepend=-1))
        for first, lane in zip(firsts.tolist(), lanes[firsts].tolist(), strict=True):
            expected[first] = (lane << LANE_BITS) + self.due.get(lane, 0)
        for last in [*(firsts[1:] - 1).tolist(), len(by_lane) - 1]:
            self.due[int(lanes[last])] = (int(by_lane[last]) & _LANE_MASK) + 1
        fine[order] &= by_lane == expected
        return int(np.count_nonzero(fine))

    def _count_each(self, messages: Messages) -> int:
        good, number, tail = 0, self.number - 1, self.message_bytes - _COUNTER.size
        for here, message in zip(messages.numbers, messages, strict=True):
            fine = here > number if self.holes else here == number + 1
            number = here
            if len(message) != self.message_bytes:
                continue
            counter = _COUNTER.unpack_from(message, 0)[0]
            lane, count = counter >> LANE_BITS, counter & _LANE_MASK
            fine = fine and count == self.due.get(lane, 0)
            good += fine and _COUNTER.unpack_from(message, tail)[0] == counter
            self.due[lane] = count + 1
        return good
