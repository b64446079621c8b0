"""A simulated machine with a node: power, disk, and the one process that runs on it, started again when it dies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

from rewinder.access import Authority
from rewinder.dial import Patience
from rewinder.errors import ForkedLog, LogError, StorageFull
from rewinder.memory import MemoryStorage
from rewinder.process import RewinderProcess, RewinderSettings
from seqcast.testing.fabric import SimNetwork
from seqcast.testing.machine import Machine
from seqcast.testing.pump import SimPump
from seqcast.testing.world import MILLISECOND
from sequencer.process import SequencerProcess, SequencerSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from rewinder.counters import Counters
    from rewinder.network import Network
    from rewinder.node import Node
    from rewinder.node_settings import NodeSettings
    from seqcast.testing.fabric import Fabric

RESTART_NS = 60 * MILLISECOND
"""How soon a process that died is started again."""

SESSION = b"SIMULATED "
NODE_PORT, SUBMIT_PORT, REPLAY_PORT, REQUEST_PORT = 1, 2, 3, 4
GROUP = "239.0.0.1"
DATAGRAM_BYTES = 512
SEGMENT_BYTES = 68 * 1024
SILENCE_NS = 100 * MILLISECOND
PASSWORD = "SECRET"  # noqa: S105  (of a bus that no one else can reach)


class SimControl:
    """The control socket: whoever has the machine may call the handlers."""

    def __init__(self, handlers: Mapping[str, Any]) -> None:
        self.handlers = handlers

    def fileno(self) -> int:
        """There is nothing to wait for."""
        return -2

    def turn(self) -> int:
        """Nothing has arrived."""
        return 0

    def publish(self, _counters: Mapping[str, Any]) -> None:
        """Nobody listens."""

    def close(self) -> None:
        """Nothing to let go of."""


class NodeMachine(Machine):
    """A machine with a node. It is the node's `rewinder.surroundings.Surroundings` too."""

    def __init__(
        self, fabric: Fabric, name: str, settings: NodeSettings, events: Callable[[str, NodeMachine], None]
    ):
        super().__init__(fabric, name)
        self.settings = settings
        self.random = self.world.random
        self.network: Network = SimNetwork(fabric, self)
        self.disk = MemoryStorage()
        self.disk.on_sync = self._synced
        self.former_disks: list[MemoryStorage] = []
        self.old_disks: dict[str, MemoryStorage] = {}  # by session, the last one at the end
        self.process: Node | None = None
        self.handlers: Mapping[str, Any] = {}
        self.told = events
        self.wanted = True  # to be running
        self.starts = 0
        self._pump: SimPump | None = None

    # surroundings

    def pump(self, _settings: NodeSettings, finish: Callable[[int], int]) -> SimPump:
        """A pump on virtual time."""
        self._pump = SimPump(self, finish)
        return self._pump

    def storage(self, _settings: NodeSettings) -> MemoryStorage:
        """The disk, which holds one session."""
        return self.disk

    def old_sessions(self, settings: NodeSettings) -> list[str]:
        """The other sessions that were kept here; the last one first."""
        return [name for name in reversed(self.old_disks) if name != settings.session_name]

    def old_storage(self, _settings: NodeSettings, session: str) -> MemoryStorage | None:
        """The disk of one of them."""
        disk = self.old_disks.get(session)
        return None if disk is None else disk.reader()

    def claim_old(self, _settings: NodeSettings, session: str) -> MemoryStorage | None:
        """The disk of one of them, to be removed."""
        return self.old_disks.get(session)

    def clear_old(self, _settings: NodeSettings, session: str) -> None:
        """It is gone."""
        del self.old_disks[session]

    def set_aside(self, _settings: NodeSettings) -> str:
        """Put the disk aside, and take a new one."""
        self.replace_disk(MemoryStorage(self.disk.boot_id, self.disk.capacity), "set aside")
        return "aside"

    def control(
        self, _settings: NodeSettings, handlers: Mapping[str, Any], _counters: Counters
    ) -> SimControl:
        """Keep the handlers, for whoever has the machine."""
        self.handlers = handlers
        return SimControl(handlers)

    def draw(self) -> int:
        """64 bits that follow from the seed."""
        return self.random.getrandbits(64) | 1

    # life

    def start(self) -> None:
        """Start the process, if the machine is on and none runs."""
        if not self.on or self.process is not None or not self.wanted:
            return
        if self.paused_until_ns > self.world.now_ns:
            self.paused_until_ns = 0
        self.starts += 1
        self.process = self._new_process()
        self.spent = 0
        self.world.note(self.name, "starts")
        with self.watched():
            self.process.open()
            assert self._pump is not None
            self._pump.wake()

    def ended(self) -> None:
        """The process stops by itself: it was deposed, or asked to."""
        process = self.process
        assert process is not None
        self.world.note(self.name, f"ends ({process.deposed or 'stopped'})")
        self.told("deposed" if process.deposed else "stopped", self)
        assert self._pump is not None
        for service in process.services:
            service.close(self._pump.clock.read())
        self.kill("ended")

    def kill(self, why: str) -> None:
        """SIGKILL: the process is gone, the disk is as the kernel has it."""
        if self.process is None:
            return
        self.world.note(self.name, f"dies ({why})")
        self._stop()
        self.hang_up()
        self.replace_disk(self.disk.killed(), None)
        self.restart_later()

    def power_off(self) -> None:
        """The machine is gone, and what was not synced with it."""
        self.world.note(self.name, "loses power")
        self._stop()
        for thing in list(self.sockets.values()):
            thing.dead = thing.closed = True
            if hasattr(thing, "port"):
                self.fabric.listeners.pop((self.name, thing.port), None)
                self.fabric.bound.pop((self.name, thing.port), None)
        self.sockets.clear()
        self.on = False
        self.replace_disk(self.disk.lost(self.random), None)

    def wake(self) -> None:
        """Have a turn: somebody has called a handler."""
        if self._pump is not None:
            self._pump.wake()

    def power_on(self) -> None:
        """The machine is back, with what its disk had kept."""
        self.on = True
        self.start()

    def replace_disk(self, disk: MemoryStorage, why: str | None) -> None:
        """Another disk: the same one as it was found, or (for a reason) a new one."""
        if why is not None:
            self.world.note(self.name, f"new disk ({why})")
        self.former_disks.append(self.disk)
        disk.capacity = self.disk.capacity
        disk.on_sync = self._synced
        self.disk = disk
        self.told("disk" if why is None else "amnesia", self)

    def lose_disk(self) -> None:
        """The process dies, and starts again soon with an empty disk."""
        self.kill("disk lost")
        self.replace_disk(MemoryStorage(self.disk.boot_id), "lost")
        self.restart_later()

    def change_session(self, session: bytes) -> None:
        """The node starts again with another session (ten bytes); the log of the present one is kept."""
        self.kill("configured anew")
        old, self.settings = self.settings, evolve(self.settings, session=session)
        self.old_disks[old.session_name] = self.disk
        kept = self.old_disks.pop(self.settings.session_name, None)
        self.replace_disk(kept or MemoryStorage(self.disk.boot_id), "another session")
        self.restart_later()

    def _new_process(self) -> Node:
        settings = self.settings
        if isinstance(settings, SequencerSettings):
            return SequencerProcess(settings, surroundings=self)
        assert isinstance(settings, RewinderSettings)
        return RewinderProcess(settings, surroundings=self)

    def _synced(self) -> None:
        """A sync takes its time."""
        self.spent += self.sync_ns

    def restart_later(self) -> None:
        """Start the process again, soon."""
        self.world.after(self.random.randrange(RESTART_NS, 3 * RESTART_NS), self.start)

    def _stop(self) -> None:
        self.process = None
        if self._pump is not None:
            self._pump.close()


def primary_of(nodes: Iterable[NodeMachine]) -> NodeMachine | None:
    """The node that is primary of the highest epoch now; None while there is none."""
    found, highest = None, -1
    for node in nodes:
        primary = getattr(node.process, "primary", None)
        if primary is not None and primary.epoch > highest:
            found, highest = node, primary.epoch
    return found


def died_of(error: Exception) -> bool:
    """Whether a node may end with such an error: its disk is full, or broken."""
    return isinstance(error, LogError | StorageFull) and not isinstance(error, ForkedLog)


def node_settings(
    names: dict[str, bool],
    voters: frozenset[str],
    write_quorum: int,
    durability: str,
    *,
    silence_ns: int = SILENCE_NS,
    datagram_bytes: int = DATAGRAM_BYTES,
    segment_bytes: int = SEGMENT_BYTES,
    lines: tuple[tuple[str, int], ...] = ((GROUP, 1),),
) -> dict[str, NodeSettings]:
    """Settings of all nodes: `names` says of each whether it is a sequencer."""
    authority = Authority(True, None, frozenset(names), PASSWORD)
    common: dict[str, Any] = {
        "session": SESSION,
        "directory": Path(),
        "segment_bytes": segment_bytes,
        "durability": durability,
        "authority": authority,
        "control_path": Path(),
        "node_port": NODE_PORT,
        "voters": voters,
        "write_quorum": write_quorum,
        "sequencers": {name: (name, NODE_PORT) for name, sequencer in names.items() if sequencer},
        "peers": {name: (name, NODE_PORT) for name in names if name in voters},
        "node_password": PASSWORD,
        "patience": Patience(silence_ns // 5, silence_ns),
        "datagram_bytes": datagram_bytes,
    }
    settings: dict[str, NodeSettings] = {}
    for name, sequencer in names.items():
        if sequencer:
            settings[name] = SequencerSettings(
                name=name, host=name, submit_port=SUBMIT_PORT, lines=lines, heartbeat_ns=silence_ns, **common
            )
        else:
            settings[name] = RewinderSettings(
                name=name, host=name, replay_port=REPLAY_PORT, request_port=REQUEST_PORT, **common
            )
    return settings
