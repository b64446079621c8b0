"""All scenarios by name, and a run of some of them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import (
    catch_up,
    codec,
    delivery,
    failover,
    interference,
    latency,
    machine,
    memory,
    overload,
    replay,
    scale,
    throughput,
)
from bench.baselines import Baselines
from bench.errors import NoBaseline
from bench.payload import MESSAGE_BYTES
from bench.scenario import Bench

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.scenario import Show
    from bench.settings import Settings


def _failover(bench: Bench) -> dict[str, Any]:
    settings = failover.Settings(trials=bench.settings.trials, durability=bench.settings.durability)
    result = failover.run(settings, bench.show)
    bench.problems += [f"failover: {problem}" for problem in result["problems"]]
    return {key: value for key, value in result.items() if key not in ("machine", "problems", "complete")}


SCENARIOS: dict[str, Callable[[Bench], Any]] = {
    "throughput": throughput.measure,
    "latency": latency.measure,
    "delivery": delivery.measure,
    "replay": replay.measure,
    "catch_up": catch_up.measure,
    "failover": _failover,
    "codec": codec.measure,
    "scale": scale.measure,
    "interference": interference.measure,
    "overload": overload.measure,
    "memory": memory.measure,
}
"""In the order in which `all` runs them."""


def run(names: Sequence[str], settings: Settings, show: Show) -> dict[str, Any]:
    """Run scenarios; returns everything as plain values, what each measured under its name.

    `complete` in it is False when a message was lost or wrong; `problems` says what. `baseline` is None, or says why
    the baselines could not be measured. Raises BenchError when a benchmark cannot be carried out at all.
    """
    result: dict[str, Any] = {
        "machine": machine.describe(),
        "settings": {
            "durability": settings.durability.value,
            "idle": settings.idle,
            "message_bytes": MESSAGE_BYTES,
            "rounds": settings.rounds,
        },
        "baseline": None,
    }
    with tempfile.TemporaryDirectory(prefix="seqcast-bench-") as directory:
        baselines = None
        try:
            baselines = Baselines.compile(Path(directory))
        except NoBaseline as error:
            result["baseline"] = f"not measured: {error}"
        bench = Bench(settings, baselines, show)
        for name in names:
            result[name] = SCENARIOS[name](bench)
    result["problems"] = bench.problems
    result["complete"] = not bench.problems
    return result
