"""`seqcast why`: of all that the nodes say, the one sentence that matters most."""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest
from stand_in import node, run, status_of, three_voters

from rewinder.control import Deferred
from rewinder.why import Weight

ALL = ("SEQ1", "SEQ2", "REW1", "REW2")


@pytest.fixture
def configuration(tmp_path, monkeypatch):
    return three_voters(tmp_path, monkeypatch, "DEMO")


@pytest.fixture
def bus(configuration):
    """Starts stand-ins: `bus(SEQ1={...})` with what is different from a bus that is well; None is not running."""
    with ExitStack() as stack:

        def start(**different):
            for name in ALL:
                values = different.get(name, {})
                if values is None:
                    continue
                answer = {**status_of(configuration, name), "why": None, "weight": None, **values}
                reply = values.get("deferred") or answer
                stack.enter_context(node(configuration, name, why=lambda _arguments, reply=reply: reply))

        yield start


def sentence(*options: str) -> tuple[int, str]:
    result = run("why", *options)
    return result.exit_code, result.output.strip()


def test_all_is_well(bus, configuration):
    bus()
    assert sentence() == (
        0,
        "nothing is wrong: SEQ1 is primary of epoch 3, 12 records are committed, "
        "3 of 3 voters take part (durability: memory), 1 more node follows",
    )
    values = json.loads(run("why", "--json").output)
    assert (values["ok"], values["why"]) == (True, sentence()[1])
    assert values["session"] == "DEMO"
    assert values["nodes"]["REW1"] == {
        "up": True,
        "why": None,
        "weight": None,
        **status_of(configuration, "REW1"),
    }


def test_what_is_on_its_way_is_not_wrong(bus):
    bus(SEQ1={"commit": 1, "last": 1300})
    assert "1 record is committed and 1,299 on their way," in sentence()[1]


def test_what_the_primary_says_comes_first(bus):
    bus(
        SEQ1={"why": "SEQ1 waits", "weight": Weight.STOPPED},
        SEQ2={"why": "the session ended", "weight": Weight.STOPPED},
        REW1=None,
    )
    assert sentence() == (1, "SEQ1 waits")
    values = json.loads(run("why", "--json").output)
    assert (values["ok"], values["nodes"]["REW1"]["up"]) == (False, False)


def test_a_follower_that_is_behind_is_worth_a_sentence(bus):
    bus(SEQ1={"why": "REW2 is behind by 5000 records", "weight": Weight.WORN})
    assert sentence() == (1, "REW2 is behind by 5000 records")


@pytest.mark.parametrize(
    ("different", "what"),
    [
        ({"REW2": {"why": "REW2 follows nobody: x", "weight": 1}}, "REW2 follows nobody: x"),
        ({"REW1": {"session": "OTHER"}}, "REW1 serves another session, OTHER"),
        ({"REW1": {"fingerprint": "0"}}, "REW1 runs with another configuration"),
        ({"SEQ1": {"followers": {}}, "REW2": None}, "REW2 is not running"),
        ({"SEQ2": {"deferred": Deferred()}}, "SEQ2 did not answer in 0.3 s"),
    ],
)
def test_a_flaw_of_one_node_while_the_stream_moves(bus, different, what):
    bus(**different)
    assert sentence("--timeout", "0.3") == (1, f"SEQ1 is primary of epoch 3 and commits, but {what}")


def test_who_is_connected_and_has_no_socket_here_runs_elsewhere(bus):
    bus(REW2=None)
    assert sentence()[0] == 0


def test_a_primary_of_an_epoch_that_is_over_is_not_believed(bus):
    bus(
        SEQ1={"why": "SEQ1 waits", "weight": Weight.STOPPED, "epoch": 2},
        SEQ2={"role": "primary", "followers": {}, "following": None},
        REW1=None,
    )
    assert sentence()[1] == (
        "SEQ2 is primary of epoch 3 and commits, but SEQ1 does not know yet that its epoch, 2, is over"
    )


class TestWithoutPrimary:
    def test_a_candidate_knows_more_than_a_standby(self, bus):
        asks = "no primary: SEQ2 asks the voters; 2 of 3 must answer and vote, REW1 did not answer"
        bus(
            SEQ1={"role": "standby", "why": "no primary: SEQ1 looks for one", "weight": Weight.STOPPED},
            SEQ2={"role": "candidate", "why": asks, "weight": Weight.STOPPED},
            REW1=None,
            REW2={"why": "REW2 follows nobody", "weight": Weight.WORN},
        )
        assert sentence() == (1, asks)

    def test_the_end_of_the_session_is_an_answer(self, bus):
        bus(
            SEQ1=None,
            SEQ2={"role": "standby", "why": "the session ended at 1234", "weight": Weight.STOPPED},
        )
        assert sentence() == (1, "the session ended at 1234")

    def test_no_sequencer_is_there(self, bus):
        bus(SEQ1=None, SEQ2={"deferred": Deferred()})
        assert sentence("--timeout", "0.3") == (
            1,
            "no primary: SEQ1 is not running, SEQ2 did not answer in 0.3 s",
        )

    def test_sequencers_of_another_session(self, bus):
        bus(SEQ1={"session": "OLD"}, SEQ2={"session": "OLD"})
        assert sentence() == (
            1,
            "no primary: SEQ1 serves another session, OLD, SEQ2 serves another session, OLD",
        )

    def test_a_primary_on_another_machine(self, bus):
        bus(SEQ1=None)
        assert sentence() == (
            0,
            "nothing is wrong that can be seen here: SEQ2 follows SEQ1 of epoch 3, and 12 records are committed",
        )

    def test_a_primary_that_is_followed_and_does_not_answer(self, bus):
        bus(SEQ1={"deferred": Deferred()})
        assert sentence("--timeout", "0.3") == (1, "SEQ2 follows SEQ1, which did not answer in 0.3 s")
