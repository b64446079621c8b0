"""One round on a bus: so many messages from senders to receivers, each a process, and what came of it."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from bench.baselines import BLOCK
from bench.bus import Bus, make_configuration
from bench.errors import BenchError
from bench.payload import MESSAGE_BYTES
from bench.processes import Processes

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from bench.processes import Process
    from seqcast.settings import Durability

STALL_SECONDS = 60.0
"""Time for a round beside what its messages take: starting, draining, and the receiver's patience with loss."""

SLOWEST_RATE = 5_000
"""Messages a second; a round that is slower than this is given up."""


@frozen
class Load:
    """What is sent in one round. `rate` is messages a second, None for as fast as back-pressure lets.

    Several senders share the messages, and live in one process; several receivers get all of them.
    """

    messages: int
    rate: int | None = None
    message_bytes: int = MESSAGE_BYTES
    receivers: int = 1
    senders: int = 1


@frozen
class BusRound:
    """What came of one round.

    `received` is of the slowest receiver, `others` of the others, `status` the primary's at the end, and `cpu_seconds`
    processor time by process, that of receivers together. `kernel_seconds` is the kernel's part of what each node used,
    `queued_seconds` how long it was ready to run and had no processor, `turns` how many turns the primary took.
    """

    load: Load
    sent: dict[str, Any]
    received: dict[str, Any]
    cpu_seconds: dict[str, float]
    status: dict[str, Any]
    position: int
    """Stream number of the first message."""
    others: list[dict[str, Any]] = field(factory=list)
    kernel_seconds: dict[str, float] = field(factory=dict)
    queued_seconds: dict[str, float] = field(factory=dict)
    turns: int = 0

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
        messages, problems = self.load.messages, []
        for received in (self.received, *self.others):
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
            "turns": self.turns,
            "problems": self.problems,
        }


def run_round(
    load: Load,
    durability: Durability,
    show: Callable[[int], None],
    *,
    voters: int = 1,
    idle: str = BLOCK,
) -> BusRound:
    """One round on a bus of its own; see `round_on`."""
    with tempfile.TemporaryDirectory(prefix="seqcast-bench-") as directory, Processes() as processes:
        bus = Bus(processes, make_configuration(Path(directory), durability, voters), idle)
        bus.start()
        done = round_on(bus, load, show)
        bus.stop()
    return done


def round_on(
    bus: Bus,
    load: Load,
    show: Callable[[int], None],
    meanwhile: AbstractContextManager[object] | None = None,
) -> BusRound:
    """Run one round on a bus that serves; `show` is told how many messages the first receiver got so far.

    What happens `meanwhile` begins before the first message and is over when the last has come.

    Raises BenchError when it cannot be carried out. Messages that are lost or wrong do not raise: they are in
    `problems`.
    """
    processes, settings = bus.processes, bus.worker_settings(load.messages, load.message_bytes)
    receiving = {**settings, "timed": load.rate is not None, "lanes": load.senders > 1}
    receivers = [
        processes.start_module(f"receiver {n}" if n else "receiver", "bench.receiver", receiving)
        for n in range(load.receivers)
    ]
    processes.wait_ready(*receivers)
    position = int(receivers[0].reports[0]["position"])

    def look() -> None:
        reports = receivers[0].reports
        if reports and "progress" in reports[-1]:
            show(reports[-1]["progress"])
            reports.clear()

    with meanwhile or nullcontext():
        before = _used(bus)
        turns = bus.status(bus.primary())["turns"]
        sender = processes.start_module(
            "sender", "bench.sender", {**settings, "rate": load.rate, "senders": load.senders}
        )
        workers = [*receivers, sender]
        processes.wait(
            lambda: all(worker.status is not None for worker in workers),
            STALL_SECONDS + load.messages * load.receivers / (load.rate or SLOWEST_RATE),
            "the round did not end",
            look,
        )
        if meanwhile is None:
            bus.catch_up()  # what it costs the rewinder belongs to the round, even where it lags
        after = _used(bus)
    bus.catch_up()
    cpu_seconds, kernel_seconds, queued_seconds = (
        {name: after[name][kind] - before[name][kind] for name in after} for kind in range(3)
    )
    status = bus.status(bus.primary())
    sent = result_of(sender)
    received = sorted(map(result_of, receivers), key=lambda each: int(each["last_ns"]))
    cpu_seconds["sender"] = sent["cpu_seconds"]
    cpu_seconds["receiver"] = sum(each["cpu_seconds"] for each in received)
    return BusRound(
        load=load,
        sent=sent,
        received=received[-1],
        cpu_seconds=cpu_seconds,
        status=status,
        position=position,
        others=received[:-1],
        kernel_seconds=kernel_seconds,
        queued_seconds=queued_seconds,
        turns=status["turns"] - turns,
    )


def result_of(process: Process) -> dict[str, Any]:
    """What a worker reported last. Raises BenchError when it ended without."""
    if process.result is None:
        raise BenchError(f"{process.name} ended without a result: {process.last_words()}")
    return process.result


def _used(bus: Bus) -> dict[str, tuple[float, float, float]]:
    """What each node has used so far, in seconds: processor time, the kernel's part of it, waiting for a processor."""
    return {
        name: (node.cpu_seconds(), node.kernel_seconds(), node.queued_seconds())
        for name, node in bus.nodes.items()
    }
