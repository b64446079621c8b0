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
from bench.scenario import beside
from bench.soak import Soak

if TYPE_CHECKING:
    from bench.bus import Bus
    from bench.scenario import Bench

LIVE_RATE = 50_000
"""Messages a second that are sent meanwhile."""

LIVE_LANE = 1
"""The history is lane 0 of what is checked."""


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
    history = bench.settings.records
    soak = Soak.start(bench, bus, label, history=history, rate=LIVE_RATE, lane=LIVE_LANE)
    reports = soak.receiver.reports
    soak.wait(lambda: any("merged" in each for each in reports), history, "the receiver did not merge")
    sent, result = soak.finish()
    if not result["merged_ns"]:
        raise BenchError("the receiver said that it had merged, and not when")
    return {**result, "live_messages": sent["sent"]}
