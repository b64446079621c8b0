"""A SoupBinTCP port of a server process: accepting, logging in, reading and writing on the pump's turns.

What a port is *for* is an `Application`: replay, replication and submission are three of them. The service
owns the connections; the application sees clients and events, and never a socket.

Nothing a peer sends ends the process: a broken protocol closes that one connection, with a counter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, field

from rewinder.pump import READABLE, WRITABLE
from souptcp import (
    SOUPBINTCP,
    Closed,
    Connection,
    LoginRequested,
    Logout,
    ProtocolViolation,
    ServerSession,
    Unsequenced,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from native.messages import Messages
    from rewinder.counters import Counters
    from rewinder.dial import Patience
    from rewinder.network import Listening
    from rewinder.pump import Pump
    from souptcp import LoginRequest

CLIENT_LIMIT = 1024
"""Connections a port holds at once: more are closed on arrival, so that descriptors stay bounded."""

OUTPUT_LIMIT_BYTES = 1 << 20
"""Unread output of one client (answers, heartbeats) above which it is cut off: it has stopped reading."""


@define(frozen=True)
class Granted:
    """A login that is let in: the session and the number of the next sequenced message it will get."""

    session: bytes
    sequence_number: int


@define(frozen=True)
class Denied:
    """A login that is turned away with the SoupBinTCP reject code `code` (`A` or `S`).

    `reason` is for the log, `label` for the counter.
    """

    code: bytes
    reason: str
    label: str


class Application(Protocol):
    """What a port is for."""

    def login(self, client: Client, request: LoginRequest, now_ns: int) -> Granted | Denied:
        """Decide on a login, and set `client.user` to the name it is known by."""

    def started(self, client: Client, now_ns: int) -> None:
        """The login was accepted; output may be queued."""

    def unsequenced(self, client: Client, messages: Messages, now_ns: int) -> None:
        """Messages from a client, valid during the call."""

    def writable(self, client: Client, now_ns: int) -> None:
        """The client's queued output has left and there is room for more."""

    def ended(self, client: Client) -> None:
        """The client is gone."""


class Bypass(Protocol):
    """Whoever moves the packets of a client past its session while that is in its most frequent state.

    That is: logged in, read, with nothing received or queued that waits.
    """

    def close(self, closed: bool) -> None:
        """Whether the connection is to be left alone."""

    @property
    def traffic(self) -> tuple[int, int]:
        """When something came that way last, and when something went, in monotonic nanoseconds; 0 for never."""


@define(eq=False)
class Client:
    """One connection of a service. `state` belongs to the application.

    `mid_packet` is set by an application that writes sequenced packets to the socket itself, while one of them
    has left only in part: nothing else may be written then.
    """

    service: Service
    connection: Connection
    session: ServerSession
    user: str = ""
    state: Any = None
    logged_in: bool = False
    gone: bool = False
    mid_packet: bool = False
    bypass: Bypass | None = None
    _events: int = READABLE
    _paused: bool = False
    _hungry: bool = False

    def send_unsequenced(self, payload: bytes) -> None:
        """Queue one unsequenced packet; `flush` sends it. For a client that was let go meanwhile it is lost."""
        if not self.gone:
            self.session.send_unsequenced(payload)

    def send_unsequenced_batch(self, messages: Messages) -> None:
        """Queue many unsequenced packets, as `send_unsequenced` does."""
        if not self.gone:
            self.session.send_unsequenced_batch(messages)

    def send(self, packets: memoryview, now_ns: int) -> None:
        """Send whole packets that are framed already, behind what is queued; what the peer does not take is copied."""
        if not self.gone and not self.connection.send(packets, now_ns):
            self.flush(now_ns)

    def flush(self, now_ns: int, *, more: bool = False) -> bool:
        """Send what is queued; False when the peer does not take it all now (the pump goes on later).

        `more` promises that the application writes something to the socket at once.
        """
        if self.gone or self.mid_packet:
            return False
        empty = self.connection.write(now_ns, more=more)
        if not empty and self.session.output_bytes > OUTPUT_LIMIT_BYTES:
            self.service.counters.add(f"{self.service.name}.unread_output")
            self.service.notice(
                "a client does not read", self, f"{self.session.output_bytes} bytes wait for it"
            )
            self.service.drop(self, "stopped reading its answers")
            return False
        self._update(hungry=self._hungry if empty else True)
        return empty

    def want_room(self, hungry: bool) -> None:
        """Ask for `Application.writable` when the peer can take more."""
        if not self.gone:
            self._update(hungry=hungry)

    def pause(self) -> None:
        """Stop reading: TCP carries the back-pressure to the peer."""
        if not self.gone and not self._paused:
            self._paused = True
            self.session.pause()
            self._update(hungry=self._hungry)

    def resume(self, now_ns: int) -> None:
        """Read again."""
        if not self.gone and self._paused:
            self._paused = False
            self.session.resume(now_ns)
            self._update(hungry=self._hungry)
            self.service.pump.timers.watch(self)

    def close(self, reason: str, now_ns: int, *, debug: bool = True, patience_ns: int = 0) -> None:
        """Close in an orderly way, telling the peer why in a debug packet.

        `patience_ns` is how long the peer may take to close first.
        """
        if self.gone:
            return
        if self.mid_packet:  # a last word would be read as the rest of that packet
            self.service.release(self)
            self.connection.abandon()
            return
        if debug and self.logged_in and not self.session.closing:
            self.session.send_debug(reason)
        self.service.release(self)
        self.service.linger(self.connection, now_ns, patience_ns)

    def _update(self, *, hungry: bool) -> None:
        self._hungry = hungry
        events = (0 if self._paused else READABLE) | (WRITABLE if hungry else 0)
        if events != self._events:
            self._events = events
            self.service.pump.change(self.connection.fileno(), events)
            if self.bypass is not None:
                self.bypass.close(not self.steady)

    @property
    def steady(self) -> bool:
        """Whether it is in its most frequent state; see `Bypass`."""
        session = self.session
        return self._events == READABLE and session.between_packets and not session.has_output

    # the pump's side

    def on_ready(self, events: int, now_ns: int) -> int:
        """Handle a ready descriptor; returns work done."""
        work = 0
        if events & WRITABLE:
            work += 1
            if self.mid_packet or self.flush(now_ns):
                self._update(hungry=False)
                if self.logged_in:
                    self.service.application.writable(self, now_ns)
        if events & ~WRITABLE and not self.gone:
            work += self._read(now_ns)
        if self.bypass is not None:
            self.bypass.close(not self.steady)
        return work

    def _read(self, now_ns: int) -> int:
        messages = self.connection.take(now_ns)
        if messages is not None:
            self.service.application.unsequenced(self, messages, now_ns)
        work = 1
        if (messages is None or self.session.waiting) and not self.gone:
            for event in self.connection.read(now_ns):
                work += 1
                self.service.handle(self, event, now_ns)
                if self.gone:
                    return work
        if not self.gone and self.session.has_output:
            self.flush(now_ns)
        return work

    def deadline_ns(self) -> int | None:
        """When the session wants its timer."""
        if self.gone:
            return None
        if self.bypass is not None:
            self.session.note_traffic(*self.bypass.traffic)
        return self.session.deadline_ns()

    def handle_timer(self, now_ns: int) -> None:
        """Heartbeats and time-outs of the session."""
        for event in self.session.handle_timer(now_ns):
            self.service.handle(self, event, now_ns)
            if self.gone:
                return
        self.flush(now_ns)


@define(eq=False)
class Lingering:
    """A connection that is being closed in order: it flushes, shuts down, and waits for the peer to close."""

    service: Service
    connection: Connection
    fileno: int  # kept, because a closed connection has none
    events: int = READABLE | WRITABLE

    def on_ready(self, _events: int, now_ns: int) -> int:
        """The next step."""
        if self.connection.close(now_ns):
            self.service.settled(self)
        elif self.events & WRITABLE and not self.connection.wants_write:
            self.events = READABLE
            self.service.pump.change(self.fileno, READABLE)
        return 1

    def deadline_ns(self) -> int | None:
        """When the peer is given up."""
        return self.connection.deadline_ns()

    def handle_timer(self, now_ns: int) -> None:
        """Give the peer up."""
        self.on_ready(0, now_ns)


@define(eq=False)
class Service:
    """A listening port and its clients. `patience` says when they get heartbeats, and when they are given up.

    `notice(event, client, detail, label)` is told what people may want to know; the label is that of a refused login.
    """

    name: str
    pump: Pump
    listener: Listening
    application: Application
    counters: Counters
    patience: Patience
    notice: Callable[..., None] = field(default=lambda *_what: None, kw_only=True)
    clients: dict[int, Client] = field(factory=dict, init=False)
    _lingering: dict[int, Lingering] = field(factory=dict, init=False)

    def open(self) -> None:
        """Begin to accept."""
        self.pump.watch(self.listener.fileno(), self._accept)

    def close(self, now_ns: int) -> None:
        """Stop accepting and begin to close every client in an orderly way."""
        self.pump.forget(self.listener.fileno())
        self.listener.close()
        for client in list(self.clients.values()):
            client.close("the server is stopping", now_ns)

    @property
    def drained(self) -> bool:
        """True when no connection is open or lingering."""
        return not self.clients and not self._lingering

    def handle(self, client: Client, event: object, now_ns: int) -> None:
        """One event of a client's session."""
        match event:
            case Unsequenced(messages):
                self.application.unsequenced(client, messages, now_ns)
            case LoginRequested(request):
                self._login(client, request, now_ns)
            case Logout():
                pass  # `Closed` follows
            case ProtocolViolation(reason):
                self.counters.add(f"{self.name}.violations")
                self.notice("a client broke the protocol", client, reason)
            case Closed(reason):
                self.drop(client, reason)
            case _:
                self.counters.add(f"{self.name}.ignored")

    def drop(self, client: Client, reason: str) -> None:
        """Close at once: the peer is gone, or broke the protocol."""
        if client.gone:
            return
        if client.session.closing:  # the session has a last word (a reject, a reason) to be read first
            client.close(reason, self.pump.clock.now_ns, debug=False)
            return
        self.release(client)
        client.connection.abandon()

    def release(self, client: Client) -> None:
        """Forget a client; the caller closes the connection."""
        client.gone = True
        self.pump.forget(client.connection.fileno())
        self.pump.timers.forget(client)
        del self.clients[id(client)]
        self.counters.add(f"{self.name}.disconnects")
        if client.logged_in:
            self.application.ended(client)

    def linger(self, connection: Connection, now_ns: int, patience_ns: int) -> None:
        """Close a connection in order, on this turn and later ones."""
        if connection.close(now_ns, patience_ns):
            return
        lingering = Lingering(self, connection, connection.fileno())
        self._lingering[lingering.fileno] = lingering
        self.pump.watch(lingering.fileno, lingering.on_ready, lingering.events)
        self.pump.timers.watch(lingering)

    def settled(self, lingering: Lingering) -> None:
        """A lingering connection is closed: epoll has forgotten its descriptor by itself."""
        self._lingering.pop(lingering.fileno, None)
        self.pump.timers.forget(lingering)
        self.pump.drop(lingering.fileno)

    def _accept(self, _events: int, now_ns: int) -> int:
        accepted = 0
        for socket in self.listener.accept():
            accepted += 1
            if len(self.clients) + len(self._lingering) >= CLIENT_LIMIT:
                self.counters.add(f"{self.name}.too_many_clients")
                self.notice("too many clients", None, f"{CLIENT_LIMIT} are there")
                socket.close()
                continue
            session = self._session(now_ns)
            client = Client(self, Connection(socket, session), session)
            self.clients[id(client)] = client
            self.counters.add(f"{self.name}.connects")
            self.pump.watch(socket.fileno(), client.on_ready)
            self.pump.timers.watch(client)
        return accepted

    def _session(self, now_ns: int) -> ServerSession:
        patience = self.patience
        return ServerSession(
            SOUPBINTCP, now_ns=now_ns, heartbeat_ns=patience.heartbeat_ns, timeout_ns=patience.silence_ns
        )

    def _login(self, client: Client, request: LoginRequest, now_ns: int) -> None:
        answer = self.application.login(client, request, now_ns)
        if isinstance(answer, Denied):
            self.counters.add(f"{self.name}.login_rejected.{answer.label}")
            self.notice("login refused", client, f"{request.user!r}: {answer.reason}", answer.label)
            client.session.reject(answer.code, now_ns)
            client.close(answer.reason, now_ns, debug=False)
            return
        client.logged_in = True
        self.counters.add(f"{self.name}.logins")
        client.session.accept(answer.session, answer.sequence_number, now_ns)
        self.pump.timers.watch(client)
        self.application.started(client, now_ns)
        client.flush(now_ns)
