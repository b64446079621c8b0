"""Interference: what others do that should not concern the primary, and whether its latency tells.

A sender keeps a timetable with one voter, undisturbed, and then beside

- a slow receiver, whose kernel buffer overflows again and again;
- a stuck rewinder, stopped with SIGSTOP, which does not vote;
- a full replay: a rewinder serves its whole history to one client as fast as it goes, again and again;
- two strangers, who move bytes over TCP by `sendfile` as fast as it goes and know nothing of the bus: what their work
  does to the latency is the machine's doing, where there are fewer processors than processes.

The undisturbed round comes again at the end of each turn, to show what no disturbance at all does to a ratio.

All rounds run on one bus and take turns, and a ratio is taken round by round to the undisturbed one. Beside latency
stand the processor time of the primary for a message and for a turn, and the time in which it was ready to run and had
no processor: they tell whether it had more to do, or only had to wait.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.baselines import bytes_per_second
from bench.figures import Spread, ratios
from bench.replay import CLIENT_SECONDS, FILE_PACKETS, start_client, write_packets
from bench.rounds import result_of
from bench.scenario import cpu, latencies, latency_ratios
from seqcast.child import ChildCommand
from seqcast.latency import LatencyHistogram

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from bench.bus import Bus
    from bench.rounds import BusRound
    from bench.scenario import Bench

    Evidence = dict[str, Any]
    Disturbance = Callable[[], AbstractContextManager[object]]

RATE = 20_000
"""Messages a second."""

SPARE = "REW2"
"""The rewinder that gets stuck."""

UNLIMITED = 1 << 40
"""Bytes a second that nobody reaches."""

STRANGERS_PACKETS = (1 << 32) - 1
"""More than they move until they are stopped."""

QUIET = "undisturbed"
REPLAY = "full replay"
STRANGERS = "two strangers"


def measure(bench: Bench) -> dict[str, Any]:
    """One entry for each disturbance, the first for none."""
    load = bench.settings.timed_load(RATE)
    records = bench.settings.records
    done: dict[str, list[BusRound]] = {}
    evidence: dict[str, list[Evidence]] = {}
    with tempfile.TemporaryDirectory(prefix="seqcast-bench-") as directory, bench.bus(spares=(SPARE,)) as bus:
        bench.show("interference: history", 0, records)
        bus.fill(records, lambda count: bench.show("interference: history", count, records))
        path = Path(directory) / "packets"
        write_packets(path, min(records, FILE_PACKETS))
        for number in bench.rounds():
            for name, disturbance in _disturbances(bench, bus, path, evidence).items():
                label = bench.label(f"interference, {name}", number)
                done.setdefault(name, []).append(bench.round_on(bus, label, load, disturbance()))
    quiet = done[QUIET]
    return {
        "rate": RATE,
        "messages": load.messages,
        "records": records,
        "disturbances": {
            name: {**_figures(rounds, quiet), "evidence": evidence.get(name, [])}
            for name, rounds in done.items()
        },
        "replay_beside_strangers": latency_ratios(
            _latencies(done.get(REPLAY, ()), "delivered"), _latencies(done.get(STRANGERS, ()), "delivered")
        ),
    }


def _disturbances(
    bench: Bench, bus: Bus, path: Path, evidence: dict[str, list[Evidence]]
) -> dict[str, Disturbance]:
    """Each with a name under which it leaves what shows that it took place."""

    def noted(name: str, found: Evidence) -> None:
        evidence.setdefault(name, []).append(found)

    @contextmanager
    def nothing() -> Iterator[None]:
        yield

    @contextmanager
    def slow_receiver() -> Iterator[None]:
        laggard = bus.processes.start_module("laggard", "bench.laggard", bus.worker_settings(None))
        bus.processes.wait_ready(laggard)
        yield
        bus.processes.tell_to_end(laggard)
        bus.processes.wait(
            lambda: laggard.status is not None, CLIENT_SECONDS, "the slow receiver did not end"
        )
        noted("slow receiver", result_of(laggard))

    @contextmanager
    def stuck_rewinder() -> Iterator[None]:
        held = bus.status(SPARE)["commit"]
        with bus.processes.frozen(bus.nodes[SPARE]):
            yield
            primary = bus.status(bus.primary())
            behind, given_up = primary["commit"] - held, SPARE not in primary["followers"]
            noted("stuck rewinder", {"records_behind": behind, "given_up": given_up})

    @contextmanager
    def full_replay() -> Iterator[None]:
        client = start_client(bench, bus, "client", UNLIMITED)
        yield
        bus.processes.tell_to_end(client)
        bus.processes.wait(lambda: client.status is not None, CLIENT_SECONDS, "the replay did not end")
        noted(REPLAY, {"bytes_per_second": round(bytes_per_second(result_of(client), 0))})

    @contextmanager
    def strangers() -> Iterator[None]:
        assert bench.baselines is not None
        program = (bench.baselines.program("stream"), "sendfile", str(path), str(STRANGERS_PACKETS))
        stream = bus.processes.start(ChildCommand(name="stream", role="bench", arguments=program))
        yield
        bus.processes.stop(stream)

    found: dict[str, Disturbance] = {
        QUIET: nothing,
        "slow receiver": slow_receiver,
        "stuck rewinder": stuck_rewinder,
    }
    if bench.baselines is not None:
        found |= {REPLAY: full_replay, STRANGERS: strangers}
    return {**found, "undisturbed again": nothing}


def _figures(rounds: list[BusRound], quiet: list[BusRound]) -> dict[str, Any]:
    """Latencies and the primary's work, and both beside the undisturbed rounds."""
    figures: dict[str, Any] = {}
    for what in ("delivered", "acknowledged"):
        ours, theirs = _latencies(rounds, what), _latencies(quiet, what)
        figures[what] = latencies(ours)
        figures[f"{what}_ratio"] = latency_ratios(ours, theirs)
    for what, work in {
        "primary_us_per_message": _per_message,
        "primary_us_per_turn": _per_turn,
        "primary_queued_us_per_message": _queued,
    }.items():
        figures[what] = Spread.of([work(each) for each in rounds]).as_plain(3)
    figures["primary_work_ratio"] = ratios(
        [_per_message(each) for each in rounds], [_per_message(each) for each in quiet]
    ).as_plain(3)
    figures["cpu_us_per_message"] = cpu(rounds)
    return figures


def _latencies(rounds: Sequence[BusRound], what: str) -> list[LatencyHistogram]:
    states = (each.received["latencies"] if what == "delivered" else each.sent[what] for each in rounds)
    return [LatencyHistogram.from_state(state) for state in states]


def _per_message(each: BusRound) -> float:
    return each.cpu_seconds["SEQ1"] * 1e6 / each.load.messages


def _per_turn(each: BusRound) -> float:
    return each.cpu_seconds["SEQ1"] * 1e6 / max(each.turns, 1)


def _queued(each: BusRound) -> float:
    return each.queued_seconds["SEQ1"] * 1e6 / each.load.messages
