"""The messages of a benchmark: what each carries, filled in by the table and checked by the batch.

    offset 0              counter   u64 big-endian: 0, 1, 2 ... through one round; of several senders at once, from
                                    lane << LANE_BITS on
    offset 8              time      u64 big-endian: monotonic nanoseconds at which the message was due; or 0
    offset 16             filler    0x2e
    offset length - 8     counter   again, so that a message that was cut or shifted shows

Whole tables are filled and checked by NumPy where it is there, one message after the other where it is not.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from attrs import define, field

from native.messages import MessageTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from native.messages import Messages

try:
    import numpy as np
except ImportError:
    np = None  # type: ignore[assignment]

MESSAGE_BYTES = 200
"""The payload that the figures are about: a large market data or order message."""

MESSAGE_BYTES_LEAST = 24
"""Two counters and a time."""

TABLE_MESSAGES = 4096
"""Messages in one prepared table: as many as a receiver's batch has at most."""

LANE_BITS = 40
"""Below are the messages of one lane (a sender of several): more than any round has; above is its number."""

FILLER = b"."

VECTOR_MESSAGES = 128
"""Batches below this are checked faster without NumPy, whose calls have a price of their own."""

_HEAD = struct.Struct(">QQ")
_COUNTER = struct.Struct(">Q")


@define(eq=False)
class PreparedTable:
    """`capacity` messages of `message_bytes` in one buffer; only counters and times are written anew."""

    message_bytes: int = MESSAGE_BYTES
    capacity: int = TABLE_MESSAGES
    vectorized: bool = field(default=np is not None)
    _view: memoryview = field(init=False)
    _table: MessageTable = field(init=False)
    _cells: Any = field(default=None, init=False)  # the fields that change

    def __attrs_post_init__(self) -> None:
        buffer = bytearray(FILLER * (self.message_bytes * self.capacity))
        self._view = memoryview(buffer)
        self._table = MessageTable(self.capacity)
        for row in range(self.capacity):
            self._table.set(row, 0, row * self.message_bytes, self.message_bytes)
        if self.vectorized:
            cell = np.dtype(
                {
                    "names": ["counter", "time", "again"],
                    "formats": [">u8", ">u8", ">u8"],
                    "offsets": [0, _COUNTER.size, self.message_bytes - _COUNTER.size],
                    "itemsize": self.message_bytes,
                }
            )
            self._cells = np.frombuffer(buffer, dtype=cell)

    def fill(self, first: int, times_ns: Sequence[int], count: int) -> Messages:
        """The messages with counters `first`, `first + 1` ...; `count` of them, valid until the next call.

        `times_ns` are their due times, one each; empty for all zero.
        """
        if not 0 <= count <= self.capacity or len(times_ns) not in (0, count):
            raise ValueError(f"{count} messages with {len(times_ns)} times, in a table of {self.capacity}")
        if self.vectorized and count >= VECTOR_MESSAGES:
            cells = self._cells[:count]
            cells["counter"] = cells["again"] = np.arange(first, first + count)
            cells["time"] = times_ns if len(times_ns) else 0
        else:
            view, length = self._view, self.message_bytes
            for row in range(count):
                time_ns = times_ns[row] if len(times_ns) else 0
                _HEAD.pack_into(view, row * length, first + row, time_ns)
                _COUNTER.pack_into(view, (row + 1) * length - _COUNTER.size, first + row)
        return self._table.view(self._view, count)


@define(eq=False)
class Checker:
    """Checks what is delivered: each stream number once and in order, and in it the message that was sent.

    `number` is the stream number that is due next; `received` counts the messages, `wrong` those whose number,
    length or counters were not the ones that were due.
    """

    number: int
    message_bytes: int = MESSAGE_BYTES
    vectorized: bool = field(default=np is not None)
    received: int = field(default=0, init=False)
    wrong: int = field(default=0, init=False)

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
        self.number = messages.number(count - 1) + 1  # go on from what came: a hole is wrong once

    def _count_table(self, messages: Messages) -> int:
        rows = messages.rows()
        fine = rows["length"] == self.message_bytes
        if not fine.all():
            return self._count_each(messages)
        steps = np.arange(len(messages), dtype=np.uint64)
        due = steps + np.uint64(self.received)
        starts = rows["offset"].astype(np.int64)
        # The word at every byte of the buffer, so that those that are wanted are taken without a copy of the rest.
        buffer = messages.buffer
        words = np.ndarray(buffer.nbytes - _COUNTER.size + 1, ">u8", buffer, 0, (1,))
        fine &= rows["number"] == steps + np.uint64(self.number)
        for place in (0, self.message_bytes - _COUNTER.size):
            fine &= words[starts + place] == due
        return int(np.count_nonzero(fine))

    def _count_each(self, messages: Messages) -> int:
        good, due, tail = 0, self.received, self.message_bytes - _COUNTER.size
        numbers = messages.numbers
        for position, message in enumerate(messages):
            good += (
                numbers[position] == self.number + position
                and len(message) == self.message_bytes
                and _COUNTER.unpack_from(message, 0)[0] == due + position
                and _COUNTER.unpack_from(message, tail)[0] == due + position
            )
        return good


def due_times(messages: Messages) -> list[int]:
    """The times that messages carry, in monotonic nanoseconds; 0 of one that is too short."""
    return [
        _HEAD.unpack_from(message)[1] if len(message) >= MESSAGE_BYTES_LEAST else 0 for message in messages
    ]
