"""Checkpoints: whole or the one before, whatever happens while one is saved."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moldudp.errors import LocalProtocolError
from rewinder._native import crc32c
from seqcast.checkpoint import Checkpoint, Saved
from seqcast.errors import CheckpointDamaged, CheckpointFailed

OLD = Saved(b"SESSION1  ", 7, b"assembly", b"old snapshot")
NEW = Saved(b"SESSION1  ", 9, b"", b"the new snapshot")


def save(checkpoint: Checkpoint, saved: Saved) -> None:
    checkpoint.save(
        session=saved.session, position=saved.position, assembly=saved.assembly, snapshot=saved.snapshot
    )


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return Checkpoint(tmp_path / "app.checkpoint")


@pytest.mark.parametrize("durable", [True, False])
def test_what_was_saved_last_is_loaded(tmp_path: Path, durable: bool) -> None:
    checkpoint = Checkpoint(str(tmp_path / "app.checkpoint"), durable=durable)
    assert checkpoint.load() is None
    for saved in (OLD, NEW):
        save(checkpoint, saved)
        assert checkpoint.load() == Checkpoint(checkpoint.path).load() == saved
    assert list(tmp_path.iterdir()) == [checkpoint.path]


def test_a_session_may_be_a_name(checkpoint: Checkpoint) -> None:
    checkpoint.save(session="TODAY", position=1, assembly=b"", snapshot=b"")
    saved = checkpoint.load()
    assert saved == Saved(b"TODAY     ", 1, b"", b"")
    assert saved.session_name == "TODAY"


def test_a_path_without_a_directory_is_a_file_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(Checkpoint("here"), OLD)
    assert Checkpoint(tmp_path / "here").load() == OLD


def test_a_snapshot_of_many_megabytes(checkpoint: Checkpoint) -> None:
    saved = Saved(b"S         ", 2**64 - 1, bytes(5 << 20), bytes(range(256)) * (40 << 10))
    save(checkpoint, saved)
    assert checkpoint.load() == saved


@pytest.mark.parametrize("position", [0, -1, 2**64])
def test_a_position_that_is_none_is_refused(checkpoint: Checkpoint, position: int) -> None:
    with pytest.raises(ValueError, match=str(position)):
        checkpoint.save(session="S", position=position, assembly=b"", snapshot=b"")


@pytest.mark.parametrize("session", ["ELEVENCHARS", b"ELEVENBYTES", "\xe9"])
def test_a_session_that_is_none_is_refused(checkpoint: Checkpoint, session: str | bytes) -> None:
    with pytest.raises(LocalProtocolError):
        checkpoint.save(session=session, position=1, assembly=b"", snapshot=b"")
    assert checkpoint.load() is None


# files that are no checkpoints


def damage(checkpoint: Checkpoint, content: bytes) -> CheckpointDamaged:
    """What loading such a file raises."""
    checkpoint.path.write_bytes(content)
    with pytest.raises(CheckpointDamaged) as caught:
        checkpoint.load()
    assert caught.value.file == str(checkpoint.path)
    assert str(checkpoint.path) in str(caught.value)
    assert "remove it to start from the beginning" in str(caught.value)
    return caught.value


def test_every_truncation_and_every_flipped_bit_is_found(checkpoint: Checkpoint) -> None:
    save(checkpoint, OLD)
    whole = checkpoint.path.read_bytes()
    for length in range(len(whole)):
        assert "cut short" in damage(checkpoint, whole[:length]).reason or length >= 52
    for position in range(len(whole)):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[position] ^= 1 << bit
            damage(checkpoint, bytes(flipped))
    damage(checkpoint, whole + b"\0")
    checkpoint.path.write_bytes(whole)
    assert checkpoint.load() == OLD


def signed(head: bytes) -> bytes:
    """A file with a good checksum."""
    return head + crc32c(head).to_bytes(4, "big")


def test_a_newer_version_says_so(checkpoint: Checkpoint) -> None:
    newer = signed(b"SEQSAVED" + (2).to_bytes(4, "big") + bytes(36))
    assert "version 2" in damage(checkpoint, newer).reason


def test_a_foreign_file_says_so(checkpoint: Checkpoint) -> None:
    assert damage(checkpoint, b"#!/bin/sh\necho hello\n").reason == "this is no checkpoint"
    assert damage(checkpoint, b"x").reason == "this is no checkpoint"


def test_sizes_that_are_impossible_cost_nothing(checkpoint: Checkpoint) -> None:
    huge = signed(b"SEQSAVED" + (1).to_bytes(4, "big") + bytes(12) + b"\xff" * 24)
    assert "should have" in damage(checkpoint, huge).reason


def test_position_zero_is_none(checkpoint: Checkpoint) -> None:
    assert "number 0" in damage(checkpoint, signed(b"SEQSAVED" + (1).to_bytes(4, "big") + bytes(36))).reason


@given(st.binary(max_size=120))
def test_garbage_is_no_checkpoint(tmp_path_factory: pytest.TempPathFactory, garbage: bytes) -> None:
    damage(Checkpoint(tmp_path_factory.getbasetemp() / "garbage.checkpoint"), garbage)


# places where no checkpoint can be


def test_a_missing_directory_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(CheckpointFailed, match=r"nowhere/app.*there is no directory .*nowhere"):
        Checkpoint(tmp_path / "nowhere" / "app")


@pytest.mark.parametrize("path", ["", "/", "."])
def test_a_directory_is_no_file(path: str) -> None:
    with pytest.raises(CheckpointFailed, match="a checkpoint is a file"):
        Checkpoint(path)


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointFailed, match="something else"):
        Checkpoint(tmp_path / "pipe")


def test_a_name_with_no_room_for_the_suffix_is_said_at_the_first_save(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / ("n" * 255))
    with pytest.raises(CheckpointFailed, match=r"nnn.*cannot be saved.*too long"):
        save(checkpoint, OLD)
    with pytest.raises(CheckpointFailed, match="too long"):
        Checkpoint(tmp_path / ("n" * 256))


def test_a_directory_that_went_away_is_said_at_the_save(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    checkpoint = Checkpoint(tmp_path / "run" / "app")
    (tmp_path / "run").rmdir()
    with pytest.raises(CheckpointFailed, match=r"run/app.*No such file"):
        save(checkpoint, OLD)
    assert checkpoint.load() is None


def test_a_file_that_cannot_be_read_is_not_a_missing_one(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(CheckpointFailed, match="cannot be read: Permission denied"):
        checkpoint.load()


# what stops a save


class Crash(BaseException):
    """The process, or the machine, is no more."""


class Disk:
    """The calls of a save, one byte a write, on a machine where something happens at call `at`.

    `happening` is called there; what it raises the save gets, and after a Crash every further call crashes too.
    The disk knows what it may lose with the machine: bytes until their file was synced, and names until
    the directory was.
    """

    def __init__(self, path: Path, at: int, happening: Callable[[], None]) -> None:
        self.path, self.at, self.happening = path, at, happening
        self.steps = 0
        self.crashed = False
        self.safe = path.read_bytes() if path.exists() else None
        self.synced = {path.stat().st_ino} if path.exists() else set()
        self.real: dict[str, Callable[..., Any]] = {}

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("open", "write", "fsync", "replace", "unlink"):
            self.real[name] = getattr(os, name)
            monkeypatch.setattr(os, name, getattr(self, f"_{name}"))

    def after_power_loss(self) -> list[bytes | None]:
        """Everything that the file may be when the machine is there again."""
        found = [self.safe]
        if self.path.exists():
            content = self.path.read_bytes()
            whole = self.path.stat().st_ino in self.synced
            found += [content] if whole else [content[:length] for length in range(len(content) + 1)]
        return found

    def _step(self) -> None:
        if self.crashed:
            raise Crash
        self.steps += 1
        if self.steps == self.at:
            try:
                self.happening()
            except Crash:
                self.crashed = True
                raise

    def _open(self, path: Any, flags: int, *rest: Any) -> Any:
        self._step()
        descriptor = self.real["open"](path, flags, *rest)
        if flags & os.O_TRUNC:
            self.synced.discard(os.fstat(descriptor).st_ino)
        return descriptor

    def _write(self, descriptor: int, data: memoryview) -> int:
        self._step()
        return self.real["write"](descriptor, data[:1])

    def _fsync(self, descriptor: int) -> None:
        self._step()
        status = os.fstat(descriptor)
        self.synced.add(status.st_ino)
        if status.st_ino == self.path.parent.stat().st_ino:
            self.safe = self.path.read_bytes()

    def _replace(self, old: Any, new: Any) -> None:
        self._step()
        self.real["replace"](old, new)

    def _unlink(self, path: Any) -> None:
        self._step()
        self.real["unlink"](path)


def crash() -> None:
    raise Crash


def no_room() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def disturbed(
    checkpoint: Checkpoint, at: int, happening: Callable[[], None]
) -> tuple[Disk, CheckpointFailed | None]:
    """Save NEW while `happening` happens at call `at`; returns the disk, and what the save raised."""
    disk = Disk(checkpoint.path, at, happening)
    raised = None
    with pytest.MonkeyPatch.context() as monkeypatch:
        disk.patch(monkeypatch)
        try:
            save(checkpoint, NEW)
        except Crash:
            pass
        except CheckpointFailed as error:
            raised = error
    return disk, raised


CALLS = 4 + 48 + len(NEW.assembly) + len(NEW.snapshot) + 4 + 1
"""Of one save: open, one write a byte, fsync, replace, open and fsync of the directory."""


@pytest.mark.parametrize("before", [None, OLD], ids=["first", "second"])
def test_a_crash_at_any_byte_leaves_the_old_or_the_new_one(tmp_path: Path, before: Saved | None) -> None:
    for at in range(1, CALLS + 2):
        checkpoint = Checkpoint(tmp_path / f"{at}")
        if before is not None:
            save(checkpoint, before)
        disk, _ = disturbed(checkpoint, at, crash)
        assert (disk.steps, disk.crashed) == (min(at, CALLS), at <= CALLS)
        renamed = at > CALLS - 2  # what remains then is to make the name durable
        assert checkpoint.load() == (NEW if renamed else before)
        outcomes = disk.after_power_loss()
        for outcome in outcomes:
            lost = Checkpoint(tmp_path / "lost")
            lost.path.unlink(missing_ok=True)
            if outcome is not None:
                lost.path.write_bytes(outcome)
            assert lost.load() in (before, NEW)
            assert disk.crashed or lost.load() == NEW  # a save that returned is there for good
        save(checkpoint, OLD)  # over whatever was left behind
        assert checkpoint.load() == OLD
        assert not checkpoint.path.with_name(f"{at}.new").exists()


def test_an_error_at_any_call_leaves_the_old_or_the_new_one_and_nothing_else(tmp_path: Path) -> None:
    for at in range(1, CALLS + 1):
        checkpoint = Checkpoint(tmp_path / f"{at}")
        save(checkpoint, OLD)
        _, raised = disturbed(checkpoint, at, no_room)
        assert raised is not None
        assert (raised.file, raised.reason) == (
            str(checkpoint.path),
            "it cannot be saved: No space left on device",
        )
        assert checkpoint.load() == (NEW if at > CALLS - 2 else OLD)
        assert not checkpoint.path.with_name(f"{at}.new").exists()
        save(checkpoint, NEW)
        assert checkpoint.load() == NEW


def test_a_checkpoint_that_is_not_durable_is_not_synced(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "app", durable=False)
    disk, raised = disturbed(checkpoint, 0, crash)
    assert (raised, disk.steps, disk.synced) == (None, CALLS - 3, set())
    assert checkpoint.load() == NEW


def test_a_temporary_file_that_was_left_behind_is_harmless(checkpoint: Checkpoint) -> None:
    checkpoint.path.with_name("app.checkpoint.new").write_bytes(bytes(10_000))
    assert checkpoint.load() is None
    save(checkpoint, OLD)
    assert checkpoint.load() == OLD


SAVER = """
import sys
from seqcast.checkpoint import Checkpoint
checkpoint, position = Checkpoint(sys.argv[1], durable=False), 0
while True:
    position += 1
    checkpoint.save(session="S", position=position, assembly=b"", snapshot=str(position).encode() * 20_000)
    print(position, flush=True)
"""


def test_a_process_that_is_killed_while_it_saves(checkpoint: Checkpoint) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", SAVER, str(checkpoint.path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    with child.stdout:
        seen = [int(child.stdout.readline()) for _ in range(20)][-1]
        child.kill()
        child.wait()
        seen = max([seen, *map(int, child.stdout.read().splitlines(keepends=False))])
    saved = checkpoint.load()
    assert saved is not None
    assert saved.position in (seen, seen + 1)
    assert saved.snapshot == str(saved.position).encode() * 20_000
