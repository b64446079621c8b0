"""Interference, overload and memory: a smoke size of each, and that what is wrong is said."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve

from bench import flood, interference, overload
from bench.bus import Bus
from bench.errors import BenchError
from bench.flood import PORTION_MESSAGES, Flood
from bench.interference import QUIET
from bench.payload import LANE_BITS, MESSAGE_BYTES
from bench.report import render
from bench.scenario import Bench
from bench.scenarios import run
from bench.settings import Settings
from bench.soak import SPARE_BYTES, Soak
from seqcast.errors import WouldBlock

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL = Settings(messages=20_000, rounds=1, latency_messages=2_000, records=20_000)


def test_every_disturbance_takes_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """All in one round, which is set beside itself."""
    each_alone = interference._disturbances

    def all_at_once(*arguments: Any) -> dict[str, Any]:
        disturbances = each_alone(*arguments)
        names.extend(disturbances)
        evidence.append(arguments[-1])

        @contextmanager
        def everything() -> Iterator[None]:
            with ExitStack() as stack:
                for disturbance in disturbances.values():
                    stack.enter_context(disturbance())
                yield

        return {QUIET: everything}

    names: list[str] = []
    evidence: list[dict[str, list[dict[str, Any]]]] = []
    monkeypatch.setattr(interference, "_disturbances", all_at_once)
    result = run(("interference",), SMALL, lambda *_: None)
    assert result["problems"] == []
    assert json.loads(json.dumps(result)) == result
    (found,) = result["interference"]["disturbances"].values()
    assert found["delivered"]["count"] == found["acknowledged"]["count"] == 2_000
    assert found["delivered_ratio"]["p99"] == {"min": 1.0, "median": 1.0, "max": 1.0}
    assert found["primary_us_per_turn"]["min"] >= found["primary_us_per_message"]["min"] > 0
    (noted,) = evidence
    (laggard,), (stuck,) = noted["slow receiver"], noted["stuck rewinder"]
    assert laggard["received"] < 2_000
    assert laggard["datagrams_dropped"] > 0
    assert stuck["records_behind"] == 2_000
    assert names[0] == QUIET
    if result["baseline"] is None:
        assert "two strangers" in names
        assert noted["full replay"][0]["bytes_per_second"] > 0
    assert QUIET in render(result)
    assert result["interference"]["replay_beside_strangers"] is None  # nothing was measured by itself


def test_memory_is_flat_however_many_messages_pass() -> None:
    """Three bytes for each message would be more than what is allowed."""
    messages = 500_000
    assert 3 * messages > SPARE_BYTES
    result = run(("memory",), evolve(SMALL, messages=messages), lambda *_: None)
    assert result["problems"] == []
    processes = result["memory"]["processes"]
    assert set(processes) == {"SEQ1", "REW1", "sender", "receiver"}
    assert all(each["before_bytes"] > 1_000_000 for each in processes.values()), processes
    assert result["memory"]["sent"] >= 2 * messages
    assert "bytes a message" in render(result)


def test_an_overload_ends_in_back_pressure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overload, "_capacity", lambda *_: 10_000_000.0)  # no machine carries twice that
    result = run(("overload",), evolve(SMALL, messages=100_000), lambda *_: None)
    assert result["problems"] == []
    assert result["overload"]["lost"] == 0
    (found,) = result["overload"]["rounds"]
    assert found["offered"] == found["carried"] + found["refused"]
    assert found["refusals"] > 0
    assert 0 < found["in_flight_most"] <= found["in_flight_limit"]
    assert found["reconnections"] == 0
    assert "WouldBlock" in render(result)


class HalfFull:
    """A sender that takes half of each portion."""

    in_flight = 7

    def __init__(self) -> None:
        self.counters: list[int] = []

    def send_batch(self, messages: Any, timeout: float) -> None:
        assert timeout == 0
        half = len(messages) // 2
        self.counters += [int.from_bytes(bytes(messages[row])[:8], "big") for row in range(half)]
        raise WouldBlock("full", half)


def test_what_was_refused_is_not_numbered() -> None:
    senders: list[Any] = [HalfFull(), HalfFull()]
    offers = Flood(senders, 1_000_000_000, MESSAGE_BYTES)
    table = flood.PreparedTable(MESSAGE_BYTES)
    for lane in (0, 1, 1):
        offers._offer(lane, table)
    half = PORTION_MESSAGES // 2
    assert (offers.offered, offers.taken, offers.refusals) == (3 * PORTION_MESSAGES, [half, 2 * half], 3)
    assert offers.in_flight_most == 14
    assert senders[0].counters == list(range(half))
    assert senders[1].counters == [(1 << LANE_BITS) + each for each in range(2 * half)]


def soak_of(bench: Bench, **memory: tuple[int, int]) -> Soak:
    unused: Any = None
    soak = Soak(bench, unused, "soak", unused, unused)
    soak.memory += [{name: each[look] for name, each in memory.items()} for look in (0, 1)]
    return soak


def test_growth_is_a_problem() -> None:
    bench = Bench(SMALL, None, lambda *_: None)
    found = soak_of(bench, SEQ1=(10_000_000, 13_000_000), REW1=(5, 4)).growth(2_000_000)
    assert found["SEQ1"] == {"before_bytes": 10_000_000, "after_bytes": 13_000_000, "bytes_per_message": 1.5}
    assert found["REW1"]["bytes_per_message"] == 0
    assert bench.problems == ["soak: SEQ1 has 3,000,000 bytes more after 2,000,000 messages"]


@pytest.mark.parametrize("grown", [SPARE_BYTES, 1_900_000])
def test_what_any_process_varies_by_is_none(grown: int) -> None:
    bench = Bench(SMALL, None, lambda *_: None)
    soak_of(bench, SEQ1=(0, grown)).growth(2_000_000 if grown > SPARE_BYTES else 1)
    assert bench.problems == []


def test_a_history_that_the_disk_cannot_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(SMALL, None, lambda *_: None)
    with bench.bus() as bus:
        with pytest.raises(
            BenchError, match=r"in 2 logs need 49,600,000 GB, .* name a larger disk with TMPDIR"
        ):
            bus.fill(10**14, lambda _count: None)
        assert isinstance(bus, Bus)
        assert bus.status("SEQ1")["commit"] <= 1
