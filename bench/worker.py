"""What the sender and the receiver process have in common: settings in, reports out."""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from attrs import define, field

from rewinder import notify

PROGRESS_NS = 100_000_000
"""Least time between two reports of progress."""

TIMER_SLACK_NS = 1
"""Linux lets a sleep run 50 us over by default, which a timetable of 50 us cannot have."""


def settings() -> dict[str, Any]:
    """The settings of this process: the one argument, a JSON object."""
    values = json.loads(sys.argv[1])
    assert isinstance(values, dict)
    return values


def prepare() -> None:
    """What a program with a timetable does before it starts."""
    slack = Path("/proc/self/timerslack_ns")
    if slack.exists():
        slack.write_text(str(TIMER_SLACK_NS), encoding="ascii")
    gc.collect()
    gc.freeze()


def ready(**values: Any) -> None:
    """Say that the work can begin."""
    report(**values)
    notify.ready()


def report(**values: Any) -> None:
    """Write one report: a JSON object on a line of its own. The last one is the result."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def cpu_seconds() -> float:
    """Processor time that this process has used so far, its own and the kernel's for it."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


@define
class Progress:
    """Reports how far the work is, not too often."""

    _due_ns: int = field(default=0, init=False)

    def show(self, count: int) -> None:
        """`count` messages are done."""
        now_ns = time.monotonic_ns()
        if now_ns >= self._due_ns:
            self._due_ns = now_ns + PROGRESS_NS
            report(progress=count)
