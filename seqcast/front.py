"""The holes in front of a receiver: how much is missing, since when, and from when on it is worth asking for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    import moldudp


@define(eq=False)
class Front:
    """The machine. `look` takes the state of the receiver machine in; the other names tell what it means.

    The hole in front counts as seen when the one before it is filled, or the record before it delivered.
    """

    reorder_delay_ns: int
    line_patience_ns: int
    filled: int = field(default=0, init=False)
    """Holes that were found and closed."""
    missing: int = field(default=0, init=False)
    """Messages that no line is believed to bring any more."""
    since_ns: int = field(default=0, init=False)
    """Since when nothing could be delivered."""
    ready_ns: int = field(default=0, init=False)
    """From when on the hole in front may be asked for."""
    open: bool = field(default=False, init=False)
    """Whether there is a hole."""
    _last: int = field(default=0, init=False)  # message of the hole in front, as it was found
    _stuck_at: int = field(default=0, init=False)

    def look(self, mold: moldudp.Receiver, now_ns: int) -> None:
        """Compare with the last look."""
        number = mold.next_number
        if self.open and number > self._last:
            self.filled += 1
            self.open = False
        gaps = mold.gaps() if number < mold.highest else []
        if not gaps:
            self.open = False
            self.missing = 0
            return
        if not self.open:
            self.open, self._last = True, gaps[0].end - 1
        if self._stuck_at != number:
            self._stuck_at, self.since_ns = number, now_ns
        passed = mold.passed
        self.ready_ns = self.since_ns + self.reorder_delay_ns
        if passed is not None and passed < gaps[0].end:
            self.ready_ns = max(self.ready_ns, self.since_ns + self.line_patience_ns)
        if passed is None or now_ns >= self.since_ns + self.line_patience_ns:
            self.missing = sum(gap.count for gap in gaps)
        else:
            self.missing = sum(min(gap.end, passed) - gap.first for gap in gaps if gap.first < passed)
