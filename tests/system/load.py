"""A load on a bus of real processes: senders that keep a timetable, receivers and a tap that write down what comes.

with loaded_bus(directory, Rates(...)) as load:
    load.advance(1000)              until every receiver has got 1000 records more
    ...                             do something terrible to load.bus
    verdict = load.finish()         heal, stop, collect, judge
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from bus import READY_SECONDS, Bus, configure
from namespaces import APPS, new_namespaces
from verdict import Delivery, Evidence, Submission, Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FULL = "SEQCAST_FAILOVER_FULL" in os.environ
RATE = 20_000 if FULL else 5_000
"""Messages a second of a test, of both senders together."""

SOME = RATE // 2
"""Records that are enough to see that the stream moves."""

WORKER = Path(__file__).with_name("load_worker.py")
FINISH_SECONDS = 90.0
"""How long senders may take to get rid of what they have, and receivers to get it."""


@frozen(kw_only=True)
class Rates:
    """How much of a load: messages a second of all senders together, and the loss of the receiver that has some."""

    messages_per_second: int = RATE
    senders: int = 2
    loss: float = 0.05
    seed: int = 1


@define(eq=False)
class Worker:
    """One process of the load; `reports` are its JSON lines but for those of its progress."""

    name: str
    process: subprocess.Popen[bytes]
    errors: Path
    reports: list[dict[str, Any]] = field(factory=list)
    progress: int = 0
    state: str | None = None
    ended: bool = False
    killed: bool = False
    _partial: bytes = b""

    def tell(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command.encode("ascii") + b"\n")
        self.process.stdin.flush()

    def read(self) -> None:
        """Take what it wrote."""
        assert self.process.stdout is not None
        data = self.process.stdout.read1(65536)  # type: ignore[attr-defined]
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            values = json.loads(line)
            self.progress = values.get("progress", self.progress)
            self.state = values.get("state", self.state)
            if "progress" not in values:
                self.reports.append(values)
        if not data:
            self.ended = True
            assert self.process.wait() == 0, f"{self.name} died: {self.errors.read_text(encoding='utf-8')}"

    @property
    def result(self) -> dict[str, Any]:
        return self.reports[-1]

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@define(eq=False)
class Load:
    """The workers of one bus."""

    bus: Bus
    rates: Rates
    directory: Path
    workers: dict[str, Worker] = field(factory=dict)
    _selector: selectors.BaseSelector = field(factory=selectors.DefaultSelector)

    @property
    def users(self) -> list[str]:
        return [f"USER{n}" for n in range(self.rates.senders)]

    @property
    def receivers(self) -> list[Worker]:
        """Those that were not killed."""
        named = [worker for name, worker in self.workers.items() if name.startswith("receiver")]
        return [worker for worker in named if not worker.killed]

    # workers

    def start(self) -> None:
        """Start all: a receiver that hears everything, one that loses much, one that only asks rewinders.

        Nobody sends before the tap listens: what it has not heard it cannot ask for.
        """
        multicast = self.bus.configuration.multicast
        lines = [[line.group, line.port] for line in multicast.lines]
        self._start("tap", "tap", lines=lines, interface=multicast.interface)
        self.add_receiver("receiver-live")
        self.add_receiver("receiver-lossy", loss=self.rates.loss)
        self.add_receiver("receiver-replay", multicast=False)
        self.wait(lambda: bool(self.workers["tap"].reports), "the tap listens")
        for user in self.users:
            rate = self.rates.messages_per_second // self.rates.senders
            self._start(user, "sender", config=str(self.bus.config_path), user=user, rate=rate)

    def add_receiver(self, name: str, *, multicast: bool = True, loss: float = 0.0) -> None:
        """Start one more receiver, which begins with the first record."""
        settings = {"multicast": multicast, "loss": loss, "seed": self.rates.seed}
        self._start(name, "receiver", config=str(self.bus.config_path), **settings)

    def _start(self, name: str, role: str, **settings: Any) -> None:
        prefix = [] if self.bus.namespaces is None else self.bus.namespaces.enter(APPS)
        settings["path"] = str(self.path(name))
        errors = self.directory / f"{name}.err"
        with errors.open("wb") as stderr:
            process = subprocess.Popen(
                [*prefix, sys.executable, str(WORKER), role, json.dumps(settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                process_group=0,
            )
        worker = self.workers[name] = Worker(name, process, errors)
        assert process.stdout is not None
        self._selector.register(process.stdout, selectors.EVENT_READ, worker)

    def kill_receiver(self, name: str) -> None:
        """Kill a receiver with SIGKILL: what it has delivered by then must hold all the same."""
        worker = self.workers[name]
        assert worker.process.stdout is not None
        self._selector.unregister(worker.process.stdout)
        worker.killed = True
        worker.kill()

    def path(self, name: str) -> Path:
        """Where a worker writes."""
        return self.directory / f"{name}.capture"

    def close(self) -> None:
        """End what still runs."""
        for worker in self.workers.values():
            worker.kill()
        self._selector.close()

    # what happens

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = READY_SECONDS) -> None:
        """Wait for something that the workers tell."""
        deadline = time.monotonic() + seconds
        while not condition():
            left = deadline - time.monotonic()
            assert left > 0, f"not within {seconds} s: {what}; {self.state()}"
            self._read(left)

    def _read(self, seconds: float) -> int:
        """Take what the workers tell; returns how many told something."""
        ready = self._selector.select(seconds)
        for key, _ in ready:
            key.data.read()
            if key.data.ended:
                self._selector.unregister(key.fileobj)
        return len(ready)

    def listen(self, seconds: float) -> None:
        """Let so much time pass, and take what the workers tell meanwhile."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._read(left)

    def wait_ready(self) -> None:
        self.wait(lambda: all(worker.reports for worker in self.workers.values()), "the load is ready")

    def advance(self, records: int, seconds: float = READY_SECONDS) -> None:
        """Wait until everybody is so many records further than anybody is now.

        A receiver is where it has delivered, a sender where it was acknowledged.
        """
        goal = self.goal(records)
        self.wait(lambda: self.reached(goal), f"everybody is at {goal}", seconds)

    def goal(self, records: int) -> int:
        """A number so many records above where anybody is now."""
        while self._read(0):
            pass
        return max(worker.progress for worker in self._moving) + records

    def reached(self, goal: int) -> bool:
        """Whether everybody has come that far."""
        return all(worker.progress >= goal for worker in self._moving)

    @property
    def _moving(self) -> list[Worker]:
        return [*self.receivers, *(self.workers[user] for user in self.users)]

    def state(self) -> str:
        """How far everybody is, for people."""
        nodes = {name: self.bus.status(name) or {} for name, node in self.bus.nodes.items() if node.runs}
        keys = ("role", "last", "commit", "epoch", "following")
        told = {name: {key: status.get(key) for key in keys} for name, status in nodes.items()}
        workers = {name: (worker.progress, worker.state) for name, worker in self.workers.items()}
        return f"workers: {workers}; nodes: {told}"

    # the end

    def finish(self) -> Verdict:
        """Let everybody come to the end, stop all, and judge."""
        self.bus.start_missing()  # what was committed may need them
        senders = [self.workers[user] for user in self.users]
        self._end(senders, "stop")
        commit = self.bus.wait_level()
        epoch = self.bus.ask(self.bus.primary(), "status")["epoch"]
        self._end(self.receivers, f"until {commit}")
        self._end([self.workers["tap"]], "stop")
        self.bus.stop()
        verdict = judge(self.evidence(commit, epoch))
        verdict.problems += self.bus.casualties()
        return verdict

    def evidence(self, commit: int, epoch: int) -> Evidence:
        configuration = self.bus.configuration
        return Evidence(
            session=configuration.session_field,
            commit=commit,
            epoch=epoch,
            logs={
                node.name: configuration.node_directory(node.name) / configuration.session
                for node in configuration.nodes
            },
            submissions={
                user: Submission(self.workers[user].result["sent"], self.path(user)) for user in self.users
            },
            deliveries=[
                Delivery(name, self.path(name), complete=not worker.killed)
                for name, worker in self.workers.items()
                if name.startswith("receiver")
            ],
            taps=[self.path("tap")],
        )

    def _end(self, workers: list[Worker], command: str) -> None:
        for worker in workers:
            worker.tell(command)
        self.wait(
            lambda: all(worker.ended for worker in workers),
            f"{', '.join(worker.name for worker in workers)} ended after {command!r}",
            FINISH_SECONDS,
        )


@contextmanager
def loaded_bus(
    directory: Path,
    rates: Rates | None = None,
    *,
    nodes: int = 3,
    namespaces: bool = False,
    **changes: int,
) -> Iterator[Load]:
    """A bus under load; whatever was started is stopped at the end. `changes` are for `configure`."""
    configuration = configure(directory, nodes=nodes, **changes)
    with ExitStack() as stack:
        made = None
        if namespaces:
            made, configuration = stack.enter_context(new_namespaces(configuration))
        bus = Bus(directory, configuration, made)
        stack.callback(bus.stop)
        load = Load(bus, rates or Rates(), directory)
        stack.callback(load.close)
        load.start()
        bus.start_all()
        load.wait_ready()
        yield load
