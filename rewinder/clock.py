"""The clock of a process, read once a turn: every machine of the turn sees the same time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Callable


@define(eq=False)
class Clock:
    """`now_ns` is monotonic and drives timers; `utc_ns` is the time of day and goes into stamps.

    `exact_ns()` and `exact_utc_ns()` look at the same clocks within a turn: for measuring, and nothing else.
    """

    exact_ns: Callable[[], int] = field(default=time.monotonic_ns, init=False)
    exact_utc_ns: Callable[[], int] = field(default=time.time_ns, init=False)

    now_ns: int = field(factory=time.monotonic_ns, init=False)
    utc_ns: int = field(factory=time.time_ns, init=False)

    def read(self) -> int:
        """Read both; returns the monotonic one."""
        self.utc_ns = time.time_ns()
        self.now_ns = now_ns = time.monotonic_ns()
        return now_ns
