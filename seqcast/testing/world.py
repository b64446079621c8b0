"""Virtual time: one queue of things to come, one source of chance, and a trace of what happened."""

from __future__ import annotations

import hashlib
import heapq
import itertools
from collections import deque
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000

TRACE_LINES = 4000
"""Lines of the trace that are kept to be shown; all of them go into the digest."""


EVENTS_BETWEEN_LOOKS = 64
"""Events between two looks whether a long run may end."""


class World:
    """Runs what is due in the order of virtual time; ties are broken by the order in which they were asked for."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)  # noqa: S311  (one seed, one run)
        self.now_ns = 0
        self.events = 0
        self.lines: deque[str] = deque(maxlen=TRACE_LINES)
        self._digest = hashlib.blake2b(digest_size=16)
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._tickets = itertools.count()
        self._running = False
        self.wait: Callable[[int, Callable[[], bool]], bool] = self._wait
        """Lets time go on for somebody who waits for `done()`, until then at most; an event loop puts itself here."""

    def at(self, when_ns: int, call: Callable[[], None]) -> None:
        """Do something at a time, or now when that is past."""
        heapq.heappush(self._queue, (max(when_ns, self.now_ns), next(self._tickets), call))

    def after(self, delay_ns: int, call: Callable[[], None]) -> None:
        """Do something after a while."""
        self.at(self.now_ns + delay_ns, call)

    def run(
        self, until_ns: int, done: Callable[[], bool] = lambda: False, *, every: int = EVENTS_BETWEEN_LOOKS
    ) -> bool:
        """Go on until a time, or until `done()`, which is asked after so many events; returns whether it is.

        Raises RuntimeError when it is called from within an event: time has one owner.
        """
        if self._running:
            raise RuntimeError(
                "this waits for the bus from within the bus: callbacks must not wait; use a coroutine (bus.spawn)"
            )
        queue = self._queue
        self._running = True
        try:
            while queue and queue[0][0] <= until_ns:
                self.now_ns, _, call = heapq.heappop(queue)
                self.events += 1
                call()
                if self.events % every == 0 and done():
                    return True
            self.now_ns = max(self.now_ns, until_ns)
        finally:
            self._running = False
        return done()

    def _wait(self, until_ns: int, done: Callable[[], bool]) -> bool:
        return self.run(until_ns, done, every=1)

    def note(self, who: str, what: str) -> None:
        """One line of the trace."""
        line = f"{self.now_ns / 1e6:12.3f} {who:6} {what}"
        self._digest.update(line.encode())
        self.lines.append(line)

    @property
    def digest(self) -> str:
        """A digest of the whole trace: two runs of one seed have the same."""
        return self._digest.hexdigest()
