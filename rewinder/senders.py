"""The sender table of a log: how far every user of the session has come.

A sender's name is the six bytes of the record's stamp: the user name of the login, padded with spaces. Slots are
stable as long as the log is open, so that a connection can remember its own.
"""

from __future__ import annotations

import struct

from rewinder._native import SENDER_BYTES, SenderKernel
from rewinder.errors import LocalProtocolError

SENDER_LIMIT = 1 << 16
"""Users of one session: their table takes 3 MB at most, and a checkpoint of it 1.5 MB."""

_ROW = struct.Struct(">6s2xQQ")
ROW_BYTES = _ROW.size


class SenderTable:
    """Last sender sequence and stream number of every sender."""

    __slots__ = ("_capacity", "_kernel", "_rows", "cdata", "kernel")

    def __init__(self, capacity: int = SENDER_LIMIT) -> None:
        self.kernel = SenderKernel(capacity)
        self.cdata = self.kernel.cdata  # for adapters only
        self._rows = self.kernel.rows
        self._capacity = capacity

    def __len__(self) -> int:
        return int(self.cdata.count)

    def slot(self, sender: bytes) -> int:
        """The slot of a sender, or -1 before his first message."""
        return self.kernel.find(_six_bytes(sender))

    def add(self, sender: bytes) -> int:
        """The slot of a sender, a new one if he had none; -1 when `SENDER_LIMIT` have one."""
        return self.kernel.add(_six_bytes(sender))

    def name(self, slot: int) -> bytes:
        """The sender who has this slot."""
        return self.kernel.name(self._checked(slot))

    def last_of(self, sender: bytes) -> tuple[int, int]:
        """(last sender sequence in the log, its stream number); (0, 0) before the first."""
        slot = self.slot(sender)
        if slot < 0:
            return 0, 0
        row = self._rows[slot]
        return row.sequence, row.number

    def committed_of(self, slot: int) -> tuple[int, int]:
        """(last committed sender sequence, its stream number) of a slot; (0, 0) before the first."""
        row = self._rows[self._checked(slot)]
        return row.committed_sequence, row.committed_number

    def note(self, sender: bytes, sequence: int, number: int) -> None:
        """A data record of `sender` was appended as stream number `number`."""
        self.kernel.note(_six_bytes(sender), sequence, number)

    def reset(self) -> None:
        """Forget every sender's last sequence; slots, and what is committed, stay."""
        self.kernel.reset()

    def items(self) -> list[tuple[bytes, int, int]]:
        """(sender, last sequence, its number) of everyone who has a message in the log, in the order of slots."""
        rows = ((self.kernel.name(slot), self._rows[slot]) for slot in range(len(self)))
        return [(name, row.sequence, row.number) for name, row in rows if row.number]

    def pack(self) -> bytes:
        """The rows of `items`, each 24 bytes: name (6), zero (2), sequence (8), number (8), big-endian."""
        return b"".join(_ROW.pack(*item) for item in self.items())

    def unpack(self, data: bytes) -> None:
        """Note what `pack` gave."""
        for name, sequence, number in _ROW.iter_unpack(data):
            self.kernel.note(name, sequence, number)

    def _checked(self, slot: int) -> int:
        if not 0 <= slot < len(self):
            raise LocalProtocolError(f"no sender has slot {slot}")
        return slot


def _six_bytes(sender: bytes) -> bytes:
    if len(sender) != SENDER_BYTES:
        raise LocalProtocolError(f"sender {sender!r} does not have {SENDER_BYTES} bytes")
    return sender
