"""`seqcast listen` and `seqcast replay`: the stream to a file or to standard output."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click
from attrs import define, field

from seqcast.batch import Batch
from seqcast.cli.common import (
    USER_NAME,
    Failed,
    configuration_option,
    counted,
    examples,
    json_option,
    load,
    stop_on_signals,
    summary,
)
from seqcast.cli.progress import Meter
from seqcast.cli.retransmit import RETRANSMIT_NAMES, retransmit, retransmit_options
from seqcast.downlink import BATCH_MESSAGES
from seqcast.errors import NotConnected, SessionChanged, TimedOut
from seqcast.events import LineBack, LineLagging, LineSilent
from seqcast.feeds import OUTPUT_FORMATS, STANDARD_STREAM, FeedWriter, StampColumns
from seqcast.latency import LatencyHistogram
from seqcast.line_watch import LINE_NAMES
from seqcast.receiver import BEGIN, LIVE, Receiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seqcast.events import Event

TURN_SECONDS = 0.1
"""How long one look at the network lasts at most: signals and time-outs are noticed in between."""


class Start(click.ParamType[int | None]):
    """`begin`, `live` or a stream number."""

    name = "begin|live|N"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> int | None:
        """The `start` argument of a receiver."""
        if value == "begin":
            return BEGIN
        if value == "live":
            return LIVE
        if isinstance(value, int) or str(value).isdecimal():
            number = int(value)
            if 1 <= number < 1 << 64:
                return number
        raise click.BadParameter(f"{value!r} is not begin, live or a number from 1", context, param)


def _options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that listening and replaying share; they arrive as keywords for `_receive`."""
    options = [
        click.option(
            "--from", "start", type=Start(), default="begin", show_default=True, help="Where to start."
        ),
        click.option(
            "--session", metavar="NAME", help="Read this session, be it an old one that rewinders keep."
        ),
        click.option("--count", type=click.IntRange(min=1), help="Stop after so many messages."),
        click.option("--until-end", is_flag=True, help="Stop at the end of the session."),
        click.option(
            "--format", "format_name", type=click.Choice(OUTPUT_FORMATS), default="lines", show_default=True
        ),
        click.option("--output", default=STANDARD_STREAM, show_default=True, help="File to write."),
        click.option(
            "--user", default="READER", type=USER_NAME, show_default=True, help="User name at the rewinders."
        ),
        click.option(
            "--password", default="", envvar="SEQCAST_PASSWORD", help="Its password, if it has one."
        ),
        click.option(
            "--timeout", type=float, default=10.0, show_default=True, help="Seconds to wait for the stream."
        ),
        json_option,
        configuration_option,
    ]
    for option in reversed(options):
        function = option(function)
    return function


@click.command(
    epilog=examples(
        "seqcast listen --from live",
        "seqcast listen --from begin --count 1000 --format binaryfile --output out.itch",
    )
)
@click.option("--follow", is_flag=True, help="After the end of the session, go on with the one that follows.")
@_options
def listen(config: Path | None, **options: Any) -> None:
    """Receive the stream as it is multicast; what is missing comes from the rewinders."""
    _receive(config, "listening", multicast=True, **options)


@click.command(
    epilog=examples(
        "seqcast replay --from 1000 --until-end --format json",
        "seqcast replay --session 20261124 --until-end --output yesterday.txt",
        "seqcast replay --session 26112501 --to 239.1.2.3:20000 --speed 10",
        "seqcast replay --log run/log/REW1/26112501 --to 239.1.2.3:20000 --speed max",
    )
)
@_options
@retransmit_options
def replay(config: Path | None, to: tuple[str, ...], **options: Any) -> None:
    """Read the stream from the rewinders alone, without multicast; with --to, multicast it again.

    What is multicast again are the records as they were, with their numbers and, as --speed says, their timing, to
    the groups named: a receiver takes them for the session itself. Heartbeats fill the pauses, and End of Session
    follows. Without --session and --log it is the present session, as far as it has come.
    """
    again = {name: options.pop(name) for name in RETRANSMIT_NAMES}
    if not to:
        if given := [name for name, value in again.items() if value is not None]:
            raise click.UsageError(f"--{given[0].replace('_', '-')} goes with --to GROUP:PORT")
        _receive(config, "replaying", multicast=False, **options)
        return
    if options["output"] != STANDARD_STREAM:
        raise click.UsageError("--output and --to exclude each other")
    wanted = {
        key: options[key] for key in ("start", "session", "count", "user", "password", "timeout", "as_json")
    }
    retransmit(config, to, **wanted, **again)


def _receive(
    config: Path | None,
    label: str,
    *,
    multicast: bool,
    start: int | None,
    session: str | None,
    user: str,
    password: str,
    output: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Receive, write, and say what came: the body of `listen` and of `replay`."""
    configuration = load(config)
    lines = LINE_NAMES if multicast else ()
    receiver = Receiver(
        configuration, start, lines, session=session, user=user, password=password, on_event=_report
    )
    with receiver, _opened(output) as stream:
        run = Run(receiver, stream, **options)
        with stop_on_signals(run.stop), Meter(label, options["count"], quiet=as_json) as meter:
            run.run(meter)
    text = f"{counted(run.delivered, 'message')} in {run.seconds:.2f} s"
    if run.delivered:
        text += f"; numbers {receiver.first_number} to {run.last_number}"
    text += f"; {counted(receiver.gaps_filled, 'gap')} filled; source {receiver.source}"
    values = {
        "delivered": run.delivered,
        "first": receiver.first_number,
        "last": run.last_number,
        "gaps_filled": receiver.gaps_filled,
        "duplicates_dropped": receiver.duplicates_dropped,
        "source": receiver.source,
        "latency": LatencyHistogram.from_state(receiver.latency.state()).as_plain(),
        "ended": receiver.ended,
        "seconds": round(run.seconds, 6),
    }
    summary(values, text, as_json=as_json, error=output == STANDARD_STREAM)
    if run.interrupted and (options["count"] is not None or options["until_end"]):
        raise Failed("interrupted before it was done")


@define
class Run:
    """One run: messages from the receiver to the writer until enough have come."""

    receiver: Receiver
    stream: BinaryIO
    count: int | None
    until_end: bool
    format_name: str
    timeout: float
    follow: bool = False
    delivered: int = field(default=0, init=False)
    last_number: int | None = field(default=None, init=False)
    interrupted: bool = field(default=False, init=False)
    seconds: float = field(default=0.0, init=False)

    def run(self, meter: Meter) -> None:
        """Receive and write. Raises NotConnected when no stream appears in time."""
        receiver = self.receiver
        writer = FeedWriter(self.stream, self.format_name)  # type: ignore[arg-type]
        started = time.monotonic()
        appeared = False
        while not self.interrupted and (self.follow or not receiver.ended):
            left = BATCH_MESSAGES if self.count is None else min(BATCH_MESSAGES, self.count - self.delivered)
            if left == 0:
                break
            batch = self._poll(left)
            if len(batch):
                self._write(writer, batch)
            elif self.stream.isatty() or self.count is None:
                self.stream.flush()
            appeared = appeared or receiver.appeared
            if not appeared and time.monotonic() - started > self.timeout:
                raise NotConnected(self._absence())
            meter.show(self.delivered, f"{receiver.source}, lag {receiver.lag:,}")
        self.stream.flush()
        self.seconds = time.monotonic() - started
        if receiver.ended and self.count is not None and self.delivered < self.count:
            raise TimedOut(f"the session ended after {self.delivered} of {self.count} messages")

    def _poll(self, limit: int) -> Batch:
        """The next messages; with `follow` those of the next session when this one is over."""
        receiver = self.receiver
        try:
            if not receiver.ended:
                return receiver.poll(limit, TURN_SECONDS)
        except SessionChanged:
            if not self.follow:
                raise
        with suppress(TimedOut):
            name = receiver.next_session(TURN_SECONDS)
            click.echo(f"session {name} has begun", err=True)
        return Batch.empty()

    def stop(self) -> None:
        """End the run in an orderly way."""
        self.interrupted = True

    def _write(self, writer: FeedWriter, batch: Batch) -> None:
        stamps = None
        if self.format_name == "json":
            stamps = StampColumns(
                numbers=batch.payloads.numbers,
                senders=batch.senders,
                sender_sequences=batch.stamps.sequences,
                times_ns=batch.stamps.times,
                kinds=[0] * len(batch),
            )
        writer.write(batch.payloads, stamps)
        self.delivered += len(batch)
        self.last_number = batch.last_number

    def _absence(self) -> str:
        receiver, endpoints = self.receiver, self.receiver.endpoints
        joined = endpoints.chosen(receiver.lines).values()
        lines = ", ".join(f"{line.group}:{line.port}" for line in joined)
        rewinders = ", ".join(f"{host}:{port}" for host, port in endpoints.rewinders)
        parts = [part for part in (lines and f"on {lines}", rewinders and f"at {rewinders}") if part]
        trouble = f" ({receiver.trouble})" if receiver.trouble else ""
        return f"no stream {' or '.join(parts)} within {self.timeout:g} s{trouble}"


def _report(event: Event) -> None:
    """Say what a receiver has noticed, where it does not mix with the messages."""
    match event:
        case LineSilent(line):
            click.echo(f"line {line} is silent, while the other is not", err=True)
        case LineLagging(line, behind):
            click.echo(f"line {line} is {counted(behind, 'record')} behind", err=True)
        case LineBack(line):
            click.echo(f"line {line} is back", err=True)


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    """The output file, or standard output."""
    if path == STANDARD_STREAM:
        yield sys.stdout.buffer
    else:
        with Path(path).open("wb") as stream:
            yield stream
