"""The processes of a demo: started, listened to, and ended whatever happens.

Nodes are the processes that `seqcast up` would start. Workers are our own (`seqcast.demo.worker`) and talk
JSON lines. Each has a file for what it logs, whose end a person gets to see when it fails.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from attrs import asdict, define, field

from seqcast.child import Child
from seqcast.demo.plan import DemoError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from seqcast.child import ChildCommand
    from seqcast.demo.receiving import ReceiverOrder
    from seqcast.demo.sending import SenderOrder

STALL_SECONDS = 20.0
"""A demo in which nothing moves for so long has failed. A busy machine takes a second to start a process."""

TURN_SECONDS = 0.1
"""How long one look at the processes lasts at most: the display moves in between."""

STOP_SECONDS = 5.0
"""How long a node may take to end when it is told to; nodes drain connections in two seconds."""

READ_BYTES = 65_536
"""Read at once from a process: what a pipe holds."""

LOG_LINES = 15
"""How much of its log is shown when a process fails: more than a traceback of ours that matters."""

PROGRAM = (sys.executable, "-P", "-m")
"""How a module of ours is run: nothing in the working directory takes its place."""


def environment() -> dict[str, str]:
    """Return an environment in which child processes find the same seqcast as this one, installed or not."""
    paths = [os.environ.get("PYTHONPATH", ""), str(Path(__file__).resolve().parents[2])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


@define(eq=False)
class Node:
    """The process of a node."""

    child: Child
    log: Path

    @property
    def name(self) -> str:
        """The node's name."""
        return self.child.command.name

    def keep_output(self) -> None:
        """Append what the node wrote to its log."""
        data = self.child.read_output()
        if data:
            with self.log.open("ab") as stream:
                stream.write(data)


@define(eq=False)
class Worker:
    """A process of ours. `events` holds the last event of each kind that it told."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    events: dict[str, dict[str, Any]] = field(factory=dict, init=False)
    count: int = field(default=0, init=False)
    """Messages acknowledged or delivered, as far as it has told."""
    ended: bool = field(default=False, init=False)
    killed: bool = field(default=False, init=False)
    _unread: bytes = field(default=b"", init=False)

    def told(self, event: str) -> bool:
        """Whether it has told an event of this kind."""
        return event in self.events

    def order(self, **values: Any) -> None:
        """Give it an order."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is gone, which will be noticed
            self.process.stdin.write(json.dumps(values).encode("ascii") + b"\n")
            self.process.stdin.flush()

    def kill(self) -> None:
        """Kill it with SIGKILL, and wait until it is gone."""
        self.killed = True
        self.process.kill()
        self.process.wait()

    def listen(self) -> bool:
        """Take what it told; True when something moved. Sets `ended` when it will tell no more."""
        assert self.process.stdout is not None
        data = os.read(self.process.stdout.fileno(), READ_BYTES)
        self.ended = not data
        *lines, self._unread = (self._unread + data).split(b"\n")
        before = self.count
        for line in lines:
            event = json.loads(line)
            self.count = event.get("count", self.count)
            self.events[event["event"]] = event
        return self.count != before or any(b'"progress"' not in line for line in lines)

    def close(self) -> None:
        """Have it end, and let go of its pipes."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


@define(eq=False)
class Crew:
    """All processes of a demo: a context manager that leaves none behind.

    `directory` is where their logs go. `on_turn` is called after each look at them.
    """

    directory: Path
    on_turn: Callable[[], None] = field(default=lambda: None)
    nodes: list[Node] = field(factory=list, init=False)
    workers: list[Worker] = field(factory=list, init=False)
    _selector: selectors.BaseSelector = field(factory=selectors.PollSelector, init=False)
    _moved: float = field(factory=time.monotonic, init=False)

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.workers:
            worker.close()
        for node in reversed(self.nodes):
            self._end(node)
        self._selector.close()

    def start_node(self, command: ChildCommand) -> Node:
        """Start a node. Raises DemoError when that is impossible."""
        try:
            node = Node(Child(command), self._log(command.name))
        except OSError as error:
            raise DemoError(f"{command.name} cannot be started: {error}") from error
        self.nodes.append(node)
        child = node.child
        self._selector.register(child.notifications, selectors.EVENT_READ, lambda: self._notified(node))
        self._selector.register(child.output, selectors.EVENT_READ, node.keep_output)
        self._selector.register(child.pidfd, selectors.EVENT_READ, lambda: self._node_died(node))
        return node

    def start_worker(self, name: str, role: str, order: SenderOrder | ReceiverOrder) -> Worker:
        """Start a worker and give it its first order. Raises DemoError when that is impossible."""
        log = self._log(name)
        try:
            with log.open("wb") as stream:
                process = subprocess.Popen(  # noqa: S603  (the arguments are ours)
                    [*PROGRAM, "seqcast.demo.worker", role],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stream,
                    env=environment(),
                    process_group=0,  # ctrl-C in the terminal is for us alone
                )
        except OSError as error:
            raise DemoError(f"{name} cannot be started: {error}") from error
        worker = Worker(name, process, log)
        self.workers.append(worker)
        assert process.stdout is not None
        self._selector.register(process.stdout, selectors.EVENT_READ, lambda: self._heard(worker))
        worker.order(**asdict(order))
        return worker

    def wait(self, condition: Callable[[], bool], purpose: str) -> None:
        """Look after the processes until `condition()` is true.

        Raises DemoError when one of them ends before its time, or when nothing moves any more; `purpose` says
        in that sentence what was waited for.
        """
        self._moved = time.monotonic()
        while not condition():
            for key, _ in self._selector.select(TURN_SECONDS):
                key.data()
            self.on_turn()
            if time.monotonic() - self._moved > STALL_SECONDS:
                raise DemoError(
                    f"nothing has moved for {STALL_SECONDS:g} s while waiting for {purpose}: {self._state()}"
                )

    def stop_nodes(self) -> None:
        """End the nodes in an orderly way, the last one first. Raises DemoError when one ends in disorder."""
        while self.nodes:
            node = self.nodes[-1]
            status = self._end(node)
            self.nodes.pop()
            if status:
                raise DemoError(f"{node.name} {_ending(status)} when told to stop; {_tail(node.log)}")

    # inside

    def _log(self, name: str) -> Path:
        return self.directory / f"{name.replace(' ', '-')}.log"

    def _notified(self, node: Node) -> None:
        if node.child.read_notifications():
            self._moved = time.monotonic()

    def _node_died(self, node: Node) -> None:
        self.nodes.remove(node)
        status = self._end(node)
        raise DemoError(f"{node.name} {_ending(status)}; {_tail(node.log)}")

    def _heard(self, worker: Worker) -> None:
        if worker.listen():
            self._moved = time.monotonic()
        if not worker.ended:
            return
        assert worker.process.stdout is not None
        self._selector.unregister(worker.process.stdout)
        status = worker.process.wait()
        if not worker.killed and (status or not worker.told("done")):
            raise DemoError(f"the {worker.name} {_ending(status)}; {_tail(worker.log)}")

    def _end(self, node: Node) -> int:
        """Tell a node to stop, kill it when it does not, and reap it; returns its exit status."""
        child = node.child
        for source in (child.notifications, child.output, child.pidfd):
            self._selector.unregister(source)
        child.signal(signal.SIGTERM)
        limit = time.monotonic() + STOP_SECONDS
        while child.process.poll() is None and time.monotonic() < limit:
            with selectors.PollSelector() as selector:
                selector.register(child.pidfd, selectors.EVENT_READ)
                selector.register(child.output, selectors.EVENT_READ)
                selector.select(max(0.0, limit - time.monotonic()))
            node.keep_output()
        if child.process.poll() is None:
            child.signal(signal.SIGKILL)
            child.process.wait()
        node.keep_output()
        return child.close()

    def _state(self) -> str:
        """How far each worker is, for people."""
        parts = []
        for worker in self.workers:
            if worker.ended:
                continue
            progress = worker.events.get("progress", {})
            trouble = f", {progress['trouble']}" if progress.get("trouble") else ""
            behind = f", {progress['lag']:,} behind" if progress.get("lag") else ""
            parts.append(f"the {worker.name} is at {worker.count:,}{behind}{trouble}")
        return "; ".join(parts) or "no process has said anything"


def _ending(status: int) -> str:
    """How a process ended, for people."""
    if status < 0:
        return f"was ended by signal {-status}"
    return f"ended with exit status {status}"


def _tail(log: Path) -> str:
    """The end of a log, for people."""
    with contextlib.suppress(OSError):
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
        if lines:
            return "its log ends with:\n" + "\n".join(f"  {line}" for line in lines)
    return "it has logged nothing"
