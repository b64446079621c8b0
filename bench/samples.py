"""Latencies of a process that measures itself: noted when they happen, counted when there is time."""

from __future__ import annotations

from array import array
from typing import Any

from attrs import define, field

from seqcast.latency import LatencyHistogram

KEPT = 1 << 20
"""Noted before they are counted: 8 MiB."""


@define(eq=False)
class Samples:
    """Latencies in nanoseconds. To note one costs a tenth of what counting it costs, which its successor would pay."""

    _noted: array[int] = field(factory=lambda: array("q"), init=False)
    _counted: LatencyHistogram = field(factory=LatencyHistogram, init=False)

    def note(self, latencies_ns: list[int]) -> None:
        """Note some."""
        self._noted.extend(latencies_ns)
        if len(self._noted) >= KEPT:
            self.histogram()

    def histogram(self) -> LatencyHistogram:
        """All of them. Raises ValueError when one is negative."""
        self._counted.record_many(self._noted)
        self._noted = array("q")
        return self._counted

    def state(self) -> dict[str, Any]:
        """The histogram as plain values, for another process."""
        return self.histogram().state()
