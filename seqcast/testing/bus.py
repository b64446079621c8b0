"""The bus of a test: sequencers, rewinders, senders, receivers and apps in one thread, on virtual time, by a seed.

The nodes, senders and receivers are the production ones; only the network, the disks and the clock are not real. A
seed is a run: everything that chance decides follows from it, so a failure comes back when its seed does.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from attrs import evolve

from moldudp import session_field
from seqcast.endpoints import Endpoints
from seqcast.errors import SeqcastError, TimedOut
from seqcast.settings import DATAGRAM_BYTES_ETHERNET, Line
from seqcast.testing.app import App, AppMachine
from seqcast.testing.fabric import Fabric
from seqcast.testing.loop import VirtualLoop
from seqcast.testing.node import (
    GROUP,
    REPLAY_PORT,
    REQUEST_PORT,
    SESSION,
    SUBMIT_PORT,
    NodeMachine,
    died_of,
    node_settings,
    primary_of,
)
from seqcast.testing.trace import Trace
from seqcast.testing.world import MILLISECOND, SECOND, World

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from random import Random

    from seqcast.receiver import Receiver
    from seqcast.sender import Sender
    from seqcast.testing.machine import Machine

VOTERS = {
    1: ("SEQ1",),
    2: ("SEQ1", "SEQ2"),
    3: ("SEQ1", "SEQ2", "REW1"),
    5: ("SEQ1", "SEQ2", "SEQ3", "REW1", "REW2"),
}
"""Names of the voters, by how many there are."""

READERS = ("REW8", "REW9")
"""Rewinders that do not vote; a bus has as many as are asked for."""

SEGMENT_BYTES = 1 << 20
SUSPECT_NS = SECOND
WAIT_SECONDS = 60.0
"""How long waiting goes on, in virtual seconds, before it is taken for in vain."""

LINES = (Line(GROUP, 1), Line("239.0.0.2", 1))


class Bus:
    """A bus. `voters` is 1, 2, 3 or 5, `readers` the number of rewinders beside them, `lines` 1 or 2.

    `loss`, `duplicates` and `reorder` are probabilities for each datagram on its way to each receiver; they can be
    set anew at any time. `start=False` leaves the nodes off. Names of nodes are SEQ1, SEQ2, REW1 ..., as in a
    configuration made by `seqcast init`.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        voters: int = 3,
        readers: int = 1,
        lines: int = 1,
        durability: str = "memory",
        loss: float = 0.0,
        duplicates: float = 0.0,
        reorder: float = 0.0,
        datagram_bytes: int = DATAGRAM_BYTES_ETHERNET,
        start: bool = True,
    ) -> None:
        self.seed = seed
        self.world = World(seed)
        self.fabric = fabric = Fabric(self.world)
        fabric.loss, fabric.duplicates, fabric.reorder = loss, duplicates, reorder
        self.loop = VirtualLoop(fabric)
        self.world.wait = self.loop.wait  # coroutines live while somebody waits
        names = {name: name.startswith("SEQ") for name in (*VOTERS[voters], *READERS[:readers])}
        chosen = LINES[:lines]
        settings = node_settings(
            names,
            frozenset(VOTERS[voters]),
            voters // 2 + 1,
            durability,
            silence_ns=SUSPECT_NS,
            datagram_bytes=datagram_bytes,
            segment_bytes=SEGMENT_BYTES,
            lines=tuple((line.group, line.port) for line in chosen),
        )
        self.nodes = {
            name: NodeMachine(fabric, name, settings[name], lambda _what, _node: None) for name in names
        }
        for node in self.nodes.values():
            node.failure = self._node_failed
        rewinders = [name for name, sequencer in names.items() if not sequencer]
        self.endpoints = Endpoints(
            session=SESSION,
            lines=chosen,
            rewinders=tuple((name, REPLAY_PORT) for name in rewinders),
            request_servers=tuple((name, REQUEST_PORT) for name in rewinders),
            sequencers=tuple((name, SUBMIT_PORT) for name, sequencer in names.items() if sequencer),
            datagram_bytes=datagram_bytes,
            suspect_ns=SUSPECT_NS,
        )
        self.apps: list[App] = []
        self._machines: list[AppMachine] = []
        self._open: list[Sender | Receiver] = []
        self._trace = Trace(self.world)
        self._trace.attach()
        if start:
            for node in self.nodes.values():
                self.world.after(self.random.randrange(20 * MILLISECOND), node.start)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # time

    @property
    def now(self) -> float:
        """Virtual seconds since the beginning."""
        return self.world.now_ns / SECOND

    @property
    def random(self) -> Random:
        """The source of all chance, for the test as well."""
        return self.world.random

    @property
    def trace(self) -> list[str]:
        """What has happened, one line each; the last few thousand."""
        return list(self.world.lines)

    def run(self, seconds: float) -> None:
        """Let time go on, for so many virtual seconds. Raises what an app raised."""
        self.loop.wait(self.world.now_ns + round(seconds * SECOND), lambda: False)
        self._raise_of_apps()

    def run_until(self, condition: Callable[[], object], timeout: float = WAIT_SECONDS) -> None:
        """Let time go on until a condition holds. Raises TimedOut when it does not within `timeout` virtual seconds.

        Raises what an app raised, and RuntimeError from within a coroutine.
        """

        def done() -> bool:
            return bool(condition()) or any(_failed(app) for app in self.apps)

        held = self.loop.wait(self.world.now_ns + round(timeout * SECOND), done)
        self._raise_of_apps()
        if not held:
            raise TimedOut(
                f"seed {self.seed}: what was waited for did not happen within {timeout:g} virtual seconds"
            )

    def execute(self, coroutine: Coroutine[Any, Any, Any], timeout: float = WAIT_SECONDS) -> Any:
        """Run a coroutine to its end on the bus's event loop; returns what it returns, raises what it raises.

        Raises TimeoutError after `timeout` virtual seconds.
        """
        return self.loop.run_until_complete(asyncio.wait_for(coroutine, timeout))

    # apps

    def sender(self, user: str = "ALPHA", **settings: Any) -> Sender:
        """A sender on a machine of its own; `settings` are those of `seqcast.Sender`.

        It moves while it is called, as a real one does: wait for its tickets before waiting for what it sent.
        """
        sender = self._app(_never).sender(user, **settings)
        self._open.append(sender)
        return sender

    def receiver(self, *arguments: Any, **settings: Any) -> Receiver:
        """A receiver on a machine of its own; arguments are those of `seqcast.Receiver`, without the first."""
        receiver = self._app(_never).receiver(*arguments, **settings)
        self._open.append(receiver)
        return receiver

    def spawn(self, main: Callable[[App], Coroutine[Any, Any, None]], name: str | None = None) -> App:
        """Start an app: the coroutine `main(app)` on a machine of its own, which has `name`.

        What it raises comes out of `run` and `run_until`. Raises ValueError for a name that is taken.
        """
        app = self._app(main, name)
        self.apps.append(app)
        app.start()
        return app

    # nodes

    @property
    def primary(self) -> str | None:
        """Name of the node that is primary of the highest epoch now; None while there is none."""
        node = primary_of(self.nodes.values())
        return node.name if node is not None else None

    @property
    def last(self) -> int:
        """Number of the last record that the primary has committed; 0 without a primary."""
        name = self.primary
        process = self.nodes[name].process if name is not None else None
        return process.log.commit if process is not None else 0

    def wait_for_primary(self, timeout: float = WAIT_SECONDS) -> str:
        """Let time go on until there is a primary; returns its name."""
        self.run_until(lambda: self.primary, timeout)
        assert self.primary is not None
        return self.primary

    def crash(self, name: str | None, *, restart: bool = True) -> None:
        """Kill -9 of a node's process; it is started again soon, unless `restart` is False. Its disk stays."""
        node = self._node(name)
        node.wanted = restart
        node.kill("killed")

    def start(self, name: str) -> None:
        """Start a node that is down."""
        node = self._node(name)
        node.wanted = True
        if node.on:
            node.start()
        else:
            node.power_on()

    def power_off(self, name: str | None) -> None:
        """A machine loses power, and what its disk had not synced; `start` turns it on again."""
        self._node(name).power_off()

    def lose_disk(self, name: str | None) -> None:
        """A node starts again with an empty disk."""
        self._node(name).lose_disk()

    def pause(self, name: str | None, seconds: float) -> None:
        """SIGSTOP of a node or an app, and SIGCONT after so many virtual seconds."""
        machine = self._machine(name)
        self.world.note(machine.name, f"is paused for {seconds:g} s")
        machine.pause(round(seconds * SECOND))

    def fail_over(self) -> str:
        """Kill the primary and wait for another; returns its name."""
        former = self.wait_for_primary()
        epoch = self.epoch
        self.crash(former)
        self.run_until(lambda: self.primary is not None and self.epoch > epoch)
        assert self.primary is not None
        return self.primary

    @property
    def epoch(self) -> int:
        """The epoch of the primary; 0 without one."""
        name = self.primary
        return self.nodes[name].process.primary.epoch if name is not None else 0  # type: ignore[union-attr]

    def promote(self, name: str) -> None:
        """Ask the primary to hand over to a standby. Raises an error with the reason when it refuses."""
        self._order("promote", {"name": name})

    def end_session(self) -> None:
        """End the session: its last record is written, and receivers that reach it are at the end."""
        self._order("end-session", {})

    def begin_session(self, name: str) -> None:
        """All nodes start again with another session, and keep the log of this one.

        After `end_session` it is the next day; without, it is what a forced promotion leaves behind. Senders that
        are made from now on belong to the new session.
        """
        session = session_field(name)
        for node in self.nodes.values():
            node.change_session(session)
        self.endpoints = evolve(self.endpoints, session=session)

    # the network

    @property
    def loss(self) -> float:
        """Probability that a datagram is lost on its way to one receiver."""
        return self.fabric.loss

    @loss.setter
    def loss(self, probability: float) -> None:
        self.fabric.loss = probability

    def lose_line(self, name: str, probability: float = 1.0) -> None:
        """Lose datagrams of one line, "a" or "b", on their way to each receiver; 0 for none beyond `loss`."""
        line = self.endpoints.chosen((name,))[name]
        self.fabric.line_loss[line.group, line.port] = probability

    def cut(self, first: str, second: str) -> None:
        """Nothing goes between two machines any more, in either direction."""
        self.world.note("CUT", f"{first} | {second}")
        self.fabric.cut(self._machine(first).name, self._machine(second).name)
        self.fabric.cut(second, first)

    def mend(self, first: str, second: str) -> None:
        """Take a cut back. What was underway on a connection comes then."""
        self.world.note("MEND", f"{first} | {second}")
        self.fabric.mend(first, second)
        self.fabric.mend(second, first)

    # the end

    def close(self) -> None:
        """Let go of everything: senders and receivers are closed, apps end where they wait."""
        for each in self._open:
            each.close()
        self._open.clear()
        for machine in self._machines:
            machine.kill()
        self.loop.end()
        self._trace.detach()

    # inside

    def _app(self, main: Callable[[App], Coroutine[Any, Any, None]], name: str | None = None) -> App:
        name = name or f"app-{len(self._machines) + 1}"
        if name in self.fabric.machines:
            raise ValueError(f"there is a machine {name!r} already")
        machine = AppMachine(self.fabric, name)
        self._machines.append(machine)
        return App(machine, self.endpoints, self.loop, main)

    def _node(self, name: str | None) -> NodeMachine:
        if name is None:
            raise SeqcastError("there is no primary now: wait_for_primary() first")
        if name not in self.nodes:
            raise ValueError(f"there is no node {name!r}; the nodes are {', '.join(self.nodes)}")
        return self.nodes[name]

    def _machine(self, name: str | None) -> Machine:
        return self.fabric.machines[name] if name in self.fabric.machines else self._node(name)

    def _order(self, command: str, arguments: dict[str, Any]) -> None:
        node = self._node(self.wait_for_primary())
        node.handlers[command](arguments)
        node.wake()

    def _node_failed(self, machine: Machine, error: Exception) -> None:
        """A node ends with an error: of its disk, as it may, or because something is wrong with it."""
        assert isinstance(machine, NodeMachine)
        machine.kill(f"{type(error).__name__}: {error}")
        if not died_of(error):
            raise error

    def _raise_of_apps(self) -> None:
        for app in self.apps:
            if _failed(app):
                assert app.task is not None
                task, app.task = app.task, None
                task.result()


def _failed(app: App) -> bool:
    task = app.task
    return task is not None and task.done() and not task.cancelled() and task.exception() is not None


async def _never(_app: App) -> None:
    """The coroutine of an app that is moved from outside."""
