"""Latencies of a process that measures itself: noted when they happen, counted when there is time."""

from __future__ import annotations

from array import array
from typing import Any

from attrs import define, field

from seqcast.latency import LatencyHistogram

KEPT = 1 << 18
"""Noted before they are counted: 2 MiB, which are there from the beginning, so that memory does not grow with them."""


@define(eq=False)
class Samples:
    """Latencies in nanoseconds. To note one costs a tenth of what counting it costs, which its successor would pay."""

    _noted: array[int] = field(factory=lambda: array("q", bytes(8 * KEPT)), init=False)
    _count: int = field(default=0, init=False)
    _counted: LatencyHistogram = field(factory=LatencyHistogram, init=False)

    def note(self, latencies_ns: list[int]) -> None:
        """Note some, at most `KEPT`."""
        count = self._count + len(latencies_ns)
        if count > KEPT:
            self.histogram()
            count = len(latencies_ns)
        self._noted[self._count : count] = array("q", latencies_ns)
        self._count = count

    def histogram(self) -> LatencyHistogram:
        """All of them. Raises ValueError when one is negative."""
        self._counted.record_many(self._noted[: self._count])
        self._count = 0
        return self._counted

    def state(self) -> dict[str, Any]:
        """The histogram as plain values, for another process."""
        return self.histogram().state()
