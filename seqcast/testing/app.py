"""Machines for apps: senders and receivers that live on the simulated network, and coroutines that use them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seqcast.receiver import BEGIN, Receiver
from seqcast.sender import Sender
from seqcast.testing.fabric import SimNetwork
from seqcast.testing.machine import Machine
from seqcast.testing.pump import SteppedPump

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Coroutine

    from rewinder.network import Network
    from seqcast.checkpoint import Checkpoint
    from seqcast.endpoints import Endpoints
    from seqcast.testing.fabric import Fabric

SEND_SECONDS = 30.0
"""How long a sender looks for a sequencer: virtual seconds are cheap."""


class AppMachine(Machine):
    """A machine with one app process on it. It is the `seqcast.host.Host` of its senders and receivers."""

    def __init__(self, fabric: Fabric, name: str) -> None:
        super().__init__(fabric, name)
        self.network: Network = SimNetwork(fabric, self)
        self.random = self.world.random
        self._pumps: list[SteppedPump] = []

    def pump(self, finish: Callable[[int], int]) -> SteppedPump:
        """A pump that moves while its owner is in a call."""
        pump = SteppedPump(self, finish)
        self._pumps.append(pump)
        return pump

    def kill(self) -> None:
        """The process is gone, at once: nobody says goodbye."""
        for pump in self._pumps:
            pump.close()
        self._pumps.clear()
        self.hang_up()


class App:
    """An app of the bus: a coroutine on a machine of its own, which can crash and be started again.

    `main(app)` gets the app, and makes its senders and receivers with it.
    """

    def __init__(
        self,
        machine: AppMachine,
        endpoints: Endpoints,
        loop: asyncio.AbstractEventLoop,
        main: Callable[[App], Coroutine[Any, Any, None]],
    ) -> None:
        self.machine = machine
        self.endpoints = endpoints
        self.starts = 0
        self._loop, self._main = loop, main
        self.task: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """Name of its machine."""
        return self.machine.name

    @property
    def running(self) -> bool:
        """Whether the coroutine has not ended."""
        return self.task is not None and not self.task.done()

    def sender(self, user: str, **settings: Any) -> Sender:
        """A sender on this machine; `settings` are those of `seqcast.Sender`."""
        settings.setdefault("connect_seconds", SEND_SECONDS)
        return Sender(self.endpoints, user, host=self.machine, **settings)

    def receiver(self, start: int | Checkpoint | None = BEGIN, **settings: Any) -> Receiver:
        """A receiver on this machine; `settings` are those of `seqcast.Receiver`."""
        return Receiver(self.endpoints, start, host=self.machine, **settings)

    def start(self) -> None:
        """Start the coroutine, unless it runs."""
        if not self.running:
            self.starts += 1
            self.machine.world.note(self.name, "starts")
            self.task = self._loop.create_task(self._main(self), name=self.name)

    def note(self, what: str) -> None:
        """Put a line into the bus's trace, among those of the nodes."""
        self.machine.world.note(self.name, what)

    def crash(self) -> None:
        """Kill -9: its connections are gone, and its coroutine ends where it waits.

        Its `finally` blocks run, because Python has no other way to end a coroutine, but they reach nobody.
        """
        self.machine.world.note(self.name, "dies")
        self.machine.kill()
        if self.task is not None:
            self.task.cancel()
            self.task = None

    async def done(self) -> None:
        """Wait until the coroutine has ended; raises what it raised."""
        if self.task is not None:
            waited: Awaitable[None] = self.task
            await waited
