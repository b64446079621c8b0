"""Feeds: streams of messages in files and pipes, in and out, in batches.

Formats:

* `binaryfile`: Nasdaq BinaryFILE 1.00: a big-endian 16-bit length and the message, repeated; length 0 ends
  the session. A message has 1 to 65535 bytes.
* `lines`: one message a line, ended by LF. The LF is no part of the message; every other byte is, so a CR
  before it stays and an empty line is an empty message. Bytes after the last LF are a message too; written
  back it gains the LF, the one place where output differs from input. A message cannot hold an LF.
* `json` (out only): one object a line: number, sender, sender_sequence, time_ns, kind, and the message as
  `payload` where all its bytes are printable ASCII (0x20 to 0x7e), as hexadecimal `payload_hex` elsewhere.
* `hex` (out only): two lower-case digits a byte, one message a line.

What is read as `binaryfile` or `lines` and written in the same format is byte-identical. Neither costs
Python work per message.
"""

from __future__ import annotations

import gzip
import json
import os
import stat
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, Self, cast, get_args

from attrs import frozen

from native.messages import MessageTable
from seqcast import _native
from seqcast.errors import SeqcastError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from native.messages import Messages

InputFormat = Literal["binaryfile", "lines"]
OutputFormat = Literal["binaryfile", "lines", "json", "hex"]
INPUT_FORMATS: tuple[str, ...] = get_args(InputFormat)
OUTPUT_FORMATS: tuple[str, ...] = get_args(OutputFormat)

STANDARD_STREAM = "-"
"""In place of a path: the standard input."""

CHUNK_BYTES = 256 * 1024
"""Read and written at a time: large against the cost of a call, small against a CPU's second-level cache."""

BATCH_MESSAGES = 16 * 1024
"""Most messages of one batch: a chunk of messages of 16 bytes, the smallest that are common, is one batch."""

MESSAGE_BYTES_LIMIT = 16 * 1024 * 1024
"""Longest message that is read: the longest payload of a record. Bounds memory where a line never ends."""

_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)
_SPLITTERS = {"binaryfile": _native.split_binaryfile, "lines": _native.split_lines}
_PACKERS = {
    "binaryfile": _native.pack_binaryfile,
    "lines": _native.pack_lines,
    "hex": _native.pack_hex,
}
_END_OF_SESSION = b"\x00\x00"


class FeedError(SeqcastError):
    """A file that cannot be read further, or a message that the format of a file cannot carry."""

    def __init__(self, name: str, number: int, position: int, reason: str) -> None:
        super().__init__(f"{name}: message {number} at byte {position}: {reason}")
        self.name = name
        """Of the file."""
        self.number = number
        """Of the message in the file, from 1."""
        self.position = position
        """Of the message's first byte (framing included) in the file, or in what it unpacks to."""
        self.reason = reason
        """What is wrong, for people."""


def open_input(path: str | Path) -> BinaryIO:
    """Open a feed for reading: a file, a file that ends in `.gz` (unpacked on the way), or `-`.

    The caller closes it. Raises OSError when it cannot be opened.
    """
    if str(path) == STANDARD_STREAM:
        return sys.stdin.buffer
    if Path(path).suffix == ".gz":
        return cast("BinaryIO", gzip.open(path, "rb"))
    return Path(path).open("rb")


class FeedReader:
    """Iterate over the messages of a stream, in batches (`native.messages.Messages`).

    A batch is valid until the next one is asked for. A pipe is read as data comes: a batch holds what is
    there, and waits for no full chunk. The stream must block, and stays open.

    Iterating raises FeedError at a message that is cut off by the end of the stream or longer than
    `message_limit`, at bytes after the end-of-session marker, and at damaged gzip data; every message before
    that has been handed out then. A BinaryFILE without the marker is no error: see `ended`.
    """

    def __init__(
        self,
        stream: BinaryIO,
        format: InputFormat,  # noqa: A002  (the word of the command line)
        *,
        name: str | None = None,
        message_limit: int = MESSAGE_BYTES_LIMIT,
        chunk_bytes: int = CHUNK_BYTES,
        batch_messages: int = BATCH_MESSAGES,
    ) -> None:
        if format not in _SPLITTERS:
            raise ValueError(f"no input format {format!r}: one of {', '.join(INPUT_FORMATS)}")
        if message_limit < 1 or chunk_bytes < 1 or batch_messages < 1:
            raise ValueError("message_limit, chunk_bytes and batch_messages are at least 1")
        self.name = _name_of(stream) if name is None else name
        """Of the file, for errors."""
        self.ended = False
        """Whether the end-of-session marker was seen. True from the batch before it on, even in a pipe that
        stays open; always False for lines, which have no marker."""
        self.count = 0
        """Messages handed out."""
        self.total_bytes = _size_of(stream)
        """Size of the file, in its packed form if it is packed; None where it has no size (a pipe)."""
        self._split = _SPLITTERS[format]
        self._limit = message_limit
        self._table = MessageTable(batch_messages)
        self._packed = stream.fileobj if isinstance(stream, gzip.GzipFile) else None
        self._packed_offset = 0
        self._read_into = _read_call(stream, whole_chunks=self._packed is not None)
        self._buffer = memoryview(bytearray(chunk_bytes))
        self._start = 0  # of the bytes in the buffer that no batch has covered
        self._filled = 0  # end of the bytes in the buffer; start <= filled
        self._offset = stream.tell() if stream.seekable() else 0  # of buffer[start] in the stream
        self._exhausted = False

    @property
    def position(self) -> int:
        """How far into `total_bytes` the batches handed out reach; for a packed file, how far it was read."""
        return self._offset if self._packed is None else self._packed_offset

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Messages:
        while not self.ended:
            messages, consumed, stop = self._split(
                self._table,
                self._buffer[self._start : self._filled],
                final=self._exhausted,
                limit=self._limit,
            )
            self._start += consumed
            self._offset += consumed
            self.count += len(messages)
            self.ended = stop is _native.Stop.END
            if len(messages) > 0:
                return messages
            if stop is _native.Stop.LONG:
                raise self._error(f"longer than the limit of {self._limit} bytes")
            if stop is _native.Stop.MORE:
                if self._exhausted:
                    self._expect_nothing("cut off by the end of the file: {} bytes of it are there")
                    raise StopIteration
                self._fill()
        if not self._exhausted and self._start == self._filled:
            self._fill()
        self._expect_nothing("stands after the end-of-session marker")
        raise StopIteration

    def _expect_nothing(self, reason: str) -> None:
        left = self._filled - self._start
        if left > 0:
            raise self._error(reason.format(left))

    def _fill(self) -> None:
        """Read once, after the bytes that are left; room is made by moving them, and by doubling the buffer.

        The buffer is full of one unfinished message when it doubles, so the limit bounds it too.
        """
        left = self._filled - self._start
        previous = self._buffer
        if left == len(previous):
            self._buffer = memoryview(bytearray(2 * len(previous)))
        self._buffer[:left] = previous[self._start : self._filled]
        self._start, self._filled = 0, left
        try:
            read = self._read_into(self._buffer[left:])
        except _DAMAGED as error:
            raise self._error(f"damaged gzip data before its end: {error}") from error
        if self._packed is not None:
            self._packed_offset = self._packed.tell()
        if read is None:
            raise BlockingIOError(f"{self.name}: a feed is read from a blocking stream")
        self._filled += read
        self._exhausted = read == 0

    def _error(self, reason: str) -> FeedError:
        return FeedError(self.name, self.count + 1, self._offset, reason)


@frozen
class StampColumns:
    """What the stamps of a batch say, as parallel sequences, one entry a message."""

    numbers: Sequence[int]
    """Numbers in the stream."""
    senders: Sequence[str]
    """User names, without padding."""
    sender_sequences: Sequence[int]
    """Sequence numbers of each sender's own."""
    times_ns: Sequence[int]
    """UTC nanoseconds."""
    kinds: Sequence[int]
    """Kinds of record; 0 is data."""


class FeedWriter:
    """Write batches of messages to a stream, which stays open and is not flushed.

    `format` is one of OUTPUT_FORMATS. A message that it cannot carry (empty or above 65535 bytes in
    `binaryfile`, one that holds an LF in `lines`) raises FeedError, after everything before it is written.
    """

    def __init__(
        self,
        stream: BinaryIO,
        format: OutputFormat,  # noqa: A002  (the word of the command line)
        *,
        name: str | None = None,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        if format not in OUTPUT_FORMATS:
            raise ValueError(f"no output format {format!r}: one of {', '.join(OUTPUT_FORMATS)}")
        if chunk_bytes < 1:
            raise ValueError("chunk_bytes is at least 1")
        self.name = _name_of(stream) if name is None else name
        """Of the file, for errors."""
        self.count = 0
        """Messages written."""
        self.position = 0
        """Bytes written."""
        self._format = format
        self._pack = _PACKERS.get(format)
        self._stream = stream
        self._out = bytearray(chunk_bytes)

    def write(self, messages: Messages, stamps: StampColumns | None = None) -> None:
        """Write all messages of a batch.

        `stamps` is for `json`, where the objects have `number` and the message alone without it; the other
        formats ignore it. Raises ValueError when a sequence of it has not one entry for each message.
        """
        if self._pack is None:
            self._write_objects(messages, stamps)
            return
        first = 0
        while first < len(messages):
            try:
                packed, length = self._pack(messages, first, self._out)
            except _native.UnpackableError as error:
                raise FeedError(self.name, self.count + 1, self.position, str(error)) from None
            if packed == 0:
                self._out = bytearray(2 * len(self._out))  # one message is larger than the buffer
                continue
            self._write_all(memoryview(self._out)[:length])
            self.count += packed
            first += packed

    def end(self) -> None:
        """Write the end-of-session marker, where the format has one (`binaryfile`)."""
        if self._format == "binaryfile":
            self._write_all(memoryview(_END_OF_SESSION))

    def _write_objects(self, messages: Messages, stamps: StampColumns | None) -> None:
        if stamps is None:
            heads: list[dict[str, object]] = [{"number": number} for number in messages.numbers]
        else:
            columns = (
                stamps.numbers,
                stamps.senders,
                stamps.sender_sequences,
                stamps.times_ns,
                stamps.kinds,
            )
            if any(len(column) != len(messages) for column in columns):
                raise ValueError(f"stamps have one entry for each of the {len(messages)} messages")
            keys = ("number", "sender", "sender_sequence", "time_ns", "kind")
            heads = [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]
        lines = [
            json.dumps(head | _shown(message)) + "\n" for head, message in zip(heads, messages, strict=True)
        ]
        self._write_all(memoryview("".join(lines).encode("ascii")))
        self.count += len(lines)

    def _write_all(self, data: memoryview) -> None:
        """Write everything: an unbuffered stream may take less than it is given."""
        while len(data) > 0:
            written = self._stream.write(data)
            if written is None:
                raise BlockingIOError(f"{self.name}: a feed is written to a blocking stream")
            self.position += written
            data = data[written:]


def _read_call(stream: BinaryIO, *, whole_chunks: bool) -> Callable[[memoryview], int | None]:
    """How to read into a buffer: until it is full, or (a pipe must not wait for that) what is there.

    A gzip file is read in whole chunks, because its other way returns a few kilobytes. An unbuffered stream
    has one way only, and that returns what is there.
    """
    name = "readinto" if whole_chunks or not hasattr(stream, "readinto1") else "readinto1"
    read_into: Callable[[memoryview], int | None] = getattr(stream, name)
    return read_into


def _shown(message: memoryview) -> dict[str, str]:
    text = str(message, "latin-1")
    if text.isascii() and text.isprintable():
        return {"payload": text}
    return {"payload_hex": message.hex()}


def _size_of(stream: BinaryIO) -> int | None:
    try:
        status = os.fstat(stream.fileno())
    except OSError:  # not a file at all, but something in memory
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _name_of(stream: BinaryIO) -> str:
    name = getattr(stream, "name", "<stream>")
    return f"<file descriptor {name}>" if isinstance(name, int) else os.fsdecode(name)
