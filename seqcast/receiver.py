"""The receiver: the stream, in order, without a hole or a repeat, in the app's own thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from attrs import Factory, define, field

from moldudp import session_field
from rewinder._native import LatencyKernel
from rewinder.pump import Idle
from seqcast.assembly import Assembly
from seqcast.batch import Batch
from seqcast.checkpoint import Checkpoint
from seqcast.downlink import BATCH_MESSAGES, RECEIVE_BUFFER, REPLY_LINE, Downlink
from seqcast.endpoints import Endpoints, endpoints_of, session_of
from seqcast.errors import SeqcastError, SessionChanged, TimedOut
from seqcast.event_loop import until_ready
from seqcast.events import NewSession
from seqcast.host import ThisHost
from seqcast.line_watch import LINE_NAMES
from seqcast.reception import Repair
from seqcast.succession import Succession

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    import moldudp
    from native.messages import Messages
    from rewinder.pump import Pump
    from seqcast.batch import Message
    from seqcast.downlink import FaultsOf
    from seqcast.events import Event
    from seqcast.host import Host

BEGIN = 1
"""Start with the first record of the session."""

LIVE = None
"""Start with whatever is published next."""

WAIT_SECONDS = 1.0
"""Longest wait in one turn; who waits longer comes back for another."""


@define(eq=False)
class Receiver:
    """A receiver of one stream: a context manager and an iterator, both plain and async.

    The first argument is a configuration, the path of its file, or `Endpoints`. `start` is BEGIN, LIVE, the number
    of the first record wanted, or a `Checkpoint`: the app goes on exactly where it was saved. `lines` names the
    multicast lines to join, "a" and "b"; with none, everything comes from rewinders. `session` pins one, which may be
    an old one that rewinders keep. `on_event(event)` is told of what `seqcast.events` lists, from inside calls of the
    receiver. `receive_buffer` is in bytes, for each line. `idle` says how `poll` waits (`rewinder.pump.Idle`); it is
    without effect in an event loop, and on another `host`. `faults` puts a bad network in front of the lines, for
    tests: it makes a `moldudp.Faults` of the receiver machine.

    Nothing runs behind the app's back: datagrams are read, and holes repaired, while it is inside `poll`, or iterates.
    A slow receiver slows nobody: what the kernel's buffer could not hold comes from a rewinder later. One thread uses
    a receiver. Making one raises ConfigError, UnknownLine, CheckpointDamaged, WrongSession, OSError.
    """

    endpoints: Endpoints = field(converter=endpoints_of)
    start: int | Checkpoint | None = BEGIN
    lines: Iterable[str] = LINE_NAMES
    session: bytes | None = field(default=None, kw_only=True, converter=session_of)
    user: str = field(default="reader", kw_only=True)
    password: str = field(default="", kw_only=True)
    on_event: Callable[[Event], None] = field(default=lambda _event: None, kw_only=True)
    repair: Repair = field(kw_only=True)
    receive_buffer: int = field(default=RECEIVE_BUFFER, kw_only=True)
    faults: FaultsOf | None = field(default=None, kw_only=True)
    idle: Idle = field(default=Idle.BLOCK, kw_only=True)
    host: Host = field(default=Factory(lambda self: ThisHost(self.idle), takes_self=True), kw_only=True)
    snapshot: bytes | None = field(default=None, init=False)
    """What the app had saved in the checkpoint; None when there was none."""
    assembly: Assembly = field(init=False)
    """Who joins fragments: `state()` and `restore(state)`, for apps that keep their position elsewhere."""
    delivered: int = field(default=0, init=False)
    """Messages that the app got, of all sessions."""
    first_number: int | None = field(default=None, init=False)
    last_number: int | None = field(default=None, init=False)
    """Numbers of the first and the last of them; None before there is one."""
    latency: LatencyKernel = field(factory=LatencyKernel, init=False)
    """From stamp to app, by the clocks of both, of what came live; `LatencyHistogram.from_state(latency.state())`."""
    _pump: Pump = field(init=False)
    _downlink: Downlink = field(init=False)
    _records: Messages | None = field(default=None, init=False)
    _succession: Succession = field(init=False)

    @repair.default
    def _default_repair(self) -> Repair:
        return Repair(reorder_delay_ns=self.endpoints.reorder_delay_ns)

    def __attrs_post_init__(self) -> None:
        session = self.endpoints.session if self.session is None else self.session
        start, self.assembly = self.start, Assembly(BATCH_MESSAGES)
        if isinstance(start, Checkpoint):
            start = self._restore(start, session)
        self._succession = Succession(session.decode("ascii").strip())
        self._pump = self.host.pump(lambda _now_ns: 0)
        try:
            self._downlink = self._link(session, start)
        except BaseException:
            self._pump.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_raised: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Message]:
        """Messages one at a time, until the session ends."""
        while not self.ended:
            yield from self.poll(timeout=WAIT_SECONDS)

    async def __aiter__(self) -> AsyncIterator[Message]:
        """Messages one at a time, until the session ends."""
        while not self.ended:
            for message in await self.next_batch():
                yield message

    # state

    @property
    def session_name(self) -> str:
        """The session that is read."""
        return self._succession.session

    @property
    def position(self) -> int:
        """Number of the next record that the app will get."""
        if self._records is not None:
            return self._records.number(0)
        return self._downlink.reception.next_number

    @property
    def lag(self) -> int:
        """Records that are known to exist and that the app has not got."""
        return self._downlink.reception.lag + (len(self._records) if self._records is not None else 0)

    @property
    def source(self) -> str:
        """Where the last messages came from: "live" or "rewind"."""
        return self._downlink.reception.source

    @property
    def appeared(self) -> bool:
        """True when a line or a rewinder has been heard of."""
        reception = self._downlink.reception
        return reception.mold.heard or reception.answered

    @property
    def ended(self) -> bool:
        """True when the end of the session has been reached and everything before it delivered.

        An old session that was left without its end is over where the archive of a rewinder is.
        """
        if self.assembly.ended is not None:
            return True
        if self._downlink.reception.archived_end is None:
            return False
        return self._succession.successor is None and self._archive_read

    @property
    def trouble(self) -> str | None:
        """What the last repair failed with; None while all is well."""
        return self._downlink.reception.trouble

    @property
    def gaps_filled(self) -> int:
        """Holes that were found and closed."""
        return self._downlink.reception.gaps_filled

    @property
    def rewound(self) -> int:
        """Records that came from rewinders over SoupBinTCP."""
        return self._downlink.reception.rewound

    @property
    def duplicates_dropped(self) -> int:
        """Messages that came again, from a line, a reply or a rewinder, and were dropped."""
        return self.counters.duplicates + self._downlink.reception.repeated

    @property
    def counters(self) -> moldudp.ReceiverCounters:
        """What was counted on the lines."""
        return self._downlink.reception.mold.counters

    @property
    def replies(self) -> int:
        """Datagrams that came as replies to re-requests."""
        return self.counters.line_datagrams[REPLY_LINE]

    @property
    def injected(self) -> moldudp.Faults | None:
        """The bad network that `faults` made, with its counters."""
        return self._downlink.injected

    def fileno(self) -> int:
        """A descriptor that is readable when `poll` has something to do, for a loop of the app's own.

        `poll` wants to be called every second or so besides, for what silence means.
        """
        return self._pump.fileno()

    # calls

    def poll(self, limit: int = BATCH_MESSAGES, timeout: float = 0.0) -> Batch:
        """The next messages, at most `limit`; an empty batch when none came within `timeout` seconds, or at the end.

        Blocks no longer than that; 0 is one look. The batch is valid until the next call. Raises LoginRefused when a
        rewinder does not know the user, StreamLost when a record can be had from nobody, SessionChanged when the lines
        carry another session and what can be had of this one was delivered. Iterating and `take` raise the same.
        """
        pump = self._pump
        now_ns = pump.clock.read()
        deadline_ns = now_ns + int(timeout * 1e9)
        overdue = False
        while True:
            batch = self._deliver(limit, now_ns)
            if batch is not None:
                return batch
            self._downlink.look_after(now_ns)
            if overdue or self.ended:
                return Batch.empty()
            self._announce(now_ns)
            left_ns = max(0, deadline_ns - now_ns)
            overdue = left_ns == 0  # one look at what has come by now, and no more
            pump.turn(left_ns)
            now_ns = pump.clock.now_ns

    async def next_batch(self, limit: int = BATCH_MESSAGES, timeout: float | None = None) -> Batch:
        """The next messages, as `poll` gives them, without stopping the event loop; None waits for ever.

        The batch is empty when the session has ended, or none came in time.
        """
        clock = self._pump.clock
        deadline_ns = None if timeout is None else clock.read() + int(timeout * 1e9)
        while True:
            batch = self.poll(limit)
            left = None if deadline_ns is None else (deadline_ns - clock.read()) / 1e9
            if len(batch) or self.ended or (left is not None and left <= 0):
                return batch
            await until_ready(self._pump, left)

    def take(self, count: int, timeout: float = 10.0) -> list[Message]:
        """The next `count` messages; fewer at the end. Raises TimedOut after `timeout` seconds: what came is gone."""
        clock = self._pump.clock
        taken: list[Message] = []
        deadline_ns = clock.read() + int(timeout * 1e9)
        while len(taken) < count and not self.ended:
            left = (deadline_ns - clock.read()) / 1e9
            if left <= 0:
                raise TimedOut(
                    f"{len(taken)} of {count} messages came within {timeout:g} s: {self.trouble or 'quiet'}"
                )
            taken += self.poll(count - len(taken), left)
        return taken

    def next_session(self, timeout: float | None = None) -> str:
        """Go on with the session that follows this one, from its first record; returns its name.

        Waits until the lines carry one; None waits for ever. Raises TimedOut after `timeout` seconds.
        """
        clock = self._pump.clock
        deadline_ns = None if timeout is None else clock.read() + int(timeout * 1e9)
        while self._succession.successor is None:
            self._check_unpinned()
            left = WAIT_SECONDS if deadline_ns is None else (deadline_ns - clock.read()) / 1e9
            if left <= 0:
                raise TimedOut(f"no session has followed {self.session_name!r} within {timeout:g} s")
            self._look_out(int(min(left, WAIT_SECONDS) * 1e9))
        return self._move_on()

    async def following_session(self) -> str:
        """Go on with the session that follows this one, as `next_session` does, without stopping the event loop."""
        while self._succession.successor is None:
            self._check_unpinned()
            self._look_out(0)
            await until_ready(self._pump)
        return self._move_on()

    def save(self, checkpoint: Checkpoint, snapshot: bytes = b"") -> None:
        """Store where the app is, together with its own state: everything that polls gave must be in `snapshot`.

        So save between two polls, and not while iterating over the receiver. Raises CheckpointFailed.
        """
        checkpoint.save(
            session=self._downlink.session,
            position=self.position,
            assembly=self.assembly.state(),
            snapshot=snapshot,
        )

    def close(self) -> None:
        """Leave the groups and let go of the rewinder."""
        self._downlink.close()
        self._pump.close()

    # inside

    def _link(self, session: bytes, start: int | None) -> Downlink:
        return Downlink(
            pump=self._pump,
            network=self.host.network,
            random=self.host.random,
            endpoints=self.endpoints,
            lines=self.lines,
            session=session,
            start=start,
            user=self.user,
            password=self.password,
            repair=self.repair,
            receive_buffer=self.receive_buffer,
            faults=self.faults,
            on_event=self._noticed,
            archive=self.session is not None,
            former=self._succession.former,
        )

    def _noticed(self, event: Event) -> None:
        if isinstance(event, NewSession) and self.session is None:
            self._succession.noticed(event, self._pump.clock.now_ns)
            # Whatever rewinders have of the session that was left is all there will ever be.
            reception = self._downlink.reception
            reception.archive = reception.eager = bool(self.endpoints.rewinders)
        self.on_event(event)

    @property
    def _archive_read(self) -> bool:
        """Whether a rewinder has said that there is no more of this session, and all of it was delivered."""
        end = self._downlink.reception.archived_end
        return end is not None and self.position >= end

    def _announce(self, now_ns: int) -> None:
        """Say that there is a successor, once nothing more of this session can be had."""
        succession = self._succession
        if succession.due(self._archive_read or not self.endpoints.rewinders, now_ns):
            assert succession.successor is not None
            raise SessionChanged(succession.successor, succession.session, self.position)

    def _look_out(self, limit_ns: int) -> None:
        """A turn for the sake of what the lines carry; nothing more of this session is delivered."""
        while self._downlink.records(self._pump.clock.now_ns) is not None:
            pass
        self._downlink.look_after(self._pump.clock.now_ns)
        self._pump.turn(limit_ns)

    def _check_unpinned(self) -> None:
        if self.session is not None:
            raise SeqcastError(
                f"this receiver is pinned to session {self.session_name!r}: make another for the next"
            )

    def _move_on(self) -> str:
        """Read the session that follows from its first record."""
        self._succession = self._succession.next()
        self._downlink.close()
        self.assembly, self._records = Assembly(BATCH_MESSAGES), None
        self._downlink = self._link(session_field(self._succession.session), BEGIN)
        return self._succession.session

    def _restore(self, checkpoint: Checkpoint, session: bytes) -> int:
        """Take up what was saved; returns the number to start at."""
        saved = checkpoint.load_for(session)
        if saved is None:
            return BEGIN
        self.assembly.restore(saved.assembly)
        self.snapshot = saved.snapshot
        return saved.position

    def _deliver(self, limit: int, now_ns: int) -> Batch | None:
        """The next messages out of the records at hand."""
        while not self.ended:
            records = self._records
            if records is None:
                records = self._downlink.records(now_ns)
                if records is None:
                    return None
            batch, taken = self.assembly.open(records, limit)
            self._records = records.after(taken) if taken < len(records) else None
            if batch is not None:
                if self.first_number is None:
                    self.first_number = batch.first_number
                self.last_number = batch.last_number
                self.delivered += len(batch)
                if self._downlink.reception.source == "live":
                    stamps = batch.stamps
                    self.latency.between(stamps.first_time_ns, self._pump.clock.exact_utc_ns(), stamps.count)
                return batch
        return None
