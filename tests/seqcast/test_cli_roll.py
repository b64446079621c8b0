"""`seqcast roll`, over stand-ins for the nodes: its steps, what it refuses, and that it goes on after a cut."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

import pytest
from stand_in import node, run, status_of, three_voters

from rewinder.control import Refusal
from seqcast.config import read_configuration

NODES = ("SEQ1", "SEQ2", "REW1", "REW2")
PRIMARY = {"role": "primary", "epoch": 4, "following": None, "established": True, "followers": {}}


class Stage:
    """Nodes of which SEQ1 is the primary: they end the session, and start again with what the file says."""

    def __init__(self, stack: ExitStack, configuration: Any) -> None:
        self.stack, self.configuration = stack, configuration
        self.states: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, str]] = []
        self.refusal: str | None = None

    def start(self, *names: str) -> None:
        for name in names:
            self.states[name] = {**status_of(self.configuration, name), "ended": None, "old_sessions": []}
            self.states[name] |= {"last": 12, "commit": 12}
            handlers = {
                "status": lambda _arguments, name=name: self.states[name],
                "end-session": lambda _arguments, name=name: self.end(name),
                "restart": lambda _arguments, name=name: self.restart(name),
            }
            self.stack.enter_context(node(self.configuration, name, **handlers))
        if "SEQ1" in names:
            self.states["SEQ1"] |= PRIMARY

    def over(self, *names: str) -> None:
        for name in names:
            self.states[name] |= {"ended": 13, "last": 13, "commit": 13}

    def end(self, name: str) -> dict[str, Any]:
        self.asked.append((name, "end-session"))
        if self.refusal is not None:
            raise Refusal(self.refusal)
        self.over(*self.states)
        return {"number": 13}

    def restart(self, name: str) -> dict[str, Any]:
        self.asked.append((name, "restart"))
        session = read_configuration(self.configuration.path).session
        self.states[name] |= {"session": session, "ended": None, "last": 1, "commit": 1}
        return {}


@pytest.fixture
def configuration(tmp_path, monkeypatch):
    return three_voters(tmp_path, monkeypatch, "DAY07")


@pytest.fixture
def stage(configuration):
    with ExitStack() as stack:
        yield Stage(stack, configuration)


def roll(*arguments: str) -> Any:
    return run("roll", "--yes", "--timeout", "5", *arguments)


def session_of(configuration: Any) -> str:
    return read_configuration(configuration.path).session


def test_the_session_ends_and_the_nodes_are_in_the_next(stage, configuration):
    stage.start(*NODES)
    before = configuration.path.read_text()
    result = roll("--pattern", "DAY##", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["old_session"], told["number"], told["session"], told["primary"], told["left"]) == (
        "DAY07",
        13,
        "DAY08",
        "SEQ1",
        [],
    )
    assert stage.asked == [("SEQ1", "end-session"), *((name, "restart") for name in NODES)]
    assert configuration.path.read_text() == before.replace('"DAY07"', '"DAY08"')
    assert told["fingerprint"] == read_configuration(configuration.path).fingerprint()


def test_names_of_old_sessions_are_not_used_again(stage, configuration):
    stage.start(*NODES)
    stage.states["REW1"]["old_sessions"] = [{"session": "DAY11"}]
    configuration.node_directory("SEQ2").joinpath("DAY09").mkdir(parents=True)
    assert roll("--pattern", "DAY##").exit_code == 0
    assert session_of(configuration) == "DAY12"


def test_a_session_that_was_there_before_is_refused(stage, configuration):
    stage.start(*NODES)
    configuration.node_directory("SEQ2").joinpath("DAY08").mkdir(parents=True)
    result = roll("--session", "DAY08")
    assert result.exit_code == 2
    assert "there is a log of it already, in " in result.output
    assert stage.asked == []
    assert session_of(configuration) == "DAY07"


def test_a_pattern_that_gives_no_name_is_wrong_usage(stage):
    stage.start(*NODES)
    result = roll("--pattern", "D-#")
    assert result.exit_code == 2
    assert "a session has 1 to 10 ASCII letters or digits" in result.output
    assert stage.asked == []


def test_a_session_that_goes_on_is_not_left(stage, configuration):
    stage.start(*NODES)
    stage.refusal = "a handover is under way"
    result = roll("--session", "NEXT")
    assert result.exit_code == 1
    assert "session DAY07 goes on: " in result.output
    assert "a handover is under way" in result.output
    assert session_of(configuration) == "DAY07"


def test_nobody_here(stage):
    result = roll("--session", "NEXT")
    assert result.exit_code == 1
    assert "none of the nodes runs here (SEQ1, SEQ2, REW1, REW2)" in result.output


def test_a_primary_elsewhere_has_to_end_it_first(stage, configuration):
    stage.start("REW1", "REW2")
    result = roll("--session", "NEXT")
    assert result.exit_code == 1
    assert "its primary is not here: run this where it runs first" in result.output
    stage.over("REW1", "REW2")
    result = roll("--session", "NEXT")
    assert result.exit_code == 0, result.output
    assert "SEQ1, SEQ2: not here; where they run, give `seqcast roll --session NEXT`" in result.output
    assert "session DAY07 ended at number 13; session NEXT begins when all voters are in it" in result.output
    assert stage.asked == [("REW1", "restart"), ("REW2", "restart")]
    assert session_of(configuration) == "NEXT"


def test_who_lags_is_waited_for(stage, configuration):
    stage.start(*NODES)
    stage.over = lambda *_names: stage.states["SEQ1"].update(ended=13, last=13, commit=13)
    result = run("roll", "--yes", "--timeout", "0.3", "--session", "NEXT")
    assert result.exit_code == 1
    assert "has ended, but not all of it is at SEQ2, REW1, REW2; the same command goes on" in result.output
    assert session_of(configuration) == "DAY07"
    Stage.over(stage, *NODES)
    assert roll("--session", "NEXT").exit_code == 0
    assert stage.asked.count(("SEQ1", "end-session")) == 1, "it has ended already"


def test_a_roll_that_was_cut_short_is_completed(stage, configuration):
    """The file names the next session, and two nodes have not started again with it."""
    stage.start(*NODES)
    text = configuration.path.read_text()
    configuration.path.write_text(text.replace('"DAY07"', '"NEXT"'))
    for name in ("SEQ1", "REW1"):
        stage.states[name]["session"] = "NEXT"
    result = roll()
    assert result.exit_code == 1
    assert "SEQ2 serves session DAY07, which has not ended, and " in result.output
    stage.over("SEQ2", "REW2")
    result = roll()
    assert result.exit_code == 0, result.output
    assert stage.asked == [("SEQ2", "restart"), ("REW2", "restart")]
    assert "session DAY07 ended at number 13; session NEXT has begun: SEQ1 is primary" in result.output
    assert session_of(configuration) == "NEXT"
