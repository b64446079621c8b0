"""How each kind of fault is done to a bus of real processes, and undone; `steps` says which there are."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from attrs import define, field
from bus import NodeProcess

from seqcast.control import ControlClient, ControlError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from load import Load
    from steps import Fault

VOTER, REWINDER = "REW1", "REW2"
SUCCESSOR_SECONDS = 5.0
"""There may be no successor, when something else is amiss at the same time."""

LOOK_SECONDS = 0.05
LAG_SECONDS = 0.3
RECEIVERS_MOST = 3
"""Receivers that join in one round: each reads all of the history."""


@define
class Scene:
    """The bus under load, and what has been done to it: who is `down` is meant to be."""

    load: Load
    down: set[str] = field(factory=set)
    paused: set[str] = field(factory=set)
    last_primary: str = "SEQ1"
    joined: int = 0

    # nodes

    @property
    def nodes(self) -> dict[str, NodeProcess]:
        return self.load.bus.nodes

    @property
    def sequencers(self) -> list[str]:
        return [node.name for node in self.load.bus.configuration.sequencers]

    def primary(self) -> str:
        """The present primary; while there is none, the last one."""
        for name in self.sequencers:
            if name not in self.paused and self.nodes[name].runs:
                status = self.load.bus.status(name)
                if status is not None and status["role"] == "primary":
                    self.last_primary = name
        return self.last_primary

    def standby(self) -> str:
        primary = self.primary()
        (other,) = [name for name in self.sequencers if name != primary]
        return other

    def find(self, role: str) -> str:
        return {
            "primary": self.primary,
            "standby": self.standby,
            "voter": lambda: VOTER,
            "rewinder": lambda: REWINDER,
        }[role]()

    def kill(self, name: str) -> None:
        self.down.add(name)
        self.nodes[name].kill()

    def start(self, *names: str) -> None:
        """Start what was taken down, and runs not yet."""
        starting = []
        for name in names:
            self.down.discard(name)
            if not self.nodes[name].runs:
                starting.append(self.load.bus.spawn(name))
        for node in starting:
            node.wait_ready()

    def look_after(self) -> None:
        """Do as `seqcast up`: start again who was deposed. Whoever ended otherwise is among the casualties."""
        for name, node in list(self.nodes.items()):
            if name in self.down or node.runs:
                continue
            self.load.bus.spawn(name).wait_ready()

    def wait_successor(self, first: str) -> None:
        """Wait until another than `first` is the primary, but not for ever."""
        deadline = time.monotonic() + SUCCESSOR_SECONDS
        while self.primary() == first and time.monotonic() < deadline:
            self.listen(0.01)

    def listen(self, seconds: float) -> None:
        """Let time pass, and look after the nodes meanwhile."""
        while seconds > 0:
            self.load.listen(min(seconds, LOOK_SECONDS))
            seconds -= LOOK_SECONDS
            self.look_after()


@contextmanager
def kill(scene: Scene, fault: Fault) -> Iterator[None]:
    """SIGKILL; started again at the end."""
    name = scene.find(fault.kind.partition("-")[2])
    scene.kill(name)
    yield
    scene.start(name)


@contextmanager
def kill_primary_then_successor(scene: Scene, _fault: Fault) -> Iterator[None]:
    """As soon as the first one is back, the one that came after it."""
    first = scene.primary()
    scene.kill(first)
    scene.wait_successor(first)
    scene.start(first)
    second = scene.primary()
    scene.kill(second)
    yield
    scene.start(second)


@contextmanager
def kill_all(scene: Scene, _fault: Fault) -> Iterator[None]:
    """Everybody at once."""
    for name in scene.nodes:
        scene.kill(name)
    yield
    scene.start(*scene.nodes)


@contextmanager
def stop(scene: Scene, _fault: Fault) -> Iterator[None]:
    """SIGTERM: an orderly end."""
    name = scene.primary()
    scene.down.add(name)
    if name in scene.paused or not scene.nodes[name].runs:
        scene.kill(name)
    else:
        scene.nodes[name].stop()
    yield
    scene.start(name)


@contextmanager
def promote(scene: Scene, _fault: Fault) -> Iterator[None]:
    """A planned handover; what stands in its way is said, and no problem."""
    primary, standby = scene.primary(), scene.standby()
    with suppress(ControlError):
        control = scene.load.bus.configuration.control_path(primary)
        ControlClient(control).request("promote", name=standby)
    yield


@contextmanager
def pause(scene: Scene, fault: Fault) -> Iterator[None]:
    """SIGSTOP, and SIGCONT at the end."""
    name = scene.find(fault.kind.partition("-")[2])
    node = scene.nodes[name]
    scene.paused.add(name)
    node.pause()
    yield
    node.go_on()
    scene.paused.discard(name)


@contextmanager
def cut(scene: Scene, fault: Fault) -> Iterator[None]:
    """The network between one node and others drops everything."""
    namespaces, configuration = scene.load.bus.namespaces, scene.load.bus.configuration
    assert namespaces is not None
    name = scene.find(fault.kind.partition("-")[2])
    others = [node.name for node in configuration.nodes if fault.everybody or node.voter]
    namespaces.cut(
        name,
        [other for other in others if other != name],
        hears=fault.cut == "mute",
        speaks=fault.cut == "deaf",
    )
    yield
    namespaces.heal(name)


@contextmanager
def cut_standby_then_kill_primary(scene: Scene, _fault: Fault) -> Iterator[None]:
    """What is committed meanwhile, the standby has to get from the other voter before it takes over."""
    namespaces = scene.load.bus.namespaces
    assert namespaces is not None
    primary, standby = scene.primary(), scene.standby()
    namespaces.cut(standby, [primary])
    scene.listen(LAG_SECONDS)
    scene.kill(primary)
    yield
    scene.wait_successor(primary)
    namespaces.heal(standby)
    scene.start(primary)


@contextmanager
def receiver(scene: Scene, _fault: Fault) -> Iterator[None]:
    """One joins late, with all of the history before it; the one before it is killed."""
    before = f"receiver-late-{scene.joined}"
    if before in scene.load.workers:
        scene.load.kill_receiver(before)
    if scene.joined < RECEIVERS_MOST:
        scene.joined += 1
        scene.load.add_receiver(f"receiver-late-{scene.joined}", loss=0.01)
    yield


BY_KIND: dict[str, Callable[[Scene, Fault], AbstractContextManager[None]]] = {
    "kill-primary-then-successor": kill_primary_then_successor,
    "kill-all": kill_all,
    "cut-standby-then-kill-primary": cut_standby_then_kill_primary,
    "promote": promote,
    "receiver": receiver,
}
BY_WORD = {"kill": kill, "stop": stop, "pause": pause, "cut": cut}


def trouble(scene: Scene, fault: Fault) -> AbstractContextManager[None]:
    """The fault, while it lasts."""
    make = BY_KIND.get(fault.kind) or BY_WORD[fault.kind.partition("-")[0]]
    return make(scene, fault)
