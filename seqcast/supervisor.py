"""`seqcast up`: runs the nodes of one machine as child processes, restarts what dies, ends them in order.

One thread waits for everything at once: notifications, output and deaths of the children, signals, and the
next thing that is due. What happens is told to one function as events, dictionaries with the key `event`:

| event | other keys |
|---|---|
| starting | name, role, pid |
| ready | name, role, pid, ports, took_ms |
| all-ready | nodes, took_ms |
| slow | name, waited_ms, status |
| died | name, status (exit status) or signal, lived_ms, restart_ms (missing when it is not restarted) |
| finished | name: it ended with exit status 0, and is not restarted |
| gave-up | name, reason |
| stopping | reason |
| stopped | name, killed |
| end | status: the exit status of the supervisor |
"""

from __future__ import annotations

import selectors
import signal
import socket
import time
from typing import TYPE_CHECKING, Any

from attrs import define, field

from seqcast.child import Child, ChildCommand, signal_name
from seqcast.relay import Relay

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    Event = dict[str, Any]

QUICK_DEATH_NS = 10_000_000_000
"""A child that lived longer than this died of something new."""

QUICK_DEATHS_LIMIT = 5
"""Quick deaths in a row after which a child is given up: restarting does not mend it."""

RESTART_NS = 250_000_000
"""Pause before the first restart; doubles with each quick death."""

RESTART_LIMIT_NS = 5_000_000_000
"""Longest pause before a restart."""

STOP_LIMIT_NS = 5_000_000_000
"""How long a child may take to end when it is told to; then it is killed. Nodes drain connections in 2 s."""

SLOW_NS = 10_000_000_000
"""How often a child that is not ready yet is mentioned: opening a long log takes its time."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that stop the children in an orderly way."""

REPEAT_NS = 500_000_000
"""Signals closer together than this are one: wrappers such as timeout(1) send theirs twice."""

CONFIGURATION_STATUS = 2
"""Exit status of a child whose configuration is wrong: nothing gets better by another try."""

DEPOSED_STATUS = 3
"""Exit status of a child that was deposed: another node is primary now. Started again it is a standby."""

RESTART_STATUS = 4
"""Exit status of a child that asks to be started again, because its configuration has changed."""

RENEWAL_NS = 50_000_000
"""Pause of a renewal, the new start of a child that was deposed or asked for it: nothing is wrong with it."""

QUICK_RENEWAL_NS = 1_000_000_000
"""A child that lived longer than this before its renewal has done something meanwhile."""

QUICK_RENEWALS_LIMIT = 20
"""Quick renewals in a row; any more count as quick deaths, so that nodes that depose each other do not spin."""


@define
class Restarts:
    """When to start a child again: after a pause that doubles, and not for ever."""

    quick_deaths: int = 0
    quick_renewals: int = 0

    def died(self, status: int, lived_ns: int) -> int | None:
        """Return the pause in nanoseconds before the next start, None when there is to be none.

        A renewal is no death: it adds nothing to the quick ones, and it does not forgive them either.
        """
        if status == CONFIGURATION_STATUS:
            return None
        if self._is_renewal(status, lived_ns):
            return RENEWAL_NS
        self.quick_deaths = self.quick_deaths + 1 if lived_ns < QUICK_DEATH_NS else 1
        if self.quick_deaths > QUICK_DEATHS_LIMIT:
            return None
        return min(RESTART_NS << (self.quick_deaths - 1), RESTART_LIMIT_NS)

    def _is_renewal(self, status: int, lived_ns: int) -> bool:
        """Whether the child was deposed or asked to restart, and that is not how it always ends at once."""
        renewed = status in (DEPOSED_STATUS, RESTART_STATUS)
        self.quick_renewals = self.quick_renewals + 1 if renewed and lived_ns < QUICK_RENEWAL_NS else 0
        return renewed and self.quick_renewals <= QUICK_RENEWALS_LIMIT


@define(eq=False)
class Place:
    """The place of one child: the command, and the process that runs it now, if any."""

    command: ChildCommand
    restarts: Restarts = field(factory=Restarts)
    child: Child | None = None
    started_ns: int = 0
    due_ns: int | None = None
    """When to start it again; while it starts, to mention that it is slow; while it stops, to kill it."""
    stopping: bool = False
    killed: bool = False
    served: bool = False
    """Whether any of its processes was ready."""

    @property
    def ready(self) -> bool:
        """True while its process serves."""
        return self.child is not None and self.child.ready


@define(eq=False)
class Supervisor:
    """Runs `commands` until `stop` or a signal to stop. `events` is told what happens.

    A second signal kills what has not stopped yet.

    What the children log goes to the descriptor `log_to`. `run` returns the exit status: 0 when it was told
    to stop or every child finished, 2 when the configuration of a child is wrong, 1 when one was given up.
    """

    commands: Sequence[ChildCommand]
    events: Callable[[Event], None]
    log_to: int = 2
    status: int = field(default=0, init=False)
    _places: list[Place] = field(init=False)
    _relay: Relay = field(init=False)
    _selector: selectors.BaseSelector = field(factory=selectors.PollSelector, init=False)
    _started_ns: int = field(default=0, init=False)
    _announced: bool = field(default=False, init=False)
    _stop_reason: str | None = field(default=None, init=False)
    _stopping: bool = field(default=False, init=False)
    _kill: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._places = [Place(command) for command in self.commands]
        self._relay = Relay(self.log_to, max((len(command.name) for command in self.commands), default=0))

    def stop(self, reason: str) -> None:
        """Begin to end the children; a second call kills those that are left."""
        if self._stop_reason is None:
            self._stop_reason = reason
        else:
            self._kill = True

    def run(self) -> int:
        """Start the children and look after them until all have ended; returns the exit status."""
        restore = self._catch_signals()
        try:
            self._started_ns = time.monotonic_ns()
            for place in self._places:
                self._start(place, time.monotonic_ns())
            while not self._over():
                self._turn()
        finally:
            restore()
            self._abandon()
        self.events({"event": "end", "status": self.status})
        return self.status

    def _over(self) -> bool:
        """Whether no child runs and none is to be started again."""
        return all(place.child is None and place.due_ns is None for place in self._places)

    def _turn(self) -> None:
        now_ns = time.monotonic_ns()
        due = [place.due_ns for place in self._places if place.due_ns is not None]
        patience = max(min(due) - now_ns, 0) / 1e9 if due else None
        if self._stop_reason is not None and (not self._stopping or self._kill):
            patience = 0.0
        for key, _ in self._selector.select(patience):
            if key.fd in self._selector.get_map():  # an earlier one may have ended this child
                key.data(time.monotonic_ns())
        now_ns = time.monotonic_ns()
        for place in self._places:
            if place.due_ns is not None and now_ns >= place.due_ns:
                place.due_ns = None
                self._due(place, now_ns)
        if self._stop_reason is not None:
            self._stop_turn(now_ns)
        self._pass_on()

    # one child

    def _start(self, place: Place, now_ns: int) -> None:
        name = place.command.name
        try:
            child = Child(place.command)
        except OSError as error:
            self._give_up(place, f"cannot be started: {error}", 1)
            return
        place.child, place.started_ns, place.due_ns = child, now_ns, now_ns + SLOW_NS
        place.stopping = place.killed = False
        self.events({"event": "starting", "name": name, "role": place.command.role, "pid": child.process.pid})
        # Deaths are seen last in a turn, because poll reports in the order of registration.
        self._selector.register(
            child.notifications, selectors.EVENT_READ, lambda now: self._notified(place, now)
        )
        self._selector.register(child.output, selectors.EVENT_READ, lambda _now: self._wrote(place))
        self._selector.register(child.pidfd, selectors.EVENT_READ, lambda now: self._ended(place, now))

    def _notified(self, place: Place, now_ns: int) -> None:
        child = place.child
        if child is None or not child.read_notifications():
            return
        place.served = True
        if not place.stopping:
            place.due_ns = None
        self.events(
            {
                "event": "ready",
                "name": place.command.name,
                "role": place.command.role,
                "pid": child.process.pid,
                "ports": dict(place.command.ports),
                "took_ms": (now_ns - place.started_ns) // 1_000_000,
            }
        )
        if not self._announced and all(other.ready for other in self._places):
            self._announced = True
            took_ms = (now_ns - self._started_ns) // 1_000_000
            self.events({"event": "all-ready", "nodes": len(self._places), "took_ms": took_ms})

    def _wrote(self, place: Place) -> None:
        child = place.child
        if child is None:
            return
        data = child.read_output()
        if data is None:
            self._selector.unregister(child.output)
        else:
            self._relay.add(place.command.name, data)

    def _ended(self, place: Place, now_ns: int) -> None:
        child = place.child
        if child is None:
            return
        self._notified(place, now_ns)
        self._relay.add(place.command.name, child.read_output() or b"")  # one read empties a full pipe
        self._relay.end(place.command.name)
        self._unregister(child)
        place.child, place.due_ns = None, None
        status = child.close()
        if place.stopping:
            self.events({"event": "stopped", "name": place.command.name, "killed": place.killed})
        elif status == 0:
            self.events({"event": "finished", "name": place.command.name})
        else:
            self._died(place, status, now_ns)

    def _died(self, place: Place, status: int, now_ns: int) -> None:
        lived_ns = now_ns - place.started_ns
        pause_ns = None if self._stopping else place.restarts.died(status, lived_ns)
        event: Event = {"event": "died", "name": place.command.name, "lived_ms": lived_ns // 1_000_000}
        if status < 0:
            event["signal"] = signal_name(-status)
        else:
            event["status"] = status
        if pause_ns is not None:
            event["restart_ms"] = pause_ns // 1_000_000
            place.due_ns = now_ns + pause_ns
        self.events(event)
        if self._stopping or pause_ns is not None:
            return
        if status == CONFIGURATION_STATUS:
            self._give_up(place, "its configuration is wrong", status)
        elif place.restarts.quick_renewals:
            times = place.restarts.quick_renewals
            self._give_up(place, f"it was deposed or asked to restart {times} times, soon after its start", 1)
        else:
            self._give_up(place, f"it died {QUICK_DEATHS_LIMIT + 1} times in a row soon after its start", 1)

    def _give_up(self, place: Place, reason: str, status: int) -> None:
        """Start it no more, and stop all; but what has served may be taken out of the configuration meanwhile."""
        self.events({"event": "gave-up", "name": place.command.name, "reason": reason})
        self.status = self.status or status
        if self._stop_reason is None and not (place.served and status == CONFIGURATION_STATUS):
            self.stop(f"{place.command.name} was given up")

    def _due(self, place: Place, now_ns: int) -> None:
        """The time of a place has come: to start again, to be called slow, or to be killed."""
        child = place.child
        if child is None:
            self._start(place, now_ns)
        elif place.stopping:
            place.killed = True
            child.signal(signal.SIGKILL)
        elif not child.ready:
            waited_ms = (now_ns - place.started_ns) // 1_000_000
            self.events(
                {"event": "slow", "name": place.command.name, "waited_ms": waited_ms, "status": child.status}
            )
            place.due_ns = now_ns + SLOW_NS

    # the end

    def _stop_turn(self, now_ns: int) -> None:
        """End the children one after another, the last one first."""
        if not self._stopping:
            self._stopping = True
            self.events({"event": "stopping", "reason": self._stop_reason})
            for place in self._places:
                if place.child is None:
                    place.due_ns = None
        running = [place for place in reversed(self._places) if place.child is not None]
        for place in running if self._kill else running[:1]:
            child = place.child
            if child is None or place.killed:
                continue
            if self._kill:
                place.stopping = place.killed = True
                place.due_ns = None
                child.signal(signal.SIGKILL)
            elif not place.stopping:
                place.stopping = True
                place.due_ns = now_ns + STOP_LIMIT_NS
                child.signal(signal.SIGTERM)
        self._kill = False

    def _abandon(self) -> None:
        """Leave nothing behind, whatever ended `run`."""
        for place in self._places:
            if place.child is not None:
                place.child.signal(signal.SIGKILL)
                self._unregister(place.child)
                place.child.close()
                place.child = None
        self._relay.flush()
        self._selector.close()

    def _unregister(self, child: Child) -> None:
        for source in (child.notifications, child.output, child.pidfd):
            if source in self._selector.get_map():
                self._selector.unregister(source)

    def _pass_on(self) -> None:
        """Write log lines, and wait for room when there is none."""
        self._relay.flush()
        registered = self.log_to in self._selector.get_map()
        if self._relay.waiting and not registered:
            self._selector.register(self.log_to, selectors.EVENT_WRITE, lambda _now: None)
        elif registered and not self._relay.waiting:
            self._selector.unregister(self.log_to)

    def _catch_signals(self) -> Callable[[], None]:
        """Have SIGTERM and ctrl-C stop the children; returns what undoes that."""
        ours, kernels = socket.socketpair()
        for end in (ours, kernels):
            end.setblocking(False)
        # A hangup that is ignored stays ignored: that is what nohup is for. SIGINT is ignored in whatever a script
        # starts with `&`, which does not mean that nobody may stop it.
        hangs_on = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        numbers = [number for number in STOP_SIGNALS if number != signal.SIGHUP or not hangs_on]

        last_ns: int | None = None

        def note(number: int, _frame: FrameType | None) -> None:
            nonlocal last_ns
            now_ns, before_ns = time.monotonic_ns(), last_ns
            last_ns = now_ns
            if before_ns is None or now_ns - before_ns >= REPEAT_NS:
                self.stop(signal_name(number))

        before = [signal.signal(number, note) for number in numbers]
        wakeup_before = signal.set_wakeup_fd(kernels.fileno(), warn_on_full_buffer=False)
        self._selector.register(ours, selectors.EVENT_READ, lambda _now: ours.recv(64))

        def restore() -> None:
            signal.set_wakeup_fd(wakeup_before)
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)
            self._selector.unregister(ours)
            ours.close()
            kernels.close()

        return restore
