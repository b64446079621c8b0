"""`seqcast feed`: the messages without stamps, multicast again for listeners that know nothing of the bus."""

from __future__ import annotations

import struct
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import define, field

from seqcast.checkpoint import Checkpoint
from seqcast.cli.common import (
    USER_NAME,
    configuration_option,
    counted,
    examples,
    json_option,
    load,
    stop_on_signals,
    summary,
)
from seqcast.cli.logs import lines_of
from seqcast.cli.progress import Meter
from seqcast.errors import NotConnected, SessionChanged, TimedOut
from seqcast.host import ThisHost
from seqcast.plain_feed import PlainFeed
from seqcast.receiver import BEGIN, Receiver
from seqcast.recent import RecentPackets
from seqcast.republishing import Lines, open_requests

if TYPE_CHECKING:
    from collections.abc import Callable

    from rewinder.pump import Pump
    from rewinder.requests import RequestPort
    from seqcast.batch import Batch

WAIT_NS = 200_000_000
"""Longest wait in one turn: signals are noticed in between."""

BATCH_MESSAGES = 1024

SAVE_NS = 1_000_000_000
"""How often the state is saved."""

LINGER_SECONDS = 3.0
"""How long End of Session is repeated, unless it is said."""

_NUMBER = struct.Struct(">Q")


@click.command(
    epilog=examples(
        "seqcast feed --to 239.1.2.3:20000 --request-port 20001",
        "seqcast feed --to 239.1.2.3:20000 --to 239.1.2.4:20000 --follow --state /var/lib/seqcast",
    )
)
@click.option("--to", metavar="GROUP:PORT", multiple=True, required=True, help="Where; twice for two lines.")
@click.option(
    "--request-port", type=click.IntRange(0, 65_535), help="Answer MoldUDP64 re-requests on this port."
)
@click.option(
    "--keep-mib", type=click.IntRange(1, 65_536), default=64, show_default=True, help="For re-requests."
)
@click.option(
    "--from",
    "start",
    type=click.Choice(["begin", "live"]),
    default="live",
    show_default=True,
    help="What is multicast: everything, or what comes from now on.",
)
@click.option("--session", metavar="NAME", help="Feed this session, be it an old one that rewinders keep.")
@click.option("--follow", is_flag=True, help="After the end of the session, go on with the one that follows.")
@click.option("--count", type=click.IntRange(min=1), help="Stop after so many messages.")
@click.option(
    "--state",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep there how far it is, and go on from there: without it the whole session is counted anew.",
)
@click.option("--interface", metavar="ADDRESS", help="Network interface [default: as configured].")
@click.option("--ttl", type=click.IntRange(0, 255), help="[default: as configured]")
@click.option(
    "--linger",
    type=click.FloatRange(min=0),
    default=LINGER_SECONDS,
    show_default=True,
    help="Seconds of End of Session.",
)
@click.option("--user", default="FEED", type=USER_NAME, show_default=True, help="User name at the rewinders.")
@click.option("--password", default="", envvar="SEQCAST_PASSWORD", help="Its password, if it has one.")
@click.option(
    "--timeout", type=float, default=10.0, show_default=True, help="Seconds to wait for the stream."
)
@json_option
@configuration_option
def command(
    *,
    config: Path | None,
    to: tuple[str, ...],
    request_port: int | None,
    keep_mib: int,
    session: str | None,
    state: Path | None,
    interface: str | None,
    ttl: int | None,
    user: str,
    password: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Publish the messages of the stream without stamps, as a MoldUDP64 stream of its own, until ctrl-C.

    The n-th message of a session has number n, in every feed, whenever it was started: two feeds can be two lines.
    Messages that were sent in fragments are joined. Listeners that missed something may ask for it at --request-port,
    as far as it is kept.
    """
    configuration = load(config)
    interface = interface or configuration.multicast.interface
    with ExitStack() as stack:
        lines = Lines(
            lines_of(to, configuration), interface, configuration.multicast.ttl if ttl is None else ttl
        )
        stack.enter_context(closing(lines))
        host = SharedHost()
        start = BEGIN if state is None else _checkpoint(state, session or configuration.session)
        receiver = Receiver(configuration, start, session=session, user=user, password=password, host=host)
        stack.enter_context(receiver)
        capacity = configuration.multicast.datagram_bytes
        run = Run(receiver, host.shared, lines, capacity, keep_mib << 20, state, **options)
        if request_port is not None:
            run.open_requests(interface, request_port)
            stack.callback(run.close_requests)
        with stop_on_signals(run.stop), Meter("feeding", options["count"], quiet=as_json) as meter:
            run.run(meter)
    values = run.values()
    text = (
        f"{counted(run.messages, 'message')} of session {values['session']}, {counted(lines.datagrams, 'datagram')}; "
        f"the next has number {run.feed.next_number}"
    )
    summary(values, text, as_json=as_json)


@define(eq=False)
class SharedHost(ThisHost):
    """The machine that this process runs on, with a pump that the receiver shares with the request port."""

    shared: Pump = field(init=False)

    def pump(self, finish: Callable[[int], int]) -> Pump:
        """The pump of the receiver."""
        self.shared = super().pump(finish)
        return self.shared


def _checkpoint(state: Path, session: str) -> Checkpoint:
    """Where it is kept how far a session was fed. It need not survive the machine: the stream can be counted anew."""
    state.mkdir(parents=True, exist_ok=True)
    return Checkpoint(state / f"feed-{session}", durable=False)


@define(eq=False)
class Run:
    """One run: messages from the receiver to the lines. `live` says whether they are multicast, or only counted."""

    receiver: Receiver
    pump: Pump
    lines: Lines
    capacity: int
    keep_bytes: int
    state: Path | None
    start: str
    follow: bool
    count: int | None
    linger: float
    timeout: float
    feed: PlainFeed = field(init=False)
    store: RecentPackets = field(init=False)
    requests: RequestPort | None = field(default=None, init=False)
    live: bool = field(init=False)
    messages: int = field(default=0, init=False)
    """Messages that were multicast."""
    oversized: int = field(default=0, init=False)
    interrupted: bool = field(default=False, init=False)
    _saved_ns: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.live = self.start == "begin" or self.receiver.snapshot is not None
        snapshot = self.receiver.snapshot
        self._begin(1 if snapshot is None else int(_NUMBER.unpack(snapshot)[0]))

    def open_requests(self, interface: str, port: int) -> None:
        """Answer re-requests."""
        self.requests = open_requests(self.store, interface, port, self.capacity)
        self.pump.watch(self.requests.fileno(), self.requests.on_ready)

    def close_requests(self) -> None:
        """Let go of the port."""
        assert self.requests is not None
        self.pump.forget(self.requests.fileno())
        self.requests.close()

    def run(self, meter: Meter) -> None:
        """Feed until the end of the session, the count, or a signal. Raises NotConnected when no stream appears."""
        started = time.monotonic()
        while not self.interrupted and (self.count is None or self.messages < self.count):
            batch = self._poll()
            if batch is None:
                if not self._ended():
                    break
                continue
            self._take(batch)
            if not self.receiver.appeared and time.monotonic() - started > self.timeout:
                raise NotConnected(
                    f"no stream within {self.timeout:g} s ({self.receiver.trouble or 'quiet'})"
                )
            self._look_after()
            meter.show(self.messages, f"lag {self.receiver.lag:,}" + ("" if self.live else ", catching up"))
        self._save()

    def stop(self) -> None:
        """End the run in an orderly way."""
        self.interrupted = True

    def values(self) -> dict[str, Any]:
        """What there is to say, for programs."""
        return {
            "session": self.receiver.session_name,
            "messages": self.messages,
            "next_number": self.feed.next_number,
            "datagrams": self.lines.datagrams,
            "lost": self.lines.lost,
            "oversized": self.oversized + self.feed.oversized,
            "ended": self.feed.ended,
            "requests": None if self.requests is None else self.requests.counters(),
        }

    # inside

    def _begin(self, number: int) -> None:
        """A session, from feed number `number` on."""
        session = self.receiver.session_name.encode("ascii").ljust(10)
        self.feed = PlainFeed(session, self.capacity, number)
        self.store = RecentPackets(session, self.keep_bytes)
        if self.requests is not None:
            self.requests.server.store = self.store

    def _poll(self) -> Batch | None:
        """The next messages; None when the session is over."""
        limit = BATCH_MESSAGES if self.count is None else min(BATCH_MESSAGES, self.count - self.messages)
        try:
            return None if self.receiver.ended else self.receiver.poll(limit, self._patience_ns() / 1e9)
        except SessionChanged:
            return None

    def _take(self, batch: Batch) -> None:
        now_ns = time.monotonic_ns()
        for number, packet, count in self.feed.take(batch.payloads, now_ns):
            self.store.add(number, packet, count)
            if self.live:
                self.lines.send(packet)
                self.messages += count
        if not self.live and not len(batch):
            self.live = self.receiver.appeared and self.receiver.lag == 0

    def _look_after(self) -> None:
        """Heartbeats, and the state."""
        now_ns = time.monotonic_ns()
        packet = self.feed.due(now_ns) if self.live else None
        if packet is not None:
            self.lines.send(packet)
        if self.state is not None and now_ns - self._saved_ns >= SAVE_NS:
            self._saved_ns = now_ns
            self._save()

    def _patience_ns(self) -> int:
        left_ns = self.feed.deadline_ns() - time.monotonic_ns() if self.live else WAIT_NS
        return max(0, min(WAIT_NS, left_ns))

    def _ended(self) -> bool:
        """The session is over: say so for a while; True when another one is fed from here on."""
        now_ns = time.monotonic_ns()
        end_ns = now_ns + int(self.linger * 1e9)
        self.lines.send(self.feed.end(now_ns))
        self.live = True
        self._save()
        while not self.interrupted and time.monotonic_ns() < end_ns:
            self.pump.turn(self._patience_ns())
            self._look_after()
        while self.follow and not self.interrupted:
            with suppress(TimedOut):
                name = self.receiver.next_session(WAIT_NS / 1e9)
                click.echo(f"session {name} has begun", err=True)
                self.oversized += self.feed.oversized
                self._begin(1)
                return True
            self._look_after()
        return False

    def _save(self) -> None:
        if self.state is not None:
            checkpoint = _checkpoint(self.state, self.receiver.session_name)
            self.receiver.save(checkpoint, _NUMBER.pack(self.feed.next_number))
