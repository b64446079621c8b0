"""The failover benchmark, small: the primary is killed twice, every message comes, the figures have their shape."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from typing import Any

import pytest
from attrs import define, field
from click.testing import CliRunner

from bench.failover import PHASES, Settings, Trial, Watch, figures, judged
from bench.payload import MESSAGE_BYTES
from bench.report import render
from native.messages import MessageTable
from seqcast.cli import main


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, "-m", "seqcast.cli", "bench", "failover", "--trials", "2", "--json"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return dict(json.loads(ran.stdout))


@pytest.fixture(scope="module")
def found(result: dict[str, Any]) -> dict[str, Any]:
    return dict(result["failover"])


def test_every_message_came(result: dict[str, Any]) -> None:
    assert (result["complete"], result["problems"]) == (True, [])
    assert result["failover"]["messages"] > 200


def test_the_result_has_its_shape(found: dict[str, Any]) -> None:
    assert set(found) == {
        *("settings", "trials", "min_ms", "p50_ms", "max_ms", "trials_ms", "phases_p50_ms", "killed"),
        *("false_takeovers", "messages"),
    }
    assert found["trials"] == len(found["trials_ms"]) == 2
    assert 0 < found["min_ms"] <= found["p50_ms"] <= found["max_ms"]
    assert found["false_takeovers"] >= 0
    assert {found["killed"][0], found["killed"][1]} <= {"SEQ1", "SEQ2"}
    # None would say that a node logs, or the sender reports, something else than this looks for.
    assert None not in found["phases_p50_ms"].values()
    assert tuple(found["phases_p50_ms"]) == PHASES


def test_the_report_shows_the_figures(result: dict[str, Any], found: dict[str, Any]) -> None:
    text = render(result)
    assert f"{found['max_ms']:,.1f}" in text
    assert "2 trials" in text
    assert "every message came" in text
    broken = {**found, "phases_p50_ms": dict.fromkeys(PHASES)}
    problems = ["1 messages came, 2 were sent"]
    text = render({**result, "failover": broken, "problems": problems, "complete": False})
    assert text.endswith("1 messages came, 2 were sent")


def test_figures_of_trials() -> None:
    trials = [
        Trial("SEQ1", {"noticed": 1.0, "opened": 2.0, "connected": None, "delivered": outage})
        for outage in (30.0, 10.0, 20.0)
    ]
    found = figures(trials, 4)
    assert (found["min_ms"], found["p50_ms"], found["max_ms"]) == (10.0, 20.0, 30.0)
    assert found["trials_ms"] == [30.0, 10.0, 20.0]
    assert found["phases_p50_ms"] == {"noticed": 1.0, "opened": 2.0, "connected": None, "delivered": 20.0}
    assert found["false_takeovers"] == 1


@define
class FakeReceiver:
    """Gives batches of (stream number, counter, due)."""

    batches: list[list[tuple[int, int, int]]] = field(factory=list)

    def poll(self, timeout: float) -> Any:
        rows = self.batches.pop(0) if self.batches else []
        table, buffer = MessageTable(max(1, len(rows))), bytearray()
        for row, (number, counter, due) in enumerate(rows):
            table.set(row, number, len(buffer), MESSAGE_BYTES)
            buffer += struct.pack(">QQ", counter, due).ljust(MESSAGE_BYTES, b".")
        return FakeBatch(table.view(memoryview(bytes(buffer)), len(rows)))


@define
class FakeBatch:
    payloads: Any

    def __len__(self) -> int:
        return len(self.payloads)


def watched(*batches: list[tuple[int, int, int]]) -> tuple[Watch, list[int]]:
    watch = Watch(FakeReceiver(list(batches)))  # type: ignore[arg-type]
    return watch, [watch.turn(0.0) for _ in batches]


def test_what_came_in_order_is_good_and_an_epoch_start_between_is_no_hole() -> None:
    watch, newest = watched([(2, 0, 10), (3, 1, 11)], [], [(5, 2, 12)])
    assert (watch.received, watch.wrong, newest) == (3, 0, [11, 0, 12])
    assert judged(watch, 3) == {"messages": 3, "problems": [], "complete": True}


@pytest.mark.parametrize(
    "rows",
    [[(2, 0, 1), (3, 0, 1)], [(2, 0, 1), (3, 2, 1)], [(3, 0, 1), (3, 1, 1)]],
    ids=["again", "left out", "not ascending"],
)
def test_what_is_wrong_is_counted(rows: list[tuple[int, int, int]]) -> None:
    watch, _ = watched(rows)
    assert watch.wrong == 1
    assert judged(watch, 2)["problems"] == ["1 messages came out of order, again or changed"]


def test_what_does_not_come_is_said() -> None:
    watch, _ = watched([(2, 0, 1)])
    assert judged(watch, 2)["problems"] == ["1 messages came, 2 were sent"]


def test_settings() -> None:
    assert (Settings().trials, Settings.quick().trials) == (20, 3)
    for wrong in (0, 1001):
        with pytest.raises(ValueError, match="must be"):
            Settings(trials=wrong)


@pytest.mark.parametrize(
    "arguments",
    [["failover", "--messages", "5"], ["failover", "--rounds", "1"], ["latency", "--trials", "2"],
     ["failover", "--trials", "0"], ["latency", "--records", "5"]],
)  # fmt: skip
def test_wrong_usage_is_exit_status_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, ["bench", *arguments]).exit_code == 2
