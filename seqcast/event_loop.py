"""Turns of a pump inside an event loop of asyncio or uvloop: its one descriptor is registered, no thread is started."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Callable

    from rewinder.pump import Pump


def inside_event_loop() -> bool:
    """Whether an event loop is running in this thread, which waiting would stop."""
    return asyncio._get_running_loop() is not None


def wait_seconds(pump: Pump) -> float | None:
    """How long until the pump's next timer is due; None when there is none."""
    due_ns = pump.timers.next_ns()
    return None if due_ns is None else max(0, due_ns - pump.clock.read()) / 1e9


async def until_ready(pump: Pump, limit: float | None = None) -> None:
    """Wait until a descriptor of the pump is ready, a timer is due, or for `limit` seconds."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def note() -> None:
        if not ready.done():
            ready.set_result(None)

    due = wait_seconds(pump)
    if due is None or (limit is not None and limit < due):
        due = limit
    timer = None if due is None else loop.call_later(due, note)
    loop.add_reader(pump.fileno(), note)
    try:
        await ready
    finally:
        loop.remove_reader(pump.fileno())
        if timer is not None:
            timer.cancel()


@define(eq=False)
class LoopTurns:
    """Has `turn()` called in `loop` whenever the pump has something to do, until `stop`.

    An exception out of a turn ends it, and goes to `on_error`.
    """

    loop: asyncio.AbstractEventLoop
    pump: Pump
    turn: Callable[[], object]
    on_error: Callable[[Exception], None]
    _timer: asyncio.TimerHandle | None = field(default=None, init=False)
    _soon: asyncio.Handle | None = field(default=None, init=False)
    _running: bool = field(default=False, init=False)
    _waiters: list[asyncio.Future[None]] = field(factory=list, init=False)

    def start(self) -> None:
        """Register the descriptor, and have a first turn at once."""
        self._running = True
        self.loop.add_reader(self.pump.fileno(), self._turn)
        self.soon()

    def soon(self) -> None:
        """Have a turn once the code that runs now lets the loop go on, however often it is asked for."""
        if self._soon is None and self._running:
            self._soon = self.loop.call_soon(self._turn)

    async def next_turn(self) -> None:
        """Wait until the next turn is over, or there will be none."""
        if self._running:
            waiter = self.loop.create_future()
            self._waiters.append(waiter)
            await waiter

    def stop(self) -> None:
        """No more turns."""
        if not self._running:
            return
        self._wake()
        self._running = False
        if not self.loop.is_closed():
            self.loop.remove_reader(self.pump.fileno())
        for handle in (self._timer, self._soon):
            if handle is not None:
                handle.cancel()
        self._timer = self._soon = None

    def _turn(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        try:
            self.turn()
        except Exception as error:  # noqa: BLE001  (whoever waits is told of it, and not the loop)
            self.on_error(error)
            self.stop()
            return
        self._wake()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = wait_seconds(self.pump)
        if due is not None and self._running:
            self._timer = self.loop.call_later(due, self._turn)

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
