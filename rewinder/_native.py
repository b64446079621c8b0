"""Adapter of the log's C kernels, and of `wait.h` and `latency.h`.

The log's are `crc32c.h`, `record.h`, `segment.h`, `senders.h`, and `sc_pack_blocks`.

The other modules of this package, and the adapters of other packages, use these classes; their `cdata`
attributes are for adapters only.
"""

from __future__ import annotations

import os
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, Any

from native import ffi, lib
from native.messages import address_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from native.messages import Messages, MessageTable
    from rewinder.segment import Segment

STAMP_BYTES: int = lib.SC_STAMP_BYTES
SENDER_BYTES: int = lib.SC_SENDER_BYTES
RECORD_LIMIT_BYTES: int = lib.SC_RECORD_LIMIT
"""Longest record: one message block of one UDP datagram over IPv4 (65507 bytes, less 22 of MoldUDP64)."""
PAYLOAD_LIMIT_BYTES: int = lib.SC_PAYLOAD_LIMIT
"""Longest payload of one record."""
HEADER_BYTES: int = lib.SC_SEGMENT_HEADER_BYTES
FRAME_BYTES: int = lib.SC_FRAME_BYTES
STRIDE: int = lib.SC_SEGMENT_STRIDE
SMALLEST_FRAME_BYTES = FRAME_BYTES + STAMP_BYTES
NO_LIMIT = (1 << 64) - 1

RECORD_CHECK: Any = ffi.addressof(lib, "sc_record_check")
"""`sc_record_check` as a C function pointer, for kernels that check each message (`sc_message_check`)."""


class Stop(IntEnum):
    """Why taking up records ended; `native/src/segment.h` says more."""

    NONE = lib.SC_STOP_NONE
    """Everything that was asked for was taken."""
    CONTROL = lib.SC_STOP_CONTROL
    """The last record taken is an epoch start or the end of the session."""
    FULL = lib.SC_STOP_FULL
    """The segment has no room for the next record."""
    SENDERS = lib.SC_STOP_SENDERS
    """The sender table has no room for the sender of the next record."""
    EMPTY = lib.SC_STOP_EMPTY
    """Nothing was written there."""
    FRAME = lib.SC_STOP_FRAME
    SHORT = lib.SC_STOP_SHORT
    LONG = lib.SC_STOP_LONG
    CRC = lib.SC_STOP_CRC
    TIME = lib.SC_STOP_TIME


STOP_REASONS: dict[Stop, str] = {
    Stop.SENDERS: "the sender table has no room for its sender",
    Stop.EMPTY: "there is nothing where it belongs",
    Stop.FRAME: "there is no sequenced data packet, or one that is longer than the file",
    Stop.SHORT: "it is too short for a stamp",
    Stop.LONG: f"it is longer than {RECORD_LIMIT_BYTES} bytes",
    Stop.CRC: "the checksum is wrong: it is damaged, or belongs to another number",
    Stop.TIME: "its time is before that of the record before it",
}


class SearchUnsureError(Exception):
    """So much looks like a record that the search behind a bad place was given up."""


def crc32c(data: bytes | bytearray | memoryview, crc: int = 0) -> int:
    """CRC-32C of `data`, continued from `crc`."""
    return lib.sc_crc32c(crc, ffi.from_buffer("uint8_t[]", data), len(data))  # type: ignore[no-any-return]


class SegmentKernel:
    """The `sc_segment` of one mapped file: where its records lie, and how they are appended and read."""

    __slots__ = ("_address", "_index", "_number", "_stamp", "_stop", "cdata")

    def __init__(self, view: memoryview, first: int, time_before_ns: int, file: int = -1) -> None:
        """A segment that holds nothing yet: `scan`, or `load_index`, takes up what is in the file.

        `file` is the descriptor through which pages of `view` are made ready; -1 where there is none.
        """
        entries = len(view) // (SMALLEST_FRAME_BYTES * STRIDE) + 1
        self._address = address_of(view)  # the owner of the view keeps the mapping alive
        self._index = ffi.new("uint32_t[]", entries)
        self._number = ffi.new("uint64_t *")
        self._stop = ffi.new("int *")
        self._stamp = ffi.new("sc_stamp *")
        self.cdata = ffi.new("sc_segment *")
        self.cdata.base = self._address
        self.cdata.capacity = len(view)
        self.cdata.first = first
        self.cdata.index = self._index
        self.cdata.index_capacity = entries
        self.cdata.file = file
        self.forget(time_before_ns)

    def forget(self, time_before_ns: int) -> None:
        """Hold nothing again."""
        self.cdata.count = 0
        self.cdata.end = HEADER_BYTES
        self.cdata.last_time = time_before_ns

    def prepare(self, size: int) -> int:
        """Make the next `size` bytes of pages ready; returns how many beyond the end are."""
        return int(lib.sc_segment_prepare(self.cdata, size)) - int(self.cdata.end)

    def append(
        self, payload: bytes, time_ns: int, sender_sequence: int, sender: bytes, kind: int, flags: int
    ) -> bool:
        """Stamp and append one record; False when there is no room."""
        stamp = self._stamp
        stamp.time, stamp.sender_sequence = time_ns, sender_sequence
        stamp.sender, stamp.kind, stamp.flags = sender, kind, flags
        code = lib.sc_segment_append(self.cdata, ffi.from_buffer("uint8_t[]", payload), len(payload), stamp)
        return code == 0  # type: ignore[no-any-return]

    def append_records(self, senders: SenderKernel, messages: Messages, start: int) -> tuple[int, Stop]:
        """Append stamped records `messages[start:]`; returns how many were appended, and why it ended."""
        count = lib.sc_segment_append_records(
            self.cdata,
            senders.cdata,
            messages.address,
            messages.rows_address + start,
            len(messages) - start,
            self._stop,
        )
        return count, Stop(self._stop[0])

    def locate(self, number: int) -> int:
        """Offset of a record's frame; the end for the number after the last; 0 for any other."""
        return lib.sc_segment_locate(self.cdata, number)  # type: ignore[no-any-return]

    def rows(self, number: int, count: int, max_bytes: int, table: MessageTable) -> int:
        """Fill `table` with records `number` and following; returns how many."""
        count = min(count, table.capacity)
        return lib.sc_segment_rows(self.cdata, number, count, max_bytes, table.rows)  # type: ignore[no-any-return]

    def scan(self, senders: SenderKernel | None, limit: int = NO_LIMIT) -> Stop:
        """Check and take up records behind the end, until `limit` are held in all."""
        return Stop(lib.sc_segment_scan(self.cdata, ffi.NULL if senders is None else senders.cdata, limit))

    def search(self, limit: int) -> tuple[int, int] | None:
        """(offset, number) of a whole record between the end and `limit` whose number is above the next one.

        Raises SearchUnsureError.
        """
        found = lib.sc_segment_search(self.cdata, self.cdata.end, limit, self._number)
        if found == lib.SC_SEARCH_UNSURE:
            raise SearchUnsureError
        return (found, self._number[0]) if found != lib.SC_SEARCH_NOTHING else None

    def skip_to(self, offset: int, number: int) -> None:
        """Go on with the record `number` at `offset`, as if what is before it were good; for a report only.

        `locate` and `rows` give nonsense afterwards.
        """
        self.cdata.count = number - self.cdata.first
        self.cdata.end = offset

    def clear(self, limit: int) -> int:
        """Zero what is between the end and `limit`; returns how many bytes lay there, to the last not zero."""
        return lib.sc_segment_clear(self.cdata, limit)  # type: ignore[no-any-return]

    def index_bytes(self) -> bytes:
        """The index in big-endian order, one 4-byte offset for every `STRIDE` records."""
        count = -(-self.cdata.count // STRIDE)
        entries = memoryview(ffi.buffer(self._index, 4 * count)).cast("B").cast("I").tolist() if count else []
        return b"".join(entry.to_bytes(4, "big") for entry in entries)

    def load_index(self, index: bytes, count: int, end: int, last_time_ns: int) -> None:
        """Take up `count` records without a look at them; `index` is what `index_bytes` gave."""
        for position in range(0, len(index), 4):
            self._index[position // 4] = int.from_bytes(index[position : position + 4], "big")
        self.cdata.count, self.cdata.end, self.cdata.last_time = count, end, last_time_ns


class Incoming:
    """Takes records and commit numbers out of the receive buffer of a follower (`follow.h`)."""

    __slots__ = ("_address", "_following", "_view")

    def __init__(self) -> None:
        self._following = ffi.new("sc_following *")
        self._view = memoryview(b"")
        self._address: Any = ffi.NULL

    def take(
        self,
        segment: SegmentKernel,
        senders: SenderKernel,
        view: memoryview,
        start: int,
        end: int,
        epoch: int,
    ) -> tuple[int, int, bool]:
        """Take packets of `view[start:end]`, appending records, and noting commit numbers of `epoch`.

        Returns up to where it took them, how many records those were, and whether the last is a control record.
        """
        if view is not self._view:
            self._view, self._address = view, address_of(view)
        following = self._following
        stop = lib.sc_follow(
            segment.cdata, senders.cdata, self._address + start, end - start, epoch, following
        )
        return start + following.consumed, following.records, stop == lib.SC_STOP_CONTROL

    @property
    def commit(self) -> int:
        """The highest commit number told."""
        return self._following.commit  # type: ignore[no-any-return]

    @commit.setter
    def commit(self, number: int) -> None:
        self._following.commit = number


class SenderKernel:
    """The `sc_senders` table of one log. Slots are stable as long as it lives."""

    __slots__ = ("cdata", "rows")

    def __init__(self, capacity: int) -> None:
        pointer = lib.sc_senders_new(capacity)
        if pointer == ffi.NULL:
            raise MemoryError(f"no memory for a table of {capacity} senders")
        self.cdata = ffi.gc(pointer, lib.sc_senders_free)
        self.rows = self.cdata.rows

    def find(self, sender: bytes) -> int:
        """The slot of a sender, or -1."""
        return lib.sc_senders_find(self.cdata, sender)  # type: ignore[no-any-return]

    def add(self, sender: bytes) -> int:
        """The slot of a sender, a new one if he had none; -1 when the table is full."""
        return lib.sc_senders_add(self.cdata, sender)  # type: ignore[no-any-return]

    def note(self, sender: bytes, sequence: int, number: int) -> None:
        """A data record of this sender was appended."""
        lib.sc_senders_note(self.cdata, sender, sequence, number)

    def reset(self) -> None:
        """Forget every sender's last sequence, but neither slots nor what is committed."""
        lib.sc_senders_reset(self.cdata)

    def name(self, slot: int) -> bytes:
        """The six bytes of a sender's name."""
        return bytes(ffi.buffer(self.rows[slot].sender))


class BlockPacker:
    """Packs records of a segment as MoldUDP64 message blocks, into a buffer made once."""

    __slots__ = ("_buffer", "_capacity", "_length")

    def __init__(self, capacity: int) -> None:
        self._buffer = ffi.new("uint8_t[]", capacity)
        self._capacity = capacity
        self._length = ffi.new("uint32_t *")

    def pack(self, segment: Segment, first: int, last: int, capacity: int) -> tuple[bytes, int]:
        """Blocks of records `first` to `last`, whole ones only, at most `capacity` bytes of them.

        Returns (blocks, how many records they are).
        """
        capacity = min(capacity, self._capacity)
        packed = lib.sc_pack_blocks(segment.cdata, first, last, self._buffer, capacity, self._length)
        return bytes(ffi.buffer(self._buffer, self._length[0])), packed


class Ready:
    """Waits for ready descriptors of an epoll set (`wait.h`), at most SC_WAIT_MAX in one call."""

    __slots__ = ("_words", "address")

    def __init__(self) -> None:
        self.address = ffi.new("sc_ready[]", lib.SC_WAIT_MAX)  # for adapters only
        # Descriptor, events, and so on.
        self._words = memoryview(ffi.buffer(self.address)).cast("B").cast("I")

    def wait(self, epoll: int, timeout_ns: int, spin_ns: int) -> list[tuple[int, int]]:
        """(descriptor, events) of those that are ready; waits at most `timeout_ns`, the first `spin_ns` awake.

        Empty when the time is over, or a signal came. Raises OSError.
        """
        return self.listed(lib.sc_wait(epoll, self.address, lib.SC_WAIT_MAX, timeout_ns, spin_ns))

    def listed(self, count: int) -> list[tuple[int, int]]:
        """What a wait that returned `count` has put at `address`. Raises OSError when it is a negative errno."""
        if count == 0:
            return []
        words = self._words
        if count == 1:
            return [(words[0], words[1])]
        if count < 0:
            raise OSError(-count, f"{os.strerror(-count)} (waiting for descriptors)")
        flat = words[: 2 * count].tolist()
        return list(zip(flat[::2], flat[1::2], strict=True))


class LatencyKernel:
    """A log-linear histogram of latencies in nanoseconds (`latency.h`), which may be a part of `owner`.

    `between(from_ns, to_ns, records)` counts so many records that all took the time between the two. It is the C
    function itself, and costs a tenth of a microsecond; times are not negative.
    """

    __slots__ = ("_cdata", "_owner", "between")

    def __init__(self, owner: Any = None) -> None:
        self._owner = ffi.new("sc_latency *") if owner is None else owner
        self._cdata = self._owner if owner is None else ffi.addressof(owner, "latency")
        self.between: Callable[[int, int, int], None] = partial(lib.sc_latency_between, self._cdata)

    @property
    def count(self) -> int:
        """How many records were counted."""
        return self._cdata.count  # type: ignore[no-any-return]

    def state(self) -> dict[str, Any]:
        """All of it as plain values: what `seqcast.latency.LatencyHistogram.from_state` takes."""
        cdata, first, counts = self._cdata, 0, []
        if cdata.count:  # most buckets lie below the fastest or above the slowest
            first = lib.sc_latency_bucket(cdata.min_ns)
            counts = ffi.unpack(cdata.counts + first, lib.sc_latency_bucket(cdata.max_ns) + 1 - first)
        return {
            "bucket_bits": lib.SC_LATENCY_BITS,
            "total_ns": cdata.total_ns,
            "min_ns": cdata.min_ns if cdata.count else None,
            "max_ns": cdata.max_ns if cdata.count else None,
            "counts": [[bucket, count] for bucket, count in enumerate(counts, first) if count],
        }


class StagesKernel:
    """How long records take from the turn that stamps them to their commit, and from there to the wire.

    A primary calls `turn` at the end of each turn in which something moved: with the last records stamped, committed
    and published by now, and with the times of the three. It is the C function itself, which costs a fifth of a
    microsecond. Records up to `number` are past, and not counted.
    """

    __slots__ = ("spans", "to_commit", "to_wire", "turn")

    def __init__(self, number: int) -> None:
        to_commit, to_wire = ffi.new("sc_span *"), ffi.new("sc_span *")
        lib.sc_span_start(to_commit, number)
        lib.sc_span_start(to_wire, number)
        self.spans = (to_commit, to_wire)  # for adapters only
        self.to_commit, self.to_wire = LatencyKernel(to_commit), LatencyKernel(to_wire)
        self.turn: Callable[[int, int, int, int, int, int], None] = partial(
            lib.sc_span_turn, to_commit, to_wire
        )

    def state(self) -> dict[str, Any]:
        """Both histograms, by name."""
        return {"ingress_to_commit": self.to_commit.state(), "commit_to_wire": self.to_wire.state()}
