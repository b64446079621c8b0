"""The sender: messages in at the sequencer, each exactly once, acknowledged when committed.

Nothing runs behind the app's back: `send` queues, and the connection moves whenever the app calls `poll`,
`flush` or `send` on a full outbox.
"""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING, Self

from attrs import define, field

from native.messages import MessageTable
from seqcast._native import Outbox
from seqcast.errors import LoginRefused, NotConnected, TimedOut, WouldBlock
from seqcast.submission import Submission
from souptcp import REJECT_REASONS, Accepted, Closed, Debug, Rejected, Unsequenced, log_in

if TYPE_CHECKING:
    from types import TracebackType

    from native.messages import Messages
    from souptcp import ClientSession, Connection

OUTBOX_BYTES = 4 << 20
"""Frames that may be in flight: what a sender has to keep to be able to send it again."""

WRITE_BYTES = 256 * 1024
"""Bytes handed to the connection in one call, so that answers are read in between."""

RETRY_NS = 5_000_000
RETRY_LIMIT_NS = 250_000_000
"""First and longest pause between rounds over the sequencers; it doubles from round to round. A standby that takes
over does so within some ten milliseconds, and one that refuses a login costs hardly anything."""

LOGIN_NS = 250_000_000
LOGIN_LIMIT_NS = 2_000_000_000
"""A sequencer that has not answered the login by then is left for the next: in the first round, and at most. A
process that is stopped still gets connections, from its kernel."""

SILENCE_NS = 1_250_000_000
"""How long messages may be in flight without any being acknowledged: a little more than it takes the nodes to miss a
primary (`suspect_ms`). Then there may be another one, and this one does not know it."""


@define(eq=False)
class Sender:
    """A sender of one user.

    `sequencers` are the submit ports to try, in turn: a standby rejects the login. `fragment_bytes` is the
    largest payload that one record carries; longer messages travel in fragments. After `silence_ns` without an
    acknowledgement that was due the next sequencer is tried; that is no loss when it was the right one, because
    whatever it has got needs not be sent again.

    Use it as a context manager, or call `open` and `close`.
    """

    sequencers: list[tuple[str, int]]
    user: str
    password: str = ""
    session: bytes = b""
    fragment_bytes: int = 1422
    outbox_bytes: int = OUTBOX_BYTES
    connect_seconds: float = 10.0
    silence_ns: int = SILENCE_NS
    submission: Submission = field(init=False)
    reconnections: int = field(default=0, init=False)
    trouble: str | None = field(default=None, init=False)
    _connection: Connection | None = field(default=None, init=False)
    _session: ClientSession = field(init=False)
    _login_due_ns: int = field(default=0, init=False)
    _position: int = field(default=0, init=False)
    _failures: int = field(default=0, init=False)
    _not_before_ns: int = field(default=0, init=False)
    _overdue: tuple[int, int] | None = field(
        default=None, init=False
    )  # sequence in flight, when it is overdue
    _refusals: dict[tuple[str, int], str] = field(factory=dict, init=False)
    _single: MessageTable = field(factory=lambda: MessageTable(1), init=False)
    _poller: select.poll = field(factory=select.poll, init=False)
    _watched: tuple[int, int] | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.submission = Submission(Outbox(self.outbox_bytes))

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            self.close()

    # state

    @property
    def last_sequence(self) -> int:
        """Sender sequence of the last frame that was queued."""
        return self.submission.outbox.next_sequence - 1

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
        return self.submission.in_flight

    # calls

    def open(self) -> None:
        """Connect, and learn where this user stopped.

        Raises NotConnected after `connect_seconds`, LoginRefused when every sequencer refuses the login for
        its user or password.
        """
        deadline = time.monotonic() + self.connect_seconds
        while not self.submission.answered:
            left = deadline - time.monotonic()
            if left <= 0:
                raise NotConnected(
                    f"no sequencer let {self.user!r} in within {self.connect_seconds:g} s: "
                    f"{self.trouble or 'no answer'}"
                )
            self.poll(min(left, 0.05))

    def send(self, payload: bytes | bytearray | memoryview, timeout: float | None = None) -> int:
        """Queue one message; returns the sender sequence of its last frame.

        When the outbox is full, waits up to `timeout` seconds for acknowledgements (None: as long as it
        takes; 0: not at all) and then raises WouldBlock; the message is not queued then, unless it was so
        large that its first fragments are: send the same message again.
        """
        view = memoryview(payload).cast("B")
        self._single.set(0, 0, 0, len(view))
        self.send_batch(self._single.view(view, 1), timeout=timeout)
        return self.last_sequence

    def send_batch(self, messages: Messages, start: int = 0, timeout: float | None = None) -> None:
        """Queue `messages[start:]`. Raises WouldBlock like `send`, with the number queued as `taken`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        outbox = self.submission.outbox
        if not self.submission.answered and self.submission.resumed_at is None:
            self.open()
        while True:
            start += outbox.put(messages, start, self.fragment_bytes)
            if start >= len(messages):
                break
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise WouldBlock(f"the outbox of {self.user!r} is full", start)
            self.poll(0.1 if left is None else min(left, 0.1))
        if len(outbox.unsent) >= WRITE_BYTES:
            self.poll(0)

    def pass_over(self, messages: Messages, frames: int) -> tuple[int, int]:
        """Take up an input whose first `frames` frames are in the stream already.

        Returns (messages of this batch that are covered whole, frames still to pass over): queue the batch from
        there on. A message that is covered in part goes on inside.
        """
        return self.submission.outbox.skip(messages, self.fragment_bytes, frames)

    def flush(self, timeout: float | None = None) -> int:
        """Wait until everything queued is committed; returns the committed number.

        Raises TimedOut: then it is unknown what became of the messages in flight; flushing again is safe.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.in_flight:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimedOut(f"{self.in_flight} frames of {self.user!r} are not acknowledged yet")
            self.poll(0.1 if left is None else min(left, 0.1))
        return self.committed_number

    def poll(self, timeout: float = 0.0) -> None:
        """Move what can be moved, waiting at most `timeout` seconds for the connection."""
        now_ns = time.monotonic_ns()
        while self._connection is None:
            if now_ns < self._not_before_ns:
                time.sleep(min(timeout, (self._not_before_ns - now_ns) / 1e9))
                return
            self._connect(now_ns)
        self._write(now_ns)
        if self._connection is None:
            return
        wait = min(timeout, self._patience(now_ns))
        ready = self._poller.poll(wait * 1000)
        now_ns = time.monotonic_ns()
        if ready and ready[0][1] & ~select.POLLOUT:
            self._read(now_ns)
        self._timers(now_ns)
        self._write(now_ns)

    def close(self) -> None:
        """Log out. What is in flight stays unknown; a sender of the same user can go on from there."""
        if self._connection is not None:
            if self.submission.answered and not self._mid_frame():
                self._session.logout(time.monotonic_ns())
                self._write(time.monotonic_ns())
            self._drop()

    # the connection

    def _connect(self, now_ns: int) -> None:
        address = self.sequencers[self._position % len(self.sequencers)]
        try:
            self._connection, self._session = log_in(
                address,
                user=self.user,
                password=self.password,
                session=self.session,
                sequence_number=0,
                now_ns=now_ns,
            )
        except OSError as error:
            self._lost(str(error), now_ns)
            return
        rounds = min(self._failures // len(self.sequencers), 16)
        self._login_due_ns = now_ns + min(LOGIN_NS << rounds, LOGIN_LIMIT_NS)
        self.submission.connected()
        self._watch(select.POLLIN | select.POLLOUT)

    def _read(self, now_ns: int) -> None:
        connection = self._connection
        if connection is None:
            return
        for event in connection.read(now_ns):
            match event:
                case Unsequenced(messages):
                    for answer in messages:
                        self.submission.answer(bytes(answer))
                    self._failures = 0
                    self._refusals.clear()
                    self.trouble = None
                case Debug(text):
                    self.trouble = text
                case Rejected(reason):
                    self._refused(reason, now_ns)
                case Closed(reason):
                    self._lost(self.trouble or reason, now_ns)
                case Accepted():
                    pass
            if self._connection is not connection:
                return

    def _write(self, now_ns: int) -> None:
        connection = self._connection
        if connection is None:
            return
        outbox = self.submission.outbox
        try:
            empty = self._mid_frame() or connection.write(now_ns)
            if empty and self.submission.answered:
                unsent = outbox.unsent
                while unsent:
                    sent = connection.socket.send(unsent[:WRITE_BYTES])
                    outbox.left(sent)
                    self._session.sent(now_ns)
                    if sent < WRITE_BYTES:
                        break
                    unsent = outbox.unsent
                empty = not outbox.unsent
        except BlockingIOError:
            empty = False
        except OSError as error:
            self._lost(str(error), now_ns)
            return
        self._watch(select.POLLIN if empty else select.POLLIN | select.POLLOUT)

    def _timers(self, now_ns: int) -> None:
        if self._connection is None:
            return
        if not self.submission.answered and now_ns >= self._login_due_ns:
            self._lost("no answer to the login", now_ns)
            return
        if self._silent(now_ns):
            self._lost(f"nothing was acknowledged for {self.silence_ns / 1e9:g} s", now_ns)
            return
        for event in self._session.handle_timer(now_ns):
            if isinstance(event, Closed):
                self._lost(event.reason, now_ns)
                return

    def _patience(self, now_ns: int) -> float:
        """Seconds until a timer is due."""
        due_ns = self._session.deadline_ns()
        ours_ns = self._overdue[1] if self._overdue is not None else None
        if not self.submission.answered:
            ours_ns = self._login_due_ns
        due = min((each for each in (due_ns, ours_ns) if each is not None), default=now_ns + 1_000_000_000)
        return max(0.0, (due - now_ns) / 1e9)

    def _silent(self, now_ns: int) -> bool:
        """Whether what is in flight should have been acknowledged by now. It is asked after everything was read."""
        if not self.submission.answered or not self.in_flight:
            self._overdue = None
            return False
        first = self.submission.outbox.first_sequence
        if self._overdue is None or self._overdue[0] != first:
            self._overdue = (first, now_ns + self.silence_ns)
        return now_ns >= self._overdue[1]

    def _mid_frame(self) -> bool:
        return self.submission.answered and self.submission.outbox.mid_frame

    def _refused(self, reason: str, now_ns: int) -> None:
        address = self.sequencers[self._position % len(self.sequencers)]
        self._refusals[address] = reason
        everywhere = len(self._refusals) == len(self.sequencers)
        why = REJECT_REASONS.get(reason, f"code {reason!r}")
        self._lost(f"{address[0]}:{address[1]} refused the login: {why}", now_ns)
        if everywhere and all(code == "A" for code in self._refusals.values()):
            raise LoginRefused(f"user {self.user!r} may not publish: wrong name or password")

    def _lost(self, reason: str, now_ns: int) -> None:
        """Try the next sequencer; after a round of failures, after a pause."""
        self.trouble = reason
        if self.submission.answered:
            self.reconnections += 1
        self.submission.connected()
        self._drop()
        self._position += 1
        self._failures += 1
        self._overdue = None
        rounds, within = divmod(self._failures, len(self.sequencers))
        if within == 0:
            self._not_before_ns = now_ns + min(RETRY_NS << min(rounds - 1, 16), RETRY_LIMIT_NS)

    def _watch(self, events: int) -> None:
        assert self._connection is not None
        wanted = (self._connection.fileno(), events)
        if self._watched != wanted:
            self._poller.register(*wanted)
            self._watched = wanted

    def _drop(self) -> None:
        if self._connection is not None:
            self._poller.unregister(self._connection.fileno())
            self._watched = None
            self._connection.abandon()
            self._connection = None
