"""One outgoing SoupBinTCP connection of a node, kept on a pump: made, logged in, kept alive, lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field, frozen

from rewinder.pump import READABLE, WRITABLE
from souptcp import Accepted, Closed, Rejected, log_in
from souptcp.packets import PacketType

if TYPE_CHECKING:
    from collections.abc import Callable

    from rewinder.network import Network
    from rewinder.pump import Pump
    from souptcp import ClientSession, Connection

LOGIN_LIMIT_NS = 3_000_000_000
"""A peer that has not answered the login by then is given up, unless silence is noticed sooner."""


@frozen
class Identity:
    """Who a node is to the others: its name, the password that all nodes share, and the session."""

    name: str
    password: str
    session: bytes


@frozen
class Patience:
    """Silence between nodes, in nanoseconds: a heartbeat is sent after the first, the peer is lost after the second."""

    heartbeat_ns: int
    silence_ns: int


@define(eq=False)
class Dial:
    """A connection that its owner opens, and that tells him what comes.

    `on_event(event, now_ns)` gets the events of the session but for its end; `on_lost(reason, now_ns)` is told
    that the connection is gone, and may open it again. `skim` is offered first what comes, see
    `ClientSession`. `silent` says whether the last one was lost because nothing was heard.
    """

    pump: Pump
    network: Network
    identity: Identity
    patience: Patience
    on_event: Callable[[object, int], None]
    on_lost: Callable[[str, int], None]
    skim: Callable[[memoryview, int, int], tuple[int, int]] | None = None
    logged_in: bool = field(default=False, init=False)
    silent: bool = field(default=False, init=False)
    _connection: Connection | None = field(default=None, init=False)
    _session: ClientSession = field(init=False)
    _events: int = field(default=READABLE, init=False)
    _login_due_ns: int = field(default=0, init=False)

    @property
    def open(self) -> bool:
        """Whether there is a connection, or one that is being made."""
        return self._connection is not None

    def connect(self, address: tuple[str, int], number: int, now_ns: int) -> None:
        """Begin to connect and to log in at `number`; a failure that is known at once comes as `on_lost`."""
        self.close()
        try:
            connection, self._session = log_in(
                address,
                user=self.identity.name,
                password=self.identity.password,
                session=self.identity.session,
                sequence_number=number,
                now_ns=now_ns,
                heartbeat_ns=self.patience.heartbeat_ns,
                timeout_ns=self.patience.silence_ns,
                connect=self.network.connect,
            )
        except OSError as error:
            self._lose(str(error), now_ns)
            return
        self._session.skim = self.skim
        self._connection = connection
        self._events = READABLE | WRITABLE  # writable says that the connection is made
        self._login_due_ns = now_ns + min(LOGIN_LIMIT_NS, self.patience.silence_ns)
        self.pump.watch(connection.fileno(), self._on_ready, self._events)
        self.pump.timers.watch(self)

    def send(self, payload: bytes, now_ns: int) -> None:
        """Send one unsequenced packet; only while logged in."""
        session, connection = self._session, self._connection
        packet = session.codec.frame(PacketType.UNSEQUENCED, payload)
        if connection is None:
            session.send_framed(packet)
        elif not connection.send(packet, now_ns):
            self.write(now_ns)

    def write(self, now_ns: int) -> None:
        """Send what is queued."""
        connection = self._connection
        if connection is None:
            return
        empty = connection.write(now_ns)
        events = READABLE if empty else READABLE | WRITABLE
        if events != self._events:
            self._events = events
            self.pump.change(connection.fileno(), events)

    def close(self) -> None:
        """Let go of the connection at once; `on_lost` is not told."""
        self.logged_in = False
        if self._connection is not None:
            self.pump.forget(self._connection.fileno())
            self._connection.abandon()
            self._connection = None
            self.pump.timers.forget(self)

    def deadline_ns(self) -> int | None:
        """When the session wants its timer, or the login is overdue."""
        if self._connection is None:
            return None
        session_ns = self._session.deadline_ns()
        if self.logged_in:
            return session_ns
        return self._login_due_ns if session_ns is None else min(self._login_due_ns, session_ns)

    def handle_timer(self, now_ns: int) -> None:
        """Heartbeats and time-outs."""
        connection = self._connection
        if connection is None:
            return
        if not self.logged_in and now_ns >= self._login_due_ns:
            self._lose("no answer to the login", now_ns, silent=True)
            return
        for event in self._session.handle_timer(now_ns):
            if isinstance(event, Closed):
                self._lose(event.reason, now_ns, silent=True)
                return
        self.write(now_ns)

    def _on_ready(self, events: int, now_ns: int) -> int:
        connection = self._connection
        if connection is None:
            return 0
        work = 1
        if events & ~WRITABLE:
            for event in connection.read(now_ns):
                work += 1
                self._take(event, now_ns)
                if self._connection is not connection:
                    return work
        if self._session.output_bytes or events & WRITABLE:
            self.write(now_ns)
        return work

    def _take(self, event: object, now_ns: int) -> None:
        match event:
            case Closed(reason):
                self._lose(reason, now_ns)
            case Rejected(reason):
                self._lose(f"login refused ({reason})", now_ns)
            case Accepted():
                self.logged_in = True
                self.pump.timers.watch(self)  # heartbeats are due sooner than the answer to a login
                self.on_event(event, now_ns)
            case _:
                self.on_event(event, now_ns)

    def _lose(self, reason: str, now_ns: int, *, silent: bool = False) -> None:
        self.silent = silent
        self.close()
        self.on_lost(reason, now_ns)
