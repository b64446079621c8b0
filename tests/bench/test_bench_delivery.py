"""The benchmark of the library: it counts what came, and says so when something did not."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from bench import delivery
from bench.scenarios import run
from bench.settings import Settings
from seqcast.cli import main


def test_every_way_is_measured_and_every_message_counted() -> None:
    done = CliRunner().invoke(main, ["bench", "delivery", "--messages", "3000", "--rounds", "1", "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["complete"]
    assert list(result["delivery"]["ways"]) == [
        f"{role} {way}" for role, ways in delivery.WAYS.items() for way in ways
    ]
    assert all(figures["messages_per_second"]["min"] > 0 for figures in result["delivery"]["ways"].values())


def test_what_is_missing_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def result_of_way(_bus, role, way, messages):
        lost = role == "receive" and way == "single"
        return {"count": messages - lost, "wrong": 0, "seconds": 1.0, "cpu_seconds": 0.5}

    monkeypatch.setattr(delivery, "_result", result_of_way)
    result = run(("delivery",), Settings(messages=10, rounds=1), lambda *_: None)
    assert result["problems"] == ["delivery: receive single: 9 of 10 messages, 0 wrong"]
    assert not result["complete"]
    assert result["delivery"]["ways"]["send list"]["messages_per_cpu_second"]["median"] == 20.0
