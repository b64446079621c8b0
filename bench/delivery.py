"""What the library costs its app: handing messages over, and taking them, in each of the ways it offers.

A sequencer and a rewinder run as always; the app process sends, or reads the whole stream back from the rewinder, as
fast as it can. Its own processor time says what one core would carry if nothing else held it up; the rate says what
came of it with all processes on this machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.figures import Spread
from bench.payload import MESSAGE_BYTES
from bench.rounds import result_of

if TYPE_CHECKING:
    from bench.bus import Bus
    from bench.scenario import Bench

WAYS = {
    "send": ("table", "list", "single"),
    "receive": ("batches", "arrays", "single", "async"),
}
"""Ways to hand messages over: a prepared table, lists of bytes, one `send` each. Ways to take them: batches by `poll`,
their NumPy columns, one at a time by `for`, one at a time by `async for`."""

ROUND_SECONDS = 300.0
"""A way that takes longer than this for one round is given up."""


def measure(bench: Bench) -> dict[str, Any]:
    """Each way in each round, on a bus of its own; `ways` has what they came to."""
    messages = bench.settings.messages
    rounds: dict[str, list[dict[str, Any]]] = {}
    for number in bench.rounds():
        with bench.bus() as bus:
            for role, ways in WAYS.items():
                for way in ways:
                    label = bench.label(f"{role} {way}", number)
                    bench.show(label, 0, messages)
                    rounds.setdefault(f"{role} {way}", []).append(_result(bus, role, way, messages))
                    bench.show(label, messages, messages)
                bus.catch_up()
    bench.problems += [
        f"delivery: {name}: {each['count']} of {messages} messages, {each['wrong']} wrong"
        for name, results in rounds.items()
        for each in results
        if each["count"] != messages or each["wrong"]
    ]
    return {
        "settings": {"message_bytes": MESSAGE_BYTES, "messages": messages, "rounds": bench.settings.rounds},
        "ways": {name: _figures(results) for name, results in rounds.items()},
    }


def _result(bus: Bus, role: str, way: str, messages: int) -> dict[str, Any]:
    settings = {**bus.worker_settings(messages), "role": role, "way": way}
    worker = bus.processes.start_module(f"{role} {way}", "bench.app", settings)
    bus.processes.wait(lambda: worker.status is not None, ROUND_SECONDS, f"{role} {way} did not end")
    return result_of(worker)


def _figures(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Messages a second, as the clock counts and as the processor time of the app does."""
    return {
        "messages_per_second": Spread.of([each["count"] / each["seconds"] for each in results]).as_plain(),
        "messages_per_cpu_second": Spread.of(
            [each["count"] / each["cpu_seconds"] for each in results]
        ).as_plain(),
    }
