"""Failover: the primary of a bus with three voters is killed, again and again, while a sender keeps its timetable.

A trial is the time from the kill (SIGKILL) until a receiver is given the first message that was submitted after it.
In between, the standby has noticed, was promised the next epoch and has opened it, the sender has found it and sent
again what was in flight. After each trial the killed sequencer is started again, and the next trial waits until it
is a standby and every voter holds everything.

The receiver runs in this process. Each message carries the time at which it was due, by the one clock of the machine.
"""

from __future__ import annotations

import statistics
import struct
import tempfile
import time
from datetime import datetime
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field, frozen, validators

from bench import machine
from bench.bus import Bus, make_configuration
from bench.errors import BenchError
from bench.payload import MESSAGE_BYTES, due_times
from bench.processes import Processes
from bench.settings import TRIALS_MOST
from seqcast.child import ChildCommand, node_commands
from seqcast.control import ControlError
from seqcast.receiver import LIVE, Receiver
from seqcast.settings import Durability

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.processes import Process

    Show = Callable[[str, int, int | None], None]

VOTERS = 3

RATE = 1_000
"""Messages a second: a measurement is late by at most one of a thousand."""

POLL_SECONDS = 0.002
"""How long the receiver waits before the other processes are looked after."""

PAUSE_MS = (100, 400)
"""Between the return of a standby and the next kill, at random: kills keep no step with any heartbeat."""

TRIAL_SECONDS = 60.0
"""How long the stream may stand still; after that the benchmark is given up."""

_COUNTER = struct.Struct(">Q")

PHASES = ("noticed", "opened", "connected", "delivered")
"""Since the kill: the standby misses its primary; it has written the start of its epoch; that is committed and the
sender was let in; the receiver has got the first message."""


@frozen(kw_only=True)
class Settings:
    """What to measure: how often the primary is killed, and under which load."""

    trials: int = field(default=20, validator=[validators.ge(1), validators.le(TRIALS_MOST)])
    rate: int = RATE
    durability: Durability = Durability.MEMORY

    @classmethod
    def quick(cls) -> Settings:
        """To see that it works, not to quote."""
        return cls(trials=3)


@frozen
class Trial:
    """One kill: of whom, and after how many milliseconds each of `PHASES` was over; None where nobody said so."""

    killed: str
    phases: dict[str, float | None]

    @property
    def outage_ms(self) -> float:
        """The time until the stream went on."""
        outage = self.phases["delivered"]
        assert outage is not None
        return outage


@define(eq=False)
class Watch:
    """The receiver, and whether everything comes: each message once, and in order."""

    receiver: Receiver
    received: int = field(default=0, init=False)
    wrong: int = field(default=0, init=False)
    number: int = field(default=0, init=False)  # of the last message

    def turn(self, seconds: float) -> int:
        """Take what comes within so many seconds; returns when the youngest of it was due, 0 if nothing came."""
        batch = self.receiver.poll(timeout=seconds)
        if not len(batch):
            return 0
        for number, message in zip(batch.payloads.numbers, batch.payloads, strict=True):
            good = len(message) == MESSAGE_BYTES and _COUNTER.unpack_from(message)[0] == self.received
            self.wrong += not (good and number > self.number)
            self.received += 1
            self.number = number
        return max(due_times(batch.payloads))


@define(eq=False)
class Failover:
    """The bus, its load, and the trials; `show` is told of the present `stage`."""

    bus: Bus
    watch: Watch
    sender: Process
    show: Show
    stage: str = field(default="failover", init=False)
    random: Random = field(factory=Random)

    def turn(self) -> int:
        """Look after everybody; see `Watch.turn`."""
        self.bus.processes.turn(0)
        newest_ns = self.watch.turn(POLL_SECONDS)
        self.show(self.stage, self.watch.received, None)
        return newest_ns

    def wait(self, condition: Callable[[], bool], sentence: str) -> None:
        """Look after everybody until the condition holds. Raises BenchError with `sentence`."""
        deadline = time.monotonic() + TRIAL_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise BenchError(f"{sentence} within {TRIAL_SECONDS:g} s")
            self.turn()

    def status(self, name: str) -> dict[str, Any]:
        """What a node says of itself; nothing where it does not answer."""
        try:
            return self.bus.status(name)
        except ControlError:
            return {}

    def settle(self) -> tuple[str, int]:
        """Wait until there is a primary whom everybody follows, and every voter votes and holds everything.

        Returns its name and its epoch. Everything is what its log had when it was first asked.
        """
        found: dict[str, Any] = {}
        names = {node.name for node in self.bus.configuration.nodes}
        voters = {node.name for node in self.bus.configuration.voters}

        def settled() -> bool:
            statuses = {name: self.status(name) for name in names}
            primaries = [each for each in statuses.values() if each.get("role") == "primary"]
            if len(primaries) != 1:
                return False
            (primary,) = primaries
            if found.get("name") != primary["name"]:
                found.update(primary)
            followers = primary["followers"]
            others = names - {primary["name"]}
            return (
                all(statuses[name].get("following") == primary["name"] for name in others)
                and others <= followers.keys()
                and all(followers[name]["held"] >= found["last"] for name in others)
                and all(followers[name]["votes"] for name in others & voters)
            )

        self.wait(settled, "the nodes did not come to hold the same")
        return found["name"], found["epoch"]

    def trial(self, name: str) -> Trial:
        """Kill the primary, and wait until the stream goes on; then start it again."""
        processes, nodes = self.bus.processes, self.bus.nodes
        for process in (*nodes.values(), self.sender):
            process.reports.clear()
        wall_ns = time.time_ns()
        killed_ns = processes.kill(nodes[name])
        now_ns = newest_ns = 0
        while newest_ns <= killed_ns:
            newest_ns = self.turn()
            now_ns = time.monotonic_ns()
            if now_ns - killed_ns > TRIAL_SECONDS * 1e9:
                raise BenchError(f"the stream did not go on within {TRIAL_SECONDS:g} s")
        delivered_ms = (now_ns - killed_ns) / 1e6
        self.wait(lambda: nodes[name].status is not None, f"{name} did not die")
        self.wait(lambda: bool(self._connected_ns()), "the sender did not say that it was let in")
        self.turn()  # what the nodes logged before that is there now
        phases = self._phases(wall_ns, killed_ns)
        nodes[name] = processes.start(node_command(self.bus, name))
        self.wait(lambda: nodes[name].ready, f"{name} did not become ready")
        return Trial(name, {**phases, "delivered": delivered_ms})

    def _phases(self, wall_ns: int, killed_ns: int) -> dict[str, float | None]:
        """What the standby has logged, and the sender reported, in milliseconds since the kill."""
        phases: dict[str, float | None] = dict.fromkeys(PHASES)
        for process in self.bus.nodes.values():
            for line in process.reports:
                event = line.get("event")
                phase = {"no primary; asking the voters": "noticed", "primary": "opened"}.get(str(event))
                if phase is not None and phases[phase] is None:
                    at_ns = datetime.fromisoformat(line["time"]).timestamp() * 1e9
                    phases[phase] = (at_ns - wall_ns) / 1e6
        phases["connected"] = (self._connected_ns()[0] - killed_ns) / 1e6
        return phases

    def _connected_ns(self) -> list[int]:
        """When the sender was let in, each time since the last kill."""
        return [line["connected_ns"] for line in self.sender.reports if "connected_ns" in line]

    def pause(self) -> None:
        """Let the stream run for a while."""
        until = time.monotonic() + self.random.randint(*PAUSE_MS) / 1000
        while time.monotonic() < until:
            self.turn()

    def finish(self) -> dict[str, Any]:
        """End the load; returns what the sender says of it."""
        self.bus.processes.tell_to_end(self.sender)
        self.wait(lambda: self.sender.status is not None, "the sender did not end")
        result = self.sender.result
        if result is None:
            raise BenchError(f"the sender ended without a result: {self.sender.last_words()}")
        self.wait(lambda: self.watch.received >= result["sent"], "the last messages did not come")
        return result


def node_command(bus: Bus, name: str) -> ChildCommand:
    """The command of one node, which logs for programs."""
    (command,) = [each for each in node_commands(bus.configuration) if each.name == name]
    return evolve(command, arguments=(*command.arguments, "--log-format", "json"))


def run(settings: Settings, show: Show) -> dict[str, Any]:
    """Kill the primary `settings.trials` times; returns everything as plain values.

    `complete` in it is False when a message was lost or wrong; `problems` says what. Raises BenchError when the
    benchmark cannot be carried out at all.
    """
    described = machine.describe()
    with tempfile.TemporaryDirectory(prefix="seqcast-bench-") as directory, Processes() as processes:
        bus = Bus(processes, make_configuration(Path(directory), settings.durability, VOTERS))
        for node in bus.configuration.nodes:
            bus.nodes[node.name] = processes.start(node_command(bus, node.name))
        processes.wait_ready(*bus.nodes.values())
        with Receiver(bus.configuration, LIVE) as receiver:
            watch = Watch(receiver)
            load = {
                "config": str(bus.configuration.path),
                "messages": None,
                "message_bytes": MESSAGE_BYTES,
                "rate": settings.rate,
            }
            sender = processes.start_module("sender", "bench.sender", load)
            failover = Failover(bus, watch, sender, show)
            failover.wait(lambda: receiver.appeared and sender.ready, "the stream did not begin")
            primary, first_epoch = failover.settle()
            trials: list[Trial] = []
            for number in range(1, settings.trials + 1):
                failover.stage = f"failover {number}/{settings.trials}"
                failover.pause()
                trials.append(failover.trial(primary))
                primary, epoch = failover.settle()
            sent = failover.finish()
        processes.stop(*reversed(bus.nodes.values()))
    return {
        "machine": described,
        "settings": {
            "durability": settings.durability.value,
            "message_bytes": MESSAGE_BYTES,
            "messages_per_second": settings.rate,
            "voters": VOTERS,
        },
        **figures(trials, epoch - first_epoch),
        **judged(watch, sent["sent"]),
    }


def figures(trials: list[Trial], epochs: int) -> dict[str, Any]:
    """What the trials say; `epochs` were opened in them, and each kill may cost one."""
    outages = [each.outage_ms for each in trials]
    phases = {name: [value for each in trials if (value := each.phases[name]) is not None] for name in PHASES}
    return {
        "trials": len(trials),
        "min_ms": round(min(outages), 3),
        "p50_ms": round(statistics.median(outages), 3),
        "max_ms": round(max(outages), 3),
        "trials_ms": [round(outage, 3) for outage in outages],
        "phases_p50_ms": {
            name: round(statistics.median(values), 3) if values else None for name, values in phases.items()
        },
        "killed": [each.killed for each in trials],
        "false_takeovers": epochs - len(trials),
    }


def judged(watch: Watch, sent: int) -> dict[str, Any]:
    """Whether all came, and what is wrong, one sentence each."""
    problems = []
    if watch.received != sent:
        problems.append(f"{watch.received} messages came, {sent} were sent")
    if watch.wrong:
        problems.append(f"{watch.wrong} messages came out of order, again or changed")
    return {"messages": sent, "problems": problems, "complete": not problems}
