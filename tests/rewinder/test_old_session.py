"""An old session's log: how much of it may be shown, and when nothing may be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from old_logs import firsts_of, make_log, records_of, session_field

from rewinder.errors import CorruptRecord, ForeignSession, LogError, LogMissing, MissingSegment
from rewinder.log import MessageLog
from rewinder.marks import MARKS_BYTES, MARKS_FILE
from rewinder.old_session import SLICE_RECORDS, OldSession, Opening, open_old_session
from rewinder.segment import segment_name
from rewinder.storage import FileStorage

STEP_BYTES = 1 << 12


def open_log(directory: Path, name: str | None = None) -> OldSession:
    return open_old_session(name or directory.name, FileStorage(directory, writable=False))


def shown(directory: Path) -> tuple[int, int, int, bool]:
    """(first, last shown, last, ended)."""
    session = open_log(directory)
    row = session.row()
    session.close()
    assert row["problem"] is None
    return row["first"], row["shown"], row["last"], row["ended"]


def edit(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def test_of_a_session_that_ended_everything_is_shown(tmp_path: Path) -> None:
    assert shown(make_log(tmp_path, "OLD", 10)) == (1, 10, 10, True)


def test_of_one_that_was_left_without_an_end_what_is_known_to_be_committed(tmp_path: Path) -> None:
    assert shown(make_log(tmp_path, "OLD", 10, 7)) == (1, 7, 10, False)


def test_an_end_that_is_not_known_to_be_committed_is_not_shown(tmp_path: Path) -> None:
    assert shown(make_log(tmp_path, "OLD", 10, 9, end=True)) == (1, 9, 10, False)


def test_nothing_known_to_be_committed(tmp_path: Path) -> None:
    assert shown(make_log(tmp_path, "OLD", 10, 0)) == (1, 0, 10, False)
    assert shown(make_log(tmp_path, "EMPTY", 0, 0)) == (1, 0, 0, False)


def test_many_segments_and_records(tmp_path: Path) -> None:
    directory = make_log(tmp_path, "OLD", 1000, size=500)
    assert len(firsts_of(directory)) > 5
    session = open_log(directory)
    got = [bytes(session.log.messages(number, 1)[0]) for number in range(1, 1001)]
    assert got == records_of(directory)
    assert session.log.session == session_field("OLD")


def test_opening_in_steps_comes_to_the_same(tmp_path: Path) -> None:
    directory = make_log(tmp_path, "OLD", 3 * SLICE_RECORDS + 1, size=0)
    assert len(firsts_of(directory)) == 1
    opening = Opening("OLD", FileStorage(directory, writable=False))
    steps = 1
    while (found := opening.step(STEP_BYTES)) is None:
        steps += 1
    assert 3 <= steps <= 5
    assert found.row() == open_log(directory).row()
    assert found.shown == 3 * SLICE_RECORDS + 1


def test_opening_costs_the_same_however_long_the_log_is(tmp_path: Path) -> None:
    """The first segment's header, the marks and the tail, also where the checkpoints are missing."""

    class Counting(FileStorage):
        def open(self, name):
            touched.append(name)
            return super().open(name)

        def read(self, name):
            touched.append(name)
            return super().read(name)

    directory = make_log(tmp_path, "OLD", 1000, size=500)
    for path in directory.glob("*.ckpt"):
        path.unlink()
    firsts = firsts_of(directory)
    touched: list[str] = []
    session = open_old_session("OLD", Counting(directory, writable=False))
    assert sorted(touched) == sorted([MARKS_FILE, segment_name(1), segment_name(firsts[-1])])
    assert session.shown == 1000
    touched.clear()
    session.log.locate(firsts[3])
    assert {name for name in touched if name.endswith(".seg")} == {segment_name(firsts[3])}


def test_a_torn_tail_above_the_commit_mark_is_not_shown_and_does_no_harm(tmp_path: Path) -> None:
    directory = make_log(tmp_path, "OLD", 10, 7)
    storage = FileStorage(directory, writable=False)
    end = open_old_session("OLD", storage).log.tail.end
    edit(directory / segment_name(1), end - 1, b"\xff")
    assert shown(directory) == (1, 7, 9, False)


def test_reading_changes_nothing(tmp_path: Path) -> None:
    directory = make_log(tmp_path, "OLD", 1000, 900, size=500)
    for path in [*directory.glob("*.idx"), *directory.glob("*.ckpt")]:
        path.unlink()
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    session = open_log(directory)
    for number in range(1, 901):
        session.log.locate(number)
    session.close()
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


def test_after_the_loss_of_the_machine_a_hole_above_the_commit_mark_does_no_harm(tmp_path: Path) -> None:
    directory = make_log(tmp_path, "OLD", 10, 4)
    edit(directory / segment_name(1), 64 + 5 * 90, bytes(100))
    with pytest.raises(CorruptRecord, match="lies whole behind it"):
        open_log(directory)
    session = open_old_session("OLD", FileStorage(directory, writable=False, boot_id="another"))
    assert (session.shown, session.log.last) == (4, 5)
    edit(directory / segment_name(1), 64 + 2 * 90, bytes(100))
    with pytest.raises(LogError, match="up to 4 were committed, and those above 2 are not there"):
        open_old_session("OLD", FileStorage(directory, writable=False, boot_id="another"))


# what is not shown at all


def remove_marks(directory: Path) -> None:
    (directory / MARKS_FILE).unlink()


def shorten_marks(directory: Path) -> None:
    (directory / MARKS_FILE).write_bytes(bytes(MARKS_BYTES - 1))


def damage_marks(directory: Path) -> None:
    edit(directory / MARKS_FILE, 10, b"\xff")


def damage_a_record(directory: Path) -> None:
    edit(directory / segment_name(1), 300, b"\xff")


def damage_the_last_record(directory: Path) -> None:
    end = open_log(directory).log.tail.end
    edit(directory / segment_name(1), end - 1, b"\xff")


def damage_the_header(directory: Path) -> None:
    edit(directory / segment_name(1), 30, b"\xff")


def empty_the_tail(directory: Path) -> None:
    os.truncate(directory / segment_name(1), 0)


def remove_all(directory: Path) -> None:
    for path in directory.glob("*.seg"):
        path.unlink()


@pytest.mark.parametrize(
    ("harm", "error", "reason"),
    [
        (remove_marks, LogError, "marks of its log are missing or damaged"),
        (shorten_marks, LogError, "marks of its log are missing or damaged"),
        (damage_marks, LogError, "marks of its log are missing or damaged"),
        (damage_a_record, CorruptRecord, "lies whole behind it"),
        (damage_the_last_record, LogError, "up to 10 were committed, and those above 9 are not there"),
        (damage_the_header, LogError, "the checksum of the header is wrong"),
        (empty_the_tail, LogError, "too few for a segment's header"),
        (remove_all, LogMissing, "there is no log"),
    ],
)
def test_a_log_that_cannot_be_trusted(tmp_path: Path, harm, error, reason: str) -> None:
    directory = make_log(tmp_path, "OLD", 10)
    harm(directory)
    with pytest.raises(error, match=reason):
        open_log(directory)


def test_the_log_of_another_session_under_this_name(tmp_path: Path) -> None:
    directory = make_log(tmp_path, "OLD", 10).rename(tmp_path / "OLDER")
    (directory / MARKS_FILE).unlink()
    other = make_log(tmp_path, "OTHER", 10)
    (other / MARKS_FILE).rename(directory / MARKS_FILE)
    with pytest.raises(LogError, match="marks"):
        open_log(directory)
    good = make_log(tmp_path, "THIRD", 10)
    (good / segment_name(1)).unlink()
    (directory / segment_name(1)).rename(good / segment_name(1))
    with pytest.raises(ForeignSession, match="belongs to session 'OLD'"):
        open_log(good)


def test_a_segment_that_is_missing(tmp_path: Path) -> None:
    directory = make_log(tmp_path, "OLD", 1000, size=500)
    firsts = firsts_of(directory)
    (directory / segment_name(firsts[2])).unlink()
    with pytest.raises(MissingSegment, match="1 segment file"):
        open_log(directory)


def test_damage_in_a_sealed_segment_is_found_before_it_is_served(tmp_path: Path) -> None:
    directory = make_log(tmp_path, "OLD", 1000, size=500)
    firsts = firsts_of(directory)
    edit(directory / segment_name(firsts[2]), 5000, b"\xff")
    session = open_log(directory)
    session.log.locate(firsts[2] - 1)
    session.log.locate(firsts[3])
    with pytest.raises(CorruptRecord):
        session.log.locate(firsts[2])


def test_a_log_that_somebody_writes_meanwhile_is_listed_as_it_was(tmp_path: Path) -> None:
    """For `seqcast log sessions`, which looks at the present session, too."""
    directory = make_log(tmp_path, "OLD", 10, 7)
    log = MessageLog.open(FileStorage(directory), durability="memory")
    assert shown(directory) == (1, 7, 10, False)
    log.close()
