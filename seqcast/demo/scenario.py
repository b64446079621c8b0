"""What happens in a demo, in order.

1. `seqcast init` writes a configuration; a sequencer and a rewinder start.
2. Two receivers listen, one of which loses datagrams. A third is prepared.
3. A sender sends as fast as it can. When half of the input is acknowledged, the third receiver starts, from the
   beginning, and the sender is killed with SIGKILL.
4. A second sender of the same user goes on at a checkpoint that is older than what its predecessor knew, so
   that the sequencer gets some messages a second time. It sends all but the paced part.
5. When all receivers have caught up, it sends the paced part by a timetable: that measures the latency.
6. The session is ended, and what each receiver delivered until there is compared with the input.
"""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, field

from seqcast.child import node_commands
from seqcast.config import FILE_NAME, read_configuration
from seqcast.control import ControlClient
from seqcast.demo.children import PROGRAM, Crew, Worker, environment
from seqcast.demo.feed import Feed, prepare
from seqcast.demo.outcome import (
    Outcome,
    ReceiverOutcome,
    SenderOutcome,
    latencies,
    throughput,
)
from seqcast.demo.plan import MESSAGES_DEFAULT, Demo, DemoError, Plan
from seqcast.demo.receiving import Deliveries, ReceiverOrder
from seqcast.demo.sending import SenderOrder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seqcast.config import Configuration

INIT_SECONDS = 20.0
"""How long `seqcast init` may take; it takes a fraction of a second."""

KILL_SECONDS = 0.002
"""How long the first sender goes on at most after it has told that half is acknowledged. Killed at once it would
always be at the same point of its work: right after an acknowledgement, with nothing in flight."""

LOGS = "processes"
"""Where the processes log, inside the directory of the run."""


class Watcher(Protocol):
    """Who looks on while a demo runs."""

    def stage(self, sentence: str) -> None:
        """Something new begins."""

    def show(self, name: str, count: int, total: int) -> None:
        """The work called `name` is at `count` of `total` messages; called often."""


def run(demo: Demo, watcher: Watcher) -> Outcome:
    """Carry out a demo. Raises DemoError when it cannot be: no process is left then."""
    with _directory(demo.keep) as directory:
        started_ns = time.monotonic_ns()
        total = demo.messages or MESSAGES_DEFAULT
        watcher.stage("preparing the input")
        feed = prepare(
            directory,
            demo.source,
            demo.messages,
            demo.seed,
            lambda count: watcher.show("input", count, max(count, total)),
        )
        watcher.show("input", feed.messages, feed.messages)
        watcher.stage("starting a sequencer, a rewinder and three receivers")
        configuration = configure(directory)
        with Crew(directory / LOGS) as crew:
            play = Play(demo, Plan(feed.messages, demo.rate), feed, directory, configuration, crew, watcher)
            outcome = play.perform(started_ns)
            watcher.stage("stopping")
            crew.stop_nodes()
        return outcome


def configure(directory: Path) -> Configuration:
    """Have `seqcast init` write a configuration into `directory`. Raises DemoError when it does not."""
    done = subprocess.run(  # noqa: S603  (the arguments are ours)
        [*PROGRAM, "seqcast.cli", "init", "--dir", str(directory), "--json"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=INIT_SECONDS,
        check=False,
        env=environment(),
    )
    if done.returncode:
        raise DemoError(f"`seqcast init` failed: {done.stderr.strip()}")
    return read_configuration(directory / FILE_NAME)


@contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    """The directory of the run: a temporary one, or the one that is to be kept."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
    else:
        with TemporaryDirectory(prefix="seqcast-demo-") as name:
            yield Path(name)


@define(eq=False)
class Play:
    """One performance: the processes, and what is asked of them."""

    demo: Demo
    plan: Plan
    feed: Feed
    directory: Path
    configuration: Configuration
    crew: Crew
    watcher: Watcher
    receivers: dict[str, Worker] = field(factory=dict, init=False)
    sender: Worker | None = field(default=None, init=False)

    def perform(self, started_ns: int) -> Outcome:
        """All of it."""
        crew, plan, watcher = self.crew, self.plan, self.watcher
        crew.on_turn = self._show
        self._open()

        watcher.stage("sending at full speed")
        first, acknowledged, killed_ns = self._send_half()
        watcher.stage("the sender was killed; another one goes on")
        checkpoint = plan.checkpoint(acknowledged)
        second = self._start_sender("second sender", checkpoint)
        crew.wait(lambda: second.told("open"), "the second sender to be let in")
        restart_ns = time.monotonic_ns() - killed_ns
        crew.wait(lambda: second.told("fast"), "acknowledgements")
        crew.wait(lambda: self._caught_up(plan.fast), "the receivers to catch up")

        watcher.stage(f"sending {plan.rate:,} messages a second")
        second.order()
        crew.wait(lambda: second.told("done"), "acknowledgements")

        watcher.stage("ending the session")
        status = self._control("status")
        self._control("end-session")
        crew.wait(lambda: all(worker.told("done") for worker in self.receivers.values()), "the end")

        first_open, second_open = first.events["open"], second.events["open"]
        resumed_at = second_open["resumed_at"]
        batches = Deliveries.read(self._deliveries("clean")).batches()
        return Outcome(
            feed=self.feed,
            plan=plan,
            durability=self.configuration.log.durability.value,
            receivers=tuple(
                ReceiverOutcome(name=name, **worker.events["done"]["result"])
                for name, worker in self.receivers.items()
            ),
            sender=SenderOutcome(
                acknowledged=acknowledged,
                resumed_at=resumed_at,
                sent_again_after=checkpoint,
                duplicates=status["duplicates"],
                stamped=status["stamped"],
                restart_ns=restart_ns,
            ),
            throughput=throughput(
                batches,
                [
                    (first_open["start_ns"], 1, resumed_at),
                    (second_open["start_ns"], resumed_at + 1, plan.fast),
                ],
            ),
            latency=latencies(batches, plan.fast + 1, second.events["done"]["start_ns"], plan.rate),
            duration_ns=time.monotonic_ns() - started_ns,
        )

    def _open(self) -> None:
        """Start the nodes and the receivers, and wait until all are in place."""
        crew = self.crew
        for command in node_commands(self.configuration):
            crew.start_node(command)
        crew.wait(lambda: all(node.child.ready for node in crew.nodes), "the nodes to be ready")
        for position, (name, loss) in enumerate((("clean", 0.0), ("lossy", self.demo.loss), ("late", 0.0))):
            order = ReceiverOrder(
                config=str(self.configuration.path),
                loss=loss,
                seed=self.demo.seed + position,
                held=name == "late",
                deliveries=str(self._deliveries(name)) if name == "clean" else None,
            )
            self.receivers[name] = crew.start_worker(f"{name} receiver", "receiver", order)
        crew.wait(
            lambda: all(
                worker.told("prepared" if name == "late" else "listening")
                for name, worker in self.receivers.items()
            ),
            "the receivers to be in place",
        )

    def _send_half(self) -> tuple[Worker, int, int]:
        """Send until half is acknowledged, then kill the sender and have the late receiver start.

        Returns the sender, how many messages it had told to be acknowledged, and when it was killed.
        """
        first = self._start_sender("first sender", None)
        self.crew.wait(lambda: first.count >= self.plan.half, "acknowledgements")
        time.sleep(Random(self.demo.seed).uniform(0, KILL_SECONDS))  # noqa: S311  (anywhere in its turn)
        first.kill()
        killed_ns = time.monotonic_ns()
        self.receivers["late"].order()
        return first, first.count, killed_ns

    def _start_sender(self, name: str, acknowledged: int | None) -> Worker:
        order = SenderOrder(
            config=str(self.configuration.path),
            feed=str(self.feed.path),
            acknowledged=acknowledged,
            fast=self.plan.fast,
            messages=self.plan.messages,
            rate=self.plan.rate,
        )
        self.sender = self.crew.start_worker(name, "sender", order)
        return self.sender

    def _caught_up(self, count: int) -> bool:
        return all(worker.count >= count for worker in self.receivers.values())

    def _control(self, command: str) -> dict[str, Any]:
        sequencer = self.configuration.sequencers[0]
        return ControlClient(self.configuration.control_path(sequencer.name)).request(command)

    def _deliveries(self, name: str) -> Path:
        return self.directory / f"{name}.deliveries"

    def _show(self) -> None:
        """Show how far everyone is."""
        total = self.plan.messages
        if self.sender is not None:
            self.watcher.show("sender", self.sender.count, total)
        for name, worker in self.receivers.items():
            self.watcher.show(name, worker.count, total)
