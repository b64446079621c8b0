"""`seqcast send`: messages of a file, or of standard input, into the stream."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import define, field

from seqcast.cli.common import (
    USER_NAME,
    Failed,
    configuration_option,
    counted,
    examples,
    json_option,
    load,
    sigterm_as_interrupt,
    summary,
)
from seqcast.cli.progress import Meter
from seqcast.feeds import STANDARD_STREAM, FeedReader, open_input
from seqcast.journal import Journal, identify
from seqcast.sender import Sender

if TYPE_CHECKING:
    from native.messages import Messages

FLUSH_SECONDS = 0.2
"""How often a sender that waits for its last acknowledgements shows where it is."""


@click.command(
    epilog=examples(
        "seqcast send --user ITCH01 --format binaryfile day.itch.gz",
        "tail -f orders.txt | seqcast send --user ORDERS -",
    )
)
@click.argument("source", metavar="FILE")
@click.option(
    "--user", required=True, type=USER_NAME, help="User name to publish under: one to six letters or digits."
)
@click.option("--password", default="", envvar="SEQCAST_PASSWORD", help="His password, if he has one.")
@click.option(
    "--format", "format_name", type=click.Choice(["lines", "binaryfile"]), default="lines", show_default=True
)
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), help="Messages a second; default: as they come."
)
@click.option(
    "--resume/--append",
    "resume",
    default=None,
    help="Count FILE from this user's first message, or send it behind all he sent. By default a run of the "
    "same FILE that was cut short goes on where it stopped, and anything else is appended.",
)
@click.option(
    "--timeout", type=float, default=10.0, show_default=True, help="Seconds to wait for a sequencer."
)
@json_option
@configuration_option
def command(
    config: Path | None,
    source: str,
    user: str,
    password: str,
    format_name: str,
    rate: float | None,
    resume: bool | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Send the messages of FILE ("-": standard input; .gz is unpacked) and wait until all are committed."""
    configuration = load(config)
    started = time.monotonic()
    with (
        open_input(source) as stream,
        Sender(configuration, user, password, connect_seconds=timeout) as sender,
    ):
        identity = None if source == STANDARD_STREAM else identify(Path(source), format_name)
        path = configuration.log.directory / "senders" / f"{configuration.session}-{user}.json"
        journal = Journal(path)
        base = 0 if resume else None
        if resume is None and identity is not None:
            base = journal.unfinished(identity)
        if base is None or base > sender.resumed_at:
            base = sender.resumed_at
        if identity is not None:
            journal.begin(identity, base)
        reader = FeedReader(stream, format_name, name=source)  # type: ignore[arg-type]
        run = Run(sender, rate, sender.resumed_at - base)
        stopped = False
        try:
            with sigterm_as_interrupt(), Meter("sending", quiet=as_json) as meter:
                for messages in reader:
                    run.send(messages, meter)
                run.finish(meter)
        except KeyboardInterrupt:
            stopped = True
            sender.close()  # what is in flight stays unknown; the same command goes on from there
        if identity is not None and not stopped:
            journal.finish()
    _report(run, time.monotonic() - started, stopped=stopped, as_json=as_json)
    if stopped:
        raise Failed("stopped before it was done; the same command goes on from there")


def _report(run: Run, seconds: float, *, stopped: bool, as_json: bool) -> None:
    """Say what became of the input."""
    sender = run.sender
    values: dict[str, Any] = {
        "submitted": run.submitted,
        "committed": max(0, run.submitted - sender.in_flight) if stopped else run.submitted,
        "resumed": run.resumed,
        "first": run.first_number,
        "last": run.last_number,
        "seconds": round(seconds, 6),
        "rate": round(run.submitted / seconds, 1),
        "reconnections": sender.reconnections,
    }
    text = f"{counted(values['committed'], 'message')} committed in {seconds:.2f} s"
    if run.resumed:
        text += f"; {run.resumed:,} of the input were in the stream already"
    if run.first_number is not None:
        text += f"; numbers {run.first_number} to {run.last_number}"
    summary(values, text, as_json=as_json)


@define
class Run:
    """One run of an input: what is passed over, paced, sent and committed."""

    sender: Sender
    rate: float | None
    frames_known: int  # of this input, in the stream already
    submitted: int = field(default=0, init=False)
    resumed: int = field(default=0, init=False)
    first_number: int | None = field(default=None, init=False)
    last_number: int | None = field(default=None, init=False)
    _started: float = field(factory=time.monotonic, init=False)

    def send(self, messages: Messages, meter: Meter) -> None:
        """Send one batch of the input."""
        sender = self.sender
        start = 0
        if self.frames_known:
            start, self.frames_known = sender.pass_over(messages, self.frames_known)
            self.resumed += start
        if self.first_number is None and start < len(messages):
            # Answers name the last number of a batch, so the first message goes alone.
            self._put(messages.before(start + 1), start, meter)
            self.first_number = self._flush(meter)
            start += 1
        while start < len(messages):
            stop = len(messages)
            if self.rate is not None:
                stop = min(stop, start + self._allowed(meter))
            self._put(messages.before(stop), start, meter)
            start = stop

    def finish(self, meter: Meter) -> None:
        """Wait for what is in flight."""
        if self.submitted:
            self.last_number = self._flush(meter)

    def _put(self, messages: Messages, start: int, meter: Meter) -> None:
        self.sender.send_batch(messages, start)
        self.submitted += len(messages) - start
        meter.show(self.submitted, self.sender.trouble or "")

    def _flush(self, meter: Meter) -> int:
        while self.sender.in_flight:
            self.sender.poll(FLUSH_SECONDS)
            meter.show(self.submitted, self.sender.trouble or "")
        return self.sender.committed_number

    def _allowed(self, meter: Meter) -> int:
        """How many messages the rate allows by now; waits until it is one."""
        assert self.rate is not None
        while True:
            due = int((time.monotonic() - self._started) * self.rate) - self.submitted
            if due > 0:
                return due
            self.sender.poll(max(0.0, self._started + (self.submitted + 1) / self.rate - time.monotonic()))
            meter.show(self.submitted, self.sender.trouble or "")
