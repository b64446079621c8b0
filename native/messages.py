"""The message table shared by C and Python: where the messages of a batch lie in one buffer.

A decoder in C fills a `MessageTable`; `MessageTable.view` hands the filled rows out as `Messages`, a
sequence of memoryviews. Neither copies a payload. A `Messages` is valid until its table or its buffer
is filled again: take `bytes(message)`, or `payloads()`, of what must live longer.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, overload

from native import ffi

if TYPE_CHECKING:
    import numpy

ROW_BYTES = 16
_WORDS = ROW_BYTES // 4  # number (two words), offset, length


def address_of(buffer: memoryview) -> Any:
    """The address of a buffer, as C wants it; whoever uses it keeps the buffer.

    What `from_buffer` returns must not live on beside the view it was made from: before CPython 3.11.9 and
    3.12.3 the garbage collector crashes on a cycle that holds a memoryview with an export (python/cpython#77894).
    """
    return ffi.cast("uint8_t *", ffi.from_buffer(buffer))


class Messages(Sequence[memoryview]):
    """A batch of messages: `batch[i]` is the memoryview of message i; `batch.numbers[i]` its number."""

    __slots__ = ("_address", "_size", "_words", "buffer", "rows_address")

    def __init__(
        self, buffer: memoryview, words: memoryview, count: int, rows_address: Any, address: Any
    ) -> None:
        self.buffer = buffer
        self._size = count
        self.rows_address = rows_address  # for adapters only, like `address`
        self._address = address
        self._words = words[: count * _WORDS]

    @property
    def address(self) -> Any:
        """The address of `buffer` as C wants it; for adapters only."""
        if self._address is None:
            self._address = address_of(self.buffer)
        return self._address

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, index: int) -> memoryview: ...
    @overload
    def __getitem__(self, index: slice) -> list[memoryview]: ...
    def __getitem__(self, index: int | slice) -> memoryview | list[memoryview]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._size))]
        if index < 0:
            index += self._size
        if not 0 <= index < self._size:
            raise IndexError(index)
        offset = self._words[index * _WORDS + 2]
        return self.buffer[offset : offset + self._words[index * _WORDS + 3]]

    def __iter__(self) -> Iterator[memoryview]:
        buffer = self.buffer
        for offset, length in zip(self.offsets, self.lengths, strict=True):
            yield buffer[offset : offset + length]

    def number(self, index: int) -> int:
        """Sequence number of one message."""
        if not 0 <= index < self._size:
            raise IndexError(index)
        low, high = self._words[index * _WORDS], self._words[index * _WORDS + 1]
        return low | high << 32

    @property
    def numbers(self) -> list[int]:
        """Sequence numbers, one for each message."""
        wide = self._words.cast("B").cast("Q")
        return wide[::2].tolist()

    @property
    def offsets(self) -> list[int]:
        """Byte offsets of the messages in `buffer`."""
        return self._words[2::_WORDS].tolist()

    @property
    def lengths(self) -> list[int]:
        """Lengths of the messages in bytes."""
        return self._words[3::_WORDS].tolist()

    def after(self, count: int) -> Messages:
        """The batch without its first `count` messages; no copy, same validity."""
        count = min(count, self._size)
        rest = self._words[count * _WORDS :]
        return Messages(self.buffer, rest, self._size - count, self.rows_address + count, self._address)

    def before(self, count: int) -> Messages:
        """The first `count` messages of the batch; no copy, same validity."""
        count = min(count, self._size)
        return Messages(self.buffer, self._words, count, self.rows_address, self._address)

    def payloads(self) -> list[bytes]:
        """Copies of the messages, which live as long as the caller keeps them."""
        return [bytes(message) for message in self]

    def rows(self) -> numpy.ndarray[Any, Any]:
        """A NumPy structured view (`number` u8, `offset` u4, `length` u4) of the table; no copy.

        Raises ImportError where NumPy is not installed.
        """
        import numpy as np  # noqa: PLC0415  (optional: most users of the bus do without it)

        return np.frombuffer(self._words, dtype=[("number", "<u8"), ("offset", "<u4"), ("length", "<u4")])


def table_of(payloads: Sequence[bytes | bytearray | memoryview]) -> Messages:
    """The payloads as one batch, copied behind each other; it stands by itself.

    Raises ValueError above 4 GiB, which rows cannot address, and for views of anything but bytes.
    """
    data = b"".join(payloads)
    if len(data) >= 1 << 32:
        raise ValueError(f"{len(data)} bytes are more than one batch can hold: 4 GiB")
    count = len(payloads)
    table = MessageTable(max(count, 1))
    lengths = array("I", map(len, payloads))
    if sum(lengths) != len(data):
        raise ValueError("a payload is bytes, a bytearray, or a memoryview of bytes")
    table.words[2 : count * _WORDS : _WORDS] = memoryview(array("I", accumulate(lengths, initial=0)))[:count]
    table.words[3 : count * _WORDS : _WORDS] = memoryview(lengths)
    return table.view(memoryview(data), count)


class MessageTable:
    """Preallocated rows that C fills: `capacity` messages of one buffer."""

    __slots__ = ("capacity", "rows", "words")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.rows = ffi.new("sc_message[]", capacity)  # for adapters only
        self.words = memoryview(ffi.buffer(self.rows)).cast("B").cast("I")  # the same rows

    def set(self, row: int, number: int, offset: int, length: int) -> None:
        """Fill one row by hand."""
        entry = self.rows[row]
        entry.number, entry.offset, entry.length = number, offset, length

    def view(self, buffer: memoryview, count: int, address: Any = None) -> Messages:
        """The first `count` rows, as messages of `buffer`.

        An adapter that already holds the buffer's address for C passes it as `address`, which saves the
        price of asking for it again.
        """
        return Messages(buffer, self.words, count, self.rows, address)
