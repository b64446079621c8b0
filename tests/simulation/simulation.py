"""One run: a bus, apps around it, faults for a while, then peace, and the verdict. The seed decides everything."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from unittest import mock

from attrs import define, field

from rewinder import replay
from seqcast.testing.bus import READERS, VOTERS
from seqcast.testing.fabric import Fabric
from seqcast.testing.node import DATAGRAM_BYTES, NodeMachine, died_of, node_settings, primary_of
from seqcast.testing.trace import Trace
from seqcast.testing.world import MILLISECOND, SECOND, World
from sequencer import tracing
from simulation.checker import Checker
from simulation.disks import DiskReader
from simulation.faults import Faults
from simulation.receiver import SimReceiver
from simulation.sender import SimSender

if TYPE_CHECKING:
    from seqcast.testing.machine import Machine

LOAD_NS = 2 * SECOND
"""How long there is load, and faults."""

VOLLEYS, VOLLEY_SHOTS, VOLLEY_NS = 6, 8, MILLISECOND
"""Volleys of all senders, shots of each in one of them, and the longest time between two shots."""

SETTLE_NS = 8 * SECOND
"""How long the bus may take, once the faults are over, until everything is delivered everywhere."""

RESENT_FACTOR = 10
"""Bytes that rewinders send again, in bytes that were lost ..."""

RESENT_REWIND_BYTES = 24 * 1024
"""... and for each login, because a rewind runs on until it meets the live stream."""

SMALL_TURNS = (
    (replay, "STRETCH_RECORDS", 16),  # so that stretches end within a replay
    (replay, "TURN_BYTES", 2 * 1024),
    (tracing, "TURN_RECORDS", 5),  # so that a trace takes several turns
    (tracing, "SLICE_ANSWERS", 3),
)


@define
class Outcome:
    """What came of one seed, as plain values for JSON."""

    seed: int
    violations: list[str]
    takeovers: int
    records: int
    faults: dict[str, int]
    digest: str
    voters: int
    durability: str
    virtual_ms: int
    lines: list[str] = field(factory=list)


class Simulation:
    """A bus of `voters` voters (1, 2, 3, 5; None: the seed decides) and what happens to it."""

    def __init__(self, seed: int, *, voters: int | None = None, profile: str = "mixed") -> None:
        self.world = world = World(seed)
        random = world.random
        self.voter_count = voters or random.choice((1, 2, 3, 3, 3, 3, 5))
        random.random()
        self.durability = random.choice(("memory", "memory", "group", "always"))
        self.write_quorum = self.voter_count // 2 + 1
        self.fabric = fabric = Fabric(world)
        names = {name: name.startswith("SEQ") for name in (*VOTERS[self.voter_count], *READERS)}
        self.voters = frozenset(VOTERS[self.voter_count])
        settings = node_settings(names, self.voters, self.write_quorum, self.durability)
        self.nodes = {name: NodeMachine(fabric, name, settings[name], self._told) for name in names}
        self.checker = Checker(world, self.nodes, self.voters, self.write_quorum, self.durability != "memory")
        for node in self.nodes.values():
            node.failure = self._failed
        fabric.on_multicast = self.checker.multicast
        fabric.on_datagram = self.checker.datagram
        fabric.on_stream = self.checker.stream_opened
        sequencers = [name for name, sequencer in names.items() if sequencer]
        rewinders = [name for name, sequencer in names.items() if not sequencer]
        answers_get_lost = profile == "mixed"  # the other profiles are for their own faults
        self.senders = [
            SimSender(
                fabric,
                f"SEND{index}",
                sequencers,
                self.checker.began,
                self.checker.answered,
                stubborn=random.random() < 0.5,
                flaky=answers_get_lost and random.random() < 0.5,
                patient=profile == "figure8" or (profile in ("crashes", "duels") and random.random() < 0.5),
            )
            for index in range(random.randrange(1, 4))
        ]
        self.receivers = [
            SimReceiver(fabric, f"RECV{index}", rewinders, self.checker.delivered)
            for index in range(random.randrange(2, 4))
        ]
        for app in (*self.senders, *self.receivers):
            app.machine.failure = self._app_failed
        self.starts = len(self.receivers)
        self.faults = Faults(self, profile)
        self._plan_load(VOLLEYS if answers_get_lost else 0)

    def run(self) -> Outcome:
        """From the start to the verdict."""
        with ExitStack() as stack:
            for module, name, value in SMALL_TURNS:
                stack.enter_context(mock.patch.object(module, name, value))
            return self._run()

    def _run(self) -> Outcome:
        world = self.world
        with Trace(world):
            for node in self.nodes.values():
                world.after(world.random.randrange(50 * MILLISECOND), node.start)
            self.faults.plan(LOAD_NS)
            world.run(LOAD_NS)
            self.faults.heal()
            self._settle()
            if self.faults.ends:
                self.faults.end_session()
                self._settle()
            self._judge()
        return Outcome(
            world.seed,
            self.checker.violations,
            self.checker.epochs,
            self._primary_last(),
            dict(sorted(self.faults.done.items())),
            world.digest,
            self.voter_count,
            self.durability,
            world.now_ns // MILLISECOND,
            list(world.lines),
        )

    # the bus

    def primary(self) -> NodeMachine | None:
        """The node that is primary of the highest epoch now."""
        return primary_of(self.nodes.values())

    def restart_receiver(self, receiver: SimReceiver) -> None:
        self.starts += 1
        receiver.restart()
        self.checker.restarted(receiver.name)

    def _primary_last(self) -> int:
        primary = self.primary()
        return primary.process.log.last if primary is not None and primary.process is not None else 0

    def _plan_load(self, volleys: int) -> None:
        random, world = self.world.random, self.world
        for sender in self.senders:
            when = random.randrange(300 * MILLISECOND)
            while when < LOAD_NS:
                count = random.choice((1, 1, 2, 5, 20))
                world.at(
                    when, lambda sender=sender, count=count: sender.submit(self._payloads(sender, count))
                )
                when += random.randrange(5, 120) * MILLISECOND
        for _ in range(volleys):
            self._plan_volley(random.randrange(LOAD_NS))

    def _plan_volley(self, when: int) -> None:
        """All senders at once, a few messages at a time, so that their records lie between each other's."""
        for sender in self.senders:
            at = when
            for _ in range(VOLLEY_SHOTS):
                at += self.world.random.randrange(VOLLEY_NS)
                self.world.at(at, lambda sender=sender: sender.submit(self._payloads(sender, 2)))

    def _payloads(self, sender: SimSender, count: int) -> list[bytes]:
        random = self.world.random
        payloads = []
        for index in range(count):
            size = (
                random.choice((0, 8, 30, 100, 100, 300))
                if random.random() < 0.95
                else random.randrange(400, 2000)
            )
            head = b"%s/%d/" % (sender.user.encode(), len(sender.sent) + index)
            payloads.append(head + random.randbytes(size))
        return payloads

    def _settle(self) -> None:
        """Let the bus come to rest: everything submitted is delivered everywhere, and every node has it."""
        world = self.world
        deadline = world.now_ns + SETTLE_NS
        world.run(deadline, self._at_rest)
        if not self._at_rest():
            self.checker.violated(
                8, f"not at rest {SETTLE_NS // SECOND} s after the faults: {self._unrest()}"
            )

    def _at_rest(self) -> bool:
        return not self._unrest()

    def _unrest(self) -> str:
        primary = self.primary()
        if primary is None or primary.process is None:
            return "no primary: " + "; ".join(str(self._why(node)) for node in self.nodes.values())
        last = primary.process.log.last
        if primary.process.log.commit != last:
            return f"{primary.name} has committed {primary.process.log.commit} of {last}"
        for sender in self.senders:
            if not sender.done:
                have = sender.submission.committed_sequence, sender.submission.told_sequence
                return f"{sender.user} waits: {have} of {sum(sender.frames)}"
        for node in self.nodes.values():
            if node.process is None or (node.process.log.last, node.process.log.commit) != (last, last):
                have = (node.process.log.last, node.process.log.commit) if node.process is not None else None
                return f"{node.name} has {have} of {last}: {self._why(node)}"
        for receiver in self.receivers:
            if receiver.next_number != last + 1:
                return f"{receiver.name} is at {receiver.next_number} of {last}: {receiver.reception.trouble}"
        return ""

    def _why(self, node: NodeMachine) -> Any:
        if node.process is None:
            return f"{node.name} is down"
        candidate = getattr(node.process, "candidate", None)
        if candidate is not None and candidate.takeover is not None:
            return f"{node.name} {candidate.takeover.missing()}"
        return node.process.why()

    def _judge(self) -> None:
        checker, primary = self.checker, self.primary()
        if primary is None or primary.process is None:
            checker.violated(8, "there is no primary in the end")
            return
        log = DiskReader(primary.disk).records()
        checker.conclude(
            log,
            {sender.user: sender.sent for sender in self.senders},
            {receiver.name: [payload for _, payload in receiver.messages] for receiver in self.receivers},
        )
        for node in self.nodes.values():
            if node.process is not None:
                checker.copies(node.name, log, node.process.log.commit)
                self._compare_tables(node)
        rewinds = sum(receiver.rewinds + receiver.reception.rewinds for receiver in self.receivers)
        requests = sum(receiver.requests + receiver.downlink.requests for receiver in self.receivers)
        whole = sum(len(record) for record in log)
        allowed = RESENT_FACTOR * self.fabric.lost_bytes + self.starts * whole
        allowed += rewinds * RESENT_REWIND_BYTES + requests * DATAGRAM_BYTES
        if checker.replayed_bytes > allowed:
            checker.violated(
                8, f"{checker.replayed_bytes} bytes were sent again, and at most {allowed} should be"
            )

    def _compare_tables(self, node: NodeMachine) -> None:
        """The sender table of a log that is read from the start, without checkpoints, equals the live one."""
        assert node.process is not None
        live = node.process.log
        disk = node.disk.killed()
        for name in disk.names():
            if name.endswith((".ckpt", ".idx")):
                disk.remove(name)
        rebuilt = type(live).open(disk, live.session, durability="memory")
        if sorted(rebuilt.senders.items()) != sorted(live.senders.items()) or rebuilt.epochs != live.epochs:
            self.checker.violated(7, f"the tables of {node.name} are not those of its log")

    # what happens to machines

    def _told(self, what: str, machine: NodeMachine) -> None:
        if what == "amnesia":
            self.checker.lost_memory(machine.name)

    def _app_failed(self, machine: Machine, error: Exception) -> None:
        """The library raised an error in an app: no fault here is a reason to."""
        self.checker.violated(3, f"{machine.name}: {type(error).__name__}: {error}")
        for app in (*self.senders, *self.receivers):
            if app.machine is machine:
                app.pump.close()

    def _failed(self, machine: Machine, error: Exception) -> None:
        assert isinstance(machine, NodeMachine)
        if not died_of(error):
            self.checker.violated(0, f"{machine.name} fell over: {type(error).__name__}: {error}")
            import traceback  # noqa: PLC0415  (only where something is wrong)

            for line in traceback.format_exception(error):
                self.world.note(machine.name, line.rstrip())
        machine.kill(f"{type(error).__name__}: {error}")
