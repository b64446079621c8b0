"""Latency: messages to a timetable, from the time one was due to its delivery, and to its acknowledgement.

Beside each round the bare relay keeps the same timetable, and a ping-pong over a multicast group shows the least that
two hops take. All wait as the settings say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field

from bench.payload import MESSAGE_BYTES
from bench.scenario import cpu, latencies, latency_ratios
from seqcast.latency import LatencyHistogram

if TYPE_CHECKING:
    from bench.rounds import BusRound, Load
    from bench.scenario import Bench


@define(eq=False)
class Measured:
    """The rounds of one load with one number of voters."""

    voters: int
    load: Load
    rounds: list[BusRound] = field(factory=list, init=False)
    relay: list[LatencyHistogram] = field(factory=list, init=False)

    def as_plain(self) -> dict[str, Any]:
        """The percentiles, and what they are beside the relay's."""
        delivered = [LatencyHistogram.from_state(each.received["latencies"]) for each in self.rounds]
        acknowledged = [LatencyHistogram.from_state(each.sent["acknowledged"]) for each in self.rounds]
        lateness = [LatencyHistogram.from_state(each.sent["lateness"]) for each in self.rounds]
        return {
            "voters": self.voters,
            "rate": self.load.rate,
            "messages": self.load.messages,
            "delivered": latencies(delivered),
            "acknowledged": latencies(acknowledged),
            "timetable": latencies(lateness),
            "relay": latencies(self.relay) if self.relay else None,
            "ratio": {
                "delivered": latency_ratios(delivered, self.relay),
                "acknowledged": latency_ratios(acknowledged, self.relay),
            },
            "cpu_us_per_message": cpu(self.rounds),
            "rounds": [each.as_plain() for each in self.rounds],
        }


def measure(bench: Bench) -> dict[str, Any]:
    """`loads` has one entry for each number of voters and rate, `pingpong` the round trips."""
    settings = bench.settings
    measured = [
        Measured(voters, settings.timed_load(rate)) for rate in settings.rates for voters in settings.voters
    ]
    pingpong: list[LatencyHistogram] = []
    for number in bench.rounds():
        for each in measured:
            label = bench.label(f"latency at {each.load.rate:,}/s N={each.voters}", number)
            each.rounds.append(bench.round(label, each.load, each.voters))
            if bench.baselines is not None:
                bench.show(f"{label}, relay", 0, each.load.messages)
                each.relay.append(bench.baselines.relay_latency(each.load, settings.idle))
        if bench.baselines is not None:
            bench.show(bench.label("ping-pong", number), 0, settings.round_trips)
            pingpong.append(bench.baselines.pingpong(settings.round_trips, MESSAGE_BYTES, settings.idle))
    return {
        "loads": [each.as_plain() for each in measured],
        "pingpong": latencies(pingpong) if pingpong else None,
    }
