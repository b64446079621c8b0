"""Trouble by chance: what happens to machines and networks, drawn by the seed, for a while."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from seqcast.testing.world import MILLISECOND, SECOND

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seqcast.testing.bus import Bus

KINDS = ("failover", "crash", "pause", "cut", "burst", "app_crash", "app_pause")
"""The primary is killed; any node is; a machine is stopped for a while; two do not hear each other for a while; many
datagrams are lost for a while; an app is killed and started again; an app is stopped for a while."""

BURST_LOSS = 0.7


class Troubles:
    """`count` troubles of these kinds within `seconds` virtual seconds from now.

    `done` says what happened: (virtual seconds, kind) each. A trouble that finds nothing to trouble does not happen.
    Raises ValueError for a kind that is none.
    """

    def __init__(self, bus: Bus, seconds: float, count: int = 5, kinds: Sequence[str] = KINDS) -> None:
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown:
            raise ValueError(f"there is no trouble {unknown[0]!r}; there are {', '.join(KINDS)}")
        self.bus = bus
        self.done: list[tuple[float, str]] = []
        for _ in range(count):
            kind = bus.random.choice(kinds)
            bus.world.after(bus.random.randrange(round(seconds * SECOND)), partial(self._happen, kind))

    def _happen(self, kind: str) -> None:
        if getattr(self, f"_{kind}")():
            self.done.append((self.bus.now, kind))

    def _while(self, least_ms: int, most_ms: int, end: Callable[[], None]) -> None:
        self.bus.world.after(self.bus.random.randrange(least_ms, most_ms) * MILLISECOND, end)

    def _failover(self) -> bool:
        primary = self.bus.primary
        if primary is None:
            return False
        self.bus.crash(primary)
        return True

    def _crash(self) -> bool:
        name = self.bus.random.choice(list(self.bus.nodes))
        if self.bus.nodes[name].process is None:
            return False
        self.bus.crash(name)
        return True

    def _pause(self) -> bool:
        self.bus.pause(self.bus.random.choice(list(self.bus.nodes)), self.bus.random.choice((0.05, 0.5, 2.5)))
        return True

    def _cut(self) -> bool:
        first, second = self.bus.random.sample(list(self.bus.fabric.machines), 2)
        self.bus.cut(first, second)
        self._while(20, 2000, lambda: self.bus.mend(first, second))
        return True

    def _burst(self) -> bool:
        fabric = self.bus.fabric
        before, fabric.loss = fabric.loss, BURST_LOSS

        def end() -> None:
            fabric.loss = min(before, fabric.loss)

        self._while(5, 200, end)
        return True

    def _app_crash(self) -> bool:
        running = [app for app in self.bus.apps if app.running]
        if not running:
            return False
        app = self.bus.random.choice(running)
        app.crash()
        self._while(20, 200, app.start)
        return True

    def _app_pause(self) -> bool:
        if not self.bus.apps:
            return False
        self.bus.pause(self.bus.random.choice(self.bus.apps).name, self.bus.random.choice((0.05, 0.5)))
        return True
