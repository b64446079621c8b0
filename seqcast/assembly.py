"""From records to messages.

Runs of whole messages go through untouched, fragments are joined, and the records that are not messages (epoch
starts, the end of the session) are taken note of.

What is in hand between two records can be packed (`Assembly.state`) and taken up again (`Assembly.restore`), so
that a checkpoint between two fragments of a long message loses nothing of it:

| offset | bytes | field |
|---|---|---|
| 0 | 8 | `SEQASSEM` |
| 8 | 4 | version, 1 |
| 12 | 4 | messages in hand |
| 16 | 8 | epoch |
| 24 | 8 | number of the end-of-session record, 0 if there was none |
| 32 | 20 each, and its bytes | sender (6), zero (2), sequence of the next fragment (8), bytes so far (4) |
| | 4 | crc32c of the bytes before |

All integers are big-endian. The message that was continued last comes last.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from native.messages import MessageTable
from rewinder._native import crc32c
from rewinder.record import STAMP_BYTES, Flags, Kind
from seqcast._native import DeliveryKernel, Stamps
from seqcast.batch import Batch
from seqcast.errors import StateDamaged

if TYPE_CHECKING:
    from collections.abc import Iterable

    from native.messages import Messages

MESSAGE_LIMIT_BYTES = 16 << 20
"""Largest message, joined. A sender that goes on past it is broken; its fragments are dropped and counted."""

PARTIAL_LIMIT = 1024
"""Most senders with a message in hand: a bound on what senders that died within a message leave behind."""

HELD_LIMIT_BYTES = 256 << 20
"""Most bytes of fragments in hand: sixteen of the largest messages at once."""

_HEAD = struct.Struct(">8sIIQQ")
_PARTIAL = struct.Struct(">6s2xQI")
_CRC = struct.Struct(">I")
_MAGIC = b"SEQASSEM"
_VERSION = 1


@define(eq=False)
class Partial:
    """The fragments of one sender's message so far."""

    pieces: bytearray
    next_sequence: int


@frozen(eq=False)
class Joined:
    """The last message that was joined, as it was before its last fragment: `pieces` up to `cut`."""

    number: int
    sender: bytes
    sequence: int
    pieces: bytearray
    cut: int


@define(eq=False)
class Assembly:
    """Opens batches of records for the app; `rows` is the largest batch it gives.

    A message in hand is dropped only when it can no longer be completed, when it is too long, or when one of
    the limits is hit: then the message that was continued longest ago goes first, which is that of a dead
    sender if there is one. What is dropped follows from the records alone. So all who began with the same
    record, or with a checkpoint of somebody who had, drop the same; at a limit somebody who began later may get
    a message that they have dropped.
    """

    rows: int
    ended: int | None = field(default=None, init=False)  # number of the end-of-session record
    epoch: int = field(default=0, init=False)
    joined: int = field(default=0, init=False)
    broken: int = field(default=0, init=False)  # messages whose sender went on to the next within them
    overlong: int = field(default=0, init=False)  # messages above MESSAGE_LIMIT_BYTES
    evicted: int = field(default=0, init=False)  # messages that went because a limit was hit
    stray: int = field(default=0, init=False)  # fragments of a message whose beginning is not in hand
    held_bytes: int = field(default=0, init=False)  # bytes of fragments in hand: a gauge
    _kernel: DeliveryKernel = field(init=False)
    _partials: dict[bytes, Partial] = field(factory=dict, init=False)  # the one continued last is last
    _joined: Joined | None = field(default=None, init=False)  # by the last call of open
    _single: MessageTable = field(factory=lambda: MessageTable(1), init=False)

    def __attrs_post_init__(self) -> None:
        self._kernel = DeliveryKernel(self.rows)

    @property
    def held(self) -> int:
        """Messages in hand: a gauge."""
        return len(self._partials)

    def open(self, records: Messages, limit: int) -> tuple[Batch | None, int]:
        """Messages from the front of `records`, at most `limit`, which is at least 1.

        Returns (batch, how many records it took); the batch is None when the records at the front complete no
        message. It ends with the last of the records that were taken.
        """
        if limit < 1:
            raise ValueError(f"a batch of at most {limit} messages would never come to an end")
        self._joined = None
        taken = 0
        while taken < len(records):
            payloads, stamps = self._kernel.run(records, taken, limit)
            if len(payloads):
                if self._partials:
                    self._drop_overtaken(stamps.senders)
                return Batch(payloads, stamps), taken + len(payloads)
            joined = self._special(records.number(taken), records[taken])
            taken += 1
            if joined is not None:
                return joined, taken
        return None, taken

    def state(self, before: int | None = None) -> bytes:
        """What is in hand, for `restore`.

        With `before`, the number of the first message of the batch that `open` gave last, it is what was in hand
        before that message was complete; nothing may have been opened since.
        """
        partials = dict(self._partials)
        joined = self._joined
        if joined is not None and joined.number == before:
            partials[joined.sender] = Partial(joined.pieces[: joined.cut], joined.sequence)
        parts: list[bytes | bytearray] = [
            _HEAD.pack(_MAGIC, _VERSION, len(partials), self.epoch, self.ended or 0)
        ]
        for sender, partial in partials.items():
            parts += (_PARTIAL.pack(sender, partial.next_sequence, len(partial.pieces)), partial.pieces)
        packed = bytearray().join(parts)
        packed += _CRC.pack(crc32c(packed))
        return bytes(packed)

    def restore(self, state: bytes) -> None:
        """Go on with what `state` gave, instead of what is in hand now; the counters stay.

        Raises StateDamaged, and changes nothing, when these bytes cannot be relied on.
        """
        epoch, ended, partials = _unpack(state)
        self.epoch, self.ended, self._partials = epoch, ended or None, partials
        self.held_bytes = sum(len(partial.pieces) for partial in partials.values())
        self._joined = None

    def _special(self, number: int, record: memoryview) -> Batch | None:
        """A record that is not a whole message."""
        kind, flags, sender, sequence = self._kernel.stopped_at
        if kind == Kind.END:
            self.ended = number
        elif kind == Kind.EPOCH:
            self.epoch = sequence
        elif kind == Kind.DATA:
            return self._fragment(number, record, flags, sender, sequence)
        return None

    def _fragment(
        self, number: int, record: memoryview, flags: int, sender: bytes, sequence: int
    ) -> Batch | None:
        partial = self._partials.pop(sender, None)
        if partial is not None and (flags & Flags.FIRST or partial.next_sequence != sequence):
            self.broken += 1
            self.held_bytes -= len(partial.pieces)
            partial = None
        if partial is None:
            if not flags & Flags.FIRST:
                self.stray += 1  # it belongs to those who saw its beginning
                return None
            partial = Partial(bytearray(), sequence)
        pieces, cut = partial.pieces, len(partial.pieces)
        payload = record[:-STAMP_BYTES]
        if cut + len(payload) > MESSAGE_LIMIT_BYTES:
            self.overlong += 1
            self.held_bytes -= cut
            return None
        pieces += payload
        if flags & Flags.LAST:
            self.joined += 1
            self.held_bytes -= cut
            self._joined = Joined(number, sender, sequence, pieces, cut)
            view = memoryview(pieces)
            self._single.set(0, number, 0, len(view))
            return Batch(self._single.view(view, 1), Stamps.of(record))
        partial.next_sequence = sequence + 1
        self.held_bytes += len(payload)
        self._partials[sender] = partial
        while self.held_bytes > HELD_LIMIT_BYTES or len(self._partials) > PARTIAL_LIMIT:
            self._drop(next(iter(self._partials)))
            self.evicted += 1
        return None

    def _drop_overtaken(self, senders: Iterable[bytes]) -> None:
        """A sender who has gone on to a whole message will not complete the one before."""
        for sender in self._partials.keys() & set(senders):
            self._drop(sender)
            self.broken += 1

    def _drop(self, sender: bytes) -> None:
        self.held_bytes -= len(self._partials.pop(sender).pieces)


def _unpack(state: bytes) -> tuple[int, int, dict[bytes, Partial]]:
    """(epoch, end, messages in hand) of an assembly's state. Raises StateDamaged."""
    if len(state) < _HEAD.size + _CRC.size or state[:8] != _MAGIC:
        raise StateDamaged("these bytes are not the state of an assembly")
    _magic, version, count, epoch, ended = _HEAD.unpack_from(state)
    if version != _VERSION:
        raise StateDamaged(f"the assembly's state has version {version}, and this program reads {_VERSION}")
    end = len(state) - _CRC.size
    view = memoryview(state)
    if _CRC.unpack_from(state, end)[0] != crc32c(view[:end]):
        raise StateDamaged("the checksum of the assembly's state is wrong")
    partials: dict[bytes, Partial] = {}
    offset, held_bytes = _HEAD.size, 0
    for _ in range(count):
        if offset + _PARTIAL.size > end:
            break
        sender, sequence, length = _PARTIAL.unpack_from(state, offset)
        offset += _PARTIAL.size
        if offset + length > end or length > MESSAGE_LIMIT_BYTES:
            break
        partials[sender] = Partial(bytearray(view[offset : offset + length]), sequence)
        offset += length
        held_bytes += length
    if (offset, len(partials)) != (end, count):
        raise StateDamaged("the assembly's state is not as long as it says")
    if count > PARTIAL_LIMIT or held_bytes > HELD_LIMIT_BYTES:
        raise StateDamaged(
            f"the assembly's state has {count} messages of {held_bytes} bytes in hand, more than allowed"
        )
    return epoch, ended, partials
