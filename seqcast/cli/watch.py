"""`seqcast status --watch`: a live screen; plain lines where there is no terminal; one JSON object a second."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, Self

import click
from attrs import define, field
from rich.console import Console
from rich.live import Live

from seqcast.cli.screen import line, screen
from seqcast.picture import Painter
from seqcast.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

    from seqcast.settings import Configuration, Node

PERIOD_NS = 1_000_000_000
"""One picture a second: nodes publish as often."""


class _Writer(Protocol):
    def __enter__(self) -> Self: ...

    def __exit__(self, *raised: object) -> None: ...

    def show(self, picture: dict[str, Any]) -> None: ...


def run_watch(configuration: Configuration, nodes: Sequence[Node], *, as_json: bool) -> None:
    """Show the nodes once a second, until ctrl-C or SIGTERM. The sequencers are watched in any case."""
    writer: _Writer = _Lines(as_json) if as_json or not sys.stdout.isatty() else _Screen()
    painter = Painter(configuration)
    names = [node.name for node in nodes]
    watched = {node.name: node for node in (*nodes, *configuration.sequencers)}
    with _until_told(), Watch(configuration, watched.values()) as watch, writer:
        watch.wait_for_all(time.monotonic_ns() + PERIOD_NS)
        due_ns = time.monotonic_ns()
        while True:
            writer.show(painter.paint(watch.sightings(), names))
            due_ns += PERIOD_NS
            watch.wait_until(due_ns)


@define
class _Lines:
    as_json: bool

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        pass

    def show(self, picture: dict[str, Any]) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        click.echo(json.dumps({"time": now, **picture}) if self.as_json else f"{now} {line(picture)}")


@define
class _Screen:
    _live: Live = field(factory=lambda: Live(console=Console(), screen=True, auto_refresh=False), init=False)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *_raised: object) -> None:
        self._live.stop()

    def show(self, picture: dict[str, Any]) -> None:
        self._live.update(screen(picture), refresh=True)


@contextlib.contextmanager
def _until_told() -> Iterator[None]:
    """End the block, in order, at ctrl-C and SIGTERM."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        return
    finally:
        signal.signal(signal.SIGTERM, before)
