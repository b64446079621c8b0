"""What a log knows beside its records: the sender table, the epochs, the admissions, and where the session ended.

All of it is in the records. It is carried from one checkpoint to the next by reading what lies between.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from native.messages import MessageTable
from rewinder._native import NO_LIMIT, Stop
from rewinder.checkpoint import Checkpoint
from rewinder.errors import DamagedRecord
from rewinder.record import STAMP_BYTES, Kind, read_admission, read_stamp
from rewinder.senders import SenderTable

if TYPE_CHECKING:
    from rewinder.segment import Segment


class StreamState:
    """The sender table, the epoch table (epoch, number of its first record), and the end of the session.

    `admissions` has, by name of each voter that was re-admitted, its incarnation and the number of the record.
    """

    __slots__ = ("_table", "admissions", "ended", "epochs", "senders")

    def __init__(self) -> None:
        self.senders = SenderTable()
        self.epochs: list[tuple[int, int]] = []
        self.ended: int | None = None
        self.admissions: dict[str, tuple[int, int]] = {}
        self._table = MessageTable(1)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go to the state of a checkpoint. Slots of the sender table stay."""
        self.senders.reset()
        self.senders.unpack(checkpoint.senders)
        self.epochs[:] = checkpoint.epochs
        self.ended = checkpoint.ended or None
        self.admissions.clear()
        self.admissions.update((name, (incarnation, at)) for name, incarnation, at in checkpoint.admissions)

    def checkpoint(self, session: bytes, first: int) -> Checkpoint:
        """The state before record `first`, which is the next one."""
        admissions = tuple((name, *row) for name, row in self.admissions.items())
        return Checkpoint(
            session, first, self.ended or 0, tuple(self.epochs), self.senders.pack(), admissions
        )

    def read(self, segment: Segment, limit: int = NO_LIMIT) -> Stop:
        """Check and take up the records behind the segment's end, until it holds `limit`."""
        while True:
            stop = segment.kernel.scan(self.senders.kernel, limit)
            if stop is not Stop.CONTROL:
                return stop
            self.note_control(segment)

    def note_control(self, segment: Segment) -> None:
        """The last record of the segment is an epoch start, the end of the session or an admission."""
        number = segment.last
        segment.kernel.rows(number, 1, NO_LIMIT, self._table)
        record = self._table.view(segment.view, 1)[0]
        stamp = read_stamp(record)
        if stamp.kind == Kind.EPOCH:
            self.epochs.append((stamp.sender_sequence, number))
        elif stamp.kind == Kind.END:
            self.ended = number
        elif stamp.kind == Kind.ADMIT:
            with suppress(DamagedRecord):  # not the payload of one: it admits nobody
                voter, incarnation = read_admission(record[:-STAMP_BYTES])
                self.admissions[voter] = (incarnation, number)
