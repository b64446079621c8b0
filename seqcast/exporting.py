"""Exporting a log: its records, or the messages in them, to a file of another format.

| format | content |
|---|---|
| `binaryfile` | the messages, joined where they were sent in fragments; as `records`, all records with stamps |
| `pcap` | all records, as the MoldUDP64 packets in which line A carries them, at the times of their stamps |
| `parquet`, `arrow` | the messages, with columns for what their stamps say (`seqcast.columns`) |

Only what is known to be committed is exported. The same log gives the same bytes, always.
"""

from __future__ import annotations

from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from attrs import define, field

from moldudp import MOLDUDP64
from native.messages import MessageTable
from rewinder.errors import LogLocked
from rewinder.log import MessageLog
from rewinder.storage import FileStorage
from seqcast.assembly import Assembly
from seqcast.feeds import FeedWriter
from seqcast.packing import Packer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from native.messages import Messages
    from seqcast.batch import Batch
    from seqcast.packing import Packet
    from seqcast.pcap import CaptureWriter

BATCH_RECORDS = 4096
"""Records handled at once."""

BATCH_BYTES = 4 << 20
"""Bytes of them: a bound on memory where records are long."""


class Content(Enum):
    """What of a log is exported."""

    MESSAGES = "messages"
    RECORDS = "records"


class Target(Protocol):
    """Where records go."""

    count: int
    """Records or messages that were written."""

    def take(self, records: Messages) -> None:
        """The next records."""

    def finish(self, next_number: int, *, ended: bool) -> None:
        """There are no more; `ended`: because the session has ended."""


def open_log(directory: Path) -> MessageLog:
    """Open a log to read it; while it is open nobody removes it. Raises LogError, OSError."""
    with suppress(LogLocked):  # else the node runs that writes it
        storage = FileStorage(directory, writable=False)
        storage.keep_writers_out()
        return _opened(storage)
    return _opened(FileStorage(directory, writable=False))


def _opened(storage: FileStorage) -> MessageLog:
    try:
        return MessageLog.open_readonly(storage)
    except BaseException:
        storage.close()
        raise


def batches(log: MessageLog, first: int, last: int) -> Iterator[Messages]:
    """The records `first` to `last`; each batch is valid until the next. Raises LogError where they are damaged."""
    table = MessageTable(BATCH_RECORDS)
    number = first
    while number <= last:
        records = log.rows(number, min(BATCH_RECORDS, last + 1 - number), table, BATCH_BYTES)
        number += len(records)
        yield records


def opened(assembly: Assembly, records: Messages) -> Iterator[Batch]:
    """The messages in these records; each batch is valid until the next."""
    start = 0
    while start < len(records):
        batch, taken = assembly.open(records.after(start), BATCH_RECORDS)
        start += taken
        if batch is not None:
            yield batch


@define(eq=False)
class BinaryFile:
    """A BinaryFILE of messages or of records. The end of the session is its end marker."""

    stream: BinaryIO
    content: Content
    count: int = field(default=0, init=False)
    _writer: FeedWriter = field(init=False)
    _assembly: Assembly = field(factory=lambda: Assembly(BATCH_RECORDS), init=False)

    def __attrs_post_init__(self) -> None:
        self._writer = FeedWriter(self.stream, "binaryfile")

    def take(self, records: Messages) -> None:
        """The next records. Raises FeedError for a message that the format cannot carry."""
        if self.content is Content.RECORDS:
            self._writer.write(records)
        else:
            for batch in opened(self._assembly, records):
                self._writer.write(batch.payloads)
        self.count = self._writer.count

    def finish(self, next_number: int, *, ended: bool) -> None:  # noqa: ARG002  (of the protocol)
        """Write the marker if the session has ended."""
        if ended:
            self._writer.end()


@define(eq=False)
class PacketFile:
    """A capture of the packets, each as large as `capacity` bytes allow; records of one time share packets."""

    writer: CaptureWriter
    session: bytes
    capacity: int
    count: int = field(default=0, init=False)
    _packer: Packer = field(init=False)
    _time_ns: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._packer = Packer(self.session, self.capacity)

    def take(self, records: Messages) -> None:
        """The next records."""
        self._write(self._packer.take(records))
        self.count += len(records)

    def finish(self, next_number: int, *, ended: bool) -> None:
        """What waits, and an End of Session packet if the session has ended."""
        self._write(self._packer.rest())
        if ended:
            self.writer.write(self._time_ns, MOLDUDP64.end_of_session(self.session, next_number))

    def _write(self, packets: Iterable[Packet]) -> None:
        for time_ns, packet, _ in packets:
            self.writer.write(time_ns, packet)
            self._time_ns = time_ns
