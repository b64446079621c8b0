"""The connection to a rewinder: a SoupBinTCP login at the first missing number, and what comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from souptcp import REJECT_REASONS, Accepted, Closed, EndOfSession, Rejected, Sequenced, connect, log_in

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from native.messages import Messages
    from souptcp import ClientSession, Connection

CONNECT_TIMEOUT_NS = 2_000_000_000
"""A rewinder that has not let us in by then is taken for dead, and the next one is asked."""

SILENCE_NS = 3_000_000_000
"""A rewinder that was not heard of for so long is gone, and the next one is asked. It heartbeats every second."""


@define(eq=False)
class Rewind:
    """One login at one rewinder, from `number` on.

    `records(now_ns)` reads what has come and yields batches, valid until the next one is asked for. After
    `failure` is set nothing more comes: the sentence says why.
    """

    address: tuple[str, int]
    number: int
    connection: Connection
    session: ClientSession
    opened_ns: int
    accepted: int | None = field(default=None, init=False)
    ended: bool = field(default=False, init=False)
    rejected: str | None = field(default=None, init=False)
    failure: str | None = field(default=None, init=False)

    @classmethod
    def open(
        cls,
        address: tuple[str, int],
        *,
        user: str,
        password: str,
        session: bytes,
        number: int,
        now_ns: int,
        timeout_ns: int = SILENCE_NS,
        connect: Callable[[str, int], socket.socket] = connect,
    ) -> Rewind:
        """Begin to connect; raises OSError when that fails at once."""
        connection, client = log_in(
            address,
            user=user,
            password=password,
            session=session,
            sequence_number=number,
            now_ns=now_ns,
            timeout_ns=timeout_ns,
            connect=connect,
        )
        return cls(address, number, connection, client, now_ns)

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self.connection.fileno()

    def records(self, now_ns: int) -> Iterator[Messages]:
        """Read what is there."""
        for event in self.connection.read(now_ns):
            match event:
                case Sequenced(_, messages):
                    yield messages
                case Accepted(_, sequence_number):
                    self.accepted = sequence_number
                case Rejected(reason):
                    self.rejected = reason
                    why = REJECT_REASONS.get(reason, f"code {reason!r}")
                    self.failure = f"{self.address[0]}:{self.address[1]} refused the login: {why}"
                case EndOfSession():
                    self.ended = True
                case Closed(reason):
                    self.failure = self.failure or f"{self.address[0]}:{self.address[1]}: {reason}"
        self.write(now_ns)

    def write(self, now_ns: int) -> bool:
        """Send what is queued (the login, heartbeats)."""
        return self.connection.write(now_ns)

    def deadline_ns(self) -> int | None:
        """When the session wants its timer, or the login is overdue."""
        deadlines = [d for d in (self.session.deadline_ns(),) if d is not None]
        if self.accepted is None:
            deadlines.append(self.opened_ns + CONNECT_TIMEOUT_NS)
        return min(deadlines, default=None)

    def handle_timer(self, now_ns: int) -> None:
        """Heartbeats and time-outs."""
        if self.accepted is None and now_ns - self.opened_ns >= CONNECT_TIMEOUT_NS:
            self.failure = self.failure or f"{self.address[0]}:{self.address[1]} did not answer the login"
        for event in self.session.handle_timer(now_ns):
            if isinstance(event, Closed):
                self.failure = self.failure or f"{self.address[0]}:{self.address[1]}: {event.reason}"
        if self.failure is None:
            self.write(now_ns)

    def close(self) -> None:
        """Let go of the connection at once; nothing of ours is lost by that."""
        self.connection.abandon()
