"""What a log knows beside its records, as of the first number of a segment, so that opening need not read all.

A checkpoint is a cache: everything in it can be had by reading the log from the start, and one that is missing,
damaged or of another log is passed over. The file is `NNNNNNNNNNNNNNNNNNNN.ckpt`, named like the segment:

| offset | bytes | field |
|---|---|---|
| 0 | 8 | `SEQCKPT1` |
| 8 | 10 | session |
| 18 | 2 | admissions |
| 20 | 4 | zero |
| 24 | 8 | number of the first record of the segment |
| 32 | 8 | number of the end-of-session record, 0 if there is none before |
| 40 | 4 | epochs |
| 44 | 4 | senders |
| 48 | 16 each | epochs: epoch (8), first number (8) |
| | 24 each | admissions: voter (6), zero (2), incarnation (8), number of its record (8) |
| | 24 each | senders: name (6), zero (2), last sender sequence (8), its number (8) |
| | 4 | crc32c of the bytes before |

All integers are big-endian.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from attrs import frozen

from rewinder._native import SENDER_BYTES, crc32c
from rewinder.segment import segment_name
from rewinder.senders import ROW_BYTES

if TYPE_CHECKING:
    from rewinder.storage import Storage

CHECKPOINT_SUFFIX = ".ckpt"

_HEAD = struct.Struct(">8s10sH4xQQII")
_EPOCH = struct.Struct(">QQ")
_ADMISSION = struct.Struct(">6s2xQQ")
_CRC = struct.Struct(">I")
_MAGIC = b"SEQCKPT1"


@frozen
class Checkpoint:
    """The state before record `first`. `senders` is what `SenderTable.pack` gives; `ended` is 0 or a number.

    `admissions` are rows (voter, incarnation, number of the record).
    """

    session: bytes
    first: int
    ended: int
    epochs: tuple[tuple[int, int], ...]
    senders: bytes
    admissions: tuple[tuple[str, int, int], ...] = ()

    @property
    def name(self) -> str:
        """The name of its file."""
        return segment_name(self.first, CHECKPOINT_SUFFIX)

    def encode(self) -> bytes:
        """The bytes of its file."""
        counts = len(self.epochs), len(self.senders) // ROW_BYTES
        data = _HEAD.pack(_MAGIC, self.session, len(self.admissions), self.first, self.ended, *counts)
        data += b"".join(_EPOCH.pack(*row) for row in self.epochs)
        for voter, *numbers in self.admissions:
            data += _ADMISSION.pack(voter.encode("ascii").ljust(SENDER_BYTES), *numbers)
        data += self.senders
        return data + _CRC.pack(crc32c(data))

    @classmethod
    def decode(cls, data: bytes) -> Checkpoint | None:
        """The checkpoint in a file; None when it is damaged."""
        if len(data) < _HEAD.size + _CRC.size:
            return None
        covered = data[: -_CRC.size]
        magic, session, admissions, first, ended, epochs, senders = _HEAD.unpack_from(covered)
        if magic != _MAGIC or _CRC.unpack_from(data, len(covered))[0] != crc32c(covered):
            return None
        middle = _HEAD.size + epochs * _EPOCH.size
        last = middle + admissions * _ADMISSION.size
        if len(covered) != last + senders * ROW_BYTES:
            return None
        rows = tuple(_EPOCH.iter_unpack(covered[_HEAD.size : middle]))
        admitted = tuple(
            (name.decode("ascii", "replace").rstrip(), incarnation, number)
            for name, incarnation, number in _ADMISSION.iter_unpack(covered[middle:last])
        )
        return cls(session, first, ended, rows, covered[last:], admitted)


def load_checkpoint(storage: Storage, session: bytes, first: int) -> Checkpoint | None:
    """The checkpoint for the segment that begins with `first`; None when there is none to rely on.

    Before record 1 there is nothing, so that checkpoint needs no file.
    """
    if first == 1:
        return Checkpoint(session, 1, 0, (), b"")
    try:
        found = Checkpoint.decode(storage.read(segment_name(first, CHECKPOINT_SUFFIX)))
    except FileNotFoundError:
        return None
    return found if found is not None and (found.session, found.first) == (session, first) else None
