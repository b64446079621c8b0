"""The bus of a benchmark, and one round on it: nodes, one sender and one receiver, each a process, on loopback.

Each round has a bus of its own: a directory made by `seqcast init`, with its own ports, group and session, that
is gone afterwards. In a round there is one sequencer, the only voter, so a record is committed when its own log
holds it, and one rewinder. `bench.failover` makes its bus here, too.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from bench.errors import BenchError
from bench.payload import MESSAGE_BYTES
from bench.processes import START_SECONDS, Process, Processes
from seqcast.child import node_commands
from seqcast.config import FILE_NAME, read_configuration
from seqcast.control import ControlClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from seqcast.settings import Configuration, Durability

STALL_SECONDS = 60.0
"""Time for a round beside what its messages take: starting, draining, and the receiver's patience with loss."""

SLOWEST_RATE = 5_000
"""Messages a second; a round that is slower than this is given up."""

CATCH_UP_SECONDS = 30.0
"""How long the rewinder may take to hold all that is committed."""

_DURABILITY_LINE = re.compile(r'^durability = "[a-z]+"$', re.MULTILINE)


@frozen
class Load:
    """What is sent in one round. `rate` is messages a second, None for as fast as back-pressure lets."""

    messages: int
    rate: int | None = None
    message_bytes: int = MESSAGE_BYTES


@frozen
class BusRound:
    """What came of one round. `cpu_seconds` is processor time by process, `status` the sequencer's at the end."""

    load: Load
    sent: dict[str, Any]
    received: dict[str, Any]
    cpu_seconds: dict[str, float]
    status: dict[str, Any]
    position: int
    """Stream number of the first message."""

    @property
    def rate(self) -> float:
        """Messages a second, from the delivery of the first batch to that of the last; 0 when it was only one."""
        received = self.received
        elapsed_ns = received["last_ns"] - received["first_ns"]
        if elapsed_ns <= 0:
            return 0.0
        return float((received["received"] - received["first_batch"]) * 1e9 / elapsed_ns)

    @property
    def problems(self) -> list[str]:
        """What is wrong with the messages, one sentence each; empty when all came, once and in order."""
        received, messages = self.received, self.load.messages
        problems = []
        if received["received"] < messages:
            problems.append(f"{messages - received['received']} of {messages} messages did not come")
        if received["wrong"]:
            problems.append(f"{received['wrong']} messages came out of order, again or changed")
        if received["extra"]:
            problems.append(f"{received['extra']} messages came that nobody sent")
        if self.sent["committed_number"] != self.position + messages - 1:
            problems.append(
                f"the last message has number {self.sent['committed_number']}, "
                f"expected {self.position + messages - 1}"
            )
        if self.status["last"] != self.position + messages - 1:
            problems.append(
                f"the stream ends at number {self.status['last']}, expected {self.position + messages - 1}"
            )
        return problems

    def as_plain(self) -> dict[str, Any]:
        """The measurements for JSON, without the histograms."""
        received, messages = self.received, self.load.messages
        return {
            "messages_per_second": round(self.rate, 1),
            "received": received["received"],
            "messages_per_batch": round(received["received"] / max(received["polls"], 1), 2),
            "gaps_filled": received["gaps_filled"],
            "rewound": received["rewound"],
            "duplicates_dropped": received["duplicates_dropped"],
            "source": received["source"],
            "reconnections": self.sent["reconnections"],
            "cpu_us_per_message": {
                name: round(seconds * 1e6 / messages, 3) for name, seconds in self.cpu_seconds.items()
            },
            "turns": self.status["turns"],
            "problems": self.problems,
        }


@define(eq=False)
class Bus:
    """The nodes of one bus, and the directory that it lives in."""

    processes: Processes
    configuration: Configuration
    nodes: dict[str, Process] = field(factory=dict, init=False)

    def start(self) -> None:
        """Start the nodes and wait until they serve."""
        for command in node_commands(self.configuration):
            self.nodes[command.name] = self.processes.start(command)
        self.processes.wait_ready(*self.nodes.values())

    def status(self, name: str) -> dict[str, Any]:
        """What a node says of itself."""
        return ControlClient(self.configuration.control_path(name)).request("status")

    def catch_up(self) -> None:
        """Wait until every rewinder holds what the sequencer has committed."""
        commit = self.status(self.configuration.sequencers[0].name)["commit"]
        for node in self.configuration.rewinders:
            deadline = time.monotonic() + CATCH_UP_SECONDS
            while (known := self.status(node.name)["commit"]) < commit:
                if time.monotonic() > deadline:
                    raise BenchError(
                        f"{node.name} has {known} of {commit} records after {CATCH_UP_SECONDS:g} s"
                    )
                time.sleep(0.02)


def make_configuration(directory: Path, durability: Durability, voters: int = 1) -> Configuration:
    """Make a bus in an empty directory with `seqcast init`. Raises BenchError when that fails."""
    made = subprocess.run(  # noqa: S603  (the arguments are ours)
        [sys.executable, "-P", "-m", "seqcast.cli", "init", "--nodes", str(voters), "--dir", str(directory)],
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    if made.returncode != 0:
        raise BenchError(f"seqcast init failed: {made.stderr.strip()}")
    path = directory / FILE_NAME
    text = path.read_text(encoding="ascii")
    text, changed = _DURABILITY_LINE.subn(f'durability = "{durability.value}"', text)
    if changed != 1:
        raise BenchError(f"{path} does not say once what its durability is")
    path.write_text(text, encoding="ascii")
    return read_configuration(path)


def run_round(load: Load, durability: Durability, show: Callable[[int], None]) -> BusRound:
    """Run one round; `show` is told how many messages were delivered so far.

    Raises BenchError when it cannot be carried out. Messages that are lost or wrong do not raise: they are in
    `problems`.
    """
    with tempfile.TemporaryDirectory(prefix="seqcast-bench-") as directory, Processes() as processes:
        bus = Bus(processes, make_configuration(Path(directory), durability))
        bus.start()
        settings = {
            "config": str(bus.configuration.path),
            "messages": load.messages,
            "message_bytes": load.message_bytes,
        }
        receiver = processes.start_module(
            "receiver", "bench.receiver", {**settings, "timed": load.rate is not None}
        )
        processes.wait_ready(receiver)
        position = int(receiver.reports[0]["position"])
        before = {name: node.cpu_seconds() for name, node in bus.nodes.items()}
        sender = processes.start_module("sender", "bench.sender", {**settings, "rate": load.rate})

        def look() -> None:
            if receiver.reports and "progress" in receiver.reports[-1]:
                show(receiver.reports[-1]["progress"])
                receiver.reports.clear()

        processes.wait(
            lambda: receiver.status is not None and sender.status is not None,
            STALL_SECONDS + load.messages / (load.rate or SLOWEST_RATE),
            "the round did not end",
            look,
        )
        bus.catch_up()  # what it costs the rewinder belongs to the round, even where it lags
        cpu_seconds = {name: node.cpu_seconds() - before[name] for name, node in bus.nodes.items()}
        status = bus.status(bus.configuration.sequencers[0].name)
        processes.stop(*reversed(bus.nodes.values()))
    sent, received = sender.result, receiver.result
    if sent is None or received is None:
        raise BenchError("a worker ended without a result")
    cpu_seconds["sender"] = sent["cpu_seconds"]
    cpu_seconds["receiver"] = received["cpu_seconds"]
    return BusRound(load, sent, received, cpu_seconds, status, position)
