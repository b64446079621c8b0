"""The pictures of bench/RESULTS.md, each of what one scenario found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from bench.svg import BARE, OTHER, OURS, Picture, percentiles, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def throughput(found: Any) -> Picture:
    """The bus beside the relays."""
    relays = found[0]["relay"]
    names = (
        ("one_per_datagram", "bare relay, 1 a datagram"),
        ("six_per_datagram", "bare relay, 6 a datagram"),
        ("segmented", "bare relay, 48 x 6 in one call"),
    )
    return Picture(
        "How many messages a second?",
        "messages of 200 bytes a second",
        [
            *(
                spread(text, relays[name]["messages_per_second"], BARE)
                for name, text in names
                if relays[name]
            ),
            *(spread(f"seqcast, N={each['voters']}", each["messages_per_second"], OURS) for each in found),
        ],
    )


def latency(found: Any) -> Picture:
    """Percentiles of the bus and of the relay, load by load."""
    rows = []
    for each in found["loads"]:
        load = f"{each['rate']:,}/s, N={each['voters']}"
        if each["relay"]:
            rows.append(percentiles(f"{load}: bare relay", each["relay"], BARE))
        rows.append(percentiles(f"{load}: delivered", each["delivered"], OURS))
        rows.append(percentiles(f"{load}: acknowledged", each["acknowledged"], OTHER))
    return Picture("How long does a message take?", "microseconds since it was due: p50, p99, p99.9", rows)


def replay(found: Any) -> Picture:
    """A history as fast as it goes, to a client that reads."""
    one = found["one_client"]
    rows = [
        spread(f"bare {how}", _scaled(each["bytes_per_second"], 1e-6), BARE)
        for how, each in one["baseline"].items()
        if each
    ]
    rows.append(spread("replay to one client", _scaled(one["bytes_per_second"], 1e-6), OURS))
    return Picture("How fast does history come?", "megabytes a second", rows)


def catch_up(found: Any) -> Picture:
    """A receiver that begins at number 1, until it is live."""
    rows = [spread("receiver, from 1 until it is live", found["records_per_second"], OURS)]
    if found["sendfile"]:
        rows.insert(0, spread("bare sendfile", found["sendfile"]["records_per_second"], BARE))
    return Picture("How soon is a receiver live that comes late?", "records a second", rows)


def beside_replay(found: Any) -> Picture:
    """What replays do to live messages."""
    four = found["four_clients"]
    megabits = four["megabits_per_second"]["median"]
    return Picture(
        "What do four replays cost the live stream?",
        "microseconds since a message was due: p50, p99, p99.9",
        [
            percentiles(f"{four['rate']:,}/s alone", four["alone"], BARE),
            percentiles(f"beside 4 clients, {megabits:,.0f} Mbit/s", four["beside"], OURS),
        ],
    )


def scale(found: Any) -> Picture:
    """Processor time of the sequencer for a message, as receivers, senders and the log grow."""
    rows = []
    for name, steps in found.items():
        unit = {"log": "records in the log"}.get(name, name)
        for each in steps:
            label = f"{each[name]:,} {unit.removesuffix('s') if each[name] == 1 else unit}"
            rows.append(spread(label, each["sequencer_us_per_message"], OURS, "{:.2f}"))
    return Picture("Is there a cliff?", "microseconds of the sequencer's processor for a message", rows)


def codec(found: Any) -> Picture:
    """Every kernel, and memcpy."""
    kernels = found["kernels"]
    copied = next(iter(kernels.values()))["memcpy"]
    rows = [spread(name, each["ns_per_message"], OURS, "{:,.1f}") for name, each in kernels.items()]
    if copied:
        rows.insert(0, spread("memcpy of 200 bytes", copied["ns_per_message"], BARE, "{:,.1f}"))
    return Picture("What does a codec cost?", "nanoseconds a message", rows)


def interference(found: Any) -> Picture:
    """Live latency beside each disturbance."""
    rows = []
    for number, (name, each) in enumerate(found["disturbances"].items()):
        rows.append(percentiles(f"{name}: delivered", each["delivered"], OURS if number else BARE))
        rows.append(percentiles(f"{name}: acknowledged", each["acknowledged"], OTHER if number else BARE))
    return Picture(
        "What do others do to live messages?", "microseconds since it was due: p50, p99, p99.9", rows
    )


def primary_work(found: Any) -> Picture:
    """What the primary does for a message beside each disturbance."""
    rows = [
        spread(name, each["primary_us_per_message"], OURS if number else BARE, "{:.1f}")
        for number, (name, each) in enumerate(found["disturbances"].items())
    ]
    return Picture("Does the primary have more to do?", "microseconds of its processor for a message", rows)


def overload(found: Any) -> Picture:
    """What is offered, and what comes of it."""
    return Picture(
        "What happens to twice as much as fits?",
        "messages of 200 bytes a second",
        [
            spread("can be carried", found["capacity_per_second"], BARE),
            spread("offered", found["offered_per_second"], OTHER),
            spread("carried", found["carried_per_second"], OURS),
        ],
    )


@frozen
class Plot:
    """A picture of the result in file `run`, of what lies in it under `scenario`."""

    run: str
    scenario: str
    picture: Callable[[Any], Picture]

    def of(self, results: Mapping[str, Any]) -> Picture:
        """The picture; `results` are by the names of their files."""
        return self.picture(results[self.run][self.scenario])


PLOTS = {
    "throughput": Plot("throughput", "throughput", throughput),
    "latency-1": Plot("latency-1", "latency", latency),
    "latency-3": Plot("latency-3", "latency", latency),
    "latency-spin": Plot("latency-spin", "latency", latency),
    "replay": Plot("replay", "replay", replay),
    "beside_replay": Plot("replay", "replay", beside_replay),
    "catch_up": Plot("catch_up", "catch_up", catch_up),
    "interference": Plot("interference", "interference", interference),
    "primary_work": Plot("interference", "interference", primary_work),
    "scale": Plot("scale", "scale", scale),
    "overload": Plot("overload", "overload", overload),
    "codec": Plot("codec", "codec", codec),
}
"""By the names of their files."""


def _scaled(values: dict[str, float], factor: float) -> dict[str, float]:
    return {key: value * factor for key, value in values.items()}
