"""Figures of several rounds: the spread says more than the best of them."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence


@frozen
class Spread:
    """The smallest, the middle and the largest of several measurements of one thing."""

    smallest: float
    median: float
    largest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        return cls(min(values), statistics.median(values), max(values))

    def as_plain(self, digits: int = 1) -> dict[str, float]:
        """For JSON, rounded."""
        return {
            "min": round(self.smallest, digits),
            "median": round(self.median, digits),
            "max": round(self.largest, digits),
        }


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """The spread of ours divided by theirs, round by round: both saw the same noise."""
    return Spread.of([our / max(their, 1e-9) for our, their in zip(ours, theirs, strict=True)])
