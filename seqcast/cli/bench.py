"""`seqcast bench`: throughput and latency of the bus on this machine, beside a bare relay."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

import click
from attrs import define, evolve, field

from seqcast.cli.common import examples, json_option
from seqcast.cli.progress import Meter
from seqcast.settings import Durability

if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn


@click.command(
    epilog=examples(
        "seqcast bench --quick",
        "seqcast bench throughput --messages 5000000 --rounds 3",
        "seqcast bench latency --durability group --json",
    )
)
@click.argument(
    "what",
    type=click.Choice(["throughput", "latency", "all"]),
    default="all",
    metavar="[throughput|latency|all]",
)
@click.option("--quick", is_flag=True, help="One short round of each: to see that it works.")
@click.option("--messages", type=click.IntRange(1, 100_000_000), metavar="N", help="Messages in each round.")
@click.option("--rounds", type=click.IntRange(1, 100), metavar="K", help="Rounds of each [default: 5].")
@click.option(
    "--durability",
    type=click.Choice([each.value for each in Durability]),
    default=Durability.MEMORY.value,
    show_default=True,
    help="What it means that a node holds a record.",
)
@json_option
def command(
    what: str, quick: bool, messages: int | None, rounds: int | None, durability: str, as_json: bool
) -> None:
    """Measure how many messages a second go through the bus, and how long one takes.

    Runs a sequencer, a rewinder, a sender and a receiver as processes on loopback, in a temporary directory
    (TMPDIR), and checks every message. Exit status 1 when one is lost or wrong.
    """
    from bench.report import render  # noqa: PLC0415  (quick --help)
    from bench.scenarios import Settings, run, sized  # noqa: PLC0415

    settings = Settings.quick() if quick else Settings()
    settings = evolve(sized(settings, messages, rounds), durability=Durability(durability))
    # An orderly end removes the temporary directories, which hold the whole stream.
    before = signal.signal(signal.SIGTERM, _end)
    try:
        with Stages(quiet=as_json) as stages:
            result = run(what, settings, stages.show)
    finally:
        signal.signal(signal.SIGTERM, before)
    click.echo(json.dumps(result, indent=2) if as_json else render(result))
    if not result["complete"]:
        raise SystemExit(1)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


@define
class Stages:
    """A meter for each stage of the work, one after the other."""

    quiet: bool
    _label: str | None = field(default=None, init=False)
    _meter: Meter = field(init=False)
    _stack: ExitStack = field(factory=ExitStack, init=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def show(self, label: str, count: int, total: int) -> None:
        """`count` of `total` messages of this stage were delivered."""
        if label != self._label:
            self._stack.close()
            self._label = label
            self._meter = self._stack.enter_context(Meter(label, total, quiet=self.quiet))
        self._meter.show(count)
