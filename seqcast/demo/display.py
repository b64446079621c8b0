"""A demo for people: live progress on a terminal, and what came of it in words and a table."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Self

from attrs import define, field
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO

    from seqcast.demo.outcome import Outcome, ReceiverOutcome

UPDATE_SECONDS = 0.05
"""Least time between two pictures of the progress."""

DIGEST_CHARACTERS = 12
"""How much of a digest is shown: enough to tell two apart by eye. `--json` has all of it."""

PERCENTILES = (50, 99, 99.9)
"""Of the latency; `--json` has more."""

DURABILITIES = {"memory": "in memory", "group": "on disk, in groups", "always": "on disk, each batch"}
"""What the durability of the stream means, in a few words."""

LABELS = {
    "input": "input prepared",
    "sender": "acknowledged to the sender",
    "clean": "delivered, clean receiver",
    "lossy": "delivered, lossy receiver",
    "late": "delivered, late receiver",
}


@define
class Board:
    """Progress on standard error while a demo runs: a watcher of `scenario.run`.

    Shows nothing where standard error is not a terminal, or with `quiet`.
    """

    quiet: bool = False
    _progress: Progress | None = field(default=None, init=False)
    _stage: TaskID = field(default=TaskID(0), init=False)
    _tasks: dict[str, TaskID] = field(factory=dict, init=False)
    _shown: float = field(default=0.0, init=False)

    def __enter__(self) -> Self:
        if not self.quiet and sys.stderr.isatty():
            self._progress = Progress(
                TextColumn("{task.description:<28}"),
                BarColumn(),
                TextColumn("{task.fields[numbers]}", justify="right"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
                auto_refresh=False,
            )
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def stage(self, sentence: str) -> None:
        """Something new begins."""
        if self._progress is not None:
            self._progress.console.print(f"[bold]{sentence}[/bold]")

    def show(self, name: str, count: int, total: int) -> None:
        """The work called `name` is at `count` of `total` messages."""
        if self._progress is None:
            return
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(LABELS[name], total=total, numbers="")
        self._progress.update(
            self._tasks[name], completed=count, total=total, numbers=f"{count:,} of {total:,}"
        )
        now = time.monotonic()
        if now - self._shown >= UPDATE_SECONDS:
            self._shown = now
            self._progress.refresh()


def show_outcome(outcome: Outcome, stream: IO[str] | None = None) -> None:
    """Write what came of a demo, for people, to `stream` (standard output unless given)."""
    console = Console(file=stream, highlight=False)
    feed = outcome.feed
    console.print(f"{feed.messages:,} ITCH messages ({feed.source}), SHA-256 {_short(feed.digest)}...")
    console.print(
        "Processes: a sequencer, a rewinder, a sender that was killed and its successor, three receivers"
    )
    console.print()
    console.print(_receivers(outcome))
    console.print()
    console.print(_measurements(outcome))
    console.print()
    failures = outcome.failures()
    for failure in failures:
        console.print(f"[bold red]WRONG:[/bold red] {failure}")
    if not failures:
        console.print(
            "[bold green]OK:[/bold green] every receiver got every message of the input once, in order, "
            f"byte for byte ({outcome.duration_ns / 1e9:.1f} s)"
        )


def _receivers(outcome: Outcome) -> Table:
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("receiver")
    for receiver in outcome.receivers:
        table.add_column(receiver.name, justify="right")
    feed = outcome.feed

    def row(label: str, cell: Callable[[ReceiverOutcome], str]) -> None:
        table.add_row(label, *(cell(receiver) for receiver in outcome.receivers))

    row("messages delivered", lambda receiver: f"{receiver.messages:,}")
    row("SHA-256 of what it delivered", lambda receiver: _short(receiver.digest))
    row("the same as the input", lambda receiver: "yes" if receiver.digest == feed.digest else "NO")
    row("packets lost on purpose", lambda receiver: f"{receiver.datagrams_lost:,}")
    row("messages in those", lambda receiver: f"{receiver.messages_lost:,}")
    row("holes repaired", lambda receiver: f"{receiver.gaps_filled:,}")
    row("packets that a rewinder sent again", lambda receiver: f"{receiver.replies:,}")
    row("messages that a rewinder replayed", lambda receiver: f"{receiver.rewound:,}")
    return table


def _measurements(outcome: Outcome) -> Table:
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("sender, killed halfway (SIGKILL)")
    table.add_column("", justify="right")
    sender, latency, rate = outcome.sender, outcome.latency, outcome.throughput.rate
    table.add_row("acknowledged, as far as it had told", f"{sender.acknowledged:,}")
    table.add_row("in the stream when its successor came", f"{sender.resumed_at:,}")
    table.add_row("the successor was let in after", f"{sender.restart_ns / 1e9:.2f} s")
    table.add_row("messages it sent a second time", f"{sender.sent_again:,}")
    table.add_row("duplicates that the sequencer dropped", f"{sender.duplicates:,}")
    table.add_row("messages that entered the stream", f"{sender.stamped:,}", end_section=True)
    table.add_row(
        "throughput at full speed, messages/s", "too short to tell" if rate is None else f"{rate:,.0f}"
    )
    table.add_row("messages sent by a timetable", f"{latency.count:,} at {outcome.plan.rate:,}/s")
    for percent in PERCENTILES:
        table.add_row(f"latency, submit to deliver, p{percent:g}", _time(latency.percentile(percent)))
    table.add_row("latency, submit to deliver, max", _time(latency.max_ns))
    table.add_row("acknowledged once a message is", DURABILITIES[outcome.durability])
    return table


def _time(duration_ns: int | None) -> str:
    if duration_ns is None:
        return "-"
    return f"{duration_ns / 1e6:.2f} ms"


def _short(digest: str) -> str:
    return digest[:DIGEST_CHARACTERS]
