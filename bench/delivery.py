"""What the library costs its app: handing messages over, and taking them, in each of the ways it offers.

A sequencer and a rewinder run as always; the app process sends, or reads the whole stream back from the rewinder, as
fast as it can. Its own processor time says what one core would carry if nothing else held it up; the rate says what
came of it with all processes on this machine.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen, validators

from bench import machine
from bench.bus import Bus, make_configuration
from bench.figures import Spread
from bench.payload import MESSAGE_BYTES
from bench.processes import Processes
from bench.settings import MESSAGES_MOST, ROUNDS_MOST
from seqcast.settings import Durability

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.processes import Process

    Show = Callable[[str, int, int], None]

WAYS = {
    "send": ("table", "list", "single"),
    "receive": ("batches", "arrays", "single", "async"),
}
"""Ways to hand messages over: a prepared table, lists of bytes, one `send` each. Ways to take them: batches by `poll`,
their NumPy columns, one at a time by `for`, one at a time by `async for`."""

ROUND_SECONDS = 300.0
"""A way that takes longer than this for one round is given up."""


@frozen(kw_only=True)
class Settings:
    """`messages` of each round, `rounds` of each way."""

    messages: int = field(default=1_000_000, validator=[validators.ge(1), validators.le(MESSAGES_MOST)])
    rounds: int = field(default=3, validator=[validators.ge(1), validators.le(ROUNDS_MOST)])

    @classmethod
    def quick(cls) -> Settings:
        """One short round of each: to see that it works, not to quote."""
        return cls(messages=200_000, rounds=1)


def run(settings: Settings, show: Show) -> dict[str, Any]:
    """Measure every way; returns everything as plain values.

    `complete` in it is False when messages were lost or wrong. Raises BenchError when it cannot be carried out.
    """
    rounds: dict[str, list[dict[str, Any]]] = {}
    for number in range(1, settings.rounds + 1):
        with tempfile.TemporaryDirectory(prefix="seqcast-bench-") as directory, Processes() as processes:
            bus = Bus(processes, make_configuration(Path(directory), Durability.MEMORY))
            bus.start()
            for role, ways in WAYS.items():
                for way in ways:
                    label = f"{role} {way} {number}/{settings.rounds}"
                    show(label, 0, settings.messages)
                    result = _worker(processes, bus, role, way, settings.messages)
                    rounds.setdefault(f"{role} {way}", []).append(result)
                    show(label, settings.messages, settings.messages)
                bus.catch_up()
            processes.stop(*reversed(bus.nodes.values()))
    problems = [
        f"{name}: {each['count']} of {settings.messages} messages, {each['wrong']} wrong"
        for name, results in rounds.items()
        for each in results
        if each["count"] != settings.messages or each["wrong"]
    ]
    return {
        "machine": machine.describe(),
        "settings": {
            "message_bytes": MESSAGE_BYTES,
            "messages": settings.messages,
            "rounds": settings.rounds,
        },
        "ways": {name: _figures(results) for name, results in rounds.items()},
        "problems": problems,
        "complete": not problems,
    }


def _worker(processes: Processes, bus: Bus, role: str, way: str, messages: int) -> dict[str, Any]:
    settings = {"config": str(bus.configuration.path), "role": role, "way": way, "messages": messages}
    worker: Process = processes.start_module(f"{role} {way}", "bench.app", settings)
    processes.wait(
        lambda: worker.status is not None, ROUND_SECONDS, f"{role} {way} did not end", lambda: None
    )
    assert worker.result is not None, worker.last_words()
    return worker.result


def _figures(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Messages a second, as the clock counts and as the processor time of the app does."""
    return {
        "messages_per_second": Spread.of([each["count"] / each["seconds"] for each in results]).as_plain(),
        "messages_per_cpu_second": Spread.of(
            [each["count"] / each["cpu_seconds"] for each in results]
        ).as_plain(),
    }
