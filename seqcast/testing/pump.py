"""The pumps of simulated processes: `rewinder.pump.Pump` on virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rewinder.clock import Clock
from rewinder.pump import IDLE_LIMIT_NS, READABLE, WRITABLE, Timers
from seqcast.testing.world import MICROSECOND

if TYPE_CHECKING:
    from collections.abc import Callable

    from rewinder.pump import Wait
    from seqcast.testing.machine import Machine

UTC_EPOCH_NS = 1_800_000_000_000_000_000


class SimClock(Clock):
    """The clocks of a machine, as a turn sees them."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.exact_ns = lambda: self.now_ns  # within a turn, time stands still
        self.exact_utc_ns = lambda: self.utc_ns
        self.read()

    def read(self) -> int:
        """Read both; returns the monotonic one."""
        machine = self._machine
        self.now_ns = machine.world.now_ns + machine.monotonic_offset_ns
        self.utc_ns = UTC_EPOCH_NS + machine.world.now_ns + machine.utc_offset_ns
        return self.now_ns


class SimPump:
    """Turns of one process. A turn takes a few microseconds, and longer when a sync is slow."""

    def __init__(self, machine: Machine, finish: Callable[[int], int] = lambda _now_ns: 0) -> None:
        self.machine = machine
        self.finish = finish
        self.leisure: Callable[[], bool] = lambda: False
        self.timers: Timers = Timers()
        self.clock: Clock = SimClock(machine)
        self.stopping = False
        self.turns = 0
        self.dead = False
        self._handlers: dict[int, tuple[Callable[[int, int], int], int]] = {}
        self._due_ns: int | None = None  # of the turn that is scheduled
        self._free_ns = 0

    def fileno(self) -> int:
        """Nobody waits for a pump that has turns by itself."""
        return -1

    def watch(self, fileno: int, handler: Callable[[int, int], int], events: int = READABLE) -> None:
        """Call `handler(events, now_ns) -> work done` when the descriptor is ready."""
        self._handlers[fileno] = (handler, events)
        thing: Any = self.machine.fabric.numbered.get(fileno)
        if thing is not None:
            thing.wake = self.wake
            self.wake()

    def change(self, fileno: int, events: int) -> None:
        """Wait for other events of a watched descriptor."""
        self._handlers[fileno] = (self._handlers[fileno][0], events)

    def forget(self, fileno: int) -> None:
        """Stop watching."""
        self._handlers.pop(fileno, None)

    def drop(self, fileno: int) -> None:
        """Forget a descriptor that is closed already."""
        self._handlers.pop(fileno, None)

    def wait_by(self, wait: Wait) -> None:
        """There is nothing to wait for: turns come by themselves."""

    def stop(self) -> None:
        """End after the present turn."""
        self.stopping = True

    def run(self) -> None:
        """Turns come by themselves."""

    def close(self) -> None:
        """No more turns."""
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
        """One turn, as in `rewinder.pump.EpollPump`."""
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


class PausableTimers(Timers):
    """Timers of an app: while its machine is paused, none is due."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self._machine = machine

    def next_ns(self) -> int | None:
        """The earliest entry, or the end of the pause."""
        next_ns = super().next_ns()
        if next_ns is None:
            return None
        return max(next_ns, self._machine.paused_until_ns + self._machine.monotonic_offset_ns)


class SteppedPump(SimPump):
    """The pump of an app that waits in its own code: nothing happens in it but in `turn`, as in a real one.

    While it waits, the world goes on. `fileno` is a descriptor that a virtual event loop can wait for.
    """

    def __init__(self, machine: Machine, finish: Callable[[int], int] = lambda _now_ns: 0) -> None:
        super().__init__(machine, finish)
        self.timers: Timers = PausableTimers(machine)
        self.closed = False
        self._number = machine.fabric.number(self)

    def fileno(self) -> int:
        """A descriptor that is readable while any watched one is ready."""
        return self._number

    def readable(self) -> bool:
        """Whether any watched descriptor is ready."""
        return not self.dead and not self._paused and bool(self._ready())

    @property
    def _paused(self) -> bool:
        return self.machine.paused_until_ns > self.machine.world.now_ns

    def writable(self) -> bool:
        """Never."""
        return False

    def wake(self) -> None:
        """Something has come: the next turn will see it, no other is due."""

    def turn(self, limit_ns: int = IDLE_LIMIT_NS) -> int:
        """One turn; the world goes on for at most `limit_ns` until there is something to do.

        Raises ConnectionAbortedError when the machine is down.
        """
        machine = self.machine
        world = machine.world
        if self.dead:
            raise ConnectionAbortedError(f"{machine.name} is down")
        if self._paused:
            if limit_ns == 0:
                return 0
            world.wait(machine.paused_until_ns, lambda: self.dead)
        # Code takes time: who looks again and again sees the world go on.
        world.run(world.now_ns + world.random.randrange(2, 30) * MICROSECOND, every=1)
        until_ns = world.now_ns + limit_ns
        due_ns = self.timers.next_ns()
        if due_ns is not None:
            until_ns = min(until_ns, due_ns - machine.monotonic_offset_ns)
        if until_ns > world.now_ns and not self._ready():
            world.wait(until_ns, lambda: self.dead or bool(self._ready()))
        machine.spent = 0
        return 0 if self.dead else super().turn()

    def close(self) -> None:
        """No more turns."""
        super().close()
        self.closed = True
        self.machine.fabric.numbered.pop(self._number, None)
