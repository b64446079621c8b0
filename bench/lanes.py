"""Checks what several senders sent at once: the stream has no order between them, and each keeps its own.

Each sender is a lane (`bench.payload.LANE_BITS`), and its counters come 0, 1, 2 ...
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from attrs import define, field

from bench.payload import LANE_BITS, Checker

if TYPE_CHECKING:
    from native.messages import Messages

try:
    import numpy as np
except ImportError:
    np = None  # type: ignore[assignment]

_COUNTER = struct.Struct(">Q")
_LANE_MASK = (1 << LANE_BITS) - 1


@define(eq=False)
class LaneChecker(Checker):
    """A `Checker` that knows the count of every lane: `due` is what each is due to bring next.

    With `holes` a stream number may be higher than the one that is due: records of other kinds, which no app gets,
    lie in between.
    """

    holes: bool = False
    due: dict[int, int] = field(factory=dict, init=False)

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
