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
from bench.figures import Spread, ratios
from bench.kernels import kernels
from bench.report import render
from bench.rounds import BusRound, Load, run_round
from bench.scenarios import run
from bench.settings import Settings, sized
from seqcast.cli import main
from seqcast.cli.bench import SCENARIOS
from seqcast.settings import Durability

COMPILER = shutil.which("cc") is not None
SMALL = Settings(
    messages=5_000,
    rounds=1,
    rates=(2_000,),
    latency_messages=1_000,
    seconds=0.05,
    records=20_000,
    logs=(5_000, 10_000),
    receivers=(1, 2),
    senders=(1, 3),
    calls=5,
    round_trips=100,
)
PROCESSES = {"SEQ1", "REW1", "sender", "receiver"}
BUSES = {1: PROCESSES, 3: {*PROCESSES, "SEQ2", "REW2"}}
RUN = ("throughput", "latency", "replay", "catch_up", "codec", "scale")
"""The others have files of their own."""


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    return run(RUN, SMALL, lambda _label, _count, _total: None)


def test_the_command_knows_every_scenario() -> None:
    assert tuple(scenarios.SCENARIOS) == SCENARIOS


def test_every_message_came(result: dict[str, Any]) -> None:
    assert result["problems"] == []
    assert result["complete"] is True
    for each in (*result["throughput"], *result["latency"]["loads"]):
        for measured in each["rounds"]:
            assert measured["problems"] == []
            assert measured["received"] == each["messages"]
            assert measured["reconnections"] == 0
            assert measured["source"] in ("live", "rewind")


def test_the_result_has_its_shape(result: dict[str, Any]) -> None:
    assert json.loads(json.dumps(result)) == result
    assert set(result) == {"machine", "settings", "baseline", *RUN, "problems", "complete"}
    assert set(result["machine"]) == {"cpu", "cores", "kernel", "python", "numpy", "load"}
    assert result["settings"] == {"durability": "memory", "idle": "block", "message_bytes": 200, "rounds": 1}
    assert [each["voters"] for each in result["throughput"]] == [1, 3]
    for throughput in result["throughput"]:
        assert throughput["messages"] == 5_000
        assert set(throughput["messages_per_second"]) == {"min", "median", "max"}
        assert throughput["messages_per_second"]["min"] > 0
        assert set(throughput["cpu_us_per_message"]) == BUSES[throughput["voters"]]
    assert [each["voters"] for each in result["latency"]["loads"]] == [1, 3]
    for latency in result["latency"]["loads"]:
        assert (latency["rate"], latency["messages"]) == (2_000, 1_000)
        for key in ("delivered", "acknowledged", "timetable"):
            assert latency[key]["count"] == 1_000
            assert 0 <= latency[key]["p50_ns"] <= latency[key]["p99_ns"] <= latency[key]["max_ns"]
            assert set(latency[key]["rounds"]) == {"p50_us", "p99_us", "p99.9_us"}
        assert latency["delivered"]["min_ns"] > 0


def test_a_late_receiver_gets_everything(result: dict[str, Any]) -> None:
    (caught_up,) = result["catch_up"]["rounds"]
    assert caught_up["received"] == 20_000 + caught_up["live_messages"]
    assert 20_000 <= caught_up["merged_messages"] <= caught_up["received"]
    assert caught_up["rewound"] > 0
    assert result["catch_up"]["records_per_second"]["min"] > 0


def test_every_step_of_scale_has_its_figures(result: dict[str, Any]) -> None:
    scale = result["scale"]
    sizes = {name: [step[name] for step in steps] for name, steps in scale.items()}
    assert sizes == {"receivers": [1, 2], "senders": [1, 3], "log": [5_000, 10_000]}
    for steps in scale.values():
        assert steps[0]["flatness"]["median"] == 1.0
        assert all(step["messages_per_second"]["min"] > 0 for step in steps)
        assert all(step["kernel_us_per_message"]["min"] >= 0 for step in steps)
        assert steps[0]["own_flatness"]["max"] in (
            0.0,
            1.0,
        )  # a tick of the kernel's is longer than so small a round


def test_every_kernel_is_measured(result: dict[str, Any]) -> None:
    measured = result["codec"]["kernels"]
    assert list(measured) == [kernel.name for kernel in kernels()]
    assert all(each["ns_per_message"]["min"] > 0 for each in measured.values())


@pytest.mark.skipif(not COMPILER, reason="no C compiler")
def test_the_baselines_were_measured(result: dict[str, Any]) -> None:
    assert result["baseline"] is None
    for throughput in result["throughput"]:
        for name in ("one_per_datagram", "six_per_datagram"):
            assert throughput["relay"][name]["messages_per_second"]["min"] > 0
            assert throughput["relay"][name]["ratio"]["min"] > 0
    for latency in result["latency"]["loads"]:
        assert latency["relay"]["count"] == 1_000
        assert set(latency["ratio"]["delivered"]) == {"p50", "p99", "p99.9"}
    assert result["latency"]["pingpong"]["count"] == 100
    one, four = result["replay"]["one_client"], result["replay"]["four_clients"]
    assert one["bytes_per_second"]["min"] > 0
    assert one["baseline"]["sendfile"]["ratio"]["min"] > 0
    assert four["beside"]["count"] == four["alone"]["count"] == 5_000
    assert four["p50_ratio"]["min"] > 0
    # The clients hold to their rate: over 50 ms and a start that is slow, about 300.
    assert 200 < four["megabits_per_second"]["median"] < 330
    assert result["catch_up"]["sendfile"]["ratio"]["min"] > 0
    assert all(each["memcpy"]["ratio"]["min"] > 0 for each in result["codec"]["kernels"].values())
    assert result["scale"]["log"][0]["relay"]["ratio"]["min"] > 0


def test_the_report_shows_the_figures(result: dict[str, Any]) -> None:
    text = render(result)
    assert f"{result['throughput'][0]['messages_per_second']['median']:,.0f}" in text
    assert "latency at 2,000 messages a second, N=3" in text
    assert "from number 1 of 20,000 records" in text
    assert text.endswith("every message came, once and in order")


def test_without_a_compiler_there_are_figures_and_no_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    small = evolve(SMALL, voters=(1,), messages=2_000, latency_messages=200, records=2_000)
    result = run(("throughput", "latency", "replay", "codec"), small, lambda *_: None)
    assert result["complete"]
    assert result["baseline"] == "not measured: there is no C compiler (no-such-compiler)"
    assert set(result["throughput"][0]["relay"].values()) == {None}
    assert result["latency"]["loads"][0]["relay"] is None
    assert result["replay"]["four_clients"]["alone"]["count"] == 5_000
    text = render({**result, "problems": ["throughput N=1 1/1: 3 of 5000 messages did not come"]})
    assert "bare relay" not in text
    assert "baseline not measured: there is no C compiler (no-such-compiler)" in text
    assert text.endswith("3 of 5000 messages did not come")


@pytest.mark.parametrize("voters", [1, 3])
def test_those_that_never_sleep_lose_nothing_either(voters: int) -> None:
    each = run_round(Load(500, 2_000), Durability.MEMORY, lambda _count: None, voters=voters, idle="spin")
    assert each.problems == []


def test_several_receivers_get_what_several_senders_send() -> None:
    load = Load(3_001, receivers=2, senders=3)
    each = run_round(load, Durability.MEMORY, lambda _count: None)
    assert each.problems == []
    assert [one["received"] for one in (each.received, *each.others)] == [3_001, 3_001]


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


def test_every_receiver_is_judged() -> None:
    lost = {**GOOD.received, "received": 9}
    assert evolve(GOOD, others=[lost]).problems == ["1 of 10 messages did not come"]


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
    assert sized(Settings()) == Settings()
    small = sized(Settings.quick(), messages=500, rounds=2)
    assert (small.messages, small.rounds, small.timed_load(20_000)) == (500, 2, Load(500, 20_000))
    assert Settings(seconds=2).timed_load(1_000) == Load(2_000, 1_000)
    large = sized(Settings(), records=100_000_000)
    assert (large.records, large.logs) == (100_000_000, (1_000_000, 10_000_000, 100_000_000))
    assert sized(Settings(), records=2_000_000).logs == (1_000_000, 2_000_000)
    for wrong in ({"messages": 0}, {"rounds": 0}, {"messages": 10**9}, {"rounds": 101}, {"idle": "doze"}):
        with pytest.raises(ValueError, match="must be"):
            Settings(**wrong)


def test_the_command_writes_json_and_ends_with_0() -> None:
    arguments = [
        "bench",
        "throughput",
        "--quick",
        "--messages",
        "2000",
        "--durability",
        "group",
        "--json",
        "--voters",
        "1",
    ]
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
    assert [each["messages"] for each in written["throughput"]] == [2_000]
    assert written["settings"]["durability"] == "group"
    assert "latency" not in written


def test_a_lost_message_is_exit_status_1(monkeypatch: pytest.MonkeyPatch, result: dict[str, Any]) -> None:
    lost = {**result, "problems": ["throughput N=1 1/1: 1 of 2000 messages did not come"], "complete": False}
    asked: list[Any] = []

    def fake_run(what: Any, settings: Settings, show: Any) -> dict[str, Any]:
        asked.append((what, settings))
        show("one", 0, 10)
        show("one", 10, 10)
        show("two", 0, 10)
        return lost

    monkeypatch.setattr(scenarios, "run", fake_run)
    handler = signal.getsignal(signal.SIGTERM)
    ran = CliRunner().invoke(main, ["bench", "latency", "--rounds", "3", "--idle", "spin"])
    assert ran.exit_code == 1
    assert "1 of 2000 messages did not come" in ran.output
    assert asked == [(("latency",), Settings(rounds=3, idle="spin"))]
    assert signal.getsignal(signal.SIGTERM) == handler


@pytest.mark.parametrize(
    "arguments",
    [
        ["speed"],
        ["--voters", "2"],
        ["--idle", "doze"],
        ["--messages", "0"],
        ["--rounds", "-1"],
        ["--durability", "x"],
    ],
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
