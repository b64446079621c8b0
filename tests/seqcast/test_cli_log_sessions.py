"""`seqcast log sessions`: what a node could replay, from its directory alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from old_logs import make_log

from rewinder.marks import MARKS_FILE
from seqcast.cli import main

if TYPE_CHECKING:
    from pathlib import Path


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["log", "sessions", *arguments])
    return result.exit_code, result.output


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    make_log(tmp_path, "ENDED", 10)
    make_log(tmp_path, "LEFT", 10, 7)
    make_log(tmp_path, "X", 3).rename(tmp_path / "LEFT.damaged-1")
    (make_log(tmp_path, "WORN", 10) / MARKS_FILE).unlink()
    (tmp_path / "EMPTY").mkdir()
    return tmp_path


def test_for_people(directory: Path) -> None:
    status, output = run(str(directory))
    assert status == 0
    head, *rows = output.splitlines()
    assert head == f"{directory}: sessions: 4"
    assert [row.split() for row in rows[:4]] == [
        ["session", "first", "shown", "last", "note"],
        ["ENDED", "1", "10", "10", "it", "ended"],
        ["LEFT", "1", "7", "10"],
        ["LEFT.damaged-1", "it", "was", "put", "aside,", "and", "is", "never", "replayed"],
    ]
    assert rows[4].startswith("WORN ")
    assert rows[4].endswith("the marks of its log are missing or damaged")


def test_for_programs(directory: Path) -> None:
    status, output = run(str(directory), "--json")
    assert status == 0
    answer: dict[str, Any] = json.loads(output)
    assert answer["directory"] == str(directory)
    rows = {row["session"]: row for row in answer["sessions"]}
    assert rows["LEFT"] == {
        "session": "LEFT",
        "first": 1,
        "shown": 7,
        "last": 10,
        "ended": False,
        "problem": None,
        "kept": False,
    }
    assert rows["WORN"]["shown"] is None


def test_a_directory_without_logs(tmp_path: Path) -> None:
    status, output = run(str(tmp_path))
    assert status == 1
    assert "there is no log in it" in output
