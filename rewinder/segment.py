"""One segment of the log: a file of records, mapped, and the index that finds them.

The file is `NNNNNNNNNNNNNNNNNNNN.seg`, named by the number of its first record. It begins with 64 bytes of
header, then come the records, each framed as a SoupBinTCP sequenced data packet; the rest is zero:

| offset | bytes | field |
|---|---|---|
| 0 | 8 | `SEQSEGM1`: a segment, version 1 |
| 8 | 10 | session |
| 18 | 2 | zero |
| 20 | 4 | ordinal: 0 for the first segment of the log, then 1, 2, 3 ... |
| 24 | 8 | number of the first record |
| 32 | 8 | time of the record before the first, UTC nanoseconds; 0 if there is none |
| 40 | 8 | time of creation, UTC nanoseconds |
| 48 | 12 | zero |
| 60 | 4 | crc32c of the bytes before |

All integers are big-endian. What number a segment ends with is said by the name of the next one.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

from attrs import frozen

from rewinder._native import (
    FRAME_BYTES,
    HEADER_BYTES,
    RECORD_LIMIT_BYTES,
    STOP_REASONS,
    STRIDE,
    SegmentKernel,
    Stop,
    crc32c,
)
from rewinder.errors import BadHeader, CorruptRecord, ForeignSession, NotInLog, ShortSegment

if TYPE_CHECKING:
    from rewinder.storage import Blob, Storage

SEGMENT_SUFFIX = ".seg"
INDEX_SUFFIX = ".idx"

SEGMENT_BYTES_MINIMUM = HEADER_BYTES + FRAME_BYTES + RECORD_LIMIT_BYTES
"""Any record must fit into an empty segment."""

SEGMENT_BYTES_LIMIT = 1 << 31
"""Offsets have 32 bits in C, and sendfile takes less than 2 GiB at once."""

_HEADER = struct.Struct(">8s10s2xIQQQ12x")
_MAGIC = b"SEQSEGM1"
_CRC = struct.Struct(">I")
_INDEX = struct.Struct(">8s10s6xQQQQ")
_INDEX_MAGIC = b"SEQINDX1"
_NAME = re.compile(r"(\d{20})\.seg")


@frozen
class Header:
    """The header of a segment file. `time_before_ns` is the time of the record before the first."""

    session: bytes
    ordinal: int
    first: int
    time_before_ns: int
    created_ns: int

    def encode(self) -> bytes:
        """The 64 bytes."""
        data = _HEADER.pack(
            _MAGIC, self.session, self.ordinal, self.first, self.time_before_ns, self.created_ns
        )
        return data + _CRC.pack(crc32c(data))

    @classmethod
    def decode(cls, data: bytes | memoryview, file: str) -> Header:
        """Take the header of `file` apart. Raises BadHeader; ShortSegment."""
        if len(data) < HEADER_BYTES:
            raise ShortSegment(
                file, f"{len(data)} bytes are too few for a segment's header of {HEADER_BYTES}"
            )
        magic, session, ordinal, first, time_before_ns, created_ns = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise BadHeader(file, f"not a segment of this version: it begins with {magic!r}")
        if _CRC.unpack_from(data, _HEADER.size)[0] != crc32c(data[: _HEADER.size]):
            raise BadHeader(file, "the checksum of the header is wrong")
        return cls(session, ordinal, first, time_before_ns, created_ns)


def segment_name(first: int, suffix: str = SEGMENT_SUFFIX) -> str:
    """The name of the segment whose first record is `first`, or of a file that goes with it."""
    return f"{first:020d}{suffix}"


def first_numbers(names: list[str]) -> list[int]:
    """The first numbers of the segments among `names`, ascending."""
    matches = (_NAME.fullmatch(name) for name in names)
    return sorted(int(match[1]) for match in matches if match is not None)


class Segment:
    """A mapped segment.

    `first` is the number of its first record, `last` that of its last; `last` is one below `first` while it is
    empty. `view` is the whole file; `end` is the offset behind the last record.

    `verified` is true once every record was checked. Nothing of a segment that is not verified may be served.
    """

    __slots__ = (
        "__weakref__",
        "blob",
        "cdata",
        "file",
        "first",
        "header",
        "kernel",
        "name",
        "verified",
        "view",
    )

    def __init__(self, storage: Storage, blob: Blob, session: bytes) -> None:
        """Take up a file whose records nobody has looked at yet. Raises BadSegment."""
        self.blob = blob
        self.name = blob.name
        self.file = storage.describe(blob.name)
        self.view = blob.view
        self.header = Header.decode(blob.view[:HEADER_BYTES], self.file)
        self.first = self.header.first
        if self.header.session != session:
            raise ForeignSession(
                self.file, f"it belongs to session {_text(self.header.session)}, not {_text(session)}"
            )
        if segment_name(self.first) != blob.name:
            raise BadHeader(self.file, f"its header says that it begins with record {self.first}")
        file = blob.fileno() if storage.writable else -1
        self.kernel = SegmentKernel(blob.view, self.first, self.header.time_before_ns, file)
        self.cdata = self.kernel.cdata  # for adapters only
        self.verified = False

    @property
    def count(self) -> int:
        """How many records it holds."""
        return self.cdata.count  # type: ignore[no-any-return]

    @property
    def last(self) -> int:
        """Number of the last record."""
        return self.first + self.cdata.count - 1  # type: ignore[no-any-return]

    @property
    def end(self) -> int:
        """Offset behind the last record."""
        return self.cdata.end  # type: ignore[no-any-return]

    @property
    def last_time_ns(self) -> int:
        """Time of the last record, or of the one before the first; 0 if there is none."""
        return self.cdata.last_time  # type: ignore[no-any-return]

    def fileno(self) -> int:
        """A descriptor of the file, for sendfile. Raises OSError for a storage without files."""
        return self.blob.fileno()

    def offset_of(self, number: int) -> int:
        """Offset of a record's frame; for the number after the last it is `end`. Raises NotInLog."""
        offset = self.kernel.locate(number)
        if offset == 0:
            raise NotInLog(f"{self.file}: holds records {self.first} to {self.last}, not {number}")
        return offset

    def verify(self, count: int) -> None:
        """Check all of `count` records, and take them up. Raises CorruptRecord."""
        self.kernel.forget(self.header.time_before_ns)
        stop = Stop.CONTROL
        while stop is Stop.CONTROL:
            stop = self.kernel.scan(None, count)
        if self.count < count:
            raise self.corrupt(STOP_REASONS[stop])
        self.verified = True

    def search(self) -> tuple[int, int] | None:
        """(offset, number) of a whole record behind the end, where record `last` + 1 is bad or missing.

        Its number is above that one. None when there is nothing; raises SearchUnsureError.
        """
        return self.kernel.search(self.blob.data_end(self.end))

    def clear(self) -> int:
        """Zero what is written behind the end; returns how many bytes that were."""
        return self.kernel.clear(self.blob.data_end(self.end))

    def corrupt(self, reason: str) -> CorruptRecord:
        """The error about the record that should be at `end`."""
        return CorruptRecord(self.file, self.end, self.last + 1, reason)

    # the index sidecar

    def encode_index(self) -> bytes:
        """The index sidecar: header (`SEQINDX1`, session, first, count, end, last time), offsets, crc32c."""
        data = (
            _INDEX.pack(
                _INDEX_MAGIC, self.header.session, self.first, self.count, self.end, self.last_time_ns
            )
            + self.kernel.index_bytes()
        )
        return data + _CRC.pack(crc32c(data))

    def load_index(self, data: bytes, count: int) -> bool:
        """Take up `count` records as an index sidecar lists them; False when it is not right for them."""
        entries = -(-count // STRIDE)
        if len(data) != _INDEX.size + 4 * entries + _CRC.size:
            return False
        covered = data[: -_CRC.size]
        if _CRC.unpack_from(data, len(covered))[0] != crc32c(covered):
            return False
        magic, session, first, held, end, last_time_ns = _INDEX.unpack_from(data)
        if (magic, session, first, held) != (_INDEX_MAGIC, self.header.session, self.first, count):
            return False
        if not HEADER_BYTES <= end <= len(self.view):
            return False
        self.kernel.load_index(covered[_INDEX.size :], count, end, last_time_ns)
        return True


def _text(session: bytes) -> str:
    return repr(session.decode("ascii", "replace").strip())
