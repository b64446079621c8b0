"""The process of a receiver that comes late: from number 1 of a history into the live stream.

It is ready before it opens the receiver, reports when it has merged, and then goes on until SIGTERM and whatever
comes after that.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

from bench import worker
from bench.lanes import LaneChecker
from rewinder.pump import Idle
from seqcast.config import read_configuration
from seqcast.receiver import BEGIN, Receiver

TURN_SECONDS = 0.05

QUIET_NS = 1_000_000_000
"""After SIGTERM it listens until nothing has come for so long."""


def catch_up(receiver: Receiver, history: int, started_ns: int) -> dict[str, Any]:
    """Read everything; `merged_ns` and `merged_messages` tell how long it took until all was live, and what that was.

    It has merged when it has the history, the last batch came from a line, and nothing that is known is missing.
    """
    ending: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: ending.append(number))
    checker = LaneChecker(BEGIN, holes=True)
    progress = worker.Progress()
    merged_ns = merged_messages = rewound = 0
    last_ns = time.monotonic_ns()
    while not ending or time.monotonic_ns() - last_ns < QUIET_NS:
        batch = receiver.poll(timeout=TURN_SECONDS)
        if not len(batch):
            continue
        last_ns = time.monotonic_ns()
        checker.check(batch.payloads)
        progress.show(checker.received)
        if not merged_ns and checker.received >= history and receiver.source == "live":
            merged_ns, merged_messages, rewound = last_ns - started_ns, checker.received, receiver.rewound
            worker.report(merged=merged_messages)
    return {
        "received": checker.received,
        "wrong": checker.wrong,
        "merged_ns": merged_ns,
        "merged_messages": merged_messages,
        "rewound": rewound,
        "gaps_filled": receiver.gaps_filled,
    }


def main() -> None:
    """Run the process."""
    settings = worker.settings()
    configuration = read_configuration(Path(settings["config"]))
    worker.prepare()
    worker.ready()
    started_ns, cpu_before = time.monotonic_ns(), worker.cpu_seconds()
    with Receiver(configuration, BEGIN, idle=Idle(settings["idle"])) as receiver:
        result = catch_up(receiver, settings["history"], started_ns)
        worker.report(**result, cpu_seconds=worker.cpu_seconds() - cpu_before)


if __name__ == "__main__":
    main()
