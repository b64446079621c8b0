"""From records to messages.

Runs of whole messages go through untouched, fragments are joined, and the records that are not messages (epoch
starts, the end of the session) are taken note of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from native.messages import MessageTable
from rewinder.record import STAMP_BYTES, Flags, Kind, read_stamp
from seqcast._native import DeliveryKernel, Stamps
from seqcast.batch import Batch

if TYPE_CHECKING:
    from native.messages import Messages

MESSAGE_LIMIT_BYTES = 16 << 20
"""Largest message, joined. A sender that goes on past it is broken; its fragments are dropped and counted."""

PARTIAL_LIMIT = 1024
"""Senders with a message in hand. The oldest is dropped beyond that, so that memory stays bounded."""


@define(eq=False)
class Partial:
    """The fragments of one sender's message so far."""

    pieces: bytearray
    next_sequence: int


@define(eq=False)
class Assembly:
    """Opens batches of records for the app; `rows` is the largest batch it gives."""

    rows: int
    ended: int | None = field(default=None, init=False)  # number of the end-of-session record
    epoch: int = field(default=0, init=False)
    joined: int = field(default=0, init=False)
    broken: int = field(default=0, init=False)
    _kernel: DeliveryKernel = field(init=False)
    _partials: dict[bytes, Partial] = field(factory=dict, init=False)
    _single: MessageTable = field(factory=lambda: MessageTable(1), init=False)

    def __attrs_post_init__(self) -> None:
        self._kernel = DeliveryKernel(self.rows)

    def open(self, records: Messages, limit: int) -> tuple[Batch | None, int]:
        """Messages from the front of `records`, at most `limit`.

        Returns (batch, how many records it took); the batch is None when the records at the front complete no
        message.
        """
        taken = 0
        while taken < len(records):
            payloads, stamps = self._kernel.run(records, taken, limit)
            if len(payloads):
                return Batch(payloads, stamps), taken + len(payloads)
            joined = self._special(records.number(taken), records[taken])
            taken += 1
            if joined is not None:
                return joined, taken
        return None, taken

    def _special(self, number: int, record: memoryview) -> Batch | None:
        """A record that is not a whole message."""
        stamp = read_stamp(record)
        if stamp.kind == Kind.END:
            self.ended = number
        elif stamp.kind == Kind.EPOCH:
            self.epoch = stamp.sender_sequence
        elif stamp.kind == Kind.DATA:
            return self._fragment(number, record)
        return None

    def _fragment(self, number: int, record: memoryview) -> Batch | None:
        stamp = read_stamp(record)
        payload = record[:-STAMP_BYTES]
        if stamp.flags & Flags.FIRST:
            if self._partials.pop(stamp.sender, None) is not None:
                self.broken += 1
            if len(self._partials) >= PARTIAL_LIMIT:
                self._partials.pop(next(iter(self._partials)))
                self.broken += 1
            partial = self._partials[stamp.sender] = Partial(bytearray(), stamp.sender_sequence)
        else:
            found = self._partials.get(stamp.sender)
            if found is None or found.next_sequence != stamp.sender_sequence:
                # We came in in the middle of a message: it belongs to those who saw its beginning.
                self._partials.pop(stamp.sender, None)
                self.broken += 1
                return None
            partial = found
        if len(partial.pieces) + len(payload) > MESSAGE_LIMIT_BYTES:
            del self._partials[stamp.sender]
            self.broken += 1
            return None
        partial.pieces += payload
        partial.next_sequence += 1
        if not stamp.flags & Flags.LAST:
            return None
        del self._partials[stamp.sender]
        self.joined += 1
        view = memoryview(partial.pieces)
        self._single.set(0, number, 0, len(view))
        return Batch(self._single.view(view, 1), Stamps.of(record))
