"""`seqcast replay --to`: a session multicast again. The machine is `seqcast.retransmission`."""

from __future__ import annotations

import gc
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from native.messages import MessageTable
from rewinder.pump import EpollPump
from rewinder.record import Kind, read_stamp
from seqcast.cli.common import Failed, counted, load, stop_on_signals, summary
from seqcast.cli.logs import lines_of, optional_configuration
from seqcast.cli.progress import Meter
from seqcast.downlink import Downlink
from seqcast.endpoints import endpoints_of, session_of
from seqcast.errors import NotConnected
from seqcast.exporting import batches, open_log
from seqcast.host import ThisHost
from seqcast.recent import RecentPackets
from seqcast.republishing import Lines, open_requests
from seqcast.retransmission import END_NS, MAX_SPEED, Retransmission, Timetable
from seqcast.settings import DATAGRAM_BYTES_ETHERNET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from native.messages import Messages
    from rewinder.pump import Pump

PACKETS_PER_TURN = 64
"""Packets that leave between two looks at whatever else there is."""

SPIN_NS = 150_000
"""So long before a packet is due the process stays awake: to be woken takes some tens of microseconds."""

SLEEP_MOST_NS = 50_000_000
"""Longest sleep: progress is shown in between, and what comes from rewinders is taken."""

QUIET_NS = 1_000_000_000
"""When a rewinder has come up with nothing for so long, this is all there is of a session that goes on."""

NOTHING = MessageTable(1).view(memoryview(b""), 0)


class Speed(click.ParamType[float]):
    """A factor, or `max`."""

    name = "FACTOR|max"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        """The factor; infinite for `max`."""
        if value in ("max", MAX_SPEED):
            return MAX_SPEED
        try:
            speed = float(value)
        except ValueError:
            speed = 0.0
        if not 0.001 <= speed <= 1_000_000:
            raise click.BadParameter(
                f"{value!r} is neither max nor a number from 0.001 to 1000000", context, param
            )
        return speed


RETRANSMIT_NAMES = ("speed", "longest_pause", "log", "interface", "ttl", "request_port", "linger")
"""Of the options that go with --to."""


def retransmit_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of multicasting again: `to`, and those of RETRANSMIT_NAMES."""
    options = [
        click.option(
            "--to", metavar="GROUP:PORT", multiple=True, help="Multicast it there; twice for two lines."
        ),
        click.option("--speed", type=Speed(), help="With --to: 1 as it was [default], 10 ten times as fast."),
        click.option(
            "--longest-pause", type=click.FloatRange(min=0.001), help="With --to: seconds of a pause at most."
        ),
        click.option(
            "--log",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help="With --to: take the log in this directory, without rewinders.",
        ),
        click.option("--interface", metavar="ADDRESS", help="With --to: [default: as configured]"),
        click.option("--ttl", type=click.IntRange(0, 255), help="With --to: [default: 1]"),
        click.option(
            "--request-port", type=click.IntRange(0, 65_535), help="With --to: answer re-requests there."
        ),
        click.option(
            "--linger",
            type=click.FloatRange(min=0),
            help="With --to: seconds of End of Session [default: 3].",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def retransmit(
    config: Path | None,
    to: tuple[str, ...],
    *,
    start: int | None,
    session: str | None,
    count: int | None,
    user: str,
    password: str,
    timeout: float,
    as_json: bool,
    speed: float | None,
    longest_pause: float | None,
    log: Path | None,
    interface: str | None,
    ttl: int | None,
    request_port: int | None,
    linger: float | None,
) -> None:
    """Multicast a session again, and say how it went."""
    if start is None:
        raise click.UsageError("--from live and --to exclude each other: what is to come cannot be replayed")
    configuration = optional_configuration(config) if log is not None else load(config)
    capacity = DATAGRAM_BYTES_ETHERNET if configuration is None else configuration.multicast.datagram_bytes
    if interface is None:
        interface = "127.0.0.1" if configuration is None else configuration.multicast.interface
    pump = EpollPump()
    lines = Lines(lines_of(to, configuration), interface, 1 if ttl is None else ttl)
    with closing(pump), closing(lines):
        if log is not None:
            source = _from_log(log, start, count)
        else:
            source = _from_rewinders(config, pump, start, count, session, user, password, timeout)
        with source as (name, total, records):
            machine = Retransmission(
                name,
                records,
                Timetable(1.0 if speed is None else speed, int((longest_pause or 0) * 1e9)),
                capacity,
                end_ns=END_NS if linger is None else int(linger * 1e9),
            )
            store = RecentPackets(name)
            requests = (
                None if request_port is None else open_requests(store, interface, request_port, capacity)
            )
            if requests is not None:
                pump.watch(requests.fileno(), requests.on_ready)
            started = time.monotonic()
            with (
                stop_on_signals(pump.stop),
                no_collector(),
                Meter("replaying", total, quiet=as_json) as meter,
            ):
                _run(machine, pump, lines, None if requests is None else store, meter)
            values = _values(machine, lines, time.monotonic() - started)
            if requests is not None:
                values["requests"] = requests.counters()
                pump.forget(requests.fileno())
                requests.close()
    summary(values, _sentence(values), as_json=as_json)
    if not machine.ended:
        raise Failed("interrupted before it was done")


@contextmanager
def no_collector() -> Iterator[None]:
    """No pauses for the garbage collector: a replay makes no cycles."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _run(
    machine: Retransmission, pump: EpollPump, lines: Lines, store: RecentPackets | None, meter: Meter
) -> None:
    """Send what is due until all was said, or a signal came."""
    now_ns = pump.clock.read()
    while not pump.stopping and not machine.over(now_ns):
        for packet, count in machine.take(now_ns, PACKETS_PER_TURN):
            lines.send(packet)
            if store is not None and count:
                store.add(machine.next_number - count, packet, count)
        meter.show(machine.sent)
        left_ns = machine.deadline_ns() - pump.clock.read()
        pump.turn(min(left_ns - SPIN_NS, SLEEP_MOST_NS) if left_ns > SPIN_NS else 0)
        now_ns = pump.clock.now_ns


Source = tuple[bytes, int | None, "Iterator[Messages]"]
"""Session, how many records there are (None where it is not known), and the records."""


@contextmanager
def _from_log(path: Path, start: int, count: int | None) -> Iterator[Source]:
    """The records of a log, as far as they are committed."""
    with closing(open_log(path)) as log:
        first = max(start, log.first)
        last = log.commit if count is None else min(log.commit, first + count - 1)
        yield log.session, max(0, last + 1 - first), batches(log, first, last)


@contextmanager
def _from_rewinders(
    config: Path | None,
    pump: Pump,
    start: int,
    count: int | None,
    session: str | None,
    user: str,
    password: str,
    timeout: float,
) -> Iterator[Source]:
    """The records of a session as rewinders give them."""
    endpoints, host = endpoints_of(load(config)), ThisHost()
    downlink = Downlink(
        pump=pump,
        network=host.network,
        random=host.random,
        endpoints=endpoints,
        lines=(),
        session=session_of(session) or endpoints.session,
        start=start,
        user=user,
        password=password,
        archive=True,
    )
    try:
        yield downlink.session, count, _taken(downlink, pump, count, int(timeout * 1e9))
    finally:
        downlink.close()


def _taken(downlink: Downlink, pump: Pump, count: int | None, timeout_ns: int) -> Iterator[Messages]:
    """What comes from rewinders; an empty batch while nothing does."""
    reception = downlink.reception
    left = count if count is not None else 1 << 63
    heard_ns = begun_ns = pump.clock.now_ns
    ended = False
    while left and not ended:
        now_ns = pump.clock.now_ns
        records = downlink.records(now_ns)
        if records is not None and len(records):
            records = records.before(left)
            left -= len(records)
            heard_ns = now_ns
            ended = read_stamp(records[len(records) - 1]).kind == Kind.END
            yield records
            continue
        downlink.look_after(now_ns)
        if not reception.answered and now_ns - begun_ns > timeout_ns:
            name = downlink.session.decode("ascii", "replace").strip()
            raise NotConnected(f"no rewinder gave session {name}: {reception.trouble or 'no answer'}")
        archived = reception.archived_end is not None and reception.next_number >= reception.archived_end
        if archived or (reception.answered and now_ns - heard_ns > QUIET_NS):
            return
        yield NOTHING


def _values(machine: Retransmission, lines: Lines, seconds: float) -> dict[str, Any]:
    lateness = machine.lateness
    late = {f"p{percent:g}": lateness.percentile(percent) for percent in (50, 99)} if lateness.count else {}
    return {
        "session": machine.session.decode("ascii").strip(),
        "records": machine.sent,
        "datagrams": lines.datagrams,
        "lost": lines.lost,
        "seconds": round(seconds, 6),
        "late_ns": {**late, "max": lateness.max_ns},
        "ended": machine.ended,
    }


def _sentence(values: dict[str, Any]) -> str:
    text = (
        f"{counted(values['records'], 'record')} of session {values['session']} in {values['seconds']:.2f} s, "
        f"{counted(values['datagrams'], 'datagram')}"
    )
    late = values["late_ns"]
    if late["max"] is not None:
        text += f"; late by {late['p50'] / 1000:,.0f} us at the median, {late['p99'] / 1000:,.0f} us at p99"
    return text
