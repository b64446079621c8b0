"""`seqcast demo`: the whole bus as real processes on this machine, checked."""

from __future__ import annotations

import json
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seqcast.cli.common import examples, json_option
from seqcast.demo.display import Board, show_outcome
from seqcast.demo.plan import (
    LOSS_DEFAULT,
    LOSS_MOST,
    MESSAGES_DEFAULT,
    MESSAGES_LEAST,
    MESSAGES_MOST,
    RATE_DEFAULT,
    RATE_MOST,
    Demo,
)
from seqcast.demo.scenario import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


@click.command(
    epilog=examples(
        "seqcast demo", "seqcast demo --messages 200000 --loss 0.05", "seqcast demo --itch day.gz"
    )
)
@click.option(
    "--messages",
    type=click.IntRange(MESSAGES_LEAST, MESSAGES_MOST),
    metavar="N",
    help=f"How many messages [default: {MESSAGES_DEFAULT:,}; all of FILE].",
)
@click.option(
    "--itch",
    "source",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Real messages: a BinaryFILE, .gz is unpacked [default: a generated day].",
)
@click.option(
    "--loss",
    type=click.FloatRange(0, LOSS_MOST),
    default=LOSS_DEFAULT,
    show_default=True,
    metavar="P",
    help="Share of packets that the lossy receiver loses.",
)
@click.option(
    "--seed", type=int, default=1, show_default=True, help="Of the generated day, and of the losses."
)
@click.option(
    "--rate",
    type=click.IntRange(1, RATE_MOST),
    default=RATE_DEFAULT,
    show_default=True,
    metavar="R",
    help="Messages a second while latency is measured.",
)
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Leave configuration, logs and input in DIR, which must be empty or new.",
)
@json_option
def command(keep: Path | None, as_json: bool, **settings: Any) -> None:
    """Run the whole bus as real processes on this machine, disturb it, and check every byte.

    A sequencer orders ITCH messages; a sender is killed halfway and another one goes on; one receiver hears
    everything, one loses packets, one starts late. All three must deliver the input exactly. Exit status 1 when
    one of them does not.
    """
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise click.BadParameter(f"{keep} is not empty", param_hint="--keep")
    with interruptible(), Board(quiet=as_json) as board:
        outcome = run(Demo(keep=keep, **settings), board)
    if as_json:
        click.echo(json.dumps(outcome.as_plain()))
    else:
        show_outcome(outcome)
        if keep is not None:
            click.echo(f"Everything is in {keep}: try `seqcast log ls --config {keep}`.")
    if outcome.failures():
        raise click.exceptions.Exit(1)


@contextmanager
def interruptible() -> Iterator[None]:
    """Have SIGTERM and SIGHUP do what ctrl-C does: end the processes on the way out."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = [(number, signal.signal(number, interrupt)) for number in (signal.SIGTERM, signal.SIGHUP)]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
