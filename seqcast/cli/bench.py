"""`seqcast bench`: what the bus does on this machine, and what the machine does without it."""

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


SCENARIOS = (
    *("throughput", "latency", "delivery", "replay", "catch_up", "failover", "codec", "scale"),
    *("interference", "overload", "memory"),
)
"""As `bench.scenarios` has them; here, so that `--help` need not load it."""

WITH_HISTORY = ("replay", "catch_up", "scale", "interference")


@click.command(
    epilog=examples(
        "seqcast bench --quick",
        "seqcast bench throughput --voters 3 --messages 5000000 --rounds 3",
        "seqcast bench latency --idle spin --json",
        "seqcast bench catch_up --records 5000000",
        "seqcast bench scale --records 100000000 --rounds 1",
        "seqcast bench failover --trials 20 --json",
    )
)
@click.argument(
    "what",
    type=click.Choice([*SCENARIOS, "all"]),
    default="all",
    metavar=f"[{'|'.join(SCENARIOS)}|all]",
)
@click.option("--quick", is_flag=True, help="One short round of each, or three kills: to see that it works.")
@click.option("--messages", type=click.IntRange(1, 100_000_000), metavar="N", help="Messages in each round.")
@click.option("--rounds", type=click.IntRange(1, 100), metavar="K", help="Rounds of each [default: 5].")
@click.option(
    "--records",
    type=click.IntRange(1, 100_000_000),
    metavar="N",
    help="History for replay, catch_up and interference, and the longest log of scale, some 500 bytes of disk for each "
    "[default: 5 and 10 million].",
)
@click.option(
    "--trials",
    type=click.IntRange(1, 1000),
    metavar="K",
    help="Kills of a primary, with failover [default: 20].",
)
@click.option(
    "--voters",
    type=click.Choice(["1", "3"]),
    multiple=True,
    help="Voters of throughput and latency; give it twice for both [default: both].",
)
@click.option(
    "--durability",
    type=click.Choice([each.value for each in Durability]),
    default=Durability.MEMORY.value,
    show_default=True,
    help="What it means that a node holds a record.",
)
@click.option(
    "--idle",
    type=click.Choice(["block", "spin"]),
    default="block",
    show_default=True,
    help="How the primary and the receivers wait, and the baselines of latency.",
)
@json_option
def command(
    what: str,
    quick: bool,
    messages: int | None,
    rounds: int | None,
    records: int | None,
    trials: int | None,
    voters: tuple[str, ...],
    durability: str,
    idle: str,
    as_json: bool,
) -> None:
    """Measure this machine and the bus on it, side by side.

    throughput, latency: one sender, one receiver. delivery: each way to hand messages over and to take them.
    replay: a history out of a rewinder, and what that does to live messages. catch_up: a receiver that comes
    late. failover: the primary is killed again and again. codec: every decoder and encoder. scale: more receivers,
    more senders, longer logs. interference: a slow receiver, a stuck rewinder and a full replay beside live messages.
    overload: senders offer twice what can be carried. memory: what each process holds after N messages and after 2 N.
    `all` is all of them, which takes half an hour, or two minutes with --quick.

    Nodes, senders and receivers are processes on loopback, in a temporary directory (TMPDIR), and every message is
    checked. Small C programs, compiled at the start, do the bare work beside each round: figures are also given as
    ratios to theirs. Exit status 1 when a message is lost or wrong.
    """
    if what == "failover" and (messages is not None or rounds is not None):
        raise click.UsageError("failover has --trials; --messages and --rounds are for the others")
    if what not in ("failover", "all") and trials is not None:
        raise click.UsageError("--trials is for failover")
    if what not in (*WITH_HISTORY, "all") and records is not None:
        raise click.UsageError(f"--records is for {', '.join(WITH_HISTORY)}")
    from bench import scenarios  # noqa: PLC0415  (quick --help)
    from bench.report import render  # noqa: PLC0415
    from bench.settings import Settings, sized  # noqa: PLC0415

    settings = sized(
        Settings.quick() if quick else Settings(), messages=messages, rounds=rounds, records=records
    )
    settings = evolve(settings, durability=Durability(durability), idle=idle)
    if voters:
        settings = evolve(settings, voters=tuple(sorted({int(each) for each in voters})))
    if trials is not None:
        settings = evolve(settings, trials=trials)
    # An orderly end removes the temporary directories, which hold the whole stream.
    before = signal.signal(signal.SIGTERM, _end)
    try:
        with Stages(quiet=as_json) as stages:
            result = scenarios.run(SCENARIOS if what == "all" else (what,), settings, stages.show)
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

    def show(self, label: str, count: int, total: int | None) -> None:
        """`count` of `total` messages of this stage were delivered; the total may not be known."""
        if label != self._label:
            self._stack.close()
            self._label = label
            self._meter = self._stack.enter_context(Meter(label, total, quiet=self.quiet))
        self._meter.show(count)
