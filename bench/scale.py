"""Scale: what a message costs with more receivers, with more senders, and at the end of a longer log.

All is throughput with one voter. Each step gives the rate, in the slowest receiver, and the processor time that the
sequencer spends on a message; `flatness` is that time divided by the one of the first step: 1 is no cliff at all. The
kernel's part of that time is given by itself: behind a long log it may have to find and clear fresh memory for the page
cache, which in a virtual machine costs more than all else, and is no matter of the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.baselines import PACKED
from bench.figures import Spread, ratios
from bench.rounds import Load
from bench.scenario import beside, cpu

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.rounds import BusRound
    from bench.scenario import Bench

    Step = Callable[[str], BusRound]


def measure(bench: Bench) -> dict[str, Any]:
    """One list of steps for each question."""
    settings = bench.settings
    messages = settings.messages
    questions: dict[str, dict[int, Step]] = {
        "receivers": {
            count: lambda label, count=count: bench.round(label, Load(messages, receivers=count))  # type: ignore[misc]
            for count in settings.receivers
        },
        "senders": {
            count: lambda label, count=count: bench.round(label, Load(messages, senders=count))  # type: ignore[misc]
            for count in settings.senders
        },
        "log": {
            records: lambda label, records=records: _on_history(bench, label, records)  # type: ignore[misc]
            for records in settings.logs
        },
    }
    return {name: _steps(bench, name, steps) for name, steps in questions.items()}


def _steps(bench: Bench, name: str, steps: dict[int, Step]) -> list[dict[str, Any]]:
    done: dict[int, list[BusRound]] = {size: [] for size in steps}
    relay: list[float | None] = []
    for number in bench.rounds():
        for size, step in steps.items():
            done[size].append(step(bench.label(f"scale, {name} {size:,}", number)))
        relay.append(
            bench.baseline(
                bench.label(f"scale, {name}", number),
                lambda b: b.relay_throughput(Load(bench.settings.messages), PACKED),
            )
        )
    smallest = next(iter(done.values()))
    first, first_own = _sequencer_us(smallest), _own_us(smallest)
    return [
        {
            name: size,
            "messages_per_second": Spread.of([each.rate for each in rounds]).as_plain(),
            "relay": beside([each.rate for each in rounds], relay, "messages_per_second"),
            "sequencer_us_per_message": Spread.of(_sequencer_us(rounds)).as_plain(4),
            "flatness": ratios(_sequencer_us(rounds), first).as_plain(3),
            "kernel_us_per_message": Spread.of(_kernel_us(rounds)).as_plain(4),
            "own_flatness": ratios(_own_us(rounds), first_own).as_plain(3),
            "cpu_us_per_message": cpu(rounds),
        }
        for size, rounds in done.items()
    ]


def _on_history(bench: Bench, label: str, records: int) -> BusRound:
    """A round behind so many records of history."""
    with bench.bus() as bus:
        bench.show(f"{label}, history", 0, records)
        bus.fill(records, lambda count: bench.show(f"{label}, history", count, records))
        return bench.round_on(bus, label, Load(bench.settings.messages))


def _sequencer_us(rounds: list[BusRound]) -> list[float]:
    """Processor time of the only sequencer for a message, in each round."""
    return [each.cpu_seconds["SEQ1"] * 1e6 / each.load.messages for each in rounds]


def _kernel_us(rounds: list[BusRound]) -> list[float]:
    return [each.kernel_seconds["SEQ1"] * 1e6 / each.load.messages for each in rounds]


def _own_us(rounds: list[BusRound]) -> list[float]:
    """What is not the kernel's."""
    return [
        max(all_us - kernel, 0.0)
        for all_us, kernel in zip(_sequencer_us(rounds), _kernel_us(rounds), strict=True)
    ]
