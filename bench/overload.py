"""Overload: senders offer twice what the bus can carry, open loop, and it ends in back-pressure.

What it can carry is measured first, in a round of throughput with as many senders. Then they offer twice that; what
does not fit is refused to the app (WouldBlock), and everything that was taken must be committed and delivered, once
and in order. What each process holds in memory is looked at after a quarter of the messages and at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.figures import Spread, ratios
from bench.rounds import Load
from bench.soak import Soak

if TYPE_CHECKING:
    from bench.scenario import Bench

SENDERS = 4

TIMES = 2
"""Of what it can carry is offered."""

FIRST_LOOK = 4
"""One part in so many of the messages is over at the first look at memory."""

BUFFER_BYTES = 8 << 20
"""What a process may take meanwhile for buffers at their first use: a receiver that falls behind needs those for
replays."""


def measure(bench: Bench) -> dict[str, Any]:
    """Messages a second that were offered, carried and could be carried, and what was refused, lost and kept."""
    rounds = [_round(bench, number) for number in bench.rounds()]
    carried = [each["carried_per_second"] for each in rounds]
    capacity = [each["capacity_per_second"] for each in rounds]
    return {
        "senders": SENDERS,
        "capacity_per_second": Spread.of(capacity).as_plain(),
        "offered_per_second": Spread.of([each["offered_per_second"] for each in rounds]).as_plain(),
        "carried_per_second": Spread.of(carried).as_plain(),
        "carried_ratio": ratios(carried, capacity).as_plain(3),
        "lost": sum(each["lost"] for each in rounds),
        "rounds": rounds,
    }


def _round(bench: Bench, number: int) -> dict[str, Any]:
    messages = bench.settings.messages
    capacity = _capacity(bench, number)
    label = bench.label("overload", number)
    with bench.bus() as bus:
        rate = int(capacity * TIMES)
        soak = Soak.start(bench, bus, label, module="bench.flood", rate=rate, senders=SENDERS)
        for total in (messages // FIRST_LOOK, messages):
            soak.wait_received(total)
            soak.look()
        sent, received = soak.finish()
    if sent["in_flight_most"] > sent["in_flight_limit"]:
        bench.problems.append(
            f"{label}: {sent['in_flight_most']:,} messages were in flight, {sent['in_flight_limit']:,} may be"
        )
    return {
        "capacity_per_second": round(capacity, 1),
        "offered_per_second": round(sent["offered"] / sent["seconds"], 1),
        "carried_per_second": round(sent["sent"] / sent["seconds_with_flush"], 1),
        "offered": sent["offered"],
        "carried": sent["sent"],
        "refused": sent["refused"],
        "refusals": sent["refusals"],
        "lost": sent["sent"] - received["received"],
        "in_flight_most": sent["in_flight_most"],
        "in_flight_limit": sent["in_flight_limit"],
        "reconnections": sent["reconnections"],
        "memory": soak.growth(messages - messages // FIRST_LOOK, BUFFER_BYTES),
    }


def _capacity(bench: Bench, number: int) -> float:
    """Messages a second that as many senders get through when they wait for back-pressure."""
    load = Load(bench.settings.messages, senders=SENDERS)
    return bench.round(bench.label("overload, capacity", number), load).rate
