"""`seqcast bench`: throughput, latency, delivery and failover of the bus on this machine."""

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
    from collections.abc import Callable
    from types import FrameType
    from typing import Any, NoReturn

    Show = Callable[[str, int, int | None], None]
    Run = Callable[[Show], dict[str, Any]]
    Render = Callable[[dict[str, Any]], str]


@click.command(
    epilog=examples(
        "seqcast bench --quick",
        "seqcast bench throughput --messages 5000000 --rounds 3",
        "seqcast bench latency --durability group --json",
        "seqcast bench delivery --messages 2000000",
        "seqcast bench failover --trials 20 --json",
    )
)
@click.argument(
    "what",
    type=click.Choice(["throughput", "latency", "delivery", "failover", "all"]),
    default="all",
    metavar="[throughput|latency|delivery|failover|all]",
)
@click.option("--quick", is_flag=True, help="One short round of each, or three kills: to see that it works.")
@click.option("--messages", type=click.IntRange(1, 100_000_000), metavar="N", help="Messages in each round.")
@click.option("--rounds", type=click.IntRange(1, 100), metavar="K", help="Rounds of each [default: 5].")
@click.option(
    "--trials",
    type=click.IntRange(1, 1000),
    metavar="K",
    help="Kills of a primary, with failover [default: 20].",
)
@click.option(
    "--durability",
    type=click.Choice([each.value for each in Durability]),
    default=Durability.MEMORY.value,
    show_default=True,
    help="What it means that a node holds a record.",
)
@json_option
def command(
    what: str,
    quick: bool,
    messages: int | None,
    rounds: int | None,
    trials: int | None,
    durability: str,
    as_json: bool,
) -> None:
    """Measure how many messages a second go through the bus, how long one takes, and how long a failover.

    Runs a sequencer, a rewinder, a sender and a receiver as processes on loopback, in a temporary directory
    (TMPDIR), and checks every message. With `delivery` it is the library that is measured: each way to hand
    messages over and to take them, by what an app's own core can carry. With `failover` there are two sequencers
    and three voters, and the primary is killed again and again; `all` is throughput and latency. Exit status 1
    when a message is lost or wrong.
    """
    if what == "failover" and (messages is not None or rounds is not None):
        raise click.UsageError("failover has --trials; --messages and --rounds are for the others")
    if what != "failover" and trials is not None:
        raise click.UsageError("--trials is for failover")
    if what == "failover":
        run, render = _failover(quick, trials, Durability(durability))
    elif what == "delivery":
        run, render = _delivery(quick, messages, rounds)
    else:
        run, render = _rounds(what, quick, messages, rounds, Durability(durability))
    # An orderly end removes the temporary directories, which hold the whole stream.
    before = signal.signal(signal.SIGTERM, _end)
    try:
        with Stages(quiet=as_json) as stages:
            result = run(stages.show)
    finally:
        signal.signal(signal.SIGTERM, before)
    click.echo(json.dumps(result, indent=2) if as_json else render(result))
    if not result["complete"]:
        raise SystemExit(1)


def _rounds(
    what: str, quick: bool, messages: int | None, rounds: int | None, durability: Durability
) -> tuple[Run, Render]:
    """Throughput and latency."""
    from bench import scenarios  # noqa: PLC0415  (quick --help)
    from bench.report import render  # noqa: PLC0415

    settings = scenarios.Settings.quick() if quick else scenarios.Settings()
    settings = evolve(scenarios.sized(settings, messages, rounds), durability=durability)
    return lambda show: scenarios.run(what, settings, show), render


def _delivery(quick: bool, messages: int | None, rounds: int | None) -> tuple[Run, Render]:
    """What the library costs its app."""
    from bench import delivery  # noqa: PLC0415  (quick --help)
    from bench.report import render_delivery  # noqa: PLC0415

    settings = delivery.Settings.quick() if quick else delivery.Settings()
    if messages is not None:
        settings = evolve(settings, messages=messages)
    if rounds is not None:
        settings = evolve(settings, rounds=rounds)
    return lambda show: delivery.run(settings, show), render_delivery


def _failover(quick: bool, trials: int | None, durability: Durability) -> tuple[Run, Render]:
    """Kills of a primary."""
    from bench import failover  # noqa: PLC0415  (quick --help)
    from bench.report import render_failover  # noqa: PLC0415

    settings = evolve(failover.Settings.quick() if quick else failover.Settings(), durability=durability)
    if trials is not None:
        settings = evolve(settings, trials=trials)
    return lambda show: failover.run(settings, show), render_failover


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

    def show(self, label: str, count: int, total: int | None) -> None:
        """`count` of `total` messages of this stage were delivered; the total may not be known."""
        if label != self._label:
            self._stack.close()
            self._label = label
            self._meter = self._stack.enter_context(Meter(label, total, quiet=self.quiet))
        self._meter.show(count)
