"""`seqcast promote`, over stand-ins for the nodes: what it asks, what it refuses, and what it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from stand_in import node, run, status_of, three_voters

from rewinder.control import Refusal
from rewinder.replication import Answer
from seqcast.cli import force
from seqcast.config import read_configuration

PRIMARY = {"role": "primary", "epoch": 4, "epoch_start": 13, "following": None, "established": True}


class Stage:
    """Stand-ins whose state the test changes; `asked` are the commands that were carried out."""

    def __init__(self, stack: ExitStack, configuration: Any) -> None:
        self.stack, self.configuration = stack, configuration
        self.states: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, str]] = []
        self.on_promote: Callable[[], dict[str, Any]] = dict
        self.on_restart: Callable[[str], Any] = lambda _name: None

    def start(self, *names: str) -> None:
        for name in names:
            self.states[name] = {**status_of(self.configuration, name), "why": None, "weight": None}
            handlers = {
                "status": lambda _arguments, name=name: self.states[name],
                "why": lambda _arguments, name=name: self.states[name],
                "promote": lambda arguments, name=name: self.promote(name, arguments),
                "restart": lambda _arguments, name=name: self.restart(name),
            }
            self.stack.enter_context(node(self.configuration, name, **handlers))

    def promote(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((name, f"promote {arguments['name']}"))
        return self.on_promote()

    def restart(self, name: str) -> dict[str, Any]:
        self.asked.append((name, "restart"))
        self.on_restart(name)
        return {}

    def hand_over(self, to: str = "SEQ2") -> dict[str, Any]:
        """What becomes of the nodes when a handover succeeds."""
        self.states["SEQ1"] |= {"role": "standby", "following": to}
        self.states[to] |= PRIMARY
        return {"promoted": to, "epoch": 4, "number": 12}


@pytest.fixture
def configuration(tmp_path, monkeypatch):
    return three_voters(tmp_path, monkeypatch, "OLD")


@pytest.fixture
def stage(configuration):
    with ExitStack() as stack:
        yield Stage(stack, configuration)


def failure(*arguments: str, status: int = 1) -> str:
    result = run("promote", *arguments)
    assert result.exit_code == status, result.output
    return result.output.strip().splitlines()[-1].removeprefix("Error: ")


class TestHandingOver:
    def test_it_says_what_happened(self, stage):
        stage.start("SEQ1", "SEQ2", "REW1")
        stage.on_promote = stage.hand_over
        result = run("promote", "seq2")
        assert result.exit_code == 0
        assert result.output == (
            "SEQ2 is primary of epoch 4, from number 13 on; "
            "SEQ1 was it up to 12, and is a standby when it is started again\n"
        )
        assert stage.asked == [("SEQ1", "promote SEQ2")]

    def test_the_same_for_programs(self, stage):
        stage.start("SEQ1", "SEQ2")
        stage.on_promote = stage.hand_over
        values = {"session": "OLD", "old": "SEQ1", "new": "SEQ2", "epoch": 4, "number": 12}
        assert json.loads(run("promote", "SEQ2", "--json").output) == values

    def test_who_cannot_be_primary(self, stage):
        stage.start("SEQ1", "SEQ2")
        assert failure("REW1", status=2) == "REW1 is a rewinder: primary can be SEQ1, SEQ2"
        assert "there is no node 'SEQ9'" in failure("SEQ9", status=2)
        assert failure("SEQ1") == "SEQ1 is the primary already, of epoch 3"
        assert stage.asked == []

    def test_nobody_is_primary(self, stage):
        assert failure("SEQ2") == "nobody can hand over: no primary: SEQ1 is not running, SEQ2 is not running"
        stage.start("SEQ2")
        assert failure("SEQ2") == ("SEQ2 follows SEQ1, which does not answer here: run this where SEQ1 runs")
        stage.states["SEQ2"] |= {"following": None, "why": "no primary: SEQ2 looks for one", "weight": 3}
        assert failure("SEQ2") == "nobody can hand over: no primary: SEQ2 looks for one"

    def test_a_primary_that_refuses(self, stage):
        def refuse():
            raise Refusal("SEQ2 cannot take over: it does not vote")

        stage.start("SEQ1", "SEQ2")
        stage.on_promote = refuse
        assert failure("SEQ2").endswith("refused promote: SEQ2 cannot take over: it does not vote")

    def test_a_handover_whose_answer_was_lost_has_happened_all_the_same(self, stage):
        def deposed():
            stage.hand_over()
            raise Refusal("the primary was deposed: REW1 has promised epoch 4 to SEQ2")

        stage.start("SEQ1", "SEQ2")
        stage.on_promote = deposed
        assert run("promote", "SEQ2").output.startswith("SEQ2 is primary of epoch 4")

    def test_somebody_else_was_quicker(self, stage):
        def other():
            stage.states["SEQ1"] |= PRIMARY
            return {}

        stage.start("SEQ1", "SEQ2")
        stage.on_promote = other
        assert failure("SEQ2").startswith("SEQ1 is not primary any more, but SEQ2 is not either: ")

    def test_after_the_end_of_the_session_the_number_is_that_of_its_end(self, stage):
        def ended():
            stage.hand_over()
            stage.states["SEQ2"] |= {"ended": 12, "epoch_start": 9}
            return {}

        stage.start("SEQ1", "SEQ2")
        stage.on_promote = ended
        assert json.loads(run("promote", "SEQ2", "--json").output)["number"] == 12

    def test_options_of_the_other_way(self, stage):
        assert "--session and --yes go with --force" in failure("SEQ2", "--yes", status=2)
        assert "--session and --yes go with --force" in failure("SEQ2", "--session", "NEW", status=2)


class TestForce:
    @pytest.fixture
    def left(self, stage):
        """SEQ2 and the rewinder that does not vote are all that is left; told to, they start again."""
        stage.start("SEQ2", "REW2")
        stage.states["SEQ2"] |= {"following": None, "role": "candidate", "last": 12, "commit": 10}

        def restart(name):
            new = read_configuration(stage.configuration.path)
            stage.states[name] |= {"session": new.session, "fingerprint": new.fingerprint()}
            if name == "SEQ2":
                stage.states[name] |= {**PRIMARY, "epoch": 1}

        stage.on_restart = restart
        return stage

    def test_what_is_lost_is_said_in_plain_words(self, left, configuration):
        result = run("promote", "--force", "SEQ2", "--session", "NEW", "--yes")
        assert result.exit_code == 0, result.output
        assert result.stderr.splitlines() == [
            "Session OLD ends here. SEQ2 holds its records up to 12, and knows those up to 10 to be committed.",
            "Records that only SEQ1, REW1 held are gone, though receivers may have seen them.",
            "SEQ1, REW1 will be taken out of seqcast.toml: never start them again with an old copy of it.",
            "Session NEW is empty. Its voters are SEQ2; 1 must hold a record.",
            "Receivers have to start session NEW at 1, and senders count from 1 again: "
            "start them with the new configuration.",
            "The logs of session OLD stay on disk: log/SEQ2/OLD, log/REW2/OLD.",
            "seqcast.toml is changed; the old one is seqcast.toml.OLD",
        ]
        assert result.stdout == (
            "session NEW is open: SEQ2 is primary of epoch 1; 1 of 1 voters must hold a record\n"
        )
        assert left.asked == [("SEQ2", "restart"), ("REW2", "restart")]
        new = read_configuration(configuration.path)
        assert ([each.name for each in new.voters], new.session) == (["SEQ2"], "NEW")
        assert read_configuration(configuration.path.with_name("seqcast.toml.OLD")).session == "OLD"

    def test_the_same_for_programs_under_a_session_of_its_own_choice(self, left, configuration):
        result = run("promote", "--force", "SEQ2", "--yes", "--json")
        assert result.exit_code == 0, result.output
        values = json.loads(result.stdout)
        assert values == {
            "session": read_configuration(configuration.path).session,
            "old_session": "OLD",
            "primary": "SEQ2",
            "epoch": 1,
            "voters": ["SEQ2"],
            "removed": ["SEQ1", "REW1"],
            "old_commit": 10,
            "old_last": 12,
            "backup": str(configuration.path.with_name("seqcast.toml.OLD")),
            "untold": [],
        }
        assert len(values["session"]) == 10

    def test_without_a_terminal_somebody_has_to_say_yes(self, left, configuration):
        before = configuration.path.read_bytes()
        assert failure("--force", "SEQ2", status=2) == "there is no terminal to ask at: --yes is needed"
        assert (configuration.path.read_bytes(), left.asked) == (before, [])

    def test_it_asks_at_a_terminal(self, left, configuration, monkeypatch):
        monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _self: True, raising=False)
        before = configuration.path.read_bytes()
        result = run("promote", "--force", "SEQ2", "--session", "NEW", stdin="n\n")
        assert result.exit_code == 1
        assert "Open session NEW? This cannot be undone." in result.stderr
        assert (configuration.path.read_bytes(), left.asked) == (before, [])
        assert run("promote", "--force", "SEQ2", "--session", "NEW", stdin="y\n").exit_code == 0

    def test_a_node_that_comes_back_while_it_asks(self, left, configuration, monkeypatch):
        monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _self: True, raising=False)

        def confirm(*_arguments, **_options):
            left.start("REW1")
            left.states["REW1"] |= {"following": None}

        monkeypatch.setattr(force.click, "confirm", confirm)
        monkeypatch.setattr(force, "TAKEOVER_SECONDS", -1.0)
        assert failure("--force", "SEQ2").startswith("other nodes are there than before the question")
        assert read_configuration(configuration.path).session == "OLD"

    def test_not_while_a_quorum_is_up_and_commits(self, stage):
        stage.start("SEQ1", "SEQ2")
        assert failure("--force", "SEQ2", "--yes") == (
            "a quorum of the voters is up (SEQ1, SEQ2) and SEQ1 commits: "
            "use `seqcast promote SEQ2` without --force"
        )
        assert failure("--force", "SEQ1", "--yes").endswith("SEQ1 commits: nothing is to be done")

    def test_not_while_a_voter_elsewhere_makes_a_quorum(self, stage, monkeypatch):
        promised = Answer(3, "SEQ1", True, 7, 0, 12, 12, ((3, 9),), hears=True)
        there = {"SEQ1": promised}
        monkeypatch.setattr(force, "ask_node_port", lambda _c, node, *_: there.get(node.name, "gone"))
        stage.start("SEQ2")
        assert "a quorum of the voters is up (SEQ1, SEQ2) and SEQ1 commits" in failure("--force", "SEQ2")

    def test_a_quorum_that_makes_no_primary_is_no_reason_to_wait_for_ever(self, left, monkeypatch):
        monkeypatch.setattr(force, "TAKEOVER_SECONDS", -1.0)
        left.start("REW1")
        left.states["REW1"] |= {"following": None, "votes": False, "last": 15}
        result = run("promote", "--force", "SEQ2", "--session", "NEW", "--yes")
        assert result.exit_code == 0, result.output
        assert "REW1 holds more, up to 15." in result.stderr
        assert "Its voters are SEQ2, REW1; 2 must hold a record." in result.stderr

    def test_a_voter_on_another_machine_stays_and_has_to_be_told_there(self, configuration, monkeypatch):
        with ExitStack() as stack:
            assert run("init", "--nodes", "5", "--session", "OLD", "--force").exit_code == 0
            stage = Stage(stack, read_configuration(configuration.path))
            stage.start("SEQ2")
            stage.states["SEQ2"] |= {"following": None, "role": "candidate"}
            stage.on_restart = lambda name: stage.states[name].update(
                {**PRIMARY, "session": "NEW", "fingerprint": None}
            )
            silent = Answer(3, "SEQ1", True, 7, 0, 9, 9, ((3, 9),))
            monkeypatch.setattr(
                force, "ask_node_port", lambda _c, node, *_: silent if node.name == "REW1" else "gone"
            )
            result = run("promote", "--force", "SEQ2", "--session", "NEW", "--yes", "--json")
        assert result.exit_code == 0, result.output
        values = json.loads(result.stdout)
        assert values["voters"] == ["SEQ2", "REW1"]
        assert values["untold"] == [
            "REW1 runs on 127.0.0.1: copy the new configuration there and start it again"
        ]

    def test_a_target_that_is_not_there(self, stage):
        assert failure("--force", "SEQ2", "--yes").startswith(
            "SEQ2 is not running: it has to run to be promoted (nobody listens at log/SEQ2/control.sock"
        )
        stage.start("SEQ2")
        stage.states["SEQ2"]["session"] = "ELSE"
        assert failure("--force", "SEQ2", "--yes") == "SEQ2 serves session ELSE, the configuration OLD"

    def test_a_session_that_was_there_before(self, left, configuration):
        assert failure("--force", "SEQ2", "--yes", "--session", "OLD", status=2) == (
            "--session OLD: that is the session that is to be left"
        )
        (configuration.node_directory("REW2") / "NEW").mkdir(parents=True)
        assert failure("--force", "SEQ2", "--yes", "--session", "NEW", status=2) == (
            "--session NEW: there is a log of it already, in log/REW2/NEW"
        )
        assert "must be 1 to 10 ASCII" in failure("--force", "SEQ2", "--yes", "--session", "N-E-W", status=2)

    def test_a_backup_that_is_there_already(self, left, configuration):
        configuration.path.with_name("seqcast.toml.OLD").write_text("mine")
        assert failure("--force", "SEQ2", "--yes") == "seqcast.toml.OLD is there already: move it away first"
        assert read_configuration(configuration.path).session == "OLD"
        assert left.asked == []

    def test_a_session_that_does_not_open_in_time(self, left):
        left.on_restart = lambda _name: None
        sentence = failure("--force", "SEQ2", "--yes", "--session", "NEW", "--timeout", "0.1")
        assert sentence == (
            "session NEW is configured, but SEQ2 is not its primary: "
            "no primary: SEQ2 serves another session, OLD"
        )

    def test_where_the_first_primary_is_another_it_hands_over(self, stage, monkeypatch):
        monkeypatch.setattr(force, "TAKEOVER_SECONDS", -1.0)
        stage.start("SEQ1", "SEQ2")
        for state in stage.states.values():
            state |= {"role": "standby", "following": None}

        def restart(name):
            stage.states[name]["session"] = "NEW"
            if name == "SEQ1":
                stage.states[name] |= {**PRIMARY, "epoch": 1}

        stage.on_restart = restart
        stage.on_promote = stage.hand_over
        result = run("promote", "--force", "SEQ2", "--yes", "--session", "NEW", "--json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["primary"] == "SEQ2"
        assert stage.asked[-1] == ("SEQ1", "promote SEQ2")
