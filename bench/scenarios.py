"""The two benchmarks: each runs several rounds of the bus, and beside each round the baseline."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen, validators

from bench import machine
from bench.bus import Load, run_round
from bench.errors import NoBaseline
from bench.figures import Spread, ratios
from bench.payload import MESSAGE_BYTES
from bench.relay import Relay
from seqcast.latency import LatencyHistogram
from seqcast.settings import Durability

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.bus import BusRound

    Show = Callable[[str, int, int], None]
    """Told what is being measured, how many messages were delivered, and of how many."""

MESSAGES_MOST = 100_000_000
"""More do not fit the disk of most machines: each takes some 240 bytes at each of two nodes."""

ROUNDS_MOST = 100

PACKED = 6
"""Messages in one datagram of the packed relay: as many records of 200 bytes as the bus puts into one frame."""

PERCENTILES = (50.0, 99.0, 99.9)


@frozen(kw_only=True)
class Settings:
    """What to measure.

    `messages` is the size of a throughput round, `seconds` the length of a latency round at each of `rates`
    (messages a second); `latency_messages`, if given, takes the place of `seconds`.
    """

    messages: int = field(default=1_000_000, validator=[validators.ge(1), validators.le(MESSAGES_MOST)])
    rounds: int = field(default=5, validator=[validators.ge(1), validators.le(ROUNDS_MOST)])
    rates: tuple[int, ...] = (1_000, 20_000)
    seconds: float = 5.0
    latency_messages: int | None = None
    durability: Durability = Durability.MEMORY

    @classmethod
    def quick(cls) -> Settings:
        """One short round of each: to see that it works, not to quote."""
        return cls(messages=200_000, rounds=1, seconds=1.0)

    def timed_load(self, rate: int) -> Load:
        """One latency round at `rate`."""
        return Load(self.latency_messages or max(1, int(rate * self.seconds)), rate)


def run(what: str, settings: Settings, show: Show) -> dict[str, Any]:
    """Run `throughput`, `latency` or `all`; returns everything as plain values.

    `complete` in it is False when a message was lost or wrong; `problems` says what. Raises BenchError when a
    benchmark cannot be carried out at all.
    """
    result: dict[str, Any] = {
        "machine": machine.describe(),
        "settings": {
            "durability": settings.durability.value,
            "message_bytes": MESSAGE_BYTES,
            "rounds": settings.rounds,
        },
        "baseline": None,
    }
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="seqcast-bench-") as directory:
        relay = None
        try:
            relay = Relay.compile(Path(directory))
        except NoBaseline as error:
            result["baseline"] = f"not measured: {error}"
        if what in ("throughput", "all"):
            result["throughput"] = throughput(settings, relay, show, problems)
        if what in ("latency", "all"):
            result["latency"] = [latency(settings, rate, relay, show, problems) for rate in settings.rates]
    result["problems"] = problems
    result["complete"] = not problems
    return result


def throughput(settings: Settings, relay: Relay | None, show: Show, problems: list[str]) -> dict[str, Any]:
    """As many messages as back-pressure lets, from one sender to one receiver."""
    load = Load(settings.messages)
    rounds: list[BusRound] = []
    singles: list[float] = []
    packed: list[float] = []
    for number in range(1, settings.rounds + 1):
        label = f"throughput {number}/{settings.rounds}"
        rounds.append(_round(label, load, settings, show, problems))
        if relay is not None:
            show(f"{label}, relay", 0, load.messages)
            singles.append(relay.throughput(load, 1))
            packed.append(relay.throughput(load, PACKED))
    rates = [each.rate for each in rounds]
    result: dict[str, Any] = {
        "messages": load.messages,
        "messages_per_second": Spread.of(rates).as_plain(),
        "cpu_us_per_message": _cpu(rounds),
        "rounds": [each.as_plain() for each in rounds],
        "relay": None,
    }
    if relay is not None:
        result["relay"] = {
            "one_per_datagram": {
                "messages_per_second": Spread.of(singles).as_plain(),
                "ratio": ratios(rates, singles).as_plain(3),
            },
            "six_per_datagram": {
                "messages_per_second": Spread.of(packed).as_plain(),
                "ratio": ratios(rates, packed).as_plain(3),
            },
        }
    return result


def latency(
    settings: Settings, rate: int, relay: Relay | None, show: Show, problems: list[str]
) -> dict[str, Any]:
    """Messages to a timetable: from the time a message was due to its delivery, and to its acknowledgement."""
    load = settings.timed_load(rate)
    rounds: list[BusRound] = []
    delivered, acknowledged, lateness, bare = [], [], [], []
    for number in range(1, settings.rounds + 1):
        label = f"latency at {rate:,}/s {number}/{settings.rounds}"
        each = _round(label, load, settings, show, problems)
        rounds.append(each)
        delivered.append(LatencyHistogram.from_state(each.received["latencies"]))
        acknowledged.append(LatencyHistogram.from_state(each.sent["acknowledged"]))
        lateness.append(LatencyHistogram.from_state(each.sent["lateness"]))
        if relay is not None:
            show(f"{label}, relay", 0, load.messages)
            bare.append(relay.latency(load))
    return {
        "rate": rate,
        "messages": load.messages,
        "delivered": _latencies(delivered),
        "acknowledged": _latencies(acknowledged),
        "timetable": _latencies(lateness),
        "relay": _latencies(bare) if bare else None,
        "cpu_us_per_message": _cpu(rounds),
        "rounds": [each.as_plain() for each in rounds],
    }


def _round(label: str, load: Load, settings: Settings, show: Show, problems: list[str]) -> BusRound:
    show(label, 0, load.messages)
    each = run_round(load, settings.durability, lambda count: show(label, count, load.messages))
    problems += [f"{label}: {problem}" for problem in each.problems]
    return each


def _latencies(histograms: list[LatencyHistogram]) -> dict[str, Any]:
    """All rounds together, and how much the percentiles differ from round to round; microseconds."""
    together = LatencyHistogram()
    for histogram in histograms:
        together.merge(histogram)
    spreads: dict[str, Any] = {}
    for percent in PERCENTILES:
        found = [histogram.percentile(percent) for histogram in histograms]
        values = [value / 1000 for value in found if value is not None]
        spreads[f"p{percent:g}_us"] = Spread.of(values).as_plain() if values else None
    return {**together.as_plain(), "rounds": spreads}


def _cpu(rounds: list[BusRound]) -> dict[str, float]:
    """Processor time of each process for one message, in microseconds: the median of the rounds."""
    return {
        name: round(
            Spread.of([each.cpu_seconds[name] * 1e6 / each.load.messages for each in rounds]).median, 3
        )
        for name in rounds[0].cpu_seconds
    }


def sized(settings: Settings, messages: int | None, rounds: int | None) -> Settings:
    """The settings with another number of messages in each round, or of rounds; None leaves them."""
    if messages is not None:
        settings = evolve(settings, messages=messages, latency_messages=messages)
    if rounds is not None:
        settings = evolve(settings, rounds=rounds)
    return settings
