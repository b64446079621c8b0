"""A storage in memory, for simulators and tests: it can be full, lose what was not synced, and be damaged.

It keeps two pictures of every file: what the process sees, and what would survive the machine. `killed` is the
storage after the process died, which loses nothing; `lost` is the storage after the machine died: any page
(512 bytes) that was changed since the last sync may have been written back or not, and any name that was made
or removed since the last directory sync may be there or not, but in order.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from attrs import define, field

from rewinder.errors import StorageFull

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from rewinder.storage import Blob

SECTOR_BYTES = 512
"""What a disk writes as a whole."""


@define(eq=False)
class MemoryBlob:
    """A file in memory: `view` is what the process sees, `synced` what survives the machine for sure."""

    name: str
    view: memoryview
    synced: bytes

    def fileno(self) -> int:
        """There is none: -1."""
        return -1

    def data_end(self, _offset: int) -> int:
        """Anything may have been written anywhere."""
        return len(self.view)


@define(eq=False)
class MemoryStorage:
    """Files in memory. `capacity` is how many bytes they may have together; None for no limit.

    `opened` counts how often each blob was opened or created, `syncs` how often something was synced; `on_sync`
    is told of it, and may let virtual time pass.
    """

    boot_id: str = "boot-1"
    capacity: int | None = None
    writable: bool = True
    opened: dict[str, int] = field(factory=dict, init=False)
    syncs: int = field(default=0, init=False)
    fail_sync: bool = field(default=False, init=False)
    on_sync: Callable[[], None] = field(default=lambda: None, init=False)
    _files: dict[str, MemoryBlob] = field(factory=dict, init=False)
    _survives: dict[str, MemoryBlob] = field(factory=dict, init=False)
    _pending: list[tuple[str, MemoryBlob | None]] = field(factory=list, init=False)

    # Storage

    def describe(self, name: str) -> str:
        """A file as errors name it."""
        return f"memory:{name}"

    def names(self) -> list[str]:
        """The names of all files, in no order."""
        return list(self._files)

    def size(self, name: str) -> int:
        """Bytes in a file. Raises FileNotFoundError."""
        return len(self._file(name).view)

    def create(self, name: str, size: int, head: bytes, *, replace: bool = False) -> MemoryBlob:
        """Make a blob of `size` bytes: `head`, then zeros. Raises StorageFull; FileExistsError."""
        if not replace and name in self._files:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        self._reserve(name, size)
        blob = MemoryBlob(name, memoryview(bytearray(size)), bytes(size))
        blob.view[: len(head)] = head
        self._put(name, blob)
        self.opened[name] = self.opened.get(name, 0) + 1
        return blob

    def prepare(self, _size: int, _piece: int) -> bool:
        """Memory is ready."""
        return False

    def open(self, name: str) -> MemoryBlob:
        """The blob that is there. Raises FileNotFoundError."""
        blob = self._file(name)
        self.opened[name] = self.opened.get(name, 0) + 1
        return blob

    def sync(self, blob: Blob) -> None:
        """Make what was written into a blob survive the machine. Raises OSError while `fail_sync` is set."""
        self._sync()
        self._file(blob.name).synced = bytes(blob.view)

    def sync_directory(self) -> None:
        """Make the names survive the machine. Raises OSError while `fail_sync` is set."""
        self._sync()
        self._survives = dict(self._files)
        self._pending.clear()

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        if self._files.pop(name, None) is not None:
            self._pending.append((name, None))

    def discard(self, name: str, _piece: int) -> bool:
        """Remove a file: memory is given back at once."""
        self.remove(name)
        return False

    def read(self, name: str) -> bytes:
        """A small file as a whole. Raises FileNotFoundError."""
        return bytes(self._file(name).view)

    def write_atomically(self, name: str, data: bytes, *, durable: bool) -> None:
        """Replace a small file as a whole. Raises StorageFull."""
        self._reserve(name, len(data))
        self._put(name, MemoryBlob(name, memoryview(bytearray(data)), bytes(data)))
        if durable:
            self.sync_directory()

    def close(self) -> None:
        """Nothing to let go of."""

    def reader(self) -> MemoryStorage:
        """The same files, to be read only."""
        reader = MemoryStorage(self.boot_id, writable=False)
        reader._files = self._files
        return reader

    # what tests do to it

    @property
    def used(self) -> int:
        """Bytes in all files."""
        return sum(len(blob.view) for blob in self._files.values())

    def killed(self) -> MemoryStorage:
        """The storage as the next process finds it after this one was killed: everything is there."""
        return self._next(self.boot_id, {name: bytes(blob.view) for name, blob in self._files.items()})

    def lost(self, random: Random) -> MemoryStorage:
        """The storage as it may be found after the machine was lost."""
        found = dict(self._survives)
        for name, blob in self._pending[: random.randint(0, len(self._pending))]:
            if blob is None:
                found.pop(name, None)
            else:
                found[name] = blob
        number = int(self.boot_id.rpartition("-")[2] or 0) + 1
        return self._next(f"boot-{number}", {name: _torn(blob, random) for name, blob in found.items()})

    def damage(self, name: str, offset: int, mask: int = 1) -> None:
        """Flip the bits of `mask` in one byte, as a bad disk does: beneath everything."""
        blob = self._file(name)
        blob.view[offset] ^= mask
        blob.synced = bytes(blob.view)

    def _next(self, boot_id: str, files: dict[str, bytes]) -> MemoryStorage:
        following = MemoryStorage(boot_id, self.capacity)
        for name, data in files.items():
            following._put(name, MemoryBlob(name, memoryview(bytearray(data)), data))
        following.sync_directory()
        following.syncs = 0
        return following

    def _file(self, name: str) -> MemoryBlob:
        try:
            return self._files[name]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from None

    def _put(self, name: str, blob: MemoryBlob) -> None:
        self._files[name] = blob
        self._pending.append((name, blob))

    def _reserve(self, name: str, size: int) -> None:
        present = len(self._files[name].view) if name in self._files else 0
        if self.capacity is not None and self.used - present + size > self.capacity:
            raise StorageFull(self.describe(name), size)

    def _sync(self) -> None:
        if self.fail_sync:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.syncs += 1
        self.on_sync()


def _torn(blob: MemoryBlob, random: Random) -> bytes:
    """A mixture of what was synced and what was written since, sector by sector."""
    new, old = bytes(blob.view), blob.synced
    if new == old:
        return old
    kept = random.choice((0.0, 0.5, 1.0))  # disks lose nothing or everything more often than a fair mixture
    found = bytearray(old)
    for start in range(0, len(new), SECTOR_BYTES):
        if random.random() < kept:
            found[start : start + SECTOR_BYTES] = new[start : start + SECTOR_BYTES]
    return bytes(found)
