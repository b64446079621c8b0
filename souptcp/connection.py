"""Sessions over TCP sockets, without blocking: the owner waits for readiness and calls.

Closing has to be done in order. A socket that is closed while unread bytes lie in it (the peer's
heartbeats, say) makes the kernel send a reset, and a reset destroys what was written just before: the End
of Session or the Login Rejected that was to be the last word. `Connection.close` therefore flushes, shuts
down its own direction, reads until the peer has closed too, and closes then; each call does what can be
done at once.
"""

from __future__ import annotations

import errno
import socket as sockets
from contextlib import suppress
from os import strerror
from typing import TYPE_CHECKING

from souptcp.client import ClientSession
from souptcp.framing import SOUPBINTCP
from souptcp.session import HEARTBEAT_NS, TIMEOUT_NS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from native.messages import Messages
    from souptcp.events import Event
    from souptcp.session import Session

READS_PER_CALL = 4
"""Reads of one buffer each in one call: one busy peer gets a megabyte, then it is somebody else's turn."""

LINGER_NS = 5_000_000_000
"""How long a closing connection waits for a peer that neither reads nor closes; after that it is cut."""

ACCEPTS_PER_CALL = 64
"""Connections accepted in one call, for the same reason."""

BACKLOG = 256
"""Connections that the kernel keeps for us between two turns."""

_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Connection:
    """A connected (or connecting) non-blocking socket and its session.

    Neither reading nor writing raises for what the network or the peer does: the end of the connection, for
    whatever reason, is a `Closed` event out of `read`. After a failed write the socket is readable, so that
    an owner who waits for readiness learns of it.
    """

    def __init__(self, socket: sockets.socket, session: Session) -> None:
        socket.setblocking(False)
        self.socket = socket
        self.session = session
        self._failure: str | None = None
        self._linger_until_ns: int | None = None
        self._patient_until_ns = 0
        self._shut = False  # our direction
        self._ended = False  # the peer's
        self._closed = False

    def fileno(self) -> int:
        """Return the descriptor to wait on; -1 when closed."""
        return self.socket.fileno()

    @property
    def closed(self) -> bool:
        """Whether the socket is closed."""
        return self._closed

    @property
    def wants_write(self) -> bool:
        """Whether to wait for the socket to be writable: output is queued."""
        return not self._closed and self._failure is None and self.session.output_bytes > 0

    def read(self, now_ns: int) -> Iterator[Event]:
        """Read what is there, within bounds, and hand out the events; consume each before the next."""
        session = self.session
        yield from session.received(0, now_ns)  # what an owner left who stopped asking half-way
        for _ in range(READS_PER_CALL):
            if self._closed:
                return
            space = session.space()
            try:
                count = self.socket.recv_into(space)
            except BlockingIOError:
                if self._failure is not None:
                    yield from session.disconnected(self._failure)
                return
            except OSError as error:
                yield from session.disconnected(self._failure or _explain(error))
                return
            if count == 0:
                yield from session.disconnected(self._failure or "the peer closed the connection")
                return
            yield from session.received(count, now_ns)
            if count < len(space):
                return

    def take(self, now_ns: int) -> Messages | None:
        """What one read brings, if that is unsequenced messages: the most frequent case, without the price of events.

        Valid until something is read again. None when there is nothing, or something else; then, and while
        `session.waiting`, go on with `read`.
        """
        session = self.session
        if session.skim is not None or not session.between_packets or self._closed:
            return None
        try:
            count = self.socket.recv_into(session.space())
        except BlockingIOError:
            return None
        except OSError as error:  # the kernel says it once: `read` finds it here
            self._failure = self._failure or _explain(error)
            return None
        return session.received_run(count, now_ns) if count else None

    def write(self, now_ns: int, *, more: bool = False) -> bool:
        """Send what is queued; True when nothing is left. Call again when the socket is writable.

        `more` promises that something follows at once, so that the kernel may send it all together.
        """
        session = self.session
        flags = sockets.MSG_MORE if more else 0
        while not self._closed and self._failure is None:
            view = session.output_view()
            if not view:
                return True
            try:
                count = self.socket.send(view, flags)
            except BlockingIOError:
                return False
            except OSError as error:
                self._failure = _explain(error)
                return True
            session.output_sent(count, now_ns)
            if count < len(view):
                return False
        return True

    def send(self, packets: bytes | memoryview, now_ns: int) -> bool:
        """Send whole packets that are framed already, behind what is queued; True when nothing is left.

        What the socket does not take now is copied, and waits for `write`. Only for a session that is logged in.
        """
        session, count = self.session, 0
        if not (session.has_output or self._closed or self._failure):
            try:
                count = self.socket.send(packets)
            except BlockingIOError:
                pass
            except OSError as error:
                self._failure = _explain(error)
                return True
            session.sent(now_ns)
            if count == len(packets):
                return True
        session.send_framed(packets[count:])
        return False

    def close(self, now_ns: int, patience_ns: int = 0) -> bool:
        """Close in an orderly way; True when it is done.

        Until then, call again when the socket is ready, and at `deadline_ns()`. No events come any more.
        `patience_ns`, of the first call, is for a peer that will close by itself on the last word it gets: our
        end comes only after that, because some clients stumble over one that comes together with it.
        """
        if self._closed:
            return True
        self.session.close()
        if self._linger_until_ns is None:
            self._linger_until_ns = now_ns + LINGER_NS
            self._patient_until_ns = now_ns + patience_ns
        if now_ns >= self._linger_until_ns:
            self.abandon()
            return True
        if not self._shut:
            if not self.write(now_ns):
                self._drain()  # a peer that waits for us to read before it reads would hold us both
                return self._closed
            if now_ns < self._patient_until_ns:
                self._drain()
                if self._ended:
                    self.abandon()
                return self._closed
            try:
                self.socket.shutdown(sockets.SHUT_WR)
            except OSError:  # never connected, or reset: there is nobody to be orderly for
                self.abandon()
                return True
            self._shut = True
        self._drain()
        if self._ended:
            self.abandon()
        return self._closed

    def abandon(self) -> None:
        """Close at once; what was not sent or not read is lost."""
        if not self._closed:
            self._closed = True
            self.session.close()
            for _ in self.session.disconnected("closed here"):
                pass  # the owner knows: it was its own call
            self.socket.close()

    def deadline_ns(self) -> int | None:
        """When `handle_timer` (or, while closing, `close`) wants to be called; None for never."""
        if self._closed:
            return None
        if self._linger_until_ns is None:
            return self.session.deadline_ns()
        if self._shut or self.session.output_bytes:
            return self._linger_until_ns
        return min(self._patient_until_ns, self._linger_until_ns)

    def handle_timer(self, now_ns: int) -> Iterator[Event]:
        """Heartbeats and time-outs of the session, or the next step of closing."""
        if self._linger_until_ns is not None:
            self.close(now_ns)
            return iter(())
        return self.session.handle_timer(now_ns)

    def _drain(self) -> None:
        """Read and drop. A peer that has ended its direction may still read ours; an error ends both."""
        for _ in range(READS_PER_CALL):
            if self._ended:
                return
            try:
                self._ended = self.socket.recv_into(self.session.space()) == 0
            except BlockingIOError:
                return
            except OSError:
                self.abandon()
                return


class Listener:
    """A non-blocking listening socket; port 0 takes a free one, which `port` then tells.

    Raises OSError naming host and port when they cannot be had.
    """

    def __init__(self, host: str, port: int, *, backlog: int = BACKLOG) -> None:
        self.host = host
        self.exhausted = 0
        """Times that this process or machine was out of what a further connection needs."""
        try:
            family, kind, protocol, _, address = _resolve(host, port, sockets.AI_PASSIVE)
            self._socket = sockets.socket(family, kind, protocol)
            try:
                self._socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
                self._socket.bind(address)
                self._socket.listen(backlog)
                self._socket.setblocking(False)
            except OSError:
                self._socket.close()
                raise
        except OSError as error:
            raise _named(error, f"cannot listen on {host}:{port}") from error
        self.port: int = self._socket.getsockname()[1]

    def fileno(self) -> int:
        """Return the descriptor to wait on; -1 when closed."""
        return self._socket.fileno()

    def accept(self) -> Iterator[sockets.socket]:
        """Take the connections that wait, within bounds: non-blocking sockets, which the caller then owns."""
        for _ in range(ACCEPTS_PER_CALL):
            try:
                socket, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self.exhausted += 1
                    return
                continue  # that peer went away while it waited; the next may be well
            socket.setblocking(False)
            with suppress(OSError):  # a peer that is gone already is found out by reading
                socket.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
            yield socket

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


def connect(host: str, port: int) -> sockets.socket:
    """Begin to connect; the socket is writable when it is done, and a failure shows when it is used.

    Looking up a host name may block; an address does not. Raises OSError naming host and port when there is
    no such host, or the failure is known at once.
    """
    try:
        family, kind, protocol, _, address = _resolve(host, port, 0)
        socket = sockets.socket(family, kind, protocol)
        try:
            socket.setblocking(False)
            socket.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
            code = socket.connect_ex(address)
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, strerror(code))
        except OSError:
            socket.close()
            raise
    except OSError as error:
        raise _named(error, f"cannot connect to {host}:{port}") from error
    return socket


def log_in(
    address: tuple[str, int],
    *,
    user: str,
    password: str,
    session: bytes,
    sequence_number: int,
    now_ns: int,
    heartbeat_ns: int = HEARTBEAT_NS,
    timeout_ns: int = TIMEOUT_NS,
    connect: Callable[[str, int], sockets.socket] = connect,
) -> tuple[Connection, ClientSession]:
    """Begin to connect to a SoupBinTCP server, with the login queued; the caller goes on with `Connection`.

    `connect` makes the socket: another one stands for another network. Raises OSError as `connect` does,
    LocalProtocolError for what does not fit its field.
    """
    client = ClientSession(
        SOUPBINTCP,
        user=user,
        password=password,
        session=session,
        sequence_number=sequence_number,
        now_ns=now_ns,
        heartbeat_ns=heartbeat_ns,
        timeout_ns=timeout_ns,
    )
    return Connection(connect(*address), client), client


def _resolve(host: str, port: int, flags: int) -> tuple[int, int, int, str, tuple[object, ...]]:
    if not 0 <= port <= 65535:  # the resolver would take it modulo 65536
        raise OSError(errno.EINVAL, "a port is 0..65535")
    return sockets.getaddrinfo(host, port, type=sockets.SOCK_STREAM, flags=flags)[0]


def _named(error: OSError, what: str) -> OSError:
    return OSError(error.errno, f"{what}: {_explain(error)}")


def _explain(error: OSError) -> str:
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]
