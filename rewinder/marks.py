"""The marks of a log: how far it is committed, and how far it is durable. One small mapped file, `marks`.

A mark is stored with two stores of eight bytes each, so that it survives a killed process at any moment:

| offset | bytes | field |
|---|---|---|
| 0 | 8 | `SEQMARK1` |
| 8 | 10 | session |
| 18 | 6 | zero |
| 24 | 64 | id of the boot of the machine under which the log was last opened, ASCII, padded with zeros |
| 88 | 4 | zero |
| 92 | 4 | crc32c of the bytes before, big-endian |
| 128 | 8 | commit mark |
| 136 | 8 | its complement |
| 192 | 8 | sync mark |
| 200 | 8 | its complement |

The marks are in the byte order of the machine: the file never leaves it. A mark and its complement that do not
agree tell of a process killed between the two stores, or of damage; the lower of the two is taken, which may
say less than was true but never more. A file that is missing or damaged is made anew with both marks at zero.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from rewinder._native import crc32c

if TYPE_CHECKING:
    from rewinder.storage import Blob, Storage

MARKS_FILE = "marks"
MARKS_BYTES = 4096
"""One page."""

_HEAD = struct.Struct(">8s10s6x64s4x")
_CRC = struct.Struct(">I")
_MAGIC = b"SEQMARK1"
_COMMIT = 128 // 8  # in words
_SYNCED = 192 // 8
_WORD = (1 << 64) - 1


class Marks:
    """The commit mark and the sync mark of a log. `rebuilt` is true when there were none to take up."""

    def __init__(self, storage: Storage, session: bytes) -> None:
        """Take up the marks of a log, or begin with zero. Raises StorageFull."""
        self._storage = storage
        self._session = session
        self.boot_id = ""
        self.rebuilt = False
        blob = self._load()
        if blob is None:
            self.rebuilt = True
            self.boot_id = storage.boot_id
            if storage.writable:
                blob = storage.create(MARKS_FILE, MARKS_BYTES, self._head(), replace=True)
        self._blob = blob
        self._words = memoryview(bytearray(MARKS_BYTES)).cast("Q") if blob is None else blob.view.cast("Q")
        if self.rebuilt:
            self.commit = self.synced = 0  # with their complements
            self.sync()
        self._commit = self._read(_COMMIT)
        self._synced = self._read(_SYNCED)

    @property
    def commit(self) -> int:
        """Number of the last record known to be committed; 0 for none."""
        return self._commit

    @commit.setter
    def commit(self, number: int) -> None:
        self._commit = number
        self._words[_COMMIT] = number
        self._words[_COMMIT + 1] = number ^ _WORD

    @property
    def synced(self) -> int:
        """Number of the last record known to survive the machine; 0 for none."""
        return self._synced

    @synced.setter
    def synced(self, number: int) -> None:
        self._synced = number
        self._words[_SYNCED] = number
        self._words[_SYNCED + 1] = number ^ _WORD

    @property
    def lost_machine(self) -> bool:
        """True when the machine has been started anew since the marks were last taken up."""
        present = self._storage.boot_id
        return bool(present) and bool(self.boot_id) and present != self.boot_id

    def take_over(self) -> None:
        """The log is in order under the present boot of the machine: remember that."""
        if self._storage.writable and self._blob is not None and self.boot_id != self._storage.boot_id:
            self.boot_id = self._storage.boot_id
            head = self._head()
            self._blob.view[: len(head)] = head

    def sync(self) -> None:
        """Make the marks survive the machine. Raises OSError."""
        if self._blob is not None:
            self._storage.sync(self._blob)

    def _head(self) -> bytes:
        head = _HEAD.pack(_MAGIC, self._session, self.boot_id.encode("ascii", "replace"))
        return head + _CRC.pack(crc32c(head))

    def _load(self) -> Blob | None:
        found = _find(self._storage, self._session)
        if found is None:
            return None
        blob, self.boot_id = found
        return blob

    def _read(self, word: int) -> int:
        return min(self._words[word], self._words[word + 1] ^ _WORD)


def last_boot(storage: Storage, session: bytes) -> str | None:
    """The boot of the machine under which the log was last opened; None when its marks cannot be relied on."""
    found = _find(storage, session)
    return None if found is None else found[1]


def _find(storage: Storage, session: bytes) -> tuple[Blob, str] | None:
    """The marks that are there, and the boot in them; None when there are none to take up."""
    try:
        blob = storage.open(MARKS_FILE)
    except FileNotFoundError:
        return None
    if len(blob.view) != MARKS_BYTES:
        return None
    magic, found, boot = _HEAD.unpack_from(blob.view)
    (crc,) = _CRC.unpack_from(blob.view, _HEAD.size)
    if (magic, found) != (_MAGIC, session) or crc != crc32c(blob.view[: _HEAD.size]):
        return None
    return blob, boot.rstrip(b"\0").decode("ascii", "replace")
