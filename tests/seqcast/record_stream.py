"""Streams of records for tests, and a receiver over one that takes it in pieces of any size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from native.messages import Messages, MessageTable
from rewinder.record import Flags, Kind, Stamp, epoch_payload, stamp_record
from seqcast.assembly import Assembly
from seqcast.batch import Batch
from seqcast.checkpoint import Saved

Entry = tuple[bytes, Stamp]
"""Payload and stamp of one record."""

SESSION = "SESSION1"


def records(*entries: Entry, first: int = 1) -> Messages:
    """A batch of records as a receiver gets it."""
    data = bytearray()
    table = MessageTable(max(1, len(entries)))
    for position, (payload, stamp) in enumerate(entries):
        record = stamp_record(payload, first + position, stamp)
        table.set(position, first + position, len(data), len(record))
        data += record
    return table.view(memoryview(data), len(entries))


def data(payload: bytes, sequence: int, flags: int = Flags.WHOLE, sender: bytes = b"ALPHA ") -> Entry:
    """A data record."""
    return payload, Stamp(1000 + sequence, sequence, sender, Kind.DATA, flags)


def fragments(payload: bytes, sequence: int, size: int, sender: bytes = b"ALPHA ") -> list[Entry]:
    """The records of one message, cut into `size` bytes each."""
    parts = [payload[i : i + size] for i in range(0, len(payload), size)] or [b""]
    return [
        data(part, sequence + i, (i == 0) * Flags.FIRST | (i == len(parts) - 1) * Flags.LAST, sender)
        for i, part in enumerate(parts)
    ]


def epoch(number: int) -> Entry:
    """An epoch start."""
    return epoch_payload(number, "SEQ1"), Stamp(1, number, b"SEQ1  ", Kind.EPOCH)


END: Entry = (b"", Stamp(9999, 0, b"SEQ1  ", Kind.END))


class PreparedReceiver:
    """A receiver over prepared records: `sizes` says how many records come at a time, over and over.

    It takes records as `seqcast.Receiver` does: no more of them than the batch that it gives needs.
    """

    def __init__(
        self, entries: list[Entry], sizes: Iterable[int] = (7,), saved: Saved | None = None, rows: int = 64
    ) -> None:
        self.entries = entries
        self.sizes = list(sizes)
        self.assembly = Assembly(rows)
        self.snapshot: bytes | None = None
        self.session_name: str | None = SESSION
        self.next_number = 1
        self.polls = 0
        self._records: Messages | None = None
        if saved is not None:
            assert saved.session_name == SESSION
            self.assembly.restore(saved.assembly)
            self.snapshot, self.next_number = saved.snapshot, saved.position
        self._turns = self._each_size()

    @property
    def position(self) -> int:
        return self.next_number if self._records is None else self._records.number(0)

    @property
    def ended(self) -> bool:
        return self.assembly.ended is not None

    def poll(self, limit: int, timeout: float) -> Batch:
        self.polls += 1
        while not self.ended:
            if self._records is None:
                count = next(self._turns)
                entries = self.entries[self.next_number - 1 :][:count]
                if not entries:
                    return Batch.empty()
                self._records = records(*entries, first=self.next_number)
                self.next_number += len(entries)
            batch, taken = self.assembly.open(self._records, limit)
            self._records = self._records.after(taken) if taken < len(self._records) else None
            if batch is not None:
                return batch
        return Batch.empty()

    def _each_size(self) -> Iterator[int]:
        while True:
            yield from self.sizes
