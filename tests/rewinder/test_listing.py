"""The list of old sessions: made in small steps, and then for good."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve
from old_logs import make_log, write_log

from rewinder.errors import LogLocked
from rewinder.listing import LISTED_LIMIT, NOT_LOOKED_AT, REFRESH_NS, STEP_BYTES, STEP_PAUSE_NS, Listing
from rewinder.marks import MARKS_FILE
from rewinder.memory import MemoryStorage
from rewinder.storage import FileStorage
from rewinder.surroundings import Machine
from seqcast.testing.node import node_settings


def run(listing: Listing) -> int:
    """Let it finish; returns how many steps that took."""
    steps = 0
    while (due_ns := listing.deadline_ns()) is not None:
        listing.handle_timer(due_ns)
        following = listing.deadline_ns()
        assert following is None or following == due_ns + STEP_PAUSE_NS
        steps += 1
        assert steps < 1000
    return steps


def settings_in(directory: Path):
    settings = node_settings({"SEQ1": True, "REW1": False}, frozenset({"SEQ1"}), 1, "memory")["REW1"]
    return evolve(settings, directory=directory, session=b"PRESENT   ")


def listing_of(directory: Path) -> Listing:
    settings, machine = settings_in(directory), Machine()
    return Listing(lambda: machine.old_sessions(settings), lambda name: machine.old_storage(settings, name))


def row(
    name: str, first: int | None, shown: int | None, last: int | None, ended: bool | None
) -> dict[str, object]:
    return {
        "session": name,
        "first": first,
        "shown": shown,
        "last": last,
        "ended": ended,
        "problem": None,
    }


def test_the_newest_first_and_nothing_but_old_sessions(tmp_path: Path) -> None:
    for name in ("A", "B", "C"):
        make_log(tmp_path, name, 10, {"A": None, "B": 5, "C": 0}[name])
    make_log(tmp_path, "PRESENT", 3)
    make_log(tmp_path, "X", 3).rename(tmp_path / "A.damaged-1")
    (tmp_path / "control").write_text("a file")
    listing = listing_of(tmp_path)
    assert listing.deadline_ns() is None
    listing.refresh(7)
    assert [(each["session"], each["problem"]) for each in listing.rows()] == [
        (name, NOT_LOOKED_AT) for name in ("C", "B", "A")
    ]
    assert listing.deadline_ns() == 7
    run(listing)
    assert listing.rows() == [
        row("C", 1, 0, 10, ended=False),
        row("B", 1, 5, 10, ended=False),
        row("A", 1, 10, 10, ended=True),
    ]


def test_the_storage_of_an_old_session(tmp_path: Path) -> None:
    settings, machine = settings_in(tmp_path), Machine()
    make_log(tmp_path, "A", 10)
    (tmp_path / "FILE").write_text("no directory")
    assert machine.old_storage(settings, "NEVER") is None
    assert machine.old_storage(settings, "FILE") is None
    writer = FileStorage(tmp_path / "A")
    with pytest.raises(LogLocked):
        machine.old_storage(settings, "A")
    writer.close()
    storage = machine.old_storage(settings, "A")
    assert storage is not None
    assert not storage.writable
    with pytest.raises(LogLocked):
        FileStorage(tmp_path / "A")
    storage.close()
    FileStorage(tmp_path / "A").close()


def test_a_log_that_cannot_be_trusted_is_listed_with_the_reason(tmp_path: Path) -> None:
    (make_log(tmp_path, "A", 10) / MARKS_FILE).unlink()
    (tmp_path / "EMPTY").mkdir()
    listing = listing_of(tmp_path)
    listing.refresh(0)
    run(listing)
    problems = {each["session"]: each["problem"] for each in listing.rows()}
    assert problems["A"].endswith("the marks of its log are missing or damaged")
    assert problems["EMPTY"].endswith("there is no log")


def test_a_long_log_takes_many_small_steps(tmp_path: Path) -> None:
    storage = MemoryStorage()
    # Segments of the smallest size, so the size of a step is what counts: it is read in less than one.
    write_log(storage, "A", 500, 500, end=True)
    listing = Listing(lambda: ["A"], lambda _name: storage.reader())
    listing.refresh(0)
    assert run(listing) == 3, "begin, read, find nothing more to do"
    assert STEP_BYTES <= 1 << 20
    assert listing.rows() == [row("A", 1, 500, 500, ended=True)]


def test_the_directory_is_looked_at_now_and_then(tmp_path: Path) -> None:
    make_log(tmp_path, "A", 10)
    listing = listing_of(tmp_path)
    listing.refresh(0)
    run(listing)
    make_log(tmp_path, "B", 10)
    listing.refresh(REFRESH_NS - 1)
    assert [each["session"] for each in listing.rows()] == ["A"]
    for path in (tmp_path / "A").iterdir():
        path.unlink()
    (tmp_path / "A").rmdir()
    listing.refresh(REFRESH_NS)
    run(listing)
    assert listing.rows() == [row("B", 1, 10, 10, ended=True)]


def test_the_list_is_bounded(tmp_path: Path) -> None:
    names = [f"S{n}" for n in range(LISTED_LIMIT + 5)]
    listing = Listing(lambda: names, lambda _name: None)
    listing.refresh(0)
    assert run(listing) == LISTED_LIMIT + 1
    assert len(listing.rows()) == LISTED_LIMIT
    assert {each["problem"] for each in listing.rows()} == {"it has gone"}
