"""The promise of a node: the highest epoch it has promised, to whom, and whether it may vote at all.

It is one small file beside the log, `promise`, replaced as a whole and made durable before anything follows
from it, whatever the durability of the stream: a voter that forgets a promise breaks the order.

| offset | bytes | field |
|---|---|---|
| 0 | 8 | `SEQPROM1` |
| 8 | 10 | session |
| 18 | 1 | 1 when the node votes, else 0 |
| 19 | 6 | owner of the promised epoch, space-padded |
| 25 | 7 | zero |
| 32 | 8 | promised epoch, 0 for none |
| 40 | 8 | incarnation |
| 48 | 8 | adopted epoch |
| 56 | 4 | crc32c of the bytes before |

The incarnation is drawn at random when a node begins its copy of the session, or can no longer stand by what it
held: a voter that lost its disk is another one, however alike its name.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from attrs import frozen

from rewinder._native import SENDER_BYTES, crc32c

if TYPE_CHECKING:
    from rewinder.storage import Storage

PROMISE_FILE = "promise"

_FIELDS = struct.Struct(">8s10sB6s7xQQQ")
_CRC = struct.Struct(">I")
_MAGIC = b"SEQPROM1"


@frozen
class Promise:
    """What a node has promised.

    It accepts nothing from a primary of an epoch below `epoch`, and of that epoch only from `owner`. `votes` is
    false for a node that is new or has lost what it held. `adopted` is the epoch under whose primary the end of
    the session was found to be in place: nothing may follow that record, so no epoch start can say it.
    """

    incarnation: int
    epoch: int = 0
    owner: str = ""
    votes: bool = False
    adopted: int = 0

    def allows(self, epoch: int, owner: str) -> bool:
        """Whether the primary `owner` of `epoch` may be followed, or the same promised to it."""
        return epoch > self.epoch or (epoch == self.epoch and owner == self.owner)

    def encode(self, session: bytes) -> bytes:
        """The bytes of the file."""
        owner = self.owner.encode("ascii").ljust(SENDER_BYTES)
        data = _FIELDS.pack(_MAGIC, session, self.votes, owner, self.epoch, self.incarnation, self.adopted)
        return data + _CRC.pack(crc32c(data))

    def save(self, storage: Storage, session: bytes) -> None:
        """Make it survive the machine. Raises StorageFull, OSError."""
        storage.write_atomically(PROMISE_FILE, self.encode(session), durable=True)


def load_promise(storage: Storage, session: bytes) -> Promise | None:
    """The promise in `storage`; None when there is none, or none that can be trusted."""
    try:
        data = storage.read(PROMISE_FILE)
    except FileNotFoundError:
        return None
    if len(data) != _FIELDS.size + _CRC.size:
        return None
    covered = data[: _FIELDS.size]
    magic, found, votes, owner, epoch, incarnation, adopted = _FIELDS.unpack(covered)
    if (magic, found) != (_MAGIC, session) or _CRC.unpack_from(data, _FIELDS.size)[0] != crc32c(covered):
        return None
    return Promise(incarnation, epoch, owner.decode("ascii", "replace").rstrip(), bool(votes), adopted)
