"""The receiver process: an app that polls batches, checks every message and measures.

It starts at the live end and is ready when it has heard a heartbeat: from then on every message is owed to it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from bench import worker
from bench.lanes import LaneChecker
from bench.payload import Checker, due_times
from bench.samples import Samples
from rewinder.pump import Idle
from seqcast.config import read_configuration
from seqcast.receiver import LIVE, Receiver

TURN_SECONDS = 0.05
"""How long one look at the network lasts at most."""

HEARTBEAT_SECONDS = 20.0
"""Heartbeats come every second, or at the very least every ten."""

QUIET_NS = 10_000_000_000
"""After so long without a message the missing ones are taken for lost. Repair takes milliseconds, or a second
where a rewinder has to be tried again."""

LINGER_NS = 100_000_000
"""How long it listens for messages that nobody sent after the last one."""


def receive(receiver: Receiver, messages: int, checker: Checker, *, timed: bool) -> dict[str, Any]:
    """Receive and check `messages` messages, or what comes of them; returns the result of the process.

    `received`, `wrong` and `extra` count messages; `first_ns`, `last_ns` are when the first and the last batch
    were delivered, `first_batch` how many the first had. With `timed`, `latencies` is the state of the histogram
    of delivery time minus due time.
    """
    latencies = Samples()
    progress = worker.Progress()
    first_ns = first_batch = polls = 0
    last_ns = time.monotonic_ns()
    cpu_before = worker.cpu_seconds()
    while checker.received < messages:
        batch = receiver.poll(timeout=TURN_SECONDS)
        now_ns = time.monotonic_ns()
        if not len(batch):
            if now_ns - last_ns > QUIET_NS:
                break
            continue
        polls += 1
        checker.check(batch.payloads)
        if timed:
            latencies.note([now_ns - due_ns for due_ns in due_times(batch.payloads)])
        if not first_ns:
            first_ns, first_batch = now_ns, len(batch)
        last_ns = now_ns
        progress.show(checker.received)
    cpu = worker.cpu_seconds() - cpu_before
    linger_ns = time.monotonic_ns() + LINGER_NS
    extra = 0
    while time.monotonic_ns() < linger_ns:
        extra += len(receiver.poll(timeout=TURN_SECONDS))
    return {
        "received": checker.received,
        "wrong": checker.wrong,
        "extra": extra,
        "first_ns": first_ns,
        "last_ns": last_ns,
        "first_batch": first_batch,
        "polls": polls,
        "gaps_filled": receiver.gaps_filled,
        "rewound": receiver.rewound,
        "duplicates_dropped": receiver.duplicates_dropped,
        "source": receiver.source,
        "cpu_seconds": cpu,
        **({"latencies": latencies.state()} if timed else {}),
    }


def main() -> None:
    """Run the process."""
    settings = worker.settings()
    configuration = read_configuration(Path(settings["config"]))
    with Receiver(configuration, LIVE, idle=Idle(settings["idle"])) as receiver:
        deadline = time.monotonic() + HEARTBEAT_SECONDS
        while not receiver.appeared:
            receiver.poll(timeout=TURN_SECONDS)
            if time.monotonic() > deadline:
                raise SystemExit(f"no heartbeat came within {HEARTBEAT_SECONDS:g} s")
        checker_of = LaneChecker if settings["lanes"] else Checker
        checker = checker_of(receiver.position, settings["message_bytes"])
        worker.prepare()
        worker.ready(position=receiver.position)
        worker.report(**receive(receiver, settings["messages"], checker, timed=settings["timed"]))


if __name__ == "__main__":
    main()
