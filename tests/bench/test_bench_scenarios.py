"""A smoke size of each benchmark on a real bus: every message comes, and the results have their shape."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from click.testing import CliRunner

from bench import scenarios
from bench.bus import BusRound, Load, run_round
from bench.figures import Spread, ratios
from bench.report import render
from bench.scenarios import Settings, run, sized
from seqcast.cli import main
from seqcast.settings import Durability

COMPILER = shutil.which("cc") is not None
SMALL = Settings(messages=5_000, rounds=1, rates=(2_000,), latency_messages=1_000)
PROCESSES = {"SEQ1", "REW1", "sender", "receiver"}


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    return run("all", SMALL, lambda _label, _count, _total: None)


def test_every_message_came(result: dict[str, Any]) -> None:
    assert result["problems"] == []
    assert result["complete"] is True
    for each in (result["throughput"], *result["latency"]):
        for measured in each["rounds"]:
            assert measured["problems"] == []
            assert measured["received"] == each["messages"]
            assert measured["reconnections"] == 0
            assert measured["source"] in ("live", "rewind")


def test_the_result_has_its_shape(result: dict[str, Any]) -> None:
    assert json.loads(json.dumps(result)) == result
    assert set(result) == {
        *("machine", "settings", "baseline", "throughput", "latency", "problems", "complete"),
    }
    assert set(result["machine"]) == {"cpu", "cores", "kernel", "python", "numpy", "load"}
    assert result["settings"] == {"durability": "memory", "message_bytes": 200, "rounds": 1}
    throughput = result["throughput"]
    assert throughput["messages"] == 5_000
    assert set(throughput["messages_per_second"]) == {"min", "median", "max"}
    assert throughput["messages_per_second"]["min"] > 0
    assert set(throughput["cpu_us_per_message"]) == PROCESSES
    (latency,) = result["latency"]
    assert (latency["rate"], latency["messages"]) == (2_000, 1_000)
    for key in ("delivered", "acknowledged", "timetable"):
        assert latency[key]["count"] == 1_000
        assert 0 <= latency[key]["p50_ns"] <= latency[key]["p99_ns"] <= latency[key]["max_ns"]
        assert set(latency[key]["rounds"]) == {"p50_us", "p99_us", "p99.9_us"}
    assert latency["delivered"]["min_ns"] > 0


@pytest.mark.skipif(not COMPILER, reason="no C compiler")
def test_the_baseline_was_measured(result: dict[str, Any]) -> None:
    assert result["baseline"] is None
    for each in result["throughput"]["relay"].values():
        assert each["messages_per_second"]["min"] > 0
        assert each["ratio"]["min"] > 0
    assert result["latency"][0]["relay"]["count"] == 1_000


def test_the_report_shows_the_figures(result: dict[str, Any]) -> None:
    text = render(result)
    assert f"{result['throughput']['messages_per_second']['median']:,.0f}" in text
    assert "latency at 2,000 messages a second" in text
    assert text.endswith("every message came, once and in order")
    without = json.loads(json.dumps(result))
    without["throughput"]["relay"] = without["latency"][0]["relay"] = None
    without["baseline"] = "not measured: there is no C compiler (cc)"
    without["problems"] = ["throughput 1/1: 3 of 5000 messages did not come"]
    text = render(without)
    assert "bare relay" not in text
    assert "baseline not measured: there is no C compiler (cc)" in text
    assert text.endswith("3 of 5000 messages did not come")


def test_the_other_durabilities_and_the_progress() -> None:
    seen: list[int] = []
    each = run_round(Load(20_000), Durability.GROUP, seen.append)
    assert each.problems == []
    assert each.status["durability"] == "group"
    assert each.status["commit"] == each.status["last"] == each.position + 19_999
    assert seen == sorted(seen)
    assert seen
    assert set(each.as_plain()["cpu_us_per_message"]) == PROCESSES


GOOD = BusRound(
    load=Load(10),
    sent={"committed_number": 11, "reconnections": 0},
    received={
        "received": 10,
        "wrong": 0,
        "extra": 0,
        "first_ns": 1_000,
        "last_ns": 2_000,
        "first_batch": 4,
        "polls": 3,
        "gaps_filled": 0,
        "rewound": 0,
        "duplicates_dropped": 0,
        "source": "live",
    },
    cpu_seconds={"SEQ1": 1e-5},
    status={"last": 11, "turns": 5},
    position=2,
)


def test_the_rate_is_of_what_came_after_the_first_batch() -> None:
    assert GOOD.problems == []
    assert GOOD.rate == 6e6
    assert GOOD.as_plain()["cpu_us_per_message"] == {"SEQ1": 1.0}
    assert evolve(GOOD, received={**GOOD.received, "last_ns": 1_000}).rate == 0.0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"received": {**GOOD.received, "received": 8}}, "2 of 10 messages did not come"),
        ({"received": {**GOOD.received, "wrong": 1}}, "1 messages came out of order, again or changed"),
        ({"received": {**GOOD.received, "extra": 3}}, "3 messages came that nobody sent"),
        ({"sent": {"committed_number": 12}}, "the last message has number 12, expected 11"),
        ({"status": {"last": 12}}, "the stream ends at number 12, expected 11"),
    ],
)
def test_each_kind_of_failure_has_its_sentence(change: dict[str, Any], sentence: str) -> None:
    assert evolve(GOOD, **change).problems == [sentence]


def test_spreads_and_ratios() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(1.0, 2.0, 3.0)
    assert Spread.of([1.0, 2.0]).as_plain() == {"min": 1.0, "median": 1.5, "max": 2.0}
    assert ratios([2.0, 9.0], [1.0, 3.0]) == Spread(2.0, 2.5, 3.0)


def test_settings() -> None:
    assert sized(Settings(), None, None) == Settings()
    small = sized(Settings.quick(), 500, 2)
    assert (small.messages, small.rounds, small.timed_load(20_000)) == (500, 2, Load(500, 20_000))
    assert Settings(seconds=2).timed_load(1_000) == Load(2_000, 1_000)
    for wrong in ({"messages": 0}, {"rounds": 0}, {"messages": 10**9}, {"rounds": 101}):
        with pytest.raises(ValueError, match="must be"):
            Settings(**wrong)


def test_the_command_writes_json_and_ends_with_0() -> None:
    arguments = ["bench", "throughput", "--quick", "--messages", "2000", "--durability", "group", "--json"]
    ran = subprocess.run(
        [sys.executable, "-m", "seqcast.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    written = json.loads(ran.stdout)
    assert written["complete"] is True
    assert written["throughput"]["messages"] == 2_000
    assert written["settings"]["durability"] == "group"
    assert "latency" not in written


def test_a_lost_message_is_exit_status_1(monkeypatch: pytest.MonkeyPatch, result: dict[str, Any]) -> None:
    lost = {**result, "problems": ["throughput 1/1: 1 of 2000 messages did not come"], "complete": False}
    asked: list[Any] = []

    def fake_run(what: str, settings: Settings, show: Any) -> dict[str, Any]:
        asked.append((what, settings))
        show("one", 0, 10)
        show("one", 10, 10)
        show("two", 0, 10)
        return lost

    monkeypatch.setattr(scenarios, "run", fake_run)
    handler = signal.getsignal(signal.SIGTERM)
    ran = CliRunner().invoke(main, ["bench", "latency", "--rounds", "3"])
    assert ran.exit_code == 1
    assert "1 of 2000 messages did not come" in ran.output
    assert asked == [("latency", Settings(rounds=3))]
    assert signal.getsignal(signal.SIGTERM) == handler


@pytest.mark.parametrize(
    "arguments", [["speed"], ["--messages", "0"], ["--rounds", "-1"], ["--durability", "x"]]
)
def test_wrong_usage_is_exit_status_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, ["bench", *arguments]).exit_code == 2


def test_an_ended_benchmark_leaves_nothing_behind(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "seqcast.cli", "bench", "throughput", "--messages", "100000000"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        while not list(tmp_path.glob("*/log/SEQ1/control.sock")):
            assert process.poll() is None
            os.sched_yield()
        process.terminate()
        process.wait(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []
