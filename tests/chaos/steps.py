"""What is going to happen in a run, and for how long: follows from the seed alone, whatever becomes of it."""

from __future__ import annotations

from itertools import islice
from random import Random
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

WEIGHTS = {
    "kill-primary": 6,
    "kill-primary-then-successor": 3,
    "kill-standby": 2,
    "kill-voter": 2,
    "kill-rewinder": 2,
    "kill-all": 1,
    "stop-primary": 2,
    "promote": 2,
    "pause-primary": 4,
    "pause-standby": 1,
    "pause-voter": 1,
    "cut-primary": 4,
    "cut-standby": 1,
    "cut-voter": 1,
    "cut-standby-then-kill-primary": 3,
    "receiver": 1,
}
"""Kinds of faults, and how often each is drawn. A receiver joins late, and is killed after a while.

A standby that was cut off from the primary before that died has to fetch what was committed without it.
"""

ONE_TAKEOVER = ("kill-primary", "stop-primary", "promote", "kill-all", "cut-standby-then-kill-primary")

CUTS = ("both", "deaf", "mute")
"""A cut in both directions, or only in what the node hears, or in what it says."""

HOLD_SECONDS = {"kill": (0.0, 1.5), "stop": (0.0, 1.0), "pause": (0.2, 5.0), "cut": (0.3, 4.0)}
"""How long a fault lasts, by its first word; others are over at once, or when they are done."""

GAP_SECONDS = (0.1, 1.5)
BESIDE = 0.2
"""Probability that a second fault begins while the first one lasts, so that there may be no quorum for a while."""

SUSPECT_SECONDS = 1.0


@frozen
class Fault:
    """One fault: its kind, how long it lasts, and what is drawn for it beside that."""

    kind: str
    hold_seconds: float
    cut: str = "both"
    everybody: bool = False
    """Cut off from every node, or only from the voters."""

    @property
    def takeovers(self) -> int:
        """How many takeovers it may cost."""
        if self.kind in ONE_TAKEOVER:
            return 1
        if self.kind == "kill-primary-then-successor":
            return 2
        # After a cut TCP tries again when as much time has passed once more.
        silence_seconds = {"pause-primary": 1.0, "cut-primary": 2.0}.get(self.kind, 0.0) * self.hold_seconds
        return int(silence_seconds > 0.7 * SUSPECT_SECONDS)


@frozen
class Step:
    """After `gap_seconds` a fault, and perhaps another one `beside` it, from half of its time on until its end."""

    gap_seconds: float
    fault: Fault
    beside: Fault | None = None

    @property
    def faults(self) -> list[Fault]:
        return [self.fault, *([self.beside] if self.beside else [])]


def steps(seed: str, *, cuts: bool) -> Iterator[Step]:
    """Steps without end. Without `cuts` the network stays whole, for who may not cut it."""
    random = Random(seed)
    while True:
        # Everything is drawn, whether it is used or not: a machine without cuts has the same run otherwise.
        gap = random.uniform(*GAP_SECONDS)
        first, second, two = draw(random), draw(random), random.random() < BESIDE
        usable = [fault for fault in (first, second) if cuts or not fault.kind.startswith("cut")]
        if usable:
            yield Step(gap, usable[0], usable[1] if two and len(usable) == 2 else None)


def draw(random: Random) -> Fault:
    (kind,) = random.choices(list(WEIGHTS), weights=list(WEIGHTS.values()))
    lowest, highest = HOLD_SECONDS.get(kind.partition("-")[0], (0.0, 1.0))
    # Short ones are as interesting as long ones, and cost less of the time.
    hold = lowest + (highest - lowest) * random.random() ** 2
    return Fault(kind, round(hold, 3), random.choice(CUTS), random.random() < 0.5)


def first_steps(seed: str, count: int) -> list[Step]:
    """For tests and people."""
    return list(islice(steps(seed, cuts=True), count))
