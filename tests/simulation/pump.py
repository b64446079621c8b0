"""The pump of a simulated process: `rewinder.pump.Pump` on virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rewinder.pump import READABLE, WRITABLE, Timers
from simulation.world import MICROSECOND

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulation.machine import Machine

UTC_EPOCH_NS = 1_800_000_000_000_000_000


class SimClock:
    """The clocks of a machine, as a turn sees them: `rewinder.clock.Clock`."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.read()

    def read(self) -> int:
        machine = self._machine
        self.now_ns = machine.world.now_ns + machine.monotonic_offset_ns
        self.utc_ns = UTC_EPOCH_NS + machine.world.now_ns + machine.utc_offset_ns
        return self.now_ns


class SimPump:
    """Turns of one process. A turn takes a few microseconds, and longer when a sync is slow."""

    def __init__(self, machine: Machine, finish: Callable[[int], int] = lambda _now_ns: 0) -> None:
        self.machine = machine
        self.finish = finish
        self.timers = Timers()
        self.clock = SimClock(machine)
        self.stopping = False
        self.turns = 0
        self.dead = False
        self._handlers: dict[int, tuple[Callable[[int, int], int], int]] = {}
        self._due_ns: int | None = None  # of the turn that is scheduled
        self._free_ns = 0

    def watch(self, fileno: int, handler: Callable[[int, int], int], events: int = READABLE) -> None:
        self._handlers[fileno] = (handler, events)
        thing = self.machine.fabric.numbered.get(fileno)
        if thing is not None:
            thing.wake = self.wake
            self.wake()

    def change(self, fileno: int, events: int) -> None:
        self._handlers[fileno] = (self._handlers[fileno][0], events)

    def forget(self, fileno: int) -> None:
        self._handlers.pop(fileno, None)

    def drop(self, fileno: int) -> None:
        self._handlers.pop(fileno, None)

    def stop(self) -> None:
        self.stopping = True

    def close(self) -> None:
        self.dead = True

    def wake(self) -> None:
        """Have a turn as soon as the process is free."""
        self._schedule(max(self.machine.world.now_ns, self._free_ns))

    def _schedule(self, when_ns: int) -> None:
        if self.dead or (self._due_ns is not None and self._due_ns <= when_ns):
            return
        self._due_ns = when_ns
        self.machine.world.at(when_ns, lambda: self._turn_at(when_ns))

    def _turn_at(self, when_ns: int) -> None:
        if self.dead or self._due_ns != when_ns:  # stopped, or another turn came first
            return
        machine = self.machine
        self._due_ns = None
        if machine.paused_until_ns > when_ns:
            self._schedule(machine.paused_until_ns)
            return
        machine.spent = 0
        self.turn()
        if self.dead:
            return
        self._free_ns = when_ns + machine.spent + machine.world.random.randrange(2, 30) * MICROSECOND
        machine.spent = 0
        if self.stopping:
            machine.ended()
        elif self._ready():
            self._schedule(self._free_ns)
        else:
            due_ns = self.timers.next_ns()
            if due_ns is not None:
                self._schedule(max(due_ns - machine.monotonic_offset_ns, self._free_ns))

    def turn(self, _limit_ns: int = 0) -> int:
        """One turn, as in `rewinder.pump.Pump`."""
        now_ns = self.clock.read()
        self.turns += 1
        work = 0
        with self.machine.watched():
            for fileno, events in self._ready():
                found = self._handlers.get(fileno)
                if found is not None:
                    work += found[0](events, now_ns)
            work += self.timers.run(now_ns)
            work += self.finish(now_ns)
        return work

    def _ready(self) -> list[tuple[int, int]]:
        ready = []
        numbered = self.machine.fabric.numbered
        for fileno, (_, wanted) in self._handlers.items():
            thing = numbered.get(fileno)
            if thing is None or thing.closed:
                continue
            events = READABLE if wanted & READABLE and thing.readable() else 0
            if wanted & WRITABLE and thing.writable():
                events |= WRITABLE
            if events:
                ready.append((fileno, events))
        return ready
