"""Which rewinder is asked next, and when: a turn of its own for each receiver, pauses, and a limit on logins.

Each receiver has the rewinders in an order of its own, drawn by chance, so that many receivers spread over them. It
asks the first; one that fails stands behind the others for a while. Only when all have failed in a row a pause
follows, and it grows with each such round.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from random import Random

    from moldudp import Bucket

AVOIDED_NS = 30_000_000_000
"""How long a rewinder that failed stands behind the others: a restart takes seconds, and trying a dead machine
costs a time-out."""


@define(eq=False)
class Rotation:
    """The machine. `count` rewinders, numbered from 0; at least one."""

    count: int
    random: Random
    retry_ns: int
    retry_limit_ns: int
    jitter: float
    bucket: Bucket
    _order: list[int] = field(init=False)
    _current: int = field(default=0, init=False)
    _failed_ns: dict[int, int] = field(factory=dict, init=False)
    _failures: int = field(default=0, init=False)  # in a row
    _not_before_ns: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._order = list(range(self.count))
        self.random.shuffle(self._order)

    @property
    def ready_ns(self) -> int:
        """From when on `take` gives a rewinder."""
        return max(self._not_before_ns, self.bucket.ready_ns)

    def take(self, now_ns: int) -> int | None:
        """The rewinder to ask now; None before the pause is over, or while logins are held back."""
        if now_ns < self._not_before_ns or not self.bucket.take(1, now_ns):
            return None
        self._current = self._first(now_ns)
        return self._current

    def failed(self, now_ns: int) -> None:
        """The rewinder that was taken last was of no use."""
        self._failures += 1
        rounds, left = divmod(self._failures, self.count)
        if left:
            # A little apart all the same: those who lost the same rewinder must not come in chorus.
            self._not_before_ns = now_ns + int(self.retry_ns * self.jitter * self.random.random())
        else:
            pause_ns = min(self.retry_ns << min(rounds - 1, 16), self.retry_limit_ns)
            self._not_before_ns = now_ns + int(pause_ns * (1 + self.jitter * self.random.random()))
        self._failed_ns[self._current] = now_ns

    def progressed(self) -> None:
        """The rewinder that was taken last gave records."""
        if self._failures:
            self._failures = 0
            self._failed_ns.pop(self._current, None)

    def _first(self, now_ns: int) -> int:
        """The first in order that has not failed lately; else the one whose failure is the oldest."""
        failed = self._failed_ns
        for index in self._order:
            if index not in failed or now_ns - failed[index] >= AVOIDED_NS:
                return index
        return min(self._order, key=lambda index: failed[index])
