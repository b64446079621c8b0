"""The turn loop of a server process: one thread, one epoll, bounded work per source.

A turn reads the clock once, hands each ready descriptor to its handler, runs the timers that are due, and
lets the owner finish (commit, publish, answer). The idle strategy (`Idle`) decides how the next turn waits.

Handlers and timers are the outside of the machines: the machines themselves see only `(input, now)`.
"""

from __future__ import annotations

import gc
import heapq
import itertools
import select
import signal
import socket
import time
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from attrs import define, field

from rewinder._native import Ready
from rewinder.clock import Clock

if TYPE_CHECKING:
    from types import FrameType

IDLE_LIMIT_NS = 1_000_000_000
"""Longest sleep: a turn each second even when nothing is due, for the watchdog and the counters."""

READABLE = select.EPOLLIN
WRITABLE = select.EPOLLOUT


SPIN_NS = 50_000
"""How long `SPIN_THEN_BLOCK` stays awake: some wake-ups of a process that sleeps, which take 5 to 20 us, so that it
is awake for all of a stream of 20,000 messages a second, and asleep soon after."""

SPIN_SLICE_NS = 1_000_000
"""Longest spinning in one call: Python's signal handlers run between two of them."""


class Idle(Enum):
    """What a turn that found nothing does until a descriptor is ready or a timer due.

    Spinning saves the wake-up, and pays where the process has a core of its own. With more spinners than cores it
    costs everybody milliseconds.
    """

    BLOCK = "block"
    """Sleeps."""
    SPIN = "spin"
    """Never sleeps: costs a core."""
    SPIN_THEN_BLOCK = "spin-then-block"
    """Stays awake for `SPIN_NS`, then sleeps: costs a core while messages are frequent."""


_AWAKE_NS = {Idle.BLOCK: 0, Idle.SPIN: 1 << 62, Idle.SPIN_THEN_BLOCK: SPIN_NS}


class Timed(Protocol):
    """Anything with a timer: a machine, or the connection around it."""

    def deadline_ns(self) -> int | None:
        """When `handle_timer` wants to be called, in monotonic nanoseconds; None for never."""

    def handle_timer(self, now_ns: int) -> None:
        """Do what is due at `now_ns`."""


@define(eq=False)
class Timers:
    """Deadlines of many machines in one heap.

    A deadline mostly moves later (each packet postpones a time-out), so an entry is only a hint: when it
    comes up, the machine is asked again and either runs or goes back. A machine whose deadline moved
    *earlier* says so with `watch`.
    """

    _heap: list[tuple[int, int, Timed]] = field(factory=list, init=False)
    _entries: dict[int, int] = field(factory=dict, init=False)
    _tickets: itertools.count[int] = field(factory=itertools.count, init=False)

    def watch(self, timed: Timed) -> None:
        """Take up a machine, or note that its deadline moved earlier."""
        deadline = timed.deadline_ns()
        if deadline is None:
            return
        known = self._entries.get(id(timed))
        if known is None or deadline < known:
            self._entries[id(timed)] = deadline
            heapq.heappush(self._heap, (deadline, next(self._tickets), timed))

    def forget(self, timed: Timed) -> None:
        """Drop a machine."""
        self._entries.pop(id(timed), None)

    def next_ns(self) -> int | None:
        """The earliest entry, which may be earlier than the earliest deadline."""
        return self._heap[0][0] if self._heap else None

    def run(self, now_ns: int) -> int:
        """Run what is due; returns how many timers ran."""
        heap, entries = self._heap, self._entries
        if not heap or heap[0][0] > now_ns:
            return 0
        due: list[Timed] = []
        while heap and heap[0][0] <= now_ns:
            entry_ns, _, timed = heapq.heappop(heap)
            if entries.get(id(timed)) == entry_ns:  # else forgotten, or watched anew with an earlier deadline
                del entries[id(timed)]
                due.append(timed)
        ran = 0
        for timed in due:
            deadline = timed.deadline_ns()
            if deadline is not None and deadline <= now_ns:
                timed.handle_timer(now_ns)
                ran += 1
            self.watch(timed)
        return ran


Wait = Callable[[int, int, int], list[tuple[int, int]]]
"""wait(epoll, timeout_ns, spin_ns): what is ready, as `Ready.wait` gives it."""


class Pump(Protocol):
    """Whoever hands ready descriptors to their handlers, turn by turn, and runs the timers that are due."""

    finish: Callable[[int], int]
    leisure: Callable[[], bool]
    timers: Timers
    clock: Clock
    stopping: bool
    turns: int

    def fileno(self) -> int:
        """A descriptor that is readable while any watched one is ready."""

    def watch(self, fileno: int, handler: Callable[[int, int], int], events: int = READABLE) -> None:
        """Call `handler(events, now_ns) -> work done` when the descriptor is ready."""

    def change(self, fileno: int, events: int) -> None:
        """Wait for other events of a watched descriptor."""

    def forget(self, fileno: int) -> None:
        """Stop watching; call it before the descriptor is closed."""

    def drop(self, fileno: int) -> None:
        """Forget a descriptor that is closed already."""

    def wait_by(self, wait: Wait) -> None:
        """Let `wait` find out what is ready, where there is an epoll set to ask."""

    def stop(self) -> None:
        """End `run` after the present turn."""

    def turn(self, limit_ns: int = IDLE_LIMIT_NS) -> int:
        """One turn; waits at most `limit_ns` for something to do. Returns how much was done."""

    def run(self) -> None:
        """Turns until `stop`."""

    def close(self) -> None:
        """Let go of the descriptors of the pump itself."""


@define(eq=False)
class EpollPump:
    """The pump of a process of this machine, on epoll: runs its turns until `stop`.

    `finish` ends each turn: it gets `now_ns` and returns how much it did. `leisure` is called after a turn that did
    nothing, again and again while it returns True. A turn takes a bounded number of ready
    descriptors (`Ready`); more wait for the next.
    """

    idle: Idle = Idle.BLOCK
    finish: Callable[[int], int] = field(default=lambda _now: 0)
    leisure: Callable[[], bool] = field(default=lambda: False, init=False)
    timers: Timers = field(factory=Timers, init=False)
    stopping: bool = field(default=False, init=False)
    turns: int = field(default=0, init=False)
    clock: Clock = field(factory=Clock, init=False)
    _epoll: select.epoll = field(factory=select.epoll, init=False)
    _wait: Wait = field(factory=lambda: Ready().wait, init=False)
    _awake_ns: int = field(init=False)
    _handlers: dict[int, Callable[[int, int], int]] = field(factory=dict, init=False)
    _wake: tuple[socket.socket, socket.socket] | None = field(default=None, init=False)

    @_awake_ns.default
    def _spinning_ns(self) -> int:
        return _AWAKE_NS[self.idle]

    def fileno(self) -> int:
        """The descriptor of the epoll set."""
        return self._epoll.fileno()

    def watch(self, fileno: int, handler: Callable[[int, int], int], events: int = READABLE) -> None:
        """Call `handler(events, now_ns) -> work done` when the descriptor is ready."""
        self._epoll.register(fileno, events)
        self._handlers[fileno] = handler

    def change(self, fileno: int, events: int) -> None:
        """Wait for other events of a watched descriptor."""
        self._epoll.modify(fileno, events)

    def forget(self, fileno: int) -> None:
        """Stop watching; call it before the descriptor is closed."""
        if self._handlers.pop(fileno, None) is not None:
            self._epoll.unregister(fileno)

    def drop(self, fileno: int) -> None:
        """Forget a descriptor that is closed already."""
        self._handlers.pop(fileno, None)

    def wait_by(self, wait: Wait) -> None:
        """Let `wait` find out what is ready."""
        self._wait = wait

    def stop(self) -> None:
        """End `run` after the present turn."""
        self.stopping = True

    def stop_on_signals(self) -> None:
        """Make SIGTERM and ctrl-C end `run` in an orderly way."""
        ours, kernels = socket.socketpair()
        ours.setblocking(False)
        kernels.setblocking(False)
        self._wake = (ours, kernels)
        signal.set_wakeup_fd(kernels.fileno(), warn_on_full_buffer=False)

        def note(_number: int, _frame: FrameType | None) -> None:
            self.stopping = True

        def drain(_events: int, _now_ns: int) -> int:
            ours.recv(64)
            return 1

        signal.signal(signal.SIGTERM, note)
        signal.signal(signal.SIGINT, note)
        self.watch(ours.fileno(), drain)

    def turn(self, limit_ns: int = IDLE_LIMIT_NS) -> int:
        """One turn; waits at most `limit_ns` for something to do. Returns how much was done."""
        patience_ns = self._patience(limit_ns) if limit_ns else 0
        ready = self._wait(self._epoll.fileno(), patience_ns, self._awake_ns)
        now_ns = self.clock.read()
        self.turns += 1
        work = 0
        for fileno, events in ready:
            handler = self._handlers.get(fileno)  # an earlier handler of this turn may have closed it
            if handler is not None:
                work += handler(events, now_ns)
        work += self.timers.run(now_ns)
        return work + self.finish(now_ns)

    def _patience(self, limit_ns: int) -> int:
        """How long to wait, in nanoseconds: until the next timer, bounded."""
        if self.idle is Idle.SPIN:
            limit_ns = min(limit_ns, SPIN_SLICE_NS)
        due_ns = self.timers.next_ns()
        if due_ns is None:
            return limit_ns
        return min(max(due_ns - time.monotonic_ns(), 0), limit_ns)

    def run(self) -> None:
        """Turns until `stop` or a signal. The garbage collector is frozen: turns make no cycles."""
        gc.collect()
        gc.freeze()
        more = False
        while not self.stopping:
            if not self.turn(0 if more else IDLE_LIMIT_NS):
                more = self.leisure()

    def close(self) -> None:
        """Let go of the descriptors of the pump itself."""
        if self._wake is not None:
            signal.set_wakeup_fd(-1)
            for end in self._wake:
                end.close()
            self._wake = None
        self._epoll.close()
