"""What goes wrong: a schedule drawn from the seed, within what the guarantees assume.

A voter may lose its disk only while enough others vote that it can be admitted again; everything else may happen
at any time, and together.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rewinder.control import Refusal
from seqcast.testing.world import MILLISECOND, SECOND
from simulation.disks import DiskReader
from simulation.figure_eight import FigureEight

if TYPE_CHECKING:
    from collections.abc import Callable

    from seqcast.testing.node import NodeMachine
    from simulation.simulation import Simulation

HOUR_NS = 3600 * SECOND

PROFILES = {
    "mixed": {
        "kill": 4,
        "kill_primary": 5,
        "pause": 3,
        "pause_primary": 3,
        "power": 3,
        "wipe": 2,
        "flip": 2,
        "cut": 3,
        "isolate": 3,
        "isolate_primary": 3,
        "slow_sync": 2,
        "full_disk": 2,
        "clock": 2,
        "promote": 2,
        "rivals": 3,
        "usurp": 3,
        "duel": 1,
        "burst": 4,
        "slow_network": 2,
        "sender": 2,
        "receiver": 2,
        "apps_cut": 2,
    },
    "crashes": {
        "kill": 3,
        "kill_primary": 8,
        "isolate_primary": 4,
        "pause_primary": 4,
        "rivals": 4,
        "isolate": 3,
        "usurp": 4,
    },
    "disks": {"wipe": 8, "kill": 2, "kill_primary": 4, "isolate_primary": 3, "flip": 4, "rivals": 2},
    "duels": {"duel": 6, "rivals": 2, "kill_primary": 2},
    "figure8": {},
    "peace": {},
}


class Faults:
    """The faults of one run. `done` counts those that happened; `ends`: the session is ended in the end."""

    def __init__(self, simulation: Simulation, profile: str) -> None:
        self.simulation, self.profile = simulation, profile
        self.world, self.fabric = simulation.world, simulation.fabric
        self.random = self.world.random
        self.done: Counter[str] = Counter()
        self.ends = self.random.random() < 0.3
        self._restore: list[Callable[[], None]] = []

    def plan(self, until_ns: int) -> None:
        """Draw the schedule."""
        random = self.random
        if PROFILES[self.profile]:
            self.fabric.loss = random.choice((0.0, 0.01, 0.05, 0.2))
            self.fabric.duplicates = random.choice((0.0, 0.05))
            self.fabric.reorder = random.choice((0.0, 0.1))
        if self.profile == "figure8":
            FigureEight(self).plan()
        weights = PROFILES[self.profile]
        if not weights:
            return
        kinds = random.choices(list(weights), list(weights.values()), k=random.randrange(2, 12))
        for kind in kinds:
            self.world.at(random.randrange(until_ns // 10, until_ns), lambda kind=kind: self._happen(kind))

    def heal(self) -> None:
        """Peace: everything is mended, and every machine is on."""
        self.world.note("PEACE", "")
        for restore in self._restore:
            restore()
        self._restore.clear()
        self.fabric.loss = self.fabric.duplicates = self.fabric.reorder = 0.0
        self.fabric.slow = 1
        for node in self.simulation.nodes.values():
            node.disk.capacity = None
            node.sync_ns = 0
            if node.paused_until_ns > self.world.now_ns:
                node.paused_until_ns = self.world.now_ns
                if node._pump is not None:
                    node._pump.wake()
            node.wanted = node.on = True
            node.start()

    def end_session(self) -> None:
        """End the session, again and again until a primary has taken it; kill one on the way."""
        self.world.note("END", "")

        def ask() -> None:
            primary = self.simulation.primary()
            if primary is not None and primary.process is not None and primary.process.log.ended is None:
                primary.handlers["end-session"]({})
                primary._pump.wake()
            if not self._ended():
                self.world.after(30 * MILLISECOND, ask)

        ask()
        if self.random.random() < 0.6 and PROFILES[self.profile]:
            self.world.after(self.random.randrange(3 * MILLISECOND), lambda: self._happen("kill_primary"))
        deadline = self.world.now_ns + 3 * SECOND
        self.world.run(deadline, self._ended)

    def _ended(self) -> bool:
        primary = self.simulation.primary()
        return primary is not None and primary.process is not None and primary.process.log.ended is not None

    # one fault

    def _happen(self, kind: str) -> None:
        if getattr(self, f"_{kind}")():
            self.done[kind] += 1

    def _node(self) -> NodeMachine:
        return self.random.choice(list(self.simulation.nodes.values()))

    def _later(self, restore: Callable[[], None], least_ms: int, most_ms: int) -> None:
        """Undo a fault after a while, or when peace comes."""
        undone = False

        def once() -> None:
            nonlocal undone
            if not undone:
                undone = True
                restore()

        self._restore.append(once)
        self.world.after(self.random.randrange(least_ms, most_ms) * MILLISECOND, once)

    def _kill(self, node: NodeMachine | None = None) -> bool:
        node = node or self._node()
        if node.process is None:
            return False
        node.kill("killed")
        return True

    def _kill_primary(self) -> bool:
        primary = self.simulation.primary()
        return primary is not None and self._kill(primary)

    def _pause(self, node: NodeMachine | None = None) -> bool:
        node = node or self._node()
        duration = self.random.choice((5, 50, 150, 400)) * MILLISECOND
        self.world.note(node.name, f"is paused for {duration // MILLISECOND} ms")
        node.pause(duration)
        return True

    def _pause_primary(self) -> bool:
        primary = self.simulation.primary()
        return primary is not None and self._pause(primary)

    def _power(self) -> bool:
        node = self._node()
        if not node.on or (self.simulation.durability == "memory" and not self._may_forget(node)):
            return False
        node.power_off()
        self._later(node.power_on, 50, 500)
        return True

    def _wipe(self) -> bool:
        node = self._node()
        if not node.on or not self._may_forget(node):
            return False
        node.lose_disk()
        return True

    def _flip(self) -> bool:
        """A bit goes bad below the end of a log, where opening finds it."""
        node = self._node()
        places = DiskReader(node.disk)
        last = len(places.records())
        if not node.on or last < 3 or not self._may_forget(node):
            return False
        node.kill("a bit goes bad")
        reader = DiskReader(node.disk)
        number = self.random.randrange(1, last - 1)
        assert reader.record(number) is not None
        name, offset, length = reader._places[number]
        node.disk.damage(name, offset + self.random.randrange(length), 1 << self.random.randrange(8))
        return True

    def _may_forget(self, node: NodeMachine) -> bool:
        """Whether the others are enough without what this node holds and has promised."""
        simulation = self.simulation
        if node.name not in simulation.voters:
            return simulation.voter_count > 1
        others = [simulation.nodes[name] for name in simulation.voters if name != node.name]
        voting = [each for each in others if each.process is not None and each.process.voter.votes]
        least = min(simulation.write_quorum, len(others))
        return simulation.voter_count > 1 and len(voting) == len(others) >= least

    def _cut(self) -> bool:
        first, second = self.random.sample(list(self.simulation.nodes), 2)
        self._separate([(first, second)] + ([(second, first)] if self.random.random() < 0.6 else []))
        return True

    def _isolate(self, node: NodeMachine | None = None) -> bool:
        node = node or self._node()
        others = [name for name in self.simulation.nodes if name != node.name]
        pairs = [(node.name, other) for other in others]
        if self.random.random() < 0.7:
            pairs += [(other, node.name) for other in others]
        self._separate(pairs)
        return True

    def _isolate_primary(self) -> bool:
        primary = self.simulation.primary()
        return primary is not None and self._isolate(primary)

    def _apps_cut(self) -> bool:
        app = self.random.choice([*self.simulation.senders, *self.simulation.receivers]).machine.name
        nodes = self.random.sample(list(self.simulation.nodes), 2)
        self._separate([(node, app) for node in nodes] + [(app, node) for node in nodes])
        return True

    def _separate(self, pairs: list[tuple[str, str]]) -> None:
        self.world.note("CUT", " ".join(f"{source}>{target}" for source, target in pairs))
        for pair in pairs:
            self.fabric.cut(*pair)

        def mend() -> None:
            self.world.note("MEND", " ".join(f"{source}>{target}" for source, target in pairs))
            for pair in pairs:
                self.fabric.mend(*pair)

        self._later(mend, 20, 700)

    def _slow_sync(self) -> bool:
        node = self._node()
        node.sync_ns = self.random.choice((1, 10, 60)) * MILLISECOND

        def restore() -> None:
            node.sync_ns = 0

        self._later(restore, 100, 500)
        return True

    def _full_disk(self) -> bool:
        node = self._node()
        node.disk.capacity = node.disk.used + self.random.choice((0, 300))

        def restore() -> None:
            node.disk.capacity = None

        self._later(restore, 100, 600)
        return True

    def _clock(self) -> bool:
        self._node().utc_offset_ns += self.random.choice((-1, 1)) * HOUR_NS
        return True

    def _promote(self) -> bool:
        primary = self.simulation.primary()
        others = [
            name
            for name, node in self.simulation.nodes.items()
            if name.startswith("SEQ") and node is not primary
        ]
        if primary is None or not others or primary.process.orders.handover is not None:
            return False
        target = self.random.choice(others)
        self.world.note(primary.name, f"is asked to promote {target}")
        try:
            primary.handlers["promote"]({"name": target})
        except Refusal as refusal:  # the target is not connected, or does not vote
            self.world.note(primary.name, f"refuses: {refusal}")
            return False
        primary._pump.wake()
        return True

    def _rivals(self) -> bool:
        """Every standby tries to become primary at once, whatever it hears."""
        found = False
        for node in self.simulation.nodes.values():
            process = node.process
            candidate = getattr(process, "candidate", None)
            if candidate is not None and process.primary is None and candidate.takeover is None:
                self.world.note(node.name, "is told to take over")
                candidate.begin(node._pump.clock.read(), insist=True)
                node._pump.wake()
                found = True
        return found

    def _duel(self) -> bool:
        """All sequencers start at once and do not hear each other: each wants the same epoch of the same voters."""
        sequencers = [node for name, node in self.simulation.nodes.items() if name.startswith("SEQ")]
        if len(sequencers) < 2 or not all(node.on for node in sequencers):
            return False
        self._separate([(a.name, b.name) for a in sequencers for b in sequencers if a is not b])
        for node in sequencers:
            node.wanted = False
            node.kill("duel")

        def begin() -> None:
            for node in sequencers:
                node.wanted = True
                node.start()

        self._later(begin, 10, 20)
        return True

    def _usurp(self) -> bool:
        """A standby that does not reach the primary, which is well, takes over."""
        primary = self.simulation.primary()
        standbys = [
            node
            for node in self.simulation.nodes.values()
            if getattr(node.process, "primary", node) is None  # a deposed one that does not know it is none
        ]
        if primary is None or not standbys:
            return False
        usurper = self.random.choice(standbys)
        self._separate([(primary.name, usurper.name), (usurper.name, primary.name)])
        if usurper.process.candidate.takeover is None:
            usurper.process.candidate.begin(usurper._pump.clock.read(), insist=True)
            usurper._pump.wake()
        return True

    def _burst(self) -> bool:
        loss = self.fabric.loss
        self.fabric.loss = 0.7

        def restore() -> None:
            self.fabric.loss = loss

        self._later(restore, 5, 100)
        return True

    def _slow_network(self) -> bool:
        self.fabric.slow = self.random.choice((5, 40))

        def restore() -> None:
            self.fabric.slow = 1

        self._later(restore, 50, 300)
        return True

    def _sender(self) -> bool:
        self.random.choice(self.simulation.senders).restart()
        return True

    def _receiver(self) -> bool:
        receiver = self.random.choice(self.simulation.receivers)
        if self.random.random() < 0.5:
            receiver.machine.pause(self.random.randrange(10, 500) * MILLISECOND)
        else:
            self.simulation.restart_receiver(receiver)
        return True
