"""What is on the disks, read from the bytes alone (docs/LOG.md): the checker's own eyes."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rewinder.memory import MemoryStorage

HEADER_BYTES = 64
FRAME = struct.Struct(">Hc")
STAMP = struct.Struct(">BB6sQQ")
STAMP_BYTES = 28
DATA, EPOCH, END, ADMIT = 0, 1, 2, 3


class DiskReader:
    """Where the records of one disk lie. It reads on from where it stopped, and anew when that was cut."""

    def __init__(self, disk: MemoryStorage) -> None:
        self.disk = disk
        self._reset()

    def record(self, number: int) -> tuple[bytes, bool] | None:
        """A record, and whether it would survive the machine; None when it is not there."""
        for attempt in range(2):
            self._read_on(number)
            place = self._places.get(number)
            if place is not None:
                name, offset, length = place
                blob = self.disk._files.get(name)
                if blob is not None and FRAME.unpack_from(blob.view, offset - 3) == (length + 1, b"S"):
                    data = bytes(blob.view[offset : offset + length])
                    survivor = self.disk._survives.get(name)
                    durable = survivor is not None and survivor.synced[offset : offset + length] == data
                    return data, durable
            if attempt == 0:
                self._reset()
        return None

    def holds(self, number: int, record: bytes, *, durable: bool) -> bool:
        """Whether the disk has exactly this record, to the durability asked for."""
        for attempt in range(2):
            found = self.record(number)
            if found is not None and found[0] == record:
                return found[1] or not durable
            if attempt == 0:
                self._reset()
        return False

    def records(self) -> list[bytes]:
        """All records from number 1 on."""
        self._reset()
        found = []
        number = 1
        while True:
            self._read_on(number)
            place = self._places.get(number)
            if place is None:
                return found
            name, offset, length = place
            found.append(bytes(self.disk._files[name].view[offset : offset + length]))
            number += 1

    def _reset(self) -> None:
        self._places: dict[int, tuple[str, int, int]] = {}
        self._name: str | None = None
        self._offset = 0
        self._next = 1

    def _read_on(self, number: int) -> None:
        while self._next <= number:
            blob = self.disk._files.get(self._name) if self._name else None
            if blob is not None and self._offset + 3 <= len(blob.view):
                length, kind = FRAME.unpack_from(blob.view, self._offset)
                if length and kind == b"S" and self._offset + 2 + length <= len(blob.view):
                    self._places[self._next] = (self._name, self._offset + 3, length - 1)
                    self._next += 1
                    self._offset += 2 + length
                    continue
            name = f"{self._next:020}.seg"
            if name == self._name or name not in self.disk._files:
                return
            self._name, self._offset = name, HEADER_BYTES


def stamp_of(record: bytes) -> tuple[int, int, bytes, int, int]:
    """(kind, flags, sender, sender sequence, time) of a record."""
    return STAMP.unpack_from(record, len(record) - STAMP_BYTES)
