"""Chaos in a small size, so that it cannot rot; `make soak` is the real one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from chaos import Done, Outcome, Plan, false_takeovers, no_cuts, placed, run
from steps import BESIDE, WEIGHTS, first_steps, steps
from troubles import BY_KIND, BY_WORD

PROGRAM = Path(__file__).resolve().parent
SEED = 31
RATE = 4_000
SECONDS = 4.0


def test_a_few_faults_under_a_small_load() -> None:
    plan = Plan(SEED, SECONDS, RATE, cuts=no_cuts() is None)
    outcome = Outcome()
    run(plan, outcome, keep=False)
    assert outcome.problems == []
    assert outcome.faults.total() >= 2
    assert outcome.messages > RATE
    assert outcome.wire_records > RATE


def test_one_seed_is_one_run() -> None:
    assert first_steps("7/1", 300) == first_steps("7/1", 300)
    assert first_steps("7/1", 300) != first_steps("7/2", 300)


def test_every_kind_of_fault_is_drawn_and_can_be_done() -> None:
    drawn = [fault for step in first_steps("1", 2000) for fault in step.faults]
    assert {fault.kind for fault in drawn} == set(WEIGHTS)
    assert all(kind in BY_KIND or kind.partition("-")[0] in BY_WORD for kind in WEIGHTS)
    assert all(0 <= fault.hold_seconds <= 5 for fault in drawn)


def test_no_more_than_two_faults_at_once_and_mostly_one() -> None:
    made = first_steps("1", 2000)
    together = sum(step.beside is not None for step in made)
    assert 0.8 * BESIDE < together / len(made) < 1.2 * BESIDE


def test_without_cuts_the_network_stays_whole() -> None:
    made = steps("3", cuts=False)
    kinds = {fault.kind for _ in range(500) for fault in next(made).faults}
    assert kinds == {kind for kind in WEIGHTS if not kind.startswith("cut")}


def test_a_takeover_that_no_fault_can_have_caused_is_false() -> None:
    done = [Done("one", 100, 200, 1), Done("two", 300, 400, 0), Done("three", 500, 600, 2)]
    assert false_takeovers([], done) == []
    assert false_takeovers([150, 510, 590], done) == []
    assert false_takeovers([150, 160], done) == [160], "one kill, two takeovers"
    assert false_takeovers([350], done) == [350], "a fault that costs none"
    assert false_takeovers([250, 700], done) == [250, 700], "between faults, and after them"
    assert [placed(at, done) for at in (50, 350, 700)] == ["before one", "during two", "after the last step"]


def test_an_interrupted_run_says_what_was_done_and_leaves_nothing_behind(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), "--minutes", "5", "--seed", "1", "--rate", "1000"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not list(tmp_path.glob("*/run/log/SEQ1/control.sock")):
            assert process.poll() is None
            os.sched_yield()
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130, errors
    assert json.loads(out)["problems"] == ["interrupted"]
    assert list(tmp_path.iterdir()) == []
