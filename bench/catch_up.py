"""Catch-up: a receiver starts from number 1 of a long history while live messages keep coming, until it has merged.

Beside each round `sendfile` brings as many packets of the same size to a reader that only walks over them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError
from bench.figures import Spread
from bench.payload import MESSAGE_BYTES
from bench.replay import FILE_PACKETS, PACKET_BYTES, write_packets
from bench.rounds import result_of
from bench.scenario import beside

if TYPE_CHECKING:
    from bench.bus import Bus
    from bench.scenario import Bench

LIVE_RATE = 50_000
"""Messages a second that are sent meanwhile."""

LIVE_LANE = 1
"""The history is lane 0 of what is checked."""

SLOWEST_RATE = 20_000
"""Records a second above the live rate; a receiver that is slower is given up."""

START_SECONDS = 30.0


def measure(bench: Bench) -> dict[str, Any]:
    """Records a second from the start until the merge, and whether everything came."""
    history = bench.settings.records
    results: list[dict[str, Any]] = []
    theirs: list[float | None] = []
    with tempfile.TemporaryDirectory(prefix="seqcast-bench-") as directory:
        path = Path(directory) / "packets"
        write_packets(path, min(history, FILE_PACKETS))
        for number in bench.rounds():
            label = bench.label("catch-up", number)
            with bench.bus() as bus:
                bench.show(f"{label}, history", 0, history)
                bus.fill(history, lambda count, label=label: bench.show(f"{label}, history", count, history))  # type: ignore[misc]
                results.append(_round(bench, bus, label))
            bytes_per_second = bench.baseline(label, lambda b: b.stream("sendfile", path, history))
            theirs.append(bytes_per_second / PACKET_BYTES if bytes_per_second is not None else None)
    rates = [each["merged_messages"] * 1e9 / each["merged_ns"] for each in results]
    return {
        "records": history,
        "live_rate": LIVE_RATE,
        "message_bytes": MESSAGE_BYTES,
        "records_per_second": Spread.of(rates).as_plain(0),
        "seconds": Spread.of([each["merged_ns"] / 1e9 for each in results]).as_plain(3),
        "sendfile": beside(rates, theirs, "records_per_second", 0),
        "rounds": results,
    }


def _round(bench: Bench, bus: Bus, label: str) -> dict[str, Any]:
    history, processes = bench.settings.records, bus.processes
    live = processes.start_module(
        "live", "bench.sender", {**bus.worker_settings(None), "rate": LIVE_RATE, "lane": LIVE_LANE}
    )
    processes.wait_ready(live)
    bench.show(label, 0, history)
    late = processes.start_module(
        "late", "bench.latecomer", {**bus.worker_settings(None), "history": history}
    )

    def merged() -> bool:
        reports = late.reports
        if reports:
            bench.show(label, min(history, reports[-1].get("progress", history)), history)
        return any("merged" in each for each in reports)

    processes.wait(merged, START_SECONDS + history / SLOWEST_RATE, "the receiver did not merge")
    processes.tell_to_end(live)
    processes.wait(lambda: live.status is not None, START_SECONDS, "the live messages did not end")
    processes.tell_to_end(late)
    processes.wait(lambda: late.status is not None, START_SECONDS, "the late receiver did not end")
    sent, result = result_of(live)["sent"], result_of(late)
    if result["received"] != history + sent:
        bench.problems.append(f"{label}: {result['received']} messages came, {history + sent} were sent")
    if result["wrong"]:
        bench.problems.append(f"{label}: {result['wrong']} messages came out of order, again or changed")
    if not result["merged_ns"]:
        raise BenchError("the receiver said that it had merged, and not when")
    return {**result, "live_messages": sent}
