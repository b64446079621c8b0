"""The seam between the log and the disk.

The log knows blobs by name: a blob has a fixed size and is mapped into memory, where C appends to it. Small
files are written as a whole. `FileStorage` keeps them in a directory; `rewinder.memory` has the storage of
simulators and tests, which can lose what was not synced.

The promises that the log relies on:

- a blob that was created is there whole, with its head, or not at all, and all of its room is reserved;
- what is written into a blob survives the process at once, and the machine once `sync` has returned;
- a name that was created or removed survives the machine once `sync_directory` has returned.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rewinder.errors import LogLocked, LogMissing, StorageFull

if TYPE_CHECKING:
    from collections.abc import Iterator

BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")

TEMPORARY_SUFFIX = ".new"
"""Of files that are being made; what a killed process left behind is removed at the next opening."""

OWNER_FILE = "owner"
"""Holds the process id of the one who has the directory, for the error that the second one gets."""

SPARE_FILE = "spare" + TEMPORARY_SUFFIX
"""The blob that is made ready before it is asked for."""

SPARE_ROOM = 4
"""So many blobs must fit the disk for one to be made ready: what is needed comes first."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Blob(Protocol):
    """A file of fixed size, mapped into memory for as long as somebody refers to the blob or to its view."""

    @property
    def name(self) -> str:
        """Its name in the storage."""

    @property
    def view(self) -> memoryview:
        """Its bytes; writable unless the storage is not."""

    def fileno(self) -> int:
        """A descriptor for sendfile; OSError where the storage has none."""

    def data_end(self, offset: int) -> int:
        """An offset, at least `offset`, from which on nothing was ever written: there is nothing but zeros.

        Saves looking at all that was reserved and never used.
        """


class Storage(Protocol):
    """Where a log keeps its files."""

    @property
    def boot_id(self) -> str:
        """Changes when the machine was lost, and with it what had not been synced. Empty when not known."""

    @property
    def writable(self) -> bool:
        """False for a storage that only reads, beside a process that writes."""

    def describe(self, name: str) -> str:
        """A file as errors name it."""

    def names(self) -> list[str]:
        """The names of all files, in no order."""

    def size(self, name: str) -> int:
        """Bytes in a file. Raises FileNotFoundError."""

    def create(self, name: str, size: int, head: bytes, *, replace: bool = False) -> Blob:
        """Make a blob of `size` bytes: `head`, then zeros.

        Raises StorageFull; FileExistsError when the name is taken, unless `replace` is set: then the new file
        takes the place of the old one at once.
        """

    def prepare(self, size: int, piece: int) -> bool:
        """Make the next blob of `size` bytes ready before it is asked for, `piece` bytes of it; False when it is."""

    def open(self, name: str) -> Blob:
        """Map what is there. Raises FileNotFoundError."""

    def sync(self, blob: Blob) -> None:
        """Make what was written into a blob survive the machine. Raises OSError."""

    def sync_directory(self) -> None:
        """Make the names survive the machine. Raises OSError."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

    def discard(self, name: str, piece: int) -> bool:
        """Remove a file, giving back `piece` bytes of it in each call; True while there is more to give back.

        The name is gone after the first call. Whoever has the file open reads it on as it was. Raises OSError.
        """

    def read(self, name: str) -> bytes:
        """A small file as a whole. Raises FileNotFoundError."""

    def write_atomically(self, name: str, data: bytes, *, durable: bool) -> None:
        """Replace a small file as a whole: the old one is there, or the new one. Raises StorageFull.

        With `durable` the new one survives the machine when this returns.
        """

    def close(self) -> None:
        """Let others have the storage."""


class FileBlob:
    """A mapped file."""

    __slots__ = ("__weakref__", "_descriptor", "name", "view")

    def __init__(self, name: str, descriptor: int, *, writable: bool) -> None:
        self.name = name
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)
        if os.fstat(descriptor).st_size == 0:
            self.view = memoryview(b"")  # an empty file cannot be mapped
            return
        protection = mmap.PROT_READ | mmap.PROT_WRITE if writable else mmap.PROT_READ
        self.view = memoryview(mmap.mmap(descriptor, 0, mmap.MAP_SHARED, protection))

    def fileno(self) -> int:
        """The descriptor of the file."""
        return self._descriptor

    def data_end(self, offset: int) -> int:
        """An offset, at least `offset`, from which on nothing was ever written."""
        end = offset
        with contextlib.suppress(OSError):  # ENXIO: there is no more
            while end < len(self.view):
                end = os.lseek(self._descriptor, end, os.SEEK_DATA)
                end = os.lseek(self._descriptor, end, os.SEEK_HOLE)
        return end


class FileStorage:
    """A directory. One process at a time may have it for writing; readers need not ask.

    Raises LogLocked, naming the directory and the other process, when somebody has it; OSError when it cannot
    be used at all; LogMissing when it is to be read and is not there.
    """

    def __init__(self, directory: Path, *, writable: bool = True, boot_id: str | None = None) -> None:
        self.directory = directory
        self.writable = writable
        self._spare: FileBlob | None = None
        self._prepared = 0  # bytes of the spare whose pages are there
        self.boot_id = machine_boot_id() if boot_id is None else boot_id
        if writable:
            directory.mkdir(parents=True, exist_ok=True)
        try:
            self._descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            raise LogMissing(f"{directory}: there is no such directory") from None
        self._release = weakref.finalize(self, os.close, self._descriptor)
        if writable:
            self._lock(fcntl.LOCK_EX)
            # A help for people, no more: a disk that is too full for it is no reason not to go on.
            with contextlib.suppress(OSError, StorageFull):
                self.write_atomically(OWNER_FILE, f"{os.getpid()}\n".encode("ascii"), durable=False)
            for name in self.names():
                if name.endswith(TEMPORARY_SUFFIX):
                    self.remove(name)

    def describe(self, name: str) -> str:
        """The path of a file."""
        return str(self.directory / name)

    def names(self) -> list[str]:
        """The names of all files, in no order."""
        return os.listdir(self._descriptor)  # noqa: PTH208  (a Path would look the directory up anew)

    def size(self, name: str) -> int:
        """Bytes in a file. Raises FileNotFoundError."""
        return os.stat(name, dir_fd=self._descriptor).st_size

    def create(self, name: str, size: int, head: bytes, *, replace: bool = False) -> FileBlob:
        """Make a blob of `size` bytes: `head`, then zeros. Raises StorageFull; FileExistsError."""
        if not replace and os.access(name, os.F_OK, dir_fd=self._descriptor):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.describe(name))
        if self._spare is not None and len(self._spare.view) == size:
            return self._take_spare(name, head)
        temporary = name + TEMPORARY_SUFFIX
        descriptor = self._reserve(name, temporary, size, head)
        try:
            os.rename(temporary, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return FileBlob(name, descriptor, writable=True)

    def prepare(self, size: int, piece: int) -> bool:
        """Make the next blob of `size` bytes ready before it is asked for, `piece` bytes of it; False when it is.

        The first touch of a page costs more than all that is done with it later; writing zeros is the cheapest way
        to do it (native/src/segment.h). Where the disk is short nothing is made ready, and `create` does without.
        """
        if self._spare is None:
            room = os.statvfs(self.directory)
            if room.f_bavail * room.f_frsize < SPARE_ROOM * size:
                return False
            try:
                descriptor = self._reserve(SPARE_FILE, SPARE_FILE, size, b"")
            except (OSError, StorageFull):
                return False
            self._spare, self._prepared = FileBlob(SPARE_FILE, descriptor, writable=True), 0
            return True
        if self._prepared >= size:
            return False
        try:
            written = os.pwrite(
                self._spare.fileno(), bytes(min(piece, size - self._prepared)), self._prepared
            )
        except OSError:
            self._prepared = size
            return False
        self._prepared += written
        return self._prepared < size

    def _reserve(self, name: str, temporary: str, size: int, head: bytes) -> int:
        """A descriptor of a file with all of its room, not yet under its name. Raises StorageFull, OSError."""
        descriptor = self._open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            with self._room(name, size, temporary):
                os.posix_fallocate(descriptor, 0, size)
                os.pwrite(descriptor, head, 0)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _take_spare(self, name: str, head: bytes) -> FileBlob:
        """The blob that was made ready, under its name."""
        spare, self._spare = self._spare, None
        assert spare is not None
        spare.view[: len(head)] = head
        os.rename(SPARE_FILE, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        spare.name = name
        return spare

    def open(self, name: str) -> FileBlob:
        """Map what is there. Raises FileNotFoundError."""
        mode = os.O_RDWR if self.writable else os.O_RDONLY
        return FileBlob(name, self._open(name, mode), writable=self.writable)

    def sync(self, blob: Blob) -> None:
        """Make what was written into a blob survive the machine. Raises OSError."""
        os.fdatasync(blob.fileno())  # writes back what was changed through the mapping, too

    def sync_directory(self) -> None:
        """Make the names survive the machine. Raises OSError."""
        os.fsync(self._descriptor)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._descriptor)

    def discard(self, name: str, piece: int) -> bool:
        """Remove a file, giving back `piece` bytes of it in each call; True while there is more to give back.

        Giving back all at once takes the file system some milliseconds, during which this process can do nothing.
        """
        doomed = name + TEMPORARY_SUFFIX  # removed at the next opening if we die before
        with contextlib.suppress(FileNotFoundError):
            os.rename(name, doomed, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        descriptor = self._open(doomed, os.O_RDWR)
        try:
            left = os.fstat(descriptor).st_size - piece
            if left > 0 and _has_alone(descriptor):
                os.ftruncate(descriptor, left)
                return True
        finally:
            os.close(descriptor)
        self.remove(doomed)
        return False

    def read(self, name: str) -> bytes:
        """A small file as a whole. Raises FileNotFoundError."""
        with os.fdopen(self._open(name, os.O_RDONLY), "rb") as stream:
            return stream.read()

    def write_atomically(self, name: str, data: bytes, *, durable: bool) -> None:
        """Replace a small file as a whole. Raises StorageFull."""
        temporary = name + TEMPORARY_SUFFIX
        with self._room(name, len(data), temporary):
            descriptor = self._open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                if durable:
                    os.fsync(descriptor)
            os.rename(temporary, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        if durable:
            self.sync_directory()

    def keep_writers_out(self) -> None:
        """Nobody gets the directory for writing while this is open. Raises LogLocked when somebody has it."""
        self._lock(fcntl.LOCK_SH)

    def close(self) -> None:
        """Let others have the directory."""
        if self._spare is not None:
            self._spare = None
            self.remove(SPARE_FILE)
        self._release()

    def _open(self, name: str, mode: int) -> int:
        return os.open(name, mode | os.O_CLOEXEC, 0o644, dir_fd=self._descriptor)

    @contextlib.contextmanager
    def _room(self, name: str, wanted: int, temporary: str) -> Iterator[None]:
        """Turns a full disk into StorageFull, and leaves no half-made file."""
        try:
            yield
        except OSError as error:
            self.remove(temporary)
            if error.errno in _NO_ROOM:
                raise StorageFull(self.describe(name), wanted, os.strerror(error.errno)) from None
            raise

    def _lock(self, kind: int) -> None:
        try:
            fcntl.flock(self._descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = ""
            with contextlib.suppress(OSError):
                owner = self.read(OWNER_FILE).decode("ascii", "replace").strip()
            self._release()
            who = f"process {owner}" if owner else "another process"
            raise LogLocked(f"{self.directory}: {who} has this log open") from None


def _has_alone(descriptor: int) -> bool:
    """Whether nobody else has this file open or mapped. The kernel grants a lease for writing only then."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:
        return False
    return True


def machine_boot_id() -> str:
    """The id of this boot of this machine; empty where the system does not tell."""
    try:
        return BOOT_ID_FILE.read_text(encoding="ascii").strip()
    except OSError:
        return ""
