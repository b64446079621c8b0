"""The uplink of a sender: its connection to the sequencer that is primary now.

Found among the sequencers, logged in, kept alive, lost, found again. Frames of the outbox go straight to the
socket; whatever else the session has to say may go only between two frames. Nothing waits here: the pump says what
is ready and what is due.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from attrs import define, field

from moldudp import session_field
from rewinder.pump import READABLE, WRITABLE
from seqcast.errors import LoginRefused
from souptcp import REJECT_REASONS, Accepted, Closed, Debug, EndOfSession, Rejected, Unsequenced, log_in
from souptcp.session import HEARTBEAT_NS, TIMEOUT_NS

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from native.messages import Messages
    from rewinder.network import Network
    from rewinder.pump import Pump
    from seqcast.submission import Answer, Submission
    from souptcp import ClientSession, Connection

WRITE_BYTES = 256 * 1024
"""Bytes handed to the connection in one call, so that answers are read in between."""

WAIT_NS = 1_000_000_000
"""Longest wait in one turn; who waits longer comes back for another."""

CONNECT_SECONDS = 10.0
"""How long a sender looks for a sequencer when it is opened: some takeovers."""

RETRY_NS = 5_000_000
RETRY_LIMIT_NS = 250_000_000
"""First and longest pause between rounds over the sequencers. A standby that takes over does so within some ten
milliseconds, and one that refuses a login costs hardly anything."""

QUICK_ROUNDS = 4
"""Rounds with the first pause between them: as long as a takeover takes. After them it doubles from round to round."""

RETRY_JITTER = 0.25
"""Part of a pause by which chance makes it longer: senders that lost one primary do not come to the next together."""

LOGIN_NS = 250_000_000
LOGIN_LIMIT_NS = 2_000_000_000
"""A sequencer that has not answered the login by then is left for the next: in the first round, and at most. A
process that is stopped still gets connections, from its kernel."""

NEVER_REFUSED_AGAIN = "A"
"""The reject code of a wrong user or password: no other moment makes it right."""


@define(eq=False)
class Uplink:
    """Keeps `submission` connected to one of `sequencers`, and moves its frames.

    `on_answer(answer)` is told of each answer, `on_end()` that the session has ended: what was not acknowledged by then
    is not in it. After `silence_ns` without an acknowledgement that was due the next
    sequencer is tried; that is no loss when it was the right one, because whatever it has got needs not be sent
    again. When every sequencer refuses the user, LoginRefused comes out of the pump; StreamLost does when an answer
    contradicts what was acknowledged.

    `session` has ten bytes. With `after`, the name of a session, it is whichever is served next: one that is called
    so has ended.
    """

    pump: Pump
    network: Network
    random: Random
    submission: Submission
    sequencers: list[tuple[str, int]]
    user: str
    password: str
    session: bytes
    silence_ns: int
    on_answer: Callable[[Answer], None]
    on_end: Callable[[], None] = lambda: None
    timeout_ns: int = TIMEOUT_NS
    after: bytes = b""
    reconnections: int = field(default=0, init=False)
    trouble: str | None = field(default=None, init=False)
    client: ClientSession | None = field(default=None, init=False)
    """The session of the present connection."""
    _connection: Connection | None = field(default=None, init=False)
    _kernel_socket: bool = field(default=False, init=False)  # and none of a simulator
    _events: int = field(default=0, init=False)
    _login_due_ns: int = field(default=0, init=False)
    _position: int = field(default=0, init=False)
    _failures: int = field(default=0, init=False)
    _not_before_ns: int | None = field(default=None, init=False)  # when to connect; None: never
    _overdue: tuple[int, int] | None = field(
        default=None, init=False
    )  # sequence in flight, when it is overdue
    _steady: bool = field(default=False, init=False)  # logged in when the last turn ended
    _refusals: dict[tuple[str, int], str] = field(factory=dict, init=False)

    @property
    def full(self) -> bool:
        """Whether the connection has no room now: what waits leaves when it has."""
        return self._events & WRITABLE != 0

    def open(self, now_ns: int) -> None:
        """Begin; everything else happens in turns of the pump."""
        self._not_before_ns = now_ns
        self._connect(now_ns)

    def write(self, now_ns: int) -> None:
        """Send what waits, as much as the connection takes."""
        connection, outbox = self._connection, self.submission.outbox
        if connection is None or (
            outbox.all_sent and self._events == READABLE and not connection.session.has_output
        ):
            return
        try:
            empty = not connection.wants_write or self._mid_frame() or connection.write(now_ns)
            if empty and self.submission.answered:
                empty = self._send_frames(connection, now_ns)
        except BlockingIOError:
            empty = False
        except OSError as error:
            self._lost(str(error), now_ns)
            return
        events = READABLE if empty else READABLE | WRITABLE
        if events != self._events:
            self._events = events
            self.pump.change(connection.fileno(), events)

    def _send_frames(self, connection: Connection, now_ns: int) -> bool:
        """Send what waits in the outbox; True when all of it has left."""
        outbox = self.submission.outbox
        if outbox.all_sent:
            return True
        assert self.client is not None
        if self._kernel_socket:
            if outbox.send(connection.fileno(), WRITE_BYTES):
                self.client.sent(now_ns)
            return outbox.all_sent
        while unsent := outbox.unsent:
            sent = connection.socket.send(unsent[:WRITE_BYTES])
            outbox.left(sent)
            self.client.sent(now_ns)
            if sent < WRITE_BYTES:
                break
        return outbox.all_sent

    def look_after(self, now_ns: int) -> None:
        """End a turn: whether something is overdue, and when the next timer is."""
        before = self._overdue
        if self._connection is not None and self._silent(now_ns):
            self._lost(f"nothing was acknowledged for {self.silence_ns / 1e9:g} s", now_ns)
        steady = self._steady and self.submission.answered
        # A session that stays logged in moves its timer later only; so does what is in flight, once it is.
        if not steady or (before is None and self._overdue is not None and self.silence_ns < HEARTBEAT_NS):
            self.pump.timers.watch(self)
        self._steady = self.submission.answered

    def close(self, now_ns: int) -> None:
        """Log out and let go. What is in flight stays unknown."""
        self._not_before_ns = None
        if self.submission.answered and not self._mid_frame() and self.client is not None:
            self.client.logout(now_ns)
            if self._connection is not None:
                self._connection.write(now_ns)
        self._drop()

    # timers

    def deadline_ns(self) -> int | None:
        """When to connect again, to give a login or a silent sequencer up, or to heartbeat."""
        if self.client is None:
            return self._not_before_ns
        ours_ns = self._login_due_ns
        if self.submission.answered:
            if self._overdue is None:
                return self.client.deadline_ns()
            ours_ns = self._overdue[1]
        session_ns = self.client.deadline_ns()
        return ours_ns if session_ns is None else min(ours_ns, session_ns)

    def handle_timer(self, now_ns: int) -> None:
        """Do what is due."""
        if self.client is None:
            self._connect(now_ns)
            return
        if not self.submission.answered and now_ns >= self._login_due_ns:
            self._lost("no answer to the login", now_ns)
            return
        for event in self.client.handle_timer(now_ns):
            if isinstance(event, Closed):
                self._lost(event.reason, now_ns)
                return
        self.write(now_ns)

    # the connection

    def _connect(self, now_ns: int) -> None:
        """Try the sequencers from the present one on, until a connection is begun or the round is over."""
        while self._connection is None and self._not_before_ns is not None and now_ns >= self._not_before_ns:
            try:
                self._connection, self.client = log_in(
                    self._address,
                    user=self.user,
                    password=self.password,
                    session=self.session,
                    sequence_number=self.submission.wanted,
                    now_ns=now_ns,
                    timeout_ns=self.timeout_ns,
                    connect=self.network.connect,
                )
            except OSError as error:
                self._lost(str(error), now_ns)
                continue
            rounds = min(self._failures // len(self.sequencers), 16)
            self._login_due_ns = now_ns + min(LOGIN_NS << rounds, LOGIN_LIMIT_NS)
            self.submission.connected()
            self._kernel_socket = isinstance(self._connection.socket, socket.socket)
            self._events = READABLE | WRITABLE  # writable says that the connection is made
            self.pump.watch(self._connection.fileno(), self._on_ready, self._events)
        self.pump.timers.watch(self)

    def _on_ready(self, events: int, now_ns: int) -> int:
        connection = self._connection
        if connection is None:
            return 0
        work = 0
        if events & ~WRITABLE:
            work = 1
            answers = connection.take(now_ns)
            if answers is not None:
                self._answered(answers)
            if answers is None or connection.session.waiting:
                for event in connection.read(now_ns):
                    self._take(event, now_ns)
                    if self._connection is not connection:
                        return work
        if events & WRITABLE:
            self.write(now_ns)
        return work

    def _take(self, event: object, now_ns: int) -> None:
        match event:
            case Unsequenced(answers):
                self._answered(answers)
            case Accepted(session, number):
                self._let_in(session.strip(), number, now_ns)
            case Debug(text):
                self.trouble = text
            case EndOfSession():
                self._not_before_ns = None
                self.submission.connected()
                self._drop()
                self.on_end()
            case Rejected(reason):
                self._refused(reason, now_ns)
            case Closed(reason):
                self._lost(self.trouble or reason, now_ns)

    def _let_in(self, session: bytes, number: int, now_ns: int) -> None:
        """A login was accepted, for the session of this name: it is ours from now on."""
        if self.after and session == self.after:
            self._lost(
                f"session {session.decode('ascii', 'replace')} has ended, and no other has begun", now_ns
            )
            return
        self.session = session_field(session)
        self.submission.accepted(number)

    def _answered(self, answers: Messages) -> None:
        for payload in answers:
            self.on_answer(self.submission.answer(payload))
        if self._failures or self._refusals or self.trouble is not None:
            self._failures, self.trouble = 0, None
            self._refusals.clear()

    def _silent(self, now_ns: int) -> bool:
        """Whether what is in flight should have been acknowledged by now. It is asked after everything was read."""
        submission = self.submission
        if not submission.answered or not submission.in_flight:
            self._overdue = None
            return False
        first = submission.outbox.first_sequence
        if self._overdue is None or self._overdue[0] != first:
            self._overdue = (first, now_ns + self.silence_ns)
        return now_ns >= self._overdue[1]

    def _mid_frame(self) -> bool:
        return self.submission.answered and self.submission.outbox.mid_frame

    @property
    def _address(self) -> tuple[str, int]:
        return self.sequencers[self._position % len(self.sequencers)]

    def _refused(self, reason: str, now_ns: int) -> None:
        host, port = self._address
        self._refusals[host, port] = reason
        everywhere = len(self._refusals) == len(self.sequencers)
        why = REJECT_REASONS.get(reason, f"code {reason!r}")
        self._lost(f"{host}:{port} refused the login: {why}", now_ns)
        if everywhere and all(code == NEVER_REFUSED_AGAIN for code in self._refusals.values()):
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
        self._not_before_ns = now_ns
        rounds, within = divmod(self._failures, len(self.sequencers))
        if within == 0:
            pause_ns = min(RETRY_NS << min(max(0, rounds - QUICK_ROUNDS), 16), RETRY_LIMIT_NS)
            self._not_before_ns += int(pause_ns * (1 + RETRY_JITTER * self.random.random()))
        self.pump.timers.watch(self)

    def _drop(self) -> None:
        self.client = None
        if self._connection is not None:
            self.pump.forget(self._connection.fileno())
            self._connection.abandon()
            self._connection = None
