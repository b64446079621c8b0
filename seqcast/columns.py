"""Messages as columns: Arrow IPC files and Parquet, for analysis. Needs pyarrow: `pip install 'seqcast[arrow]'`.

| column | type |
|---|---|
| `number` | uint64: number in the stream, of the last fragment where there are several |
| `time` | timestamp[ns, UTC]: of the stamp |
| `sender` | string |
| `sender_sequence` | uint64 |
| `payload` | binary |
"""

from __future__ import annotations

from array import array
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from attrs import define, field

from seqcast.assembly import Assembly
from seqcast.errors import SeqcastError
from seqcast.exporting import BATCH_RECORDS, opened

if TYPE_CHECKING:
    from typing import BinaryIO

    from native.messages import Messages
    from seqcast.batch import Batch

COLUMN_FORMATS = ("parquet", "arrow")

GROUP_ROWS = 128 * 1024
"""Rows of one row group of Parquet, and of one batch of Arrow."""

GROUP_BYTES = 256 << 20
"""Bytes of payloads in one: a bound on memory, and far below the 2 GiB that a binary column can address."""


@define(eq=False)
class ColumnFile:
    """A file of columns, in one of COLUMN_FORMATS. Raises SeqcastError where pyarrow is not installed."""

    stream: BinaryIO
    format: str
    session: str
    count: int = field(default=0, init=False)
    _arrow: Any = field(init=False)
    _schema: Any = field(init=False)
    _writer: Any = field(init=False)
    _pending: list[Any] = field(factory=list, init=False)
    _pending_bytes: int = field(default=0, init=False)
    _pending_rows: int = field(default=0, init=False)
    _assembly: Assembly = field(factory=lambda: Assembly(BATCH_RECORDS), init=False)

    def __attrs_post_init__(self) -> None:
        try:
            import pyarrow as pa  # noqa: PLC0415  (an extra)
            from pyarrow import ipc, parquet  # noqa: PLC0415
        except ImportError:
            raise SeqcastError(
                f"{self.format} needs pyarrow, which is not installed: pip install 'seqcast[arrow]'"
            ) from None
        self._arrow = pa
        self._schema = pa.schema(
            [
                ("number", pa.uint64()),
                ("time", pa.timestamp("ns", tz="UTC")),
                ("sender", pa.string()),
                ("sender_sequence", pa.uint64()),
                ("payload", pa.binary()),
            ],
            metadata={"session": self.session},
        )
        if self.format == "parquet":
            self._writer = parquet.ParquetWriter(self.stream, self._schema)
        else:
            self._writer = ipc.new_file(self.stream, self._schema)

    def take(self, records: Messages) -> None:
        """The next records."""
        for batch in opened(self._assembly, records):
            self._pending.append(self._columns(batch))
            self._pending_rows += len(batch)
            self._pending_bytes += sum(batch.payloads.lengths)
            self.count += len(batch)
            if self._pending_rows >= GROUP_ROWS or self._pending_bytes >= GROUP_BYTES:
                self._write()

    def finish(self, next_number: int, *, ended: bool) -> None:  # noqa: ARG002  (of the protocol)
        """Write what waits, and the foot of the file."""
        self._write()
        self._writer.close()

    def _columns(self, batch: Batch) -> Any:
        pa, stamps = self._arrow, batch.stamps
        return pa.record_batch(
            [
                pa.array(batch.payloads.numbers, pa.uint64()),
                pa.array(stamps.times, pa.uint64()).view(pa.timestamp("ns", tz="UTC")),
                pa.array(batch.senders, pa.string()),
                pa.array(stamps.sequences, pa.uint64()),
                self._payloads(batch.payloads),
            ],
            schema=self._schema,
        )

    def _payloads(self, messages: Messages) -> Any:
        """A binary column: offsets and the bytes, one message behind the other."""
        pa = self._arrow
        offsets = array("i", accumulate(messages.lengths, initial=0))
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(messages))]
        return pa.Array.from_buffers(pa.binary(), len(messages), buffers)

    def _write(self) -> None:
        pending, self._pending = self._pending, []
        self._pending_rows = self._pending_bytes = 0
        if not pending:
            return
        table = self._arrow.Table.from_batches(pending, schema=self._schema).combine_chunks()
        self._writer.write_table(table)
