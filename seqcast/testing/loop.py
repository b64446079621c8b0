"""An asyncio event loop on virtual time: what coroutines wait for is the simulated network and the simulated clock."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any

from seqcast.testing.world import MICROSECOND, SECOND

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from seqcast.testing.fabric import Fabric

FOREVER_NS = 1000 * SECOND
"""A loop in which nothing is due looks again after so long."""

END_SECONDS = 1.0
"""How long coroutines that were cancelled have, in virtual seconds, before the loop is closed over them."""


class VirtualSelector(selectors.SelectSelector):
    """Waits for descriptors of the simulator, while the world goes on. The loop's own are never ready."""

    def __init__(self, fabric: Fabric) -> None:
        super().__init__()
        self.fabric = fabric
        self.goal: Callable[[], bool] = lambda: False
        """What somebody outside the loop waits for: `on_goal` is called when it is there."""
        self.on_goal: Callable[[], None] = lambda: None
        self.called = False
        """Whether something was put into the loop since it waits, by what happens in the world."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Let the world go on until a descriptor is ready, or for `timeout` seconds."""
        world = self.fabric.world
        self.called = False
        # Code takes time: a coroutine that looks again and again sees the world go on.
        world.run(world.now_ns + world.random.randrange(1, 5) * MICROSECOND, every=1)
        until_ns = world.now_ns + (FOREVER_NS if timeout is None else max(0, round(timeout * SECOND)))
        if until_ns > world.now_ns and not self._over():
            world.run(until_ns, lambda: self._over() or self.goal(), every=1)
        if self.goal():
            self.on_goal()
        return self._ready()

    def _over(self) -> bool:
        """Whether the loop has something to do."""
        return self.called or bool(self._ready())

    def _ready(self) -> list[tuple[selectors.SelectorKey, int]]:
        numbered = self.fabric.numbered
        ready = []
        for key in self.get_map().values():
            thing = numbered.get(key.fd)
            if thing is not None and thing.readable() and key.events & selectors.EVENT_READ:
                ready.append((key, selectors.EVENT_READ))
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop. `wait` is how code outside of it lets it run."""

    def __init__(self, fabric: Fabric) -> None:
        self._virtual = VirtualSelector(fabric)
        super().__init__(self._virtual)
        self._fabric = fabric

    def time(self) -> float:
        """Virtual seconds."""
        return self._fabric.world.now_ns / SECOND

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """As in any loop; a world that goes on meanwhile stops for it."""
        self._virtual.called = True
        return super().call_soon(callback, *args, context=context)

    def wait(self, until_ns: int, done: Callable[[], bool]) -> bool:
        """Let coroutines and the world go on until `done()`, or a time; returns whether it is done.

        Raises RuntimeError from within a coroutine, which waiting would stop.
        """
        if self.is_running():
            raise RuntimeError("this waits for the bus from within a coroutine: await instead")
        if done():
            return True
        over = self.create_future()

        def end() -> None:
            if not over.done():
                over.set_result(None)

        timer = self.call_later(max(0, until_ns - self._fabric.world.now_ns) / SECOND, end)
        self._virtual.goal, self._virtual.on_goal = done, end
        try:
            self.run_until_complete(over)
        finally:
            self._virtual.goal, self._virtual.on_goal = (lambda: False), (lambda: None)
            timer.cancel()
        return done()

    def end(self) -> None:
        """Cancel every coroutine, let it end, and close the loop."""
        if self.is_closed():
            return
        tasks = asyncio.all_tasks(self)
        for task in tasks:
            task.cancel()
        if tasks:  # a cancelled task may await others before it ends, as `asyncio.wait_for` does
            done, _ = self.run_until_complete(asyncio.wait(tasks, timeout=END_SECONDS))
            for task in done:  # what they raise now is that their machines are gone: seen, so not reported
                task.cancelled() or task.exception()
        self.close()
