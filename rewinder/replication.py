"""The unsequenced packets that a primary and its followers exchange beside the log (docs/PROTOCOL.md).

All integers are big-endian. The first byte is the kind.

| kind | direction | fields after the kind |
|---|---|---|
| `E` epochs | primary to follower | epoch 8; count 2; count times (epoch 8, first number 8) |
| `C` commit | primary to follower | epoch 8; commit number 8 |
| `H` held | follower to primary | epoch 8; highest number held 8 |
"""

from __future__ import annotations

import struct

from attrs import frozen

EPOCH_LIMIT = 4000
"""Epochs in one table: an epoch is a takeover, and 4000 rows still fit one packet of 64 KiB."""

_NUMBERS = struct.Struct(">cQQ")
_EPOCHS = struct.Struct(">cQH")
_ROW = struct.Struct(">QQ")


@frozen
class Epochs:
    """The epoch of the primary, and where each epoch of its log begins: rows (epoch, first number)."""

    epoch: int
    table: tuple[tuple[int, int], ...]

    def encode(self) -> bytes:
        """The packet's payload."""
        rows = b"".join(_ROW.pack(*row) for row in self.table)
        return _EPOCHS.pack(b"E", self.epoch, len(self.table)) + rows


@frozen
class Committed:
    """The primary of `epoch` has committed everything up to `number`."""

    epoch: int
    number: int

    def encode(self) -> bytes:
        """The packet's payload."""
        return _NUMBERS.pack(b"C", self.epoch, self.number)


@frozen
class Held:
    """The follower holds everything up to `number` of the log of `epoch`."""

    epoch: int
    number: int

    def encode(self) -> bytes:
        """The packet's payload."""
        return _NUMBERS.pack(b"H", self.epoch, self.number)


def decode(payload: bytes) -> Epochs | Committed | Held | None:
    """The message in a payload; None when it is not one of ours (wrong length, unknown kind)."""
    kind = payload[:1]
    if kind in (b"C", b"H") and len(payload) == _NUMBERS.size:
        _, epoch, number = _NUMBERS.unpack(payload)
        return Committed(epoch, number) if kind == b"C" else Held(epoch, number)
    if kind == b"E" and len(payload) >= _EPOCHS.size:
        _, epoch, count = _EPOCHS.unpack_from(payload)
        if count <= EPOCH_LIMIT and len(payload) == _EPOCHS.size + count * _ROW.size:
            return Epochs(epoch, tuple(_ROW.iter_unpack(payload[_EPOCHS.size :])))
    return None


def shared_last(
    ours: list[tuple[int, int]], our_last: int, theirs: tuple[tuple[int, int], ...], their_last: int
) -> int:
    """The number of the last record that two logs share, from their epoch tables.

    Two logs agree on an epoch exactly when both have it with the same first number; inside it they agree as
    far as both go. Returns 0 when they share nothing.
    """
    mine = dict(ours)
    shared = 0
    for position, (epoch, first) in enumerate(theirs):
        if mine.get(epoch) != first:
            continue
        their_end = theirs[position + 1][1] - 1 if position + 1 < len(theirs) else their_last
        later = [start for other, start in ours if other > epoch]
        our_end = min(later) - 1 if later else our_last
        shared = max(shared, min(their_end, our_end))
    return shared
