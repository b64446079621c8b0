"""Checkpoints: how far an app is in the stream, and its state there, in one file that is whole or the one before.

    checkpoint = Checkpoint("run/book.checkpoint")
    checkpoint.save(session="TODAY", position=1_001, assembly=receiver.assembly.state(), snapshot=b"...")
    saved = checkpoint.load()        # None when there is no file

All integers are big-endian:

| offset | bytes | field |
|---|---|---|
| 0 | 8 | `SEQSAVED` |
| 8 | 4 | version, 1 |
| 12 | 10 | session |
| 22 | 2 | zero |
| 24 | 8 | position: number of the next record |
| 32 | 8 | bytes of the assembly's state |
| 40 | 8 | bytes of the snapshot |
| 48 | | the assembly's state, then the snapshot |
| | 4 | crc32c of the bytes before |

A save writes `PATH.new`, makes it durable, and renames it: whatever stops it, the file at PATH is the old one or
the new one. A `PATH.new` that was left behind is written over by the next save. One process at a time saves to
one path.
"""

from __future__ import annotations

import contextlib
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from moldudp.packets import session_field
from rewinder._native import crc32c
from seqcast.errors import CheckpointDamaged, CheckpointFailed, WrongSession

if TYPE_CHECKING:
    from collections.abc import Iterator

TEMPORARY_SUFFIX = ".new"
"""Of the file that is being written, beside the one whose place it takes."""

POSITION_LIMIT = 1 << 64
"""Positions are below: numbers have 64 bits."""

_HEAD = struct.Struct(">8sI10s2xQQQ")
_CRC = struct.Struct(">I")
_MAGIC = b"SEQSAVED"
_VERSION = 1


@frozen
class Saved:
    """What a checkpoint holds.

    `session` has ten bytes, padded with spaces on the right; `position` is the number of the next record, and
    `snapshot` the app's state before it; `assembly` is for `Assembly.restore`.
    """

    session: bytes
    position: int
    assembly: bytes
    snapshot: bytes

    @property
    def session_name(self) -> str:
        """The session as people write it."""
        return self.session.decode("ascii", "replace").rstrip()


@define(eq=False)
class Checkpoint:
    """The checkpoint at `path`, in a directory that is there already.

    With `durable` a checkpoint survives the machine once `save` has returned; without it, only the process,
    and a machine that is lost may leave a damaged file: for tests, and where the stream can be replayed anyway.
    Raises CheckpointFailed when there can be no file at `path`.
    """

    path: Path = field(converter=Path)
    durable: bool = True

    def __attrs_post_init__(self) -> None:
        if not self.path.name:
            raise CheckpointFailed(str(self.path), "a checkpoint is a file, and this names none")
        with self._failures("it cannot be looked at"):
            if self.path.exists() and not self.path.is_file():
                raise CheckpointFailed(str(self.path), "a checkpoint is a file, and this is something else")
            if not self.path.parent.is_dir():
                raise CheckpointFailed(str(self.path), f"there is no directory {self.path.parent}")

    def save(self, *, session: str | bytes, position: int, assembly: bytes, snapshot: bytes) -> None:
        """Put a new checkpoint in the place of the old one, at once.

        `session` has at most ten characters; `position` is the number of the next record, from 1 on. Raises
        CheckpointFailed when it cannot be written (a full disk, no permission): the old one is still there,
        unless only its directory could not be made durable. Raises LocalProtocolError for a session that is
        none, ValueError for a position that is none.
        """
        if not 1 <= position < POSITION_LIMIT:
            raise ValueError(f"no record has the number {position}")
        head = _HEAD.pack(_MAGIC, _VERSION, session_field(session), position, len(assembly), len(snapshot))
        crc = crc32c(snapshot, crc32c(assembly, crc32c(head)))
        temporary = self._temporary
        with self._failures("it cannot be saved"):
            try:
                self._write(temporary, (head, assembly, snapshot, _CRC.pack(crc)))
                temporary.replace(self.path)
            except BaseException:
                with contextlib.suppress(OSError):
                    temporary.unlink()
                raise
            if self.durable:
                self._sync_directory()

    def load(self) -> Saved | None:
        """What was saved last; None when there is no file.

        Raises CheckpointDamaged for a file that cannot be relied on, CheckpointFailed for one that cannot be
        read.
        """
        with self._failures("it cannot be read"):
            try:
                data = self.path.read_bytes()
            except FileNotFoundError:
                return None
        return self._unpack(data)

    def load_for(self, session: bytes) -> Saved | None:
        """What was saved, like `load`, for who reads `session`. Raises WrongSession when it is of another one."""
        saved = self.load()
        if saved is not None and saved.session != session:
            raise WrongSession(
                f"{self.path} is a checkpoint of session {saved.session.decode().strip()!r}, and this receiver "
                f"reads {session.decode().strip()!r}: read the old one to its end with session=..., or remove the file"
            )
        return saved

    def _unpack(self, data: bytes) -> Saved:
        if data[: len(_MAGIC)] != _MAGIC[: len(data)]:
            raise self._damaged("this is no checkpoint")
        if len(data) < _HEAD.size + _CRC.size:
            raise self._damaged(f"the checkpoint was cut short after {len(data)} bytes")
        _magic, version, session, position, assembly_bytes, snapshot_bytes = _HEAD.unpack_from(data)
        if version != _VERSION:
            raise self._damaged(f"the checkpoint has version {version}, and this program reads {_VERSION}")
        middle = _HEAD.size + assembly_bytes
        end = middle + snapshot_bytes
        if len(data) != end + _CRC.size:
            raise self._damaged(f"the checkpoint has {len(data)} bytes and should have {end + _CRC.size}")
        if _CRC.unpack_from(data, end)[0] != crc32c(memoryview(data)[:end]):
            raise self._damaged("the checksum of the checkpoint is wrong")
        if position < 1:
            raise self._damaged(f"no record has the number {position}")
        return Saved(session, position, data[_HEAD.size : middle], data[middle:end])

    @property
    def _temporary(self) -> Path:
        return self.path.with_name(self.path.name + TEMPORARY_SUFFIX)

    def _write(self, path: Path, parts: tuple[bytes, ...]) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            for part in parts:
                left = memoryview(part)
                while left:  # one call of write takes at most 2 GiB
                    left = left[os.write(descriptor, left) :]
            if self.durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _sync_directory(self) -> None:
        descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _damaged(self, reason: str) -> CheckpointDamaged:
        return CheckpointDamaged(str(self.path), reason)

    @contextlib.contextmanager
    def _failures(self, what: str) -> Iterator[None]:
        """Turns what the system says into CheckpointFailed."""
        try:
            yield
        except OSError as error:
            raise CheckpointFailed(str(self.path), f"{what}: {error.strerror or error}") from error
