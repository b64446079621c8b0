"""The unsequenced packets that nodes exchange beside the log (docs/PROTOCOL.md).

All integers are big-endian. The first byte is the kind; a name has 6 bytes, padded with spaces on the right.

| kind | direction | fields after the kind |
|---|---|---|
| `E` epochs | who serves the log to a follower | epoch 8; owner's name 6; table |
| `C` commit | primary to follower | epoch 8; commit number 8 |
| `G` go | primary to standby | epoch 8; last number 8 |
| `H` held | follower to primary | epoch 8; highest number held 8 |
| `V` voter | follower to primary | flags 1; incarnation 8 |
| `Q` query | anybody to node | |
| `P` promise | candidate to node | epoch 8; owner's name 6; incarnation 8 |
| `A` answer | to `Q` and `P`; follower to a primary that it refuses | flags 1; promise 8 + 6; incarnation 8; the rest |
| `O` opened | candidate to node, once it is primary | epoch 8 |

The promise of `A` is an epoch and its owner's name; the rest is adopted epoch 8, last number 8, commit number 8,
table. A table says where each epoch of a log begins: count 2; count times (epoch 8, first number 8).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from attrs import frozen

from rewinder._native import SENDER_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

EPOCH_LIMIT = 4000
"""Epochs in one table: an epoch is a takeover, and 4000 rows still fit one packet of 64 KiB."""

VOTES = 1
"""Flag of `V` and `A`: the node votes."""

HEARS = 2
"""Flag of `A`: the node hears a primary."""

_NUMBERS = struct.Struct(">cQQ")
_EPOCHS = struct.Struct(">cQ6sH")
_ROW = struct.Struct(">QQ")
_VOTER = struct.Struct(">cBQ")
_PROMISE = struct.Struct(">cQ6sQ")
_ANSWER = struct.Struct(">cBQ6sQQQQH")
_NUMBERS_PACKET = struct.Struct(">HccQQ")  # with the framing of an unsequenced packet ...
_FRAME = (1 + _NUMBERS.size, b"U")  # ... which is this
_OPENED = struct.Struct(">cQ")

HELD_PACKET_BYTES = _NUMBERS_PACKET.size
"""A `Held` on the wire."""

Table = tuple[tuple[int, int], ...]
"""Rows (epoch, first number), ascending."""


@frozen
class Epochs:
    """Epoch and owner of who serves the log, and where each epoch of that log begins."""

    epoch: int
    owner: str
    table: Table

    def encode(self) -> bytes:
        """The packet's payload."""
        return _EPOCHS.pack(b"E", self.epoch, _field(self.owner), _count(self.table)) + _rows(self.table)


@frozen
class Committed:
    """The primary of `epoch` has committed everything up to `number`."""

    epoch: int
    number: int

    def encode(self) -> bytes:
        """The packet's payload."""
        return _NUMBERS.pack(b"C", self.epoch, self.number)


@frozen
class Go:
    """The primary of `epoch` has stopped at `number`, which is committed, and hands over."""

    epoch: int
    number: int

    def encode(self) -> bytes:
        """The packet's payload."""
        return _NUMBERS.pack(b"G", self.epoch, self.number)


@frozen
class Held:
    """The follower holds everything up to `number` of the log of `epoch`."""

    epoch: int
    number: int

    def encode(self) -> bytes:
        """The packet's payload."""
        return held(self.epoch, self.number)


@frozen
class VoterState:
    """Whether the follower votes, and which incarnation of its name it is."""

    votes: bool
    incarnation: int

    def encode(self) -> bytes:
        """The packet's payload."""
        return _VOTER.pack(b"V", VOTES if self.votes else 0, self.incarnation)


@frozen
class Query:
    """A question: what have you promised, and what do you hold."""

    def encode(self) -> bytes:
        """The packet's payload."""
        return b"Q"


@frozen
class PromiseRequest:
    """Promise `epoch` to `owner`, and accept nothing from a lower one any more.

    `incarnation` is 0, or that of the node asked when the owner has seen that every voter is new: then the node
    begins to vote with this promise.
    """

    epoch: int
    owner: str
    incarnation: int = 0

    def encode(self) -> bytes:
        """The packet's payload."""
        return _PROMISE.pack(b"P", self.epoch, _field(self.owner), self.incarnation)


@frozen
class Answer:
    """What a node has promised and holds. A promise was given when epoch and owner are the ones asked for."""

    epoch: int
    owner: str
    votes: bool
    incarnation: int
    adopted: int
    last: int
    commit: int
    table: Table
    hears: bool = False

    @property
    def rank(self) -> tuple[int, int]:
        """(last epoch, last number): of several logs, the one that ranks highest holds all that is committed."""
        return (max(self.adopted, self.table[-1][0] if self.table else 0), self.last)

    def encode(self) -> bytes:
        """The packet's payload."""
        flags = (VOTES if self.votes else 0) | (HEARS if self.hears else 0)
        numbers = self.incarnation, self.adopted, self.last, self.commit, _count(self.table)
        return _ANSWER.pack(b"A", flags, self.epoch, _field(self.owner), *numbers) + _rows(self.table)


@frozen
class Opened:
    """The candidate that was promised `epoch` is its primary now, and may be followed."""

    epoch: int

    def encode(self) -> bytes:
        """The packet's payload."""
        return _OPENED.pack(b"O", self.epoch)


Packet = Epochs | Committed | Go | Held | VoterState | Query | PromiseRequest | Answer | Opened


def commit_packet(epoch: int, number: int) -> bytes:
    """`Committed`, framed: it is sent every turn, and needs no object."""
    return _NUMBERS_PACKET.pack(*_FRAME, b"C", epoch, number)


def held(epoch: int, number: int) -> bytes:
    """The payload of `Held`, likewise without an object."""
    return _NUMBERS.pack(b"H", epoch, number)


def read_held(view: memoryview, start: int) -> tuple[int, int] | None:
    """(epoch, number) of the `HELD_PACKET_BYTES` at `start` of a connection's bytes; None when they are no `Held`."""
    length, packet, kind, epoch, number = _NUMBERS_PACKET.unpack_from(view, start)
    return (epoch, number) if kind == b"H" and (length, packet) == _FRAME else None


def decode(payload: bytes) -> Packet | None:
    """The message in a payload; None when it is not one of ours (wrong length, unknown kind)."""
    decoder = _DECODERS.get(payload[:1])
    if decoder is None:
        return None
    try:
        return decoder(payload)
    except (struct.error, UnicodeDecodeError):  # of another length, or with a name that is none
        return None


def shared_last(ours: list[tuple[int, int]], our_last: int, theirs: Table, their_last: int) -> int:
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


def _field(name: str) -> bytes:
    return name.encode("ascii").ljust(SENDER_BYTES)


def _name(name: bytes) -> str:
    return name.decode("ascii").rstrip()


def _count(table: Table) -> int:
    return min(len(table), EPOCH_LIMIT)


def _rows(table: Table) -> bytes:
    return b"".join(_ROW.pack(*row) for row in table[-EPOCH_LIMIT:])


def _table(payload: bytes, offset: int, count: int) -> Table:
    """The rows behind the fields. Raises struct.error when there are more or fewer than said."""
    if count > EPOCH_LIMIT or len(payload) != offset + count * _ROW.size:
        raise struct.error(f"{count} rows do not take {len(payload) - offset} bytes")
    return tuple(_ROW.iter_unpack(payload[offset:]))


def _decode_epochs(payload: bytes) -> Packet:
    _, epoch, owner, count = _EPOCHS.unpack_from(payload)
    return Epochs(epoch, _name(owner), _table(payload, _EPOCHS.size, count))


def _decode_answer(payload: bytes) -> Packet:
    _, flags, epoch, owner, incarnation, adopted, last, commit, count = _ANSWER.unpack_from(payload)
    table = _table(payload, _ANSWER.size, count)
    votes, hears = bool(flags & VOTES), bool(flags & HEARS)
    return Answer(epoch, _name(owner), votes, incarnation, adopted, last, commit, table, hears)


def _decode_promise(payload: bytes) -> Packet:
    _, epoch, owner, incarnation = _PROMISE.unpack(payload)
    return PromiseRequest(epoch, _name(owner), incarnation)


def _decode_voter(payload: bytes) -> Packet:
    _, flags, incarnation = _VOTER.unpack(payload)
    return VoterState(bool(flags & VOTES), incarnation)


_DECODERS: dict[bytes, Callable[[bytes], Packet | None]] = {
    b"A": _decode_answer,
    b"C": lambda payload: Committed(*_NUMBERS.unpack(payload)[1:]),
    b"E": _decode_epochs,
    b"G": lambda payload: Go(*_NUMBERS.unpack(payload)[1:]),
    b"H": lambda payload: Held(*_NUMBERS.unpack(payload)[1:]),
    b"O": lambda payload: Opened(*_OPENED.unpack(payload)[1:]),
    b"P": _decode_promise,
    b"Q": lambda payload: Query() if payload == b"Q" else None,
    b"V": _decode_voter,
}
