"""The catch-up benchmark says so when something is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench import catch_up, soak
from bench.scenario import Bench
from bench.settings import Settings

if TYPE_CHECKING:
    import pytest

    from bench.processes import Process


def test_what_is_missing_or_wrong_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    true_result = soak.result_of

    def with_a_loss(process: Process) -> dict[str, Any]:
        result = true_result(process)
        return {**result, "received": result["received"] - 1, "wrong": 2} if "received" in result else result

    monkeypatch.setattr(soak, "result_of", with_a_loss)
    bench = Bench(Settings(records=2_000, rounds=1), None, lambda *_: None)
    found = catch_up.measure(bench)
    missing, wrong = bench.problems
    (done,) = found["rounds"]
    sent = 2_000 + done["live_messages"]
    assert missing == f"catch-up 1/1: {sent - 1} messages came, {sent} were sent"
    assert wrong == "catch-up 1/1: 2 messages came out of order, again or changed"
    assert found["sendfile"] is None
