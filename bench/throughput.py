"""Throughput: as many messages as back-pressure lets, from one sender to one receiver, with one voter and with three.

Beside each round run the bare relays: one message in a datagram, six, and six in each of 48 datagrams that are handed
to the kernel in one call.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from bench.baselines import PACKED, SEGMENTS
from bench.figures import Spread
from bench.rounds import Load
from bench.scenario import beside, cpu

if TYPE_CHECKING:
    from bench.baselines import Baselines
    from bench.rounds import BusRound
    from bench.scenario import Bench

RELAYS = {
    "one_per_datagram": (1, 1, 1),
    "six_per_datagram": (PACKED, 1, 1),
    "segmented": (PACKED, SEGMENTS, 10),
}
"""Messages in a datagram, datagrams in a call, and how many times the messages of the bus it is given: what is over in
some milliseconds says nothing."""

MESSAGES_MOST = 20_000_000
"""Of a relay: more take long, and say no more."""


def measure(bench: Bench) -> list[dict[str, Any]]:
    """One entry for each number of voters, all rounds of all of them taking turns."""
    load = Load(bench.settings.messages)
    rounds: dict[int, list[BusRound]] = {voters: [] for voters in bench.settings.voters}
    relays: dict[str, list[float | None]] = {name: [] for name in RELAYS}
    for number in bench.rounds():
        for voters, done in rounds.items():
            label = bench.label(f"throughput N={voters}", number)
            done.append(bench.round(label, load, voters))
        for name, found in relays.items():
            found.append(
                bench.baseline(bench.label(f"relay {name}", number), partial(_relay, name=name, load=load))
            )
    return [
        {
            "voters": voters,
            "messages": load.messages,
            "messages_per_second": Spread.of([each.rate for each in done]).as_plain(),
            "cpu_us_per_message": cpu(done),
            "rounds": [each.as_plain() for each in done],
            "relay": {
                name: beside([each.rate for each in done], found, "messages_per_second")
                for name, found in relays.items()
            },
        }
        for voters, done in rounds.items()
    ]


def _relay(baselines: Baselines, *, name: str, load: Load) -> float:
    per_datagram, datagrams, times = RELAYS[name]
    messages = max(load.messages, min(load.messages * times, MESSAGES_MOST))
    return baselines.relay_throughput(Load(messages), per_datagram, datagrams)
