"""Which old sessions go, in which order, what stays whatever the policy says, and in how small pieces."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from old_logs import firsts_of, make_log, records_of

from rewinder import retention
from rewinder.counters import Counters
from rewinder.old_session import open_old_session
from rewinder.retention import KEEP_FILE, OVERDUE_NS, SCAN_NS, Keep, Retention
from rewinder.segment import SEGMENT_BYTES_MINIMUM
from rewinder.storage import FileStorage

SEGMENT = SEGMENT_BYTES_MINIMUM
FITTING = 590
"""So many records of these tests fit a segment, and hardly more."""


@define
class Disk:
    """The directory of a node, and what the retention of it said and did."""

    path: Path
    used: set[str] = field(factory=set)
    present: int = 0
    events: list[tuple[str, dict[str, Any]]] = field(factory=list)
    shortened: list[str] = field(factory=list)
    counters: Counters = field(factory=Counters)
    now_ns: int = 0

    def make(self, name: str, time: int, segments: int = 1, **how: Any) -> None:
        """A session of so many segments; `time` orders them."""
        records = FITTING * (segments - 1) + 500
        make_log(self.path, name, records, size=70, begin_ns=time * 1_000_000, **how)
        if "commit" not in how:
            assert len(firsts_of(self.path / name)) == segments

    def retention(self, keep: str) -> Retention:
        def claim(name: str) -> FileStorage | None:
            return FileStorage(self.path / name) if (self.path / name).is_dir() else None

        def find(name: str) -> FileStorage | None:
            storage = FileStorage(self.path / name, writable=False)
            storage.keep_writers_out()
            return storage

        return Retention(
            Keep.parse(keep),
            names=lambda: [path.name for path in self.path.iterdir()],
            find=find,
            claim=claim,
            clear=lambda name: (self.path / name).rmdir(),
            present=lambda: self.present,
            in_use=self.used.__contains__,
            removed=self.shortened.append,
            report=lambda event, **values: self.events.append((event, values)),
            counters=self.counters,
        )

    def settle(self, retention: Retention) -> int:
        """A scan, and quiet turns until there is nothing to do; returns how many."""
        due_ns = retention.deadline_ns()
        assert due_ns is not None
        self.now_ns = max(self.now_ns, due_ns)
        retention.handle_timer(self.now_ns)
        for turns in range(10_000):
            if not retention():
                return turns
        raise AssertionError("it never ends")

    @property
    def sessions(self) -> list[str]:
        return sorted(path.name for path in self.path.iterdir())


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


class TestThePolicy:
    @pytest.mark.parametrize("text", ["all", "1 session", "30 sessions", "500 MiB", "200 GiB", "3 TiB"])
    def test_reads_back(self, text: str) -> None:
        assert str(Keep.parse(text)) == text

    @pytest.mark.parametrize(
        "text", ["", "none", "0 sessions", "-1 sessions", "5", "5 days", "5GiB", "1.5 GiB", "0 MiB"]
    )
    def test_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match='must be "all", a number of sessions'):
            Keep.parse(text)


def test_all_is_kept_and_nothing_is_looked_at(disk: Disk) -> None:
    disk.make("OLD", 1)
    retention = disk.retention("all")
    assert retention.deadline_ns() is None
    assert not retention()
    assert disk.sessions == ["OLD"]


def test_the_newest_stay_by_the_time_of_their_last_record(disk: Disk) -> None:
    for name, time in (("ZULU", 1), ("ALPHA", 2), ("MIKE", 3)):
        disk.make(name, time)
    retention = disk.retention("2 sessions")
    disk.settle(retention)
    assert disk.sessions == ["ALPHA", "MIKE"]
    ((event, values),) = disk.events
    assert (event, values["session"], values["segments"]) == ("an old session was removed", "ZULU", 1)
    assert disk.counters == {
        "retention.segments": 1,
        "retention.bytes": SEGMENT,
        "retention.sessions": 1,
    }
    assert disk.settle(retention) == 0
    disk.make("NOVEMBER", 4)
    disk.settle(retention)
    assert disk.sessions == ["MIKE", "NOVEMBER"]


def test_bytes_go_by_the_segment_and_what_is_left_can_be_replayed(disk: Disk) -> None:
    disk.make("OLD", 1, segments=4)
    disk.make("NEW", 2, segments=2)
    whole = records_of(disk.path / "OLD")
    disk.present = (
        (1 << 20) - 4 * SEGMENT - 4 * 4096
    )  # two sidecars and marks, promises and the like take some
    retention = disk.retention("1 MiB")
    disk.settle(retention)
    firsts = firsts_of(disk.path / "OLD")
    assert len(firsts) == 2
    assert disk.shortened == ["OLD", "OLD"]
    ((event, values),) = disk.events
    assert event == "the oldest part of an old session was removed"
    assert (values["session"], values["segments"], values["first"]) == ("OLD", 2, firsts[0])
    session = open_old_session("OLD", FileStorage(disk.path / "OLD", writable=False))
    assert (session.log.first, session.shown, session.ended) == (firsts[0], len(whole), True)
    session.close()
    assert records_of(disk.path / "OLD") == whole[firsts[0] - 1 :]
    assert retention.status()["bytes"] <= 1 << 20
    disk.present += SEGMENT  # the present session grows
    disk.settle(retention)
    assert len(firsts_of(disk.path / "OLD")) == 1
    disk.present += 2 * SEGMENT
    disk.settle(retention)
    assert disk.sessions == ["NEW"]
    assert len(firsts_of(disk.path / "NEW")) == 1


def test_what_is_not_in_good_order_or_marked_stays(disk: Disk) -> None:
    disk.make("KEPT", 1)
    (disk.path / "KEPT" / KEEP_FILE).touch()
    disk.make("CUT", 2, commit=400, end=False)
    disk.make("UNKNOWN", 3, commit=400, end=True)
    disk.make("BROKEN", 4)
    (segment,) = (disk.path / "BROKEN").glob("*.seg")
    segment.write_bytes(b"x" * 10_000)
    disk.make("SHARED", 5)
    (disk.path / "SHARED" / "notes.txt").touch()
    (disk.path / "BACKUP").mkdir()
    disk.make("GOOD", 6)
    retention = disk.retention("1 session")
    disk.make("NEWEST", 7)
    disk.settle(retention)
    assert disk.sessions == ["BACKUP", "BROKEN", "CUT", "KEPT", "NEWEST", "SHARED", "UNKNOWN"]
    protected = retention.status()["protected"]
    broken = protected.pop("BROKEN")
    assert "it cannot be opened: " in broken
    assert "not a segment of this version" in broken
    assert protected == {
        "KEPT": "it is marked to be kept",
        "CUT": "it did not end",
        "UNKNOWN": "records above 400 are not known to be committed",
        "SHARED": "there is something else in its directory: notes.txt",
        "BACKUP": "there is no log in its directory",
    }


def test_what_somebody_reads_stays_until_he_has_left(disk: Disk) -> None:
    disk.make("FIRST", 1)
    disk.make("SECOND", 2)
    disk.make("THIRD", 3)
    disk.used.add("FIRST")
    reader = FileStorage(disk.path / "SECOND", writable=False)
    reader.keep_writers_out()  # another process
    retention = disk.retention("1 session")
    disk.settle(retention)
    assert disk.sessions == ["FIRST", "SECOND", "THIRD"]
    reader.close()
    disk.used.clear()
    disk.settle(retention)
    assert disk.sessions == ["THIRD"]
    assert "retention.failed" not in disk.counters


def test_a_mark_that_is_set_later_counts(disk: Disk) -> None:
    disk.make("FIRST", 1)
    retention = disk.retention("1 session")
    disk.settle(retention)
    (disk.path / "FIRST" / KEEP_FILE).touch()
    disk.make("SECOND", 2)
    disk.make("THIRD", 3)
    disk.settle(retention)
    assert disk.sessions == ["FIRST", "THIRD"]


def test_a_removal_that_was_cut_short_goes_on(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "PIECE_BYTES", 16 * 1024)
    disk.make("FIRST", 1, segments=3)
    whole = records_of(disk.path / "FIRST")
    disk.make("SECOND", 2)
    left = set()
    for turns in range(1, 1000):
        begun = disk.retention("1 session")
        begun.handle_timer(0)
        for _ in range(turns):
            begun()
        begun.close()  # as far as the disk is concerned the node has died
        if "FIRST" not in disk.sessions:
            break
        firsts = firsts_of(disk.path / "FIRST")
        left.add(len(firsts))
        if firsts:
            assert records_of(disk.path / "FIRST") == whole[firsts[0] - 1 :]
    assert disk.sessions == ["SECOND"]
    assert left >= {1, 2, 3}


def test_a_segment_goes_in_pieces_unless_somebody_has_it_open(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PIECE_BYTES", SEGMENT // 8)
    disk.make("FIRST", 1)
    disk.make("SECOND", 2)
    disk.make("THIRD", 3)
    disk.make("FOURTH", 4)
    turns = disk.settle(disk.retention("3 sessions"))
    (segment,) = (disk.path / "SECOND").glob("*.seg")
    with segment.open("rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        before = bytes(mapped)
        fewer = disk.settle(disk.retention("2 sessions"))
        assert not segment.exists()
        assert bytes(mapped) == before
    assert turns - fewer in range(6, 10)
    assert disk.sessions == ["FOURTH", "THIRD"]


def test_busy_times_do_not_stop_it(disk: Disk) -> None:
    disk.make("FIRST", 1)
    disk.make("SECOND", 2)
    retention = disk.retention("1 session")
    now_ns = 0
    for _ in range(20):  # no quiet turn: the timer alone
        retention.handle_timer(now_ns)
        due_ns = retention.deadline_ns()
        assert due_ns is not None
        assert now_ns < due_ns <= now_ns + max(OVERDUE_NS, SCAN_NS)
        now_ns = due_ns
    assert disk.sessions == ["SECOND"]


def test_a_directory_that_cannot_be_removed_is_counted_and_told(disk: Disk) -> None:
    disk.make("FIRST", 1)
    disk.make("SECOND", 2)
    retention = disk.retention("1 session")

    def clear(_name: str) -> None:
        raise PermissionError(13, "Permission denied")

    retention.clear = clear
    disk.settle(retention)
    assert disk.counters["retention.failed"] == 1
    assert disk.events[0][0] == "an old session cannot be removed"
    retention.clear = lambda name: (disk.path / name).rmdir()
    disk.settle(retention)
    assert disk.sessions == ["SECOND"]
