"""Adapter of the C kernels of this package: feeds (`feed.h`), delivery (`delivery.h`), outbox (`outbox.h`)."""

from __future__ import annotations

import errno
import os
import struct
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from native import ffi, lib
from native.messages import MessageTable, address_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy

    from native.messages import Messages

BINARYFILE_LIMIT: int = lib.SC_FEED_BINARYFILE_LIMIT
"""Longest BinaryFILE message in bytes: the length field has 16 bits."""


class Stop(IntEnum):
    """Why splitting stopped."""

    MORE = lib.SC_FEED_MORE
    """All whole messages were taken."""
    FULL = lib.SC_FEED_FULL
    """The table is full; the rest of the data has not been looked at."""
    END = lib.SC_FEED_END
    """The end-of-session marker was consumed."""
    LONG = lib.SC_FEED_LONG
    """The next message is longer than the limit."""


class UnpackableError(Exception):
    """A message that the format cannot carry; its text says why."""


_REFUSALS = {
    lib.SC_FEED_EMPTY: "an empty message would read as the end of the session",
    lib.SC_FEED_OVERLONG: f"a message has at most {BINARYFILE_LIMIT} bytes in this format",
    lib.SC_FEED_LINE_FEED: "a message that holds a line feed would read as two lines",
}

_consumed = ffi.new("uint32_t *")
_packed = ffi.new("uint32_t *")
_stop = ffi.new("int32_t *")


def split_binaryfile(
    table: MessageTable, data: memoryview, *, final: bool, limit: int
) -> tuple[Messages, int, Stop]:
    """Fill `table` with the whole BinaryFILE messages at the start of `data`, none above `limit` bytes.

    Returns the messages, the number of bytes they and their framing take, and why it stopped. `final` is
    without effect: a BinaryFILE message is whole or not.
    """
    del final
    address = address_of(data)
    count = lib.sc_feed_binaryfile(address, len(data), limit, table.rows, table.capacity, _consumed, _stop)
    return table.view(data, count, address), _consumed[0], Stop(_stop[0])


def split_lines(
    table: MessageTable, data: memoryview, *, final: bool, limit: int
) -> tuple[Messages, int, Stop]:
    """Fill `table` with the lines at the start of `data`, none above `limit` bytes.

    With `final`, bytes after the last line feed are a message too. Returns as `split_binaryfile` does.
    """
    address = address_of(data)
    count = lib.sc_feed_lines(address, len(data), final, limit, table.rows, table.capacity, _consumed, _stop)
    return table.view(data, count, address), _consumed[0], Stop(_stop[0])


def _packer(function: Any) -> Callable[[Messages, int, bytearray], tuple[int, int]]:
    def pack(messages: Messages, first: int, out: bytearray) -> tuple[int, int]:
        rows = messages.rows_address + first
        length = function(
            messages.address, rows, len(messages) - first, ffi.from_buffer(out), len(out), _packed
        )
        if length < 0:
            raise UnpackableError(_REFUSALS[length])
        return _packed[0], length

    pack.__doc__ = """Pack messages `first`... into `out`, as many as fit.

    Returns (messages packed, bytes written), which is (0, 0) when not even one fits. Raises
    UnpackableError when message `first` cannot be carried; one further on ends the call before it.
    """
    return pack


pack_binaryfile = _packer(lib.sc_feed_pack_binaryfile)
pack_lines = _packer(lib.sc_feed_pack_lines)
pack_hex = _packer(lib.sc_feed_pack_hex)


_STAMP_ROW = struct.Struct("=QQ6sBB")
_STAMP_TIME = struct.Struct("=Q")
_STAMP_SENDER = struct.Struct("=16x6s2x")
STAMP_ROW_BYTES = _STAMP_ROW.size
_STAMP_WORDS = STAMP_ROW_BYTES // 8  # time, sender sequence, and sender with kind and flags


class Stamps:
    """The stamps of a batch: parallel to its payloads; valid until the batch's buffer is filled again."""

    __slots__ = ("_bytes", "count")

    def __init__(self, view: memoryview, count: int) -> None:
        self._bytes = view[: count * STAMP_ROW_BYTES]
        self.count = count

    def __len__(self) -> int:
        return self.count

    @classmethod
    def of(cls, record: memoryview) -> Stamps:
        """The stamp of one record, copied."""
        row = ffi.new("sc_stamp *")
        lib.sc_record_read(ffi.from_buffer("uint8_t[]", record), len(record), row)
        return cls(memoryview(bytes(ffi.buffer(row))), 1)

    def __getitem__(self, index: int) -> tuple[bytes, int, int]:
        """(sender, sender sequence, time in UTC nanoseconds) of one message."""
        time_ns, sequence, sender, _kind, _flags = _STAMP_ROW.unpack_from(
            self._bytes, index * STAMP_ROW_BYTES
        )
        return sender, sequence, time_ns

    @property
    def first_time_ns(self) -> int:
        """Stamp time of the first message, in UTC nanoseconds."""
        return _STAMP_TIME.unpack_from(self._bytes)[0]  # type: ignore[no-any-return]

    @property
    def times(self) -> list[int]:
        """Stamp times in UTC nanoseconds."""
        return self._words[::_STAMP_WORDS].tolist()

    @property
    def sequences(self) -> list[int]:
        """Sender sequences."""
        return self._words[1::_STAMP_WORDS].tolist()

    @property
    def senders(self) -> list[bytes]:
        """Six-byte sender names."""
        return [sender for (sender,) in _STAMP_SENDER.iter_unpack(self._bytes)]

    @property
    def sender_words(self) -> list[int]:
        """The senders as integers, which are had at a quarter of the price of `senders`.

        The bytes of one, in the order of this machine, are the six of the name, the kind and the flags.
        """
        return self._words[2::_STAMP_WORDS].tolist()

    def part(self, start: int, count: int) -> Stamps:
        """The stamps of `count` messages from `start` on; no copy, same validity."""
        return Stamps(self._bytes[start * STAMP_ROW_BYTES :], min(count, max(0, self.count - start)))

    def copy(self) -> Stamps:
        """The same stamps in memory of their own."""
        return Stamps(memoryview(self._bytes.tobytes()), self.count)

    def rows(self) -> numpy.ndarray[Any, Any]:
        """A NumPy structured view; no copy. Raises ImportError where NumPy is not installed."""
        import numpy as np  # noqa: PLC0415  (optional: most users of the bus do without it)

        return np.frombuffer(
            self._bytes,
            dtype=[("time", "=u8"), ("sequence", "=u8"), ("sender", "S6"), ("kind", "u1"), ("flags", "u1")],
        )

    @property
    def _words(self) -> memoryview:
        return self._bytes.cast("Q")


def stamps_of(records: Messages) -> Stamps:
    """The stamps of records that were checked; they stand by themselves."""
    rows = ffi.new("sc_stamp[]", max(1, len(records)))
    count = lib.sc_records_read(records.address, records.rows_address, len(records), rows)
    return Stamps(memoryview(ffi.buffer(rows)).cast("B"), count)


def copy_messages(messages: Messages) -> Messages:
    """The same messages, one behind the other in a buffer of their own."""
    count, size = len(messages), sum(messages.lengths)
    table, buffer = MessageTable(max(1, count)), bytearray(size)
    lib.sc_delivery_copy(
        messages.address, messages.rows_address, count, ffi.from_buffer("uint8_t[]", buffer), table.rows
    )
    return table.view(memoryview(buffer), count)


class DeliveryKernel:
    """Opens records for the app (`delivery.h`), with its tables made once for `capacity` messages a batch."""

    __slots__ = ("_nothing", "_stamp_rows", "_stamps", "_table")

    def __init__(self, capacity: int) -> None:
        self._table = MessageTable(capacity)
        self._stamp_rows = ffi.new("sc_stamp[]", capacity)
        self._stamps = memoryview(ffi.buffer(self._stamp_rows)).cast("B")
        self._nothing = self._table.view(memoryview(b""), 0), Stamps(self._stamps, 0)

    @staticmethod
    def check(records: Messages) -> int:
        """How many of the leading records belong at their numbers."""
        return lib.sc_delivery_check(records.address, records.rows_address, len(records))  # type: ignore[no-any-return]

    def run(self, records: Messages, start: int, limit: int) -> tuple[Messages, Stamps]:
        """The whole data messages at the front of `records[start:]`, at most `limit` of them."""
        count = lib.sc_delivery_run(
            records.address,
            records.rows_address + start,
            min(len(records) - start, self._table.capacity, limit),
            self._table.rows,
            self._stamp_rows,
        )
        if not count:  # once a fragment
            return self._nothing
        return self._table.view(records.buffer, count, records.address), Stamps(self._stamps, count)

    @property
    def stopped_at(self) -> tuple[int, int, bytes, int]:
        """(kind, flags, sender, sender sequence) of the record at which an empty `run` stopped."""
        _time_ns, sequence, sender, kind, flags = _STAMP_ROW.unpack_from(self._stamps)
        return kind, flags, sender, sequence


class Outbox:
    """Framed submissions that are not acknowledged yet (`outbox.h`)."""

    __slots__ = ("_cdata", "_frames", "view")

    def __init__(self, capacity: int) -> None:
        pointer = lib.sc_outbox_new(capacity)
        if pointer == ffi.NULL:
            raise MemoryError(f"no memory for an outbox of {capacity} bytes")
        self._cdata = ffi.gc(pointer, lib.sc_outbox_free)
        self._frames = ffi.new("uint64_t *")
        self.view = memoryview(ffi.buffer(self._cdata.data, capacity)).cast("B")

    @property
    def first_sequence(self) -> int:
        """Sender sequence of the oldest frame that is not acknowledged."""
        return self._cdata.first_sequence  # type: ignore[no-any-return]

    @property
    def next_sequence(self) -> int:
        """Sender sequence that the next frame will get."""
        return self._cdata.next_sequence  # type: ignore[no-any-return]

    @property
    def used_bytes(self) -> int:
        """Bytes of the frames that are not acknowledged."""
        return self._cdata.tail - self._cdata.head  # type: ignore[no-any-return]

    @property
    def partial(self) -> int:
        """Bytes of the message in hand that are framed already; 0 between messages."""
        return self._cdata.partial  # type: ignore[no-any-return]

    @property
    def messages(self) -> int:
        """Whole messages framed since `begin`."""
        return self._cdata.messages  # type: ignore[no-any-return]

    @property
    def unsent(self) -> memoryview:
        """The bytes that wait for the connection."""
        return self.view[self._cdata.sent : self._cdata.tail]

    def begin(self, sequence: int) -> None:
        """Empty the outbox; the next frame gets `sequence`."""
        lib.sc_outbox_begin(self._cdata, sequence)

    def skip(self, messages: Messages, fragment_bytes: int, frames: int) -> tuple[int, int]:
        """Pass over messages whose first `frames` frames are in the stream already.

        Returns (messages covered whole, frames still to pass over); a message that is covered in part will go
        on where the frames stop.
        """
        self._frames[0] = frames
        covered = lib.sc_outbox_skip(
            self._cdata, messages.rows_address, len(messages), fragment_bytes, self._frames
        )
        return covered, self._frames[0]

    def put(self, messages: Messages, start: int, fragment_bytes: int) -> int:
        """Frame `messages[start:]`; returns how many were taken whole."""
        return lib.sc_outbox_put(  # type: ignore[no-any-return]
            self._cdata,
            messages.address,
            messages.rows_address + start,
            len(messages) - start,
            fragment_bytes,
        )

    def put_one(self, payload: bytes | memoryview, fragment_bytes: int) -> int:
        """Frame one message of bytes; returns its sender sequence, or 0 when it needs fragments or finds no room."""
        data = payload if isinstance(payload, bytes) else address_of(payload)
        return lib.sc_outbox_put_one(self._cdata, data, len(payload), fragment_bytes)  # type: ignore[no-any-return]

    def send(self, fileno: int, most: int) -> int:
        """Send what waits to a TCP socket, `most` bytes in a call, never waiting; returns how many bytes left.

        Small sends may be kept by the kernel for a moment when there are many (`outbox.h`). Raises OSError.
        """
        count: int = lib.sc_outbox_send(self._cdata, fileno, most)
        if count >= 0 or -count == errno.EAGAIN:
            return max(count, 0)
        raise OSError(-count, os.strerror(-count))

    @property
    def all_sent(self) -> bool:
        """Whether nothing waits for the connection."""
        cdata = self._cdata
        return cdata.sent == cdata.tail  # type: ignore[no-any-return]

    def left(self, count: int) -> None:
        """`count` bytes of `unsent` went to the connection."""
        lib.sc_outbox_left(self._cdata, count)

    @property
    def mid_frame(self) -> bool:
        """True while a frame has left in part: nothing else may be written to the connection."""
        return self._cdata.edge != self._cdata.sent  # type: ignore[no-any-return]

    def acknowledge(self, sequence: int) -> int:
        """Free every frame up to `sequence`; returns how many."""
        return lib.sc_outbox_acknowledge(self._cdata, sequence)  # type: ignore[no-any-return]

    def resume(self, sequence: int) -> bool:
        """Send again from the frame after `sequence`; False when that frame is not here."""
        return lib.sc_outbox_resume(self._cdata, sequence) == 0  # type: ignore[no-any-return]
