"""The connection of a follower to its primary: found among the sequencers, kept, and made again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from rewinder.errors import RefusedRecord, StorageFull
from rewinder.pump import READABLE, WRITABLE
from souptcp import Accepted, Closed, EndOfSession, Rejected, Sequenced, Unsequenced, log_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from native.messages import Messages
    from rewinder.counters import Counters
    from rewinder.follower import Follower
    from rewinder.pump import Pump
    from souptcp import ClientSession, Connection

RETRY_NS = 50_000_000
"""First pause after a failed connection; doubles up to the limit, with jitter."""

RETRY_LIMIT_NS = 1_000_000_000
"""Longest pause: a primary that comes back is followed again within about a second."""

LOGIN_LIMIT_NS = 3_000_000_000
"""A primary that has not answered the login by then is given up."""


@define(eq=False)
class Link:
    """Follows whichever of `primaries` lets us in. `report(sentence)` is told when the state changes.

    A log that cannot be reconciled, or not trusted, raises LogError out of the pump: the process must not go on.
    """

    pump: Pump
    follower: Follower
    primaries: list[tuple[str, int]]
    user: str
    password: str
    counters: Counters
    random: Random
    report: Callable[[str], None]
    following: tuple[str, int] | None = field(default=None, init=False)
    ended: bool = field(default=False, init=False)
    _connection: Connection | None = field(default=None, init=False)
    _session: ClientSession = field(init=False)
    _events: int = field(default=READABLE, init=False)
    _position: int = field(default=-1, init=False)
    _failures: int = field(default=0, init=False)
    _due_ns: int | None = field(default=0, init=False)

    def deadline_ns(self) -> int | None:
        """When to connect again, or when the session wants its timer."""
        if self._connection is None:
            return self._due_ns
        session_ns = self._session.deadline_ns()
        if self.following is None and self._due_ns is not None:
            return self._due_ns if session_ns is None else min(self._due_ns, session_ns)
        return session_ns

    def handle_timer(self, now_ns: int) -> None:
        """Connect, or keep the connection alive."""
        if self._connection is None:
            self._connect(now_ns)
            return
        if self.following is None and self._due_ns is not None and now_ns >= self._due_ns:
            self._lost("no answer to the login", now_ns)
            return
        for event in self._session.handle_timer(now_ns):
            if isinstance(event, Closed):
                self._lost(event.reason, now_ns)
                return
        self._write(now_ns)

    def answer(self, now_ns: int) -> None:
        """Tell the primary what is held by now."""
        if self.following is not None:
            held = self.follower.held(now_ns)
            if held is not None:
                self._session.send_unsequenced(held)
                self._write(now_ns)

    def close(self) -> None:
        """Let go of the primary."""
        self._due_ns = None
        self._drop()

    def _connect(self, now_ns: int) -> None:
        self._position = (self._position + 1) % len(self.primaries)
        address = self.primaries[self._position]
        log = self.follower.log
        try:
            connection, self._session = log_in(
                address,
                user=self.user,
                password=self.password,
                session=log.session,
                sequence_number=self.follower.login_number,
                now_ns=now_ns,
            )
        except OSError as error:
            self._lost(str(error), now_ns)
            return
        self._connection = connection
        self._events = READABLE | WRITABLE  # writable says that the connection is made
        self._due_ns = now_ns + LOGIN_LIMIT_NS
        self.pump.watch(connection.fileno(), self._on_ready, self._events)
        self.pump.timers.watch(self)

    def _on_ready(self, events: int, now_ns: int) -> int:
        connection = self._connection
        if connection is None:
            return 0
        work = 0
        if events & ~WRITABLE:
            for event in connection.read(now_ns):
                work += 1
                self._handle(event, now_ns)
                if self._connection is not connection:
                    return work
        self._write(now_ns)
        return work

    def _handle(self, event: object, now_ns: int) -> None:
        match event:
            case Sequenced(first_number, messages):
                self._append(first_number, messages, now_ns)
            case Unsequenced(messages):
                for message in messages:
                    if not self.follower.unsequenced(bytes(message)):
                        self._lost("the logs were reconciled; logging in at the shared record", now_ns)
                        return
            case Accepted(_, sequence_number):
                self.follower.accepted(sequence_number)
                self.following = self.primaries[self._position]
                self._failures = 0
                self.report(f"following {self.following[0]}:{self.following[1]} from {sequence_number}")
            case Rejected(reason):
                self._lost(f"login refused ({reason})", now_ns)
            case EndOfSession():
                self.ended = True
            case Closed(reason):
                self._lost(reason, now_ns)

    def _append(self, first_number: int, messages: Messages, now_ns: int) -> None:
        try:
            self.follower.sequenced(first_number, messages)
        except StorageFull as error:
            self.counters.add("follower.storage_full")
            self._lost(str(error), now_ns)
        except RefusedRecord as error:
            self.counters.add("follower.refused_record")
            self._lost(str(error), now_ns)

    def _write(self, now_ns: int) -> None:
        connection = self._connection
        if connection is None:
            return
        empty = connection.write(now_ns)
        events = READABLE if empty else READABLE | WRITABLE
        if events != self._events:
            self._events = events
            self.pump.change(connection.fileno(), events)

    def _lost(self, reason: str, now_ns: int) -> None:
        host, port = self.primaries[self._position]
        if self.following is not None or self._failures == 0:
            self.report(f"not following {host}:{port}: {reason}")
        self.counters.add("follower.disconnects")
        self._drop()
        pause = min(RETRY_NS << min(self._failures, 8), RETRY_LIMIT_NS)
        self._failures += 1
        self._due_ns = now_ns + int(pause * (1 + 0.5 * self.random.random()))
        self.pump.timers.watch(self)

    def _drop(self) -> None:
        self.following = None
        if self._connection is not None:
            self.pump.forget(self._connection.fileno())
            self._connection.abandon()
            self._connection = None
