"""Progress of long work on a terminal; nothing where standard error is not one."""

from __future__ import annotations

import sys
import time
from typing import Self

from attrs import define, field
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

UPDATE_SECONDS = 0.1
"""Least time between two updates: a terminal is slow, and the work is not."""


@define
class Meter:
    """Counts messages on standard error; `total` is None where it is not known."""

    label: str
    total: int | None = None
    quiet: bool = False
    _progress: Progress | None = field(default=None, init=False)
    _task: TaskID = field(default=TaskID(0), init=False)
    _due: float = field(default=0.0, init=False)
    _started: float = field(factory=time.monotonic, init=False)

    def __enter__(self) -> Self:
        if not self.quiet and sys.stderr.isatty():
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed:,} messages"),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
                auto_refresh=False,
            )
            self._task = self._progress.add_task(self.label, total=self.total, note="")
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def show(self, count: int, note: str = "") -> None:
        """`count` messages by now, with a note behind the rate; cheap when called often."""
        if self._progress is None:
            return
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + UPDATE_SECONDS
        rate = count / max(now - self._started, 1e-9)
        self._progress.update(self._task, completed=count, note=f"{rate:,.0f}/s {note}")
        self._progress.refresh()
