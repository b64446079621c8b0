"""Which old sessions are open: names, sharing, limits, and what a refusal costs."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from old_logs import make_log

from rewinder.archive import IDLE_NS, OPEN_LIMIT, REPORT_PAUSE_NS, YIELD_NS, Archive
from rewinder.counters import Counters
from rewinder.errors import LogLocked, NotServed
from rewinder.marks import MARKS_FILE
from rewinder.memory import MemoryStorage
from rewinder.old_session import OldSession
from rewinder.storage import FileStorage


class Shelf:
    """An archive over a real directory; `asked` are the names that were looked up, `said` what was reported."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.asked: list[str] = []
        self.said: list[str] = []
        self.counters = Counters()
        self.archive = Archive(self.find, self.counters, self.said.append)

    def find(self, name: str) -> FileStorage | None:
        self.asked.append(name)
        if not (self.directory / name).is_dir():
            return None
        storage = FileStorage(self.directory / name, writable=False)
        storage.keep_writers_out()
        return storage

    def refused(self, name: bytes, now_ns: int = 0) -> str:
        with pytest.raises(NotServed) as refused:
            self.archive.take(name, now_ns)
        return str(refused.value)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    for name in ("OLD", "OLDER"):
        make_log(tmp_path, name, 10)
    return Shelf(tmp_path)


def descriptors() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    "name",
    [
        b"../OLD",
        b"OLD/.",
        b".",
        b"..",
        b"/",
        b"OLD.damag",
        b"OLD\0X",
        b"O D",
        b"\xd6LD",
        b"OLDOLDOLDOL",
        b"\xb2",  # a digit to Python, and none in ASCII
        b"OLD\n",
    ],
)
def test_what_cannot_be_a_name_is_not_looked_up(shelf: Shelf, name: bytes) -> None:
    assert shelf.refused(name) == f"there is no session {name!r} here"
    assert shelf.asked == []
    assert shelf.counters == {"archive.unknown": 1}


def test_a_name_that_is_not_there(shelf: Shelf) -> None:
    assert shelf.refused(b"NEVER") == "there is no session b'NEVER' here"
    assert shelf.counters == {"archive.unknown": 1}
    assert shelf.archive.deadline_ns() is None
    assert shelf.said == ["there is no session b'NEVER' here"]


def test_a_name_is_taken_with_its_padding(shelf: Shelf) -> None:
    assert shelf.archive.take(b"     OLDER", 0).name == "OLDER"
    assert shelf.archive.take(b"OLDER\0    ", 0).name == "OLDER"


def test_readers_share_a_log_which_stays_for_a_while(shelf: Shelf) -> None:
    archive = shelf.archive
    first, second = archive.take(b"OLD", 0), archive.take(b"OLD", 5)
    assert first is second
    assert archive.deadline_ns() is None
    archive.leave(first, 10)
    archive.handle_timer(10 + IDLE_NS)
    assert archive.open == ["OLD"]
    archive.leave(second, 20)
    assert archive.deadline_ns() == 20 + IDLE_NS
    archive.handle_timer(20 + IDLE_NS - 1)
    assert archive.take(b"OLD", 20 + IDLE_NS - 1) is first
    archive.leave(first, 30)
    archive.handle_timer(30 + IDLE_NS)
    assert archive.open == []
    assert archive.take(b"OLD", 40 + IDLE_NS) is not first
    assert shelf.counters == {"archive.opened": 2}


def test_a_log_that_is_closed_leaves_no_descriptor_behind(shelf: Shelf) -> None:
    before = descriptors()
    session = shelf.archive.take(b"OLD", 0)
    session.log.locate(1)
    assert descriptors() > before
    shelf.archive.leave(session, 0)
    del session
    shelf.archive.handle_timer(IDLE_NS)
    assert descriptors() == before
    (shelf.directory / "OLD" / MARKS_FILE).unlink()
    shelf.refused(b"OLD", IDLE_NS)
    assert descriptors() == before


def test_a_log_that_cannot_be_trusted_is_looked_at_once(shelf: Shelf) -> None:
    (shelf.directory / "OLD" / MARKS_FILE).unlink()
    reasons = {shelf.refused(b"OLD", now_ns) for now_ns in range(100)}
    (reason,) = reasons
    assert reason.startswith("session OLD cannot be trusted: ")
    assert reason.endswith("the marks of its log are missing or damaged")
    assert shelf.asked == ["OLD"]
    assert shelf.counters == {"archive.untrusted": 100}
    shelf.archive.handle_timer(99 + IDLE_NS)
    shelf.refused(b"OLD", 100 + IDLE_NS)
    assert shelf.asked == ["OLD", "OLD"]


def test_one_line_says_of_many_refusals(shelf: Shelf) -> None:
    for now_ns in range(50):
        shelf.refused(b"NEVER", now_ns)
    assert len(shelf.said) == 1
    shelf.refused(b"NEVER", REPORT_PAUSE_NS)
    assert shelf.said[1] == "there is no session b'NEVER' here; 49 more were refused since the last line"


def test_there_is_a_limit_and_who_has_been_idle_longest_makes_room(tmp_path: Path) -> None:
    names = [b"OLD%d" % n for n in range(OPEN_LIMIT + 2)]
    for name in names:
        make_log(tmp_path, name.decode(), 3)
    shelf = Shelf(tmp_path)
    archive = shelf.archive
    open_ones: list[OldSession] = [archive.take(name, 0) for name in names[:OPEN_LIMIT]]
    before = descriptors()
    assert shelf.refused(names[-1], 10 * YIELD_NS) == f"{OPEN_LIMIT} old sessions are open already"
    assert descriptors() == before
    assert shelf.counters["archive.busy"] == 1
    archive.leave(open_ones[3], 20)
    archive.leave(open_ones[2], 30)
    shelf.refused(names[-1], 20 + YIELD_NS - 1)
    archive.take(names[-1], 20 + YIELD_NS)
    assert "OLD3" not in archive.open
    assert archive.take(names[2], 20 + YIELD_NS) is open_ones[2]
    shelf.refused(names[-2], 20 + 10 * YIELD_NS)
    assert shelf.refused(b"NEVER", 0) == "there is no session b'NEVER' here"


def test_a_log_that_somebody_writes_is_not_served_and_one_that_is_served_not_written(shelf: Shelf) -> None:
    writer = FileStorage(shelf.directory / "OLD")
    assert "has this log open" in shelf.refused(b"OLD")
    writer.close()
    session = shelf.archive.take(b"OLD", 0)
    with pytest.raises(LogLocked):
        FileStorage(shelf.directory / "OLD")
    shelf.archive.leave(session, 0)
    shelf.archive.handle_timer(IDLE_NS)
    FileStorage(shelf.directory / "OLD").close()


def test_a_directory_that_cannot_be_read(shelf: Shelf) -> None:
    def find(_name: str) -> MemoryStorage:
        raise PermissionError(13, "Permission denied", "OLD")

    archive = Archive(find, shelf.counters, shelf.said.append)
    with pytest.raises(NotServed, match=r"session OLD cannot be opened: .*Permission denied"):
        archive.take(b"OLD", 0)
    assert shelf.counters == {"archive.untrusted": 1}


def test_all_is_let_go_at_the_end(shelf: Shelf) -> None:
    before = descriptors()
    shelf.archive.take(b"OLD", 0)
    shelf.archive.close()
    assert descriptors() == before
