"""The sender: messages in at the sequencer, each exactly once, acknowledged when committed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from attrs import Factory, define, field

from native.messages import Messages, table_of
from rewinder.pump import Idle
from seqcast._native import Outbox
from seqcast.endpoints import Endpoints, endpoints_of, session_of
from seqcast.errors import NotConnected, SeqcastError, SessionEnded, TimedOut, WouldBlock
from seqcast.event_loop import LoopTurns, inside_event_loop
from seqcast.host import ThisHost
from seqcast.intake import OUTBOX_BYTES, Intake
from seqcast.submission import Submission
from seqcast.ticket import Ticket, Tickets
from seqcast.uplink import CONNECT_SECONDS, WAIT_NS, WRITE_BYTES, Uplink

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from rewinder.pump import Pump
    from seqcast.host import Host


@define(eq=False)
class Sender:
    """A sender of one user: a context manager, plain or async; or call `open` and `close`.

    The first argument is a configuration, the path of its file, or `Endpoints`. `session` is the configured one
    unless it is named; with `after`, the name of one that has ended, whichever follows it. `outbox_bytes` bounds what
    is in flight. After `silence_ns` without an acknowledgement that was due the next sequencer is tried; by default
    that is a little more than the nodes take to miss a primary. `idle` says how calls wait (`rewinder.pump.Idle`); it
    is without effect in an event loop, and on another `host`.

    Nothing runs behind the app's back: `send` writes what the connection takes at once, and everything else
    (acknowledgements, heartbeats, another sequencer after a failover) moves while the app is inside a call. In an
    event loop it moves by itself: `async with Sender(...)`, and `await` on a ticket. Leaving `with` flushes, and
    waits for it; after an exception it does not. One thread uses a sender, or one event loop.

    What ends a sender (LoginRefused, StreamLost, SessionEnded) is raised by every call from then on, and by
    its tickets.
    """

    endpoints: Endpoints = field(converter=endpoints_of)
    user: str
    password: str = ""
    session: bytes | None = field(default=None, kw_only=True, converter=session_of)
    after: str = field(default="", kw_only=True)
    outbox_bytes: int = field(default=OUTBOX_BYTES, kw_only=True)
    connect_seconds: float = field(default=CONNECT_SECONDS, kw_only=True)
    silence_ns: int | None = field(default=None, kw_only=True)
    idle: Idle = field(default=Idle.BLOCK, kw_only=True)
    host: Host = field(default=Factory(lambda self: ThisHost(self.idle), takes_self=True), kw_only=True)
    submission: Submission = field(init=False)
    _intake: Intake = field(init=False)
    _tickets: Tickets = field(factory=Tickets, init=False)
    _pump: Pump = field(init=False)
    _uplink: Uplink = field(init=False)
    _loop: LoopTurns | None = field(default=None, init=False)
    _failure: Exception | None = field(default=None, init=False)
    _opened: bool = field(default=False, init=False)
    _closed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        endpoints = self.endpoints
        self.submission = Submission(Outbox(self.outbox_bytes))
        self._intake = Intake(self.submission.outbox, endpoints.fragment_bytes)
        self._pump = self.host.pump(self._finish)
        self._uplink = Uplink(
            pump=self._pump,
            network=self.host.network,
            random=self.host.random,
            submission=self.submission,
            sequencers=list(endpoints.sequencers),
            user=self.user,
            password=self.password,
            session=(session_of("") if self.after else self.session) or endpoints.session,
            after=self.after.encode("ascii"),
            silence_ns=endpoints.suspect_ns * 5 // 4 if self.silence_ns is None else self.silence_ns,
            on_answer=self._tickets.told,
            on_end=self._ended,
        )

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and not self._closed:
                self.flush()
        finally:
            self.close()

    async def __aenter__(self) -> Self:
        self.attach()
        try:
            await asyncio.wait_for(self._until(lambda: self.submission.answered), self.connect_seconds)
        except TimeoutError:
            self.close()
            raise self._not_connected() from None
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and not self._closed:
                await self.flushed()
        finally:
            self.close()

    # state

    @property
    def session_name(self) -> str:
        """The session that is sent into; empty while it is not known which follows `after`."""
        return self._uplink.session.decode("ascii").strip()

    @property
    def last_sequence(self) -> int:
        """Sender sequence of the last frame that was taken; a message in fragments has several."""
        return self._intake.last_sequence

    @property
    def committed_sequence(self) -> int:
        """Highest sender sequence that is known to be committed."""
        return self.submission.committed_sequence

    @property
    def committed_number(self) -> int:
        """Its stream number."""
        return self.submission.committed_number

    @property
    def resumed_at(self) -> int:
        """The last sequence of this user that was in the stream when this sender opened."""
        return self.submission.resumed_at or 0

    @property
    def in_flight(self) -> int:
        """Frames that are not known to be committed."""
        return self._intake.in_flight

    @property
    def connected(self) -> bool:
        """Whether a sequencer has let us in and answered."""
        return self.submission.answered

    @property
    def reconnections(self) -> int:
        """Connections that were lost after a sequencer had answered on them."""
        return self._uplink.reconnections

    @property
    def trouble(self) -> str | None:
        """What the last connection, or attempt, failed with; None while all is well."""
        return self._uplink.trouble

    def fileno(self) -> int:
        """A descriptor that is readable when `poll` has something to do, for a loop of the app's own."""
        return self._pump.fileno()

    # calls

    def open(self) -> None:
        """Connect, and learn where this user stopped.

        Raises NotConnected after `connect_seconds`, LoginRefused when every sequencer refuses the login for its
        user or password.
        """
        if not self._wait(lambda: self.submission.answered, self.connect_seconds):
            raise self._not_connected()

    def send(self, payload: bytes | bytearray | memoryview, timeout: float | None = None) -> Ticket:
        """Hand over one message of up to 16 MiB; returns its ticket at once.

        When the outbox is full, waits up to `timeout` seconds for acknowledgements (None: as long as it takes; 0:
        not at all) and then raises WouldBlock; the message is not taken then. Inside a running event loop None does
        not wait either: `await sender.room()` does.
        """
        data = payload if type(payload) is bytes else memoryview(payload).cast("B")
        self._ready_to_take()
        if not (sequence := self._intake.take_one(data)):  # in fragments, or no room
            return self.send_batch((data,), timeout=timeout)
        self._tickets.add(ticket := Ticket(self, sequence))
        self._move()
        return ticket

    def send_batch(
        self,
        messages: Messages | Sequence[bytes | bytearray | memoryview],
        start: int = 0,
        timeout: float | None = None,
    ) -> Ticket:
        """Hand over `messages[start:]`; returns the ticket of the last.

        Raises WouldBlock like `send`; its `taken` says how many of the whole sequence are taken: go on from there.
        Raises MessageTooLarge when one has more than 16 MiB. The bytes are copied: they may change afterwards.
        """
        batch = messages if isinstance(messages, Messages) else table_of(messages)
        self._ready_to_take()
        start += self._intake.take(batch, start)
        if start < len(batch):
            self._take_rest(batch, start, timeout)
        ticket = self._new_ticket()
        self._move()
        return ticket

    def pass_over(self, messages: Messages, frames: int) -> tuple[int, int]:
        """Take up an input whose first `frames` frames are in the stream already.

        Returns (messages of this batch that are covered whole, frames still to pass over): send the batch from
        there on. A message that is covered in part goes on inside.
        """
        return self._intake.pass_over(messages, frames)

    def flush(self, timeout: float | None = None) -> int:
        """Wait until everything is committed; returns the number of the last.

        Raises TimedOut after `timeout` seconds (None: never): what became of the messages in flight is unknown then.
        """
        if not self._wait(lambda: not self._unsettled, timeout):
            unknown = f"{self.in_flight} frames of {self.user!r} are not acknowledged yet"
            raise TimedOut(f"{unknown}; flushing again is safe")
        return self.committed_number

    def poll(self, timeout: float = 0.0) -> None:
        """Move what can be moved, waiting at most `timeout` seconds for the connection."""
        self._turn(int(timeout * 1e9))

    async def flushed(self) -> int:
        """Wait until everything is committed, as `flush` does."""
        await self._until(lambda: not self._unsettled)
        return self.committed_number

    async def room(self) -> None:
        """Wait until half of the outbox is free, and no message waits for the rest of its room."""
        outbox, half = self.submission.outbox, self.outbox_bytes // 2
        await self._until(lambda: outbox.used_bytes <= half and not self._intake.waiting_frames)

    def close(self) -> None:
        """Log out. What is in flight stays unknown; a sender of the same user can go on from there."""
        if self._closed:
            return
        self._closed = True
        if self._loop is not None:
            self._loop.stop()
            self._loop = None
        self._uplink.close(self._pump.clock.read())
        self._pump.close()
        self._fail(
            NotConnected(f"the sender of {self.user!r} was closed; what was in flight may be in the stream")
        )

    # for tickets

    def attach(self) -> None:
        """Move by itself in the event loop that is running, from now on. Raises RuntimeError when none is."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._check_failure()
            self._begin()
            self._loop = LoopTurns(loop, self._pump, lambda: self._turn(0), self._fail)
            self._loop.start()
        elif self._loop.loop is not loop:
            raise SeqcastError(f"the sender of {self.user!r} belongs to another event loop: make one in each")

    def wait_for(self, ticket: Ticket, timeout: float | None) -> None:
        """Let time pass until a ticket is done, or for `timeout` seconds."""
        self._wait(lambda: ticket.settled, timeout)

    def look(self) -> None:
        """Take what has come, for a ticket that is asked whether it is done."""
        if self._loop is None and self._failure is None:
            self._turn(0)

    # inside

    @property
    def _unsettled(self) -> bool:
        return self.in_flight > 0 or len(self._tickets) > 0

    def _begin(self) -> None:
        if not self._opened:
            self._opened = True
            self._uplink.open(self._pump.clock.read())

    def _move(self) -> None:
        """Write what the connection takes now, or have the event loop do it."""
        uplink = self._uplink
        if self._loop is not None:
            self._loop.soon()
        elif not uplink.full or len(self.submission.outbox.unsent) >= WRITE_BYTES:
            uplink.write(self._pump.clock.read())
            if uplink.full:
                self._turn(0)

    def _turn(self, limit_ns: int) -> None:
        """Write what waits, wait for something to do, and do it."""
        self._check_failure()
        self._begin()
        try:
            self._uplink.write(self._pump.clock.read())
            self._pump.turn(limit_ns)
        except SeqcastError as error:
            self._fail(error)
            raise

    def _finish(self, now_ns: int) -> int:
        """The end of a turn: what acknowledgements made room for leaves too."""
        self._intake.go_on()
        self._uplink.write(now_ns)
        self._uplink.look_after(now_ns)
        return 0

    def _ended(self) -> None:
        left = f"{self.in_flight} frame{'' if self.in_flight == 1 else 's'}" if self.in_flight else "nothing"
        self._fail(SessionEnded(f"the session has ended, and {left} of {self.user!r} did not enter it"))

    def _ready_to_take(self) -> None:
        """Messages can be numbered once the sequencer has said where this user stopped."""
        self._check_failure()
        if self.submission.resumed_at is None:
            if inside_event_loop():
                raise NotConnected(f"the sender of {self.user!r} is not open: use `async with Sender(...)`")
            self.open()

    def _take_rest(self, batch: Messages, start: int, timeout: float | None) -> None:
        """Wait for room until everything from `start` on is taken."""

        def all_taken() -> bool:
            nonlocal start
            start += self._intake.take(batch, start)
            return start == len(batch)

        if inside_event_loop() or not self._wait(all_taken, timeout):
            raise WouldBlock(
                f"the outbox of {self.user!r} is full ({self.outbox_bytes} bytes): wait for acknowledgements",
                start,
            )

    def _new_ticket(self) -> Ticket:
        """The ticket of the last message that was taken."""
        sequence = self.last_sequence
        ticket = Ticket(self, sequence)
        if sequence <= self.committed_sequence and not self._unsettled:
            ticket.settle(self.committed_number, None)
        else:
            self._tickets.add(ticket)
        return ticket

    def _wait(self, done: Callable[[], bool], timeout: float | None) -> bool:
        """Turns until `done()`, or for `timeout` seconds; returns which."""
        if done():
            return True
        if inside_event_loop():
            raise SeqcastError("this would stop the event loop: await the ticket, room() or flushed()")
        clock = self._pump.clock
        deadline_ns = None if timeout is None else clock.read() + int(timeout * 1e9)
        while True:
            left_ns = WAIT_NS if deadline_ns is None else deadline_ns - clock.read()
            self._turn(max(0, min(left_ns, WAIT_NS)))
            if done():
                return True
            if left_ns <= 0:
                return False

    async def _until(self, done: Callable[[], bool]) -> None:
        """Wait in the event loop until `done()`."""
        self.attach()
        while not done():
            self._check_failure()
            assert self._loop is not None
            await self._loop.next_turn()

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
        self._tickets.fail(error)

    def _check_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _not_connected(self) -> NotConnected:
        return NotConnected(
            f"no sequencer let {self.user!r} in within {self.connect_seconds:g} s: {self.trouble or 'no answer'}"
        )
