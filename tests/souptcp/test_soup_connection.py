"""Connections over real sockets on the loopback interface, without a sleep: select waits, bounded, for readiness."""

from __future__ import annotations

import errno
import gc
import select
import socket as sockets
import struct
import time
import weakref
from typing import TYPE_CHECKING

import pytest
from machines import SECOND, active_server, client_of, messages_of, plain, server_of

from souptcp import (
    SOUPBINTCP,
    Accepted,
    ClientSession,
    Closed,
    Connection,
    EndOfSession,
    Listener,
    LoginRequested,
    ProtocolViolation,
    Sequenced,
    ServerSession,
    Session,
    Unsequenced,
    connect,
)
from souptcp import connection as connection_module
from souptcp.connection import LINGER_NS, READS_PER_CALL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE_S = 10.0


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener("127.0.0.1", 0)
    yield listener
    listener.close()


def wait_for(*readers: Connection | Listener | sockets.socket) -> None:
    """Until all are readable."""
    deadline = time.monotonic() + PATIENCE_S
    for reader in readers:
        ready, _, _ = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, "nothing came"


def accept_one(listener: Listener) -> sockets.socket:
    wait_for(listener)
    (socket,) = listener.accept()
    return socket


@pytest.fixture
def pair(listener: Listener) -> Iterator[tuple[Connection, Connection]]:
    """A client and a server connection; nothing was sent yet."""
    client = Connection(connect("127.0.0.1", listener.port), client_of())
    server = Connection(accept_one(listener), server_of())
    yield client, server
    client.abandon()
    server.abandon()


def log_in(client: Connection, server: Connection) -> None:
    assert client.write(0)
    wait_for(server)
    (event,) = plain(server.read(0))
    assert isinstance(event, LoginRequested)
    session = server.session
    assert isinstance(session, ServerSession)
    session.accept(b"S1", 1, 0)
    assert server.write(0)
    wait_for(client)
    assert plain(client.read(0)) == [Accepted(b"S1", 1)]


def read_until(connection: Connection, done: Callable[[list[object]], bool]) -> list[object]:
    """Read until `done`."""
    events: list[object] = []
    deadline = time.monotonic() + PATIENCE_S
    while not done(events):
        assert time.monotonic() < deadline, "it never came"
        if select.select([connection], [], [], 0.01)[0]:
            events += plain(connection.read(0))
    return events


def is_closed(events: list[object]) -> bool:
    return bool(events) and isinstance(events[-1], Closed)


def finish(connection: Connection, now_ns: int = 0) -> None:
    """Call `close` on turns until it is done."""
    deadline = time.monotonic() + PATIENCE_S
    while not connection.close(now_ns):
        assert time.monotonic() < deadline, "it never closed"
        select.select([connection], [connection] if connection.wants_write else [], [], 0.05)


def test_a_session_over_sockets(pair: tuple[Connection, Connection]) -> None:
    client, server = pair
    log_in(client, server)
    assert isinstance(server.session, ServerSession)
    assert isinstance(client.session, ClientSession)
    client.session.send_unsequenced(b"question")
    client.write(0)
    wait_for(server)
    assert plain(server.read(0)) == [(Unsequenced, [b"question"])]
    server.session.send_sequenced([b"one", b"two"])
    server.session.end_session(0)
    server.write(0)
    events = read_until(client, is_closed)
    assert events == [(Sequenced, 1, [b"one", b"two"]), EndOfSession(), Closed("end of session")]
    assert not server.close(0)  # the client has not closed yet
    finish(client)
    finish(server)
    assert client.closed
    assert server.closed
    assert client.fileno() == server.fileno() == -1
    assert client.session.closed
    assert server.session.closed


def test_the_last_word_survives_unread_heartbeats(pair: tuple[Connection, Connection]) -> None:
    """Closing over unread input makes the kernel send a reset, which would destroy End of Session."""
    client, server = pair
    log_in(client, server)
    for _ in range(100):
        client.socket.send(SOUPBINTCP.frame(ord("R")))
    wait_for(server)  # they lie unread in the server's socket
    assert isinstance(server.session, ServerSession)
    server.session.send_sequenced([bytes(10_000)] * 200)
    server.session.end_session(0)
    events: list[object] = []
    deadline = time.monotonic() + PATIENCE_S
    while not is_closed(events):
        assert time.monotonic() < deadline, "it never came"
        client.socket.send(SOUPBINTCP.frame(ord("R")))  # and more come while it closes
        assert not server.close(0)
        if select.select([client], [], [], 0.01)[0]:
            events += plain(client.read(0))
    assert [number for number, _ in messages_of(events)] == list(range(1, 201))
    assert events[-2:] == [EndOfSession(), Closed("end of session")]
    client.close(0)
    finish(server)
    finish(client)


def test_the_danger_is_real(pair: tuple[Connection, Connection]) -> None:
    """The canary of the test above: with `abandon` bytes that the kernel had taken already are lost."""
    client, server = pair
    log_in(client, server)
    client.socket.send(SOUPBINTCP.frame(ord("R")))
    wait_for(server)
    assert isinstance(server.session, ServerSession)
    server.session.send_sequenced([bytes(60_000)] * 250)
    before = server.session.output_bytes
    server.write(0)
    taken = before - server.session.output_bytes
    server.abandon()
    received: list[int] = []

    def read_on() -> None:
        while True:
            wait_for(client)
            received.append(len(client.socket.recv(1 << 20)))

    with pytest.raises(ConnectionResetError):
        read_on()
    assert sum(received) < taken


def test_rejected_logins_read_the_reason(pair: tuple[Connection, Connection]) -> None:
    client, server = pair
    client.write(0)
    client.socket.send(SOUPBINTCP.frame(ord("R")) * 50)
    wait_for(server)
    events = server.read(0)
    assert isinstance(next(events), LoginRequested)
    assert isinstance(server.session, ServerSession)
    server.session.reject("A", 0)
    events.close()  # type: ignore[attr-defined]
    assert not server.close(0)
    events_of_client = read_until(client, is_closed)
    assert events_of_client[-1] == Closed("login rejected: not authorized")
    finish(client)
    finish(server)


def test_a_peer_may_be_given_time_to_close_first(pair: tuple[Connection, Connection]) -> None:
    """With patience our end does not come together with the last word, only after it."""
    client, server = pair
    log_in(client, server)
    assert isinstance(server.session, ServerSession)
    server.session.end_session(0)
    assert not server.close(0, patience_ns=SECOND)
    assert server.deadline_ns() == SECOND
    wait_for(client)
    assert plain(client.read(0)) == [EndOfSession(), Closed("end of session")]
    with pytest.raises(BlockingIOError):
        client.socket.recv(1)  # no end of the input yet
    client.close(0)
    wait_for(server)
    assert server.close(SECOND - 1)
    finish(client)


def test_patience_ends(pair: tuple[Connection, Connection]) -> None:
    client, server = pair
    log_in(client, server)
    assert not server.close(0, patience_ns=SECOND)
    assert list(server.handle_timer(SECOND - 1)) == []
    assert server.deadline_ns() == SECOND
    assert list(server.handle_timer(SECOND)) == []
    assert server.deadline_ns() == LINGER_NS
    wait_for(client)
    assert plain(client.read(0)) == [Closed("the peer closed the connection")]
    finish(client)
    finish(server, SECOND)


def test_a_peer_that_does_not_close_is_cut_after_the_linger_limit(
    pair: tuple[Connection, Connection],
) -> None:
    client, server = pair
    log_in(client, server)
    assert not server.close(7)
    assert server.deadline_ns() == 7 + LINGER_NS
    assert list(server.handle_timer(7 + LINGER_NS - 1)) == []
    assert not server.closed
    assert list(server.handle_timer(7 + LINGER_NS)) == []
    assert server.closed
    assert server.deadline_ns() is None
    assert server.close(0)


def test_a_peer_that_does_not_read_is_cut_after_the_linger_limit(pair: tuple[Connection, Connection]) -> None:
    client, server = pair
    log_in(client, server)
    assert isinstance(server.session, ServerSession)
    server.session.send_sequenced([bytes(60_000)] * 250)
    assert not server.write(0)
    assert server.wants_write
    assert not server.close(0)
    assert server.session.output_bytes > 0
    assert server.close(LINGER_NS)
    assert server.closed


def test_a_peer_that_closed_its_direction_still_gets_everything(pair: tuple[Connection, Connection]) -> None:
    client, server = pair
    log_in(client, server)
    client.socket.shutdown(sockets.SHUT_WR)
    assert isinstance(server.session, ServerSession)
    server.session.send_sequenced([bytes(60_000)] * 200)
    server.session.end_session(0)
    assert not server.close(0)
    events: list[object] = []
    deadline = time.monotonic() + PATIENCE_S
    while not is_closed(events):
        assert time.monotonic() < deadline
        server.close(0)
        if select.select([client], [], [], 0.01)[0]:
            events += plain(client.read(0))
    assert len(messages_of(events)) == 200
    finish(server)


def test_the_end_of_the_input_is_an_event(pair: tuple[Connection, Connection]) -> None:
    client, server = pair
    log_in(client, server)
    client.socket.send(b"\0\4Ub")
    client.abandon()
    assert read_until(server, is_closed) == [
        Closed("the peer closed the connection, in the middle of a packet")
    ]
    assert plain(server.read(0)) == []
    finish(server)


def test_a_reset_is_an_event(pair: tuple[Connection, Connection]) -> None:
    client, server = pair
    log_in(client, server)
    client.socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
    client.abandon()
    wait_for(server)
    assert plain(server.read(0)) == [Closed("connection reset by peer")]
    assert server.write(0)
    assert server.close(0)


def test_a_failed_write_is_reported_by_read_after_what_came_before(
    pair: tuple[Connection, Connection],
) -> None:
    client, server = pair
    log_in(client, server)
    client.socket.send(SOUPBINTCP.frame(ord("U"), b"last words"))
    client.socket.shutdown(sockets.SHUT_RDWR)
    client.abandon()
    wait_for(server)
    assert isinstance(server.session, ServerSession)
    deadline = time.monotonic() + PATIENCE_S
    while server._failure is None:
        server.session.send_debug("are you there")
        server.write(0)
        assert time.monotonic() < deadline
    assert server.write(0)
    assert not server.wants_write
    events = read_until(server, is_closed)
    assert isinstance(events[-1], Closed)
    assert plain(server.read(0)) == []


def test_nobody_listens() -> None:
    with Listener("127.0.0.1", 0)._socket as free:
        port = free.getsockname()[1]
    client = Connection(connect("127.0.0.1", port), client_of())
    select.select([], [client], [], PATIENCE_S)
    client.write(0)
    assert read_until(client, is_closed) == [Closed("connection refused")]
    assert client.close(0)


def test_writing_before_the_connection_is_made_waits(listener: Listener) -> None:
    client = Connection(connect("127.0.0.1", listener.port), client_of())
    assert plain(client.read(0)) == []
    server = Connection(accept_one(listener), server_of())
    select.select([], [client], [], PATIENCE_S)
    assert client.write(0)
    wait_for(server)
    assert isinstance(plain(server.read(0))[0], LoginRequested)
    client.abandon()
    server.abandon()


def test_a_violation_is_explained_to_the_peer_and_closed(pair: tuple[Connection, Connection]) -> None:
    client, server = pair
    log_in(client, server)
    client.socket.send(b"\0\0")
    wait_for(server)
    violation, closed = plain(server.read(0))
    assert isinstance(violation, ProtocolViolation)
    assert closed == Closed("protocol violation: a packet of length 0")
    assert not server.close(0)
    wait_for(client)
    events = read_until(client, is_closed)
    assert events[-1] == Closed("the peer closed the connection")
    finish(client)
    finish(server)


def test_one_call_reads_a_bounded_amount(pair: tuple[Connection, Connection]) -> None:
    client, server = pair
    log_in(client, server)
    small = Connection(client.socket, client_of(buffer_bytes=65_537))
    session = small.session
    list(session.receive(b"\0\x1fA" + b"S1".rjust(10) + b"1".rjust(20), 0))
    assert isinstance(server.session, ServerSession)
    server.session.send_sequenced([bytes(60_000)] * 40)
    server.write(0)
    deadline = time.monotonic() + PATIENCE_S
    total = 0
    while total < 40:
        wait_for(small)
        got = len(messages_of(plain(small.read(0))))
        assert got <= READS_PER_CALL * 2
        total += got
        server.write(0)
        assert time.monotonic() < deadline


def test_an_owner_that_stops_asking_loses_nothing(pair: tuple[Connection, Connection]) -> None:
    client, server = pair
    log_in(client, server)
    assert isinstance(server.session, ServerSession)
    server.session.send_sequenced([b"one"])
    server.session.send_unsequenced(b"beside")
    server.session.send_sequenced([b"two"])
    server.write(0)
    wait_for(client)
    for event in client.read(0):
        assert isinstance(event, Sequenced)
        break
    assert plain(client.read(0)) == [(Unsequenced, [b"beside"]), (Sequenced, 2, [b"two"])]


def test_timers_go_through_the_connection(pair: tuple[Connection, Connection]) -> None:
    client, server = pair
    log_in(client, server)
    assert client.deadline_ns() == SECOND
    assert list(client.handle_timer(SECOND)) == []
    assert client.wants_write
    assert client.write(SECOND)
    assert plain(server.handle_timer(15 * SECOND)) == [Closed("nothing from the client for 15 s")]


def test_listener_reports_its_port_and_sets_no_delay(listener: Listener) -> None:
    assert listener.port > 0
    assert list(listener.accept()) == []
    client = connect("127.0.0.1", listener.port)
    server = accept_one(listener)
    for socket in (client, server):
        assert socket.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY)
        assert not socket.getblocking()
        socket.close()


def test_listener_errors_name_host_and_port(listener: Listener) -> None:
    with pytest.raises(
        OSError, match=rf"cannot listen on 127\.0\.0\.1:{listener.port}: address already in use"
    ) as e:
        Listener("127.0.0.1", listener.port)
    assert e.value.errno == errno.EADDRINUSE
    with pytest.raises(OSError, match=r"cannot listen on 127\.0\.0\.1:99999"):
        Listener("127.0.0.1", 99_999)


def unknown_host(*_arguments: object, **_keywords: object) -> None:
    raise sockets.gaierror(sockets.EAI_NONAME, "Name or service not known")


def test_unknown_hosts_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "getaddrinfo", unknown_host)  # a real look-up may take its time
    with pytest.raises(OSError, match=r"cannot connect to nowhere:1: name or service not known"):
        connect("nowhere", 1)
    with pytest.raises(OSError, match=r"cannot listen on nowhere:1: name or service not known"):
        Listener("nowhere", 1)


def test_connect_errors_name_host_and_port() -> None:
    with pytest.raises(OSError, match=r"cannot connect to 255\.255\.255\.255:1: "):
        connect("255.255.255.255", 1)
    with pytest.raises(OSError, match=r"cannot connect to 127\.0\.0\.1:99999"):
        connect("127.0.0.1", 99_999)


def test_accept_is_bounded(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "ACCEPTS_PER_CALL", 2)
    clients = [sockets.create_connection(("127.0.0.1", listener.port)) for _ in range(3)]
    accepted = list(listener.accept())
    assert len(accepted) == 2
    accepted += listener.accept()
    assert len(accepted) == 3
    for socket in (*clients, *accepted):
        socket.close()


class FailingSocket:
    """A listening socket whose accept fails as told, then has nobody waiting."""

    def __init__(self, *codes: int) -> None:
        self.codes = list(codes)

    def accept(self) -> tuple[sockets.socket, object]:
        code = self.codes.pop(0) if self.codes else errno.EAGAIN
        raise OSError(code, "told to")

    def close(self) -> None:
        pass


def test_accept_survives_peers_that_went_away_and_exhaustion(listener: Listener) -> None:
    real, listener._socket = listener._socket, FailingSocket(errno.ECONNABORTED, errno.EPROTO)  # type: ignore[assignment]
    assert list(listener.accept()) == []
    assert listener.exhausted == 0
    listener._socket = FailingSocket(errno.EMFILE, errno.EMFILE)  # type: ignore[assignment]
    assert list(listener.accept()) == []
    assert listener.exhausted == 1
    listener._socket = real


def test_sendfile_beside_the_session(pair: tuple[Connection, Connection]) -> None:
    """A server that has packets framed already sends them itself."""
    client, server = pair
    log_in(client, server)
    session = server.session
    assert isinstance(session, ServerSession)
    framed = SOUPBINTCP.frame_all(ord("S"), [b"one", b"two"])
    server.socket.sendall(framed)
    session.sent(SECOND, sequenced=2)
    session.send_sequenced([b"three"])
    server.write(SECOND)
    events = read_until(client, lambda events: len(messages_of(events)) == 3)
    assert messages_of(events) == [(1, b"one"), (2, b"two"), (3, b"three")]
    assert server.deadline_ns() == 2 * SECOND


def test_connections_make_no_garbage_cycles() -> None:
    """Servers freeze the collector; a session must go when its last reference goes."""
    gc.collect()
    gc.disable()
    try:
        ours, theirs = sockets.socketpair()
        connection = Connection(ours, active_server())
        theirs.close()
        assert is_closed(plain(connection.read(0)))
        connection.abandon()
        session: Session = connection.session
        gone = weakref.ref(session)
        del connection, session
        assert gone() is None
    finally:
        gc.enable()


def test_a_reset_while_closing_ends_it(pair: tuple[Connection, Connection]) -> None:
    client, server = pair
    log_in(client, server)
    assert not server.close(0)
    client.socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
    client.abandon()
    wait_for(server)
    assert server.close(0)


def test_an_owner_may_abandon_the_connection_between_two_events(pair: tuple[Connection, Connection]) -> None:
    client, server = pair
    log_in(client, server)
    assert isinstance(server.session, ServerSession)
    server.session.send_sequenced([b"one"])
    server.session.send_debug("two")
    server.write(0)
    wait_for(client)
    seen = []
    for event in client.read(0):
        seen.append(type(event))
        client.abandon()
    assert seen == [Sequenced]
    assert plain(client.read(0)) == []
    client.abandon()


class MuteSocket:
    """A socket that cannot send any more and has nothing to read."""

    def setblocking(self, flag: bool) -> None:
        pass

    def send(self, data: memoryview, flags: int = 0) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    def recv_into(self, space: memoryview) -> int:
        raise BlockingIOError


def test_a_failed_write_is_reported_even_when_nothing_can_be_read() -> None:
    connection = Connection(MuteSocket(), client_of())  # type: ignore[arg-type]
    assert connection.wants_write
    assert connection.write(0)
    assert not connection.wants_write
    assert plain(connection.read(0)) == [Closed("broken pipe")]
