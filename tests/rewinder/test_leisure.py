"""Room that is made ready in quiet times: for the log what it would have made itself, and never at its cost."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

import rewinder.storage
from rewinder.leisure import PIECE_BYTES, Leisure
from rewinder.log import MessageLog
from rewinder.record import Stamp
from rewinder.storage import SPARE_FILE, FileStorage

SESSION = b"LEISURE   "
SEGMENT_BYTES = 4 * PIECE_BYTES


@pytest.fixture
def log(tmp_path: Path) -> MessageLog:
    return MessageLog.create(
        FileStorage(tmp_path / "log"), SESSION, durability="memory", segment_bytes=SEGMENT_BYTES
    )


def rest(leisure: Leisure) -> int:
    """How many pieces it takes until all is ready."""
    for pieces in range(1000):
        if not leisure():
            return pieces
    raise AssertionError("it never ends")


def fill(log: MessageLog, records: int) -> None:
    for sequence in range(1, records + 1):
        log.append(bytes(1000), Stamp(1, sequence, b"ALPHA "))


def test_it_ends_and_begins_again_when_the_log_has_grown(log: MessageLog) -> None:
    leisure = Leisure(log, 2 * SEGMENT_BYTES)
    assert 4 <= rest(leisure) <= 10
    assert rest(leisure) == 0
    fill(log, 400)
    assert rest(leisure) > 0


def test_the_spare_becomes_the_next_segment_with_nothing_in_it_but_its_head(log: MessageLog) -> None:
    rest(Leisure(log, 2 * SEGMENT_BYTES))
    directory = log.storage.directory
    spare = (directory / SPARE_FILE).stat().st_ino
    fill(log, 400)
    segments = sorted(directory.glob("*.seg"))
    assert segments[1].stat().st_ino == spare
    assert not (directory / SPARE_FILE).exists()
    last = log.last
    log.close()
    again = MessageLog.open(FileStorage(directory), SESSION, durability="memory")
    assert again.last == last == 400


def test_nothing_is_made_ready_where_it_is_not_wanted_or_the_disk_is_short(
    log: MessageLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rest(Leisure(log, 0)) == 0
    monkeypatch.setattr(rewinder.storage, "SPARE_ROOM", 1 << 40)
    rest(Leisure(log, 2 * SEGMENT_BYTES))
    assert not (log.storage.directory / SPARE_FILE).exists()
    fill(log, 400)
    assert log.last == 400


def test_a_spare_is_gone_when_the_log_is_closed_or_its_process_was_killed(log: MessageLog) -> None:
    rest(Leisure(log, 2 * SEGMENT_BYTES))
    directory = log.storage.directory
    assert (directory / SPARE_FILE).exists()
    log.close()
    assert not (directory / SPARE_FILE).exists()
    (directory / SPARE_FILE).write_bytes(b"left behind")
    FileStorage(directory)
    assert not (directory / SPARE_FILE).exists()


def test_a_disk_that_turns_out_to_be_full_costs_the_spare_and_nothing_else(
    log: MessageLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int, _offset: int, _length: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        descriptors = set(Path("/proc/self/fd").iterdir())
        for _ in range(3):
            assert not log.storage.prepare(SEGMENT_BYTES, PIECE_BYTES)
        assert len(set(Path("/proc/self/fd").iterdir())) == len(descriptors)
        assert not (log.storage.directory / SPARE_FILE).exists()
    assert log.storage.prepare(SEGMENT_BYTES, PIECE_BYTES)
