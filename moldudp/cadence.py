"""When heartbeats go out: quickly after the traffic stops, steadily afterwards.

The specification asks for a heartbeat "typically" every second. A receiver that lost the last packet of a
burst would then not know it for a second. So the first heartbeats follow much sooner, and each one later
than the one before it: four small packets buy recovery within some milliseconds of silence.
"""

from __future__ import annotations

from attrs import define, field

QUICK_NS = (10_000_000, 40_000_000, 160_000_000, 640_000_000)
"""Pauses before the first heartbeats after traffic."""

STEADY_NS = 1_000_000_000
"""Pause between all later ones (MoldUDP64 1.00, Heartbeats: typically once per second)."""


@define
class Cadence:
    """The timer of heartbeats, and of the end-of-session packets that take their place.

    It starts due, so that receivers hear a sender that has nothing to say yet. Pauses of `quick_ns` that
    are not below `steady_ns` are left out. All times are monotonic nanoseconds.
    """

    steady_ns: int = STEADY_NS
    quick_ns: tuple[int, ...] = QUICK_NS
    _deadline_ns: int = field(default=0, init=False)
    _step: int = field(default=0, init=False)

    def sent(self, now_ns: int) -> None:
        """Data (or the first end of session) went out: begin again with the quick ones."""
        self._step = 0
        self._deadline_ns = now_ns + self._pause_ns()

    def due(self, now_ns: int) -> bool:
        """Whether a heartbeat must go out now. True counts it as sent, and starts the next pause."""
        if now_ns < self._deadline_ns:
            return False
        self._deadline_ns = now_ns + self._pause_ns()
        return True

    def deadline_ns(self) -> int:
        """When the next one is due."""
        return self._deadline_ns

    def _pause_ns(self) -> int:
        """The next pause in the row."""
        if self._step < len(self.quick_ns) and self.quick_ns[self._step] < self.steady_ns:
            self._step += 1
            return self.quick_ns[self._step - 1]
        return self.steady_ns
