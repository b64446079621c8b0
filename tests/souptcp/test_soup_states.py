"""The state tables of both machines: every packet type and every call in every state, table or no table."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from machines import CODECS, active_client, active_server, batch_of, client_of, name_of, plain, server_of

from souptcp import (
    SOUPBINTCP,
    SOUPBINTCP_3,
    SOUPTCP_2,
    SOUPTCP_3,
    Accepted,
    ClientSession,
    Closed,
    Codec,
    Debug,
    EndOfSession,
    LocalProtocolError,
    LoginAccepted,
    LoginRequest,
    LoginRequested,
    Logout,
    PacketType,
    ProtocolViolation,
    Rejected,
    Sequenced,
    ServerSession,
    Session,
    State,
    Unsequenced,
)

if TYPE_CHECKING:
    from collections.abc import Callable

codecs = pytest.mark.parametrize("codec", CODECS, ids=name_of)

PAYLOADS = {
    PacketType.DEBUG: b"text",
    PacketType.LOGIN_REJECTED: b"A",
    PacketType.SEQUENCED: b"message",
    PacketType.UNSEQUENCED: b"message",
}


def packet(codec: Codec, kind: PacketType) -> bytes:
    if kind is PacketType.LOGIN_REQUEST:
        return codec.encode_login(LoginRequest("USER", "PASS", b"", 1))
    if kind is PacketType.LOGIN_ACCEPTED:
        return codec.encode_accepted(LoginAccepted(b"SESSION001", 5))
    return codec.frame(kind, PAYLOADS.get(kind, b""))


def client_in(state: State, codec: Codec) -> ClientSession:
    client = client_of(codec) if state is State.LOGIN else active_client(codec)
    client.take_output(0)
    if state is State.CLOSING:
        client.logout(0)
        client.take_output(0)
    elif state is State.CLOSED:
        list(client.disconnected("gone"))
    assert client.state is state
    return client


def server_in(state: State, codec: Codec) -> ServerSession:
    if state in (State.LOGIN, State.PENDING):
        server = server_of(codec)
        if state is State.PENDING:
            list(server.receive(client_of(codec).take_output(0), 0))
    else:
        server = active_server(codec)
        if state is State.CLOSING:
            server.end_session(0)
            server.take_output(0)
        elif state is State.CLOSED:
            list(server.disconnected("gone"))
    assert server.state is state
    return server


CLIENT_TABLE = {
    (State.LOGIN, PacketType.DEBUG): ([Debug("text")], State.LOGIN),
    (State.LOGIN, PacketType.LOGIN_ACCEPTED): ([Accepted(b"SESSION001", 5)], State.ACTIVE),
    (State.LOGIN, PacketType.LOGIN_REJECTED): (
        [Rejected("A"), Closed("login rejected: not authorized")],
        State.CLOSING,
    ),
    (State.LOGIN, PacketType.SERVER_HEARTBEAT): ([], State.LOGIN),
    (State.ACTIVE, PacketType.DEBUG): ([Debug("text")], State.ACTIVE),
    (State.ACTIVE, PacketType.SEQUENCED): ([(Sequenced, 1, [b"message"])], State.ACTIVE),
    (State.ACTIVE, PacketType.UNSEQUENCED): ([(Unsequenced, [b"message"])], State.ACTIVE),
    (State.ACTIVE, PacketType.SERVER_HEARTBEAT): ([], State.ACTIVE),
    (State.ACTIVE, PacketType.END_OF_SESSION): ([EndOfSession(), Closed("end of session")], State.CLOSING),
}

SERVER_TABLE = {
    (State.LOGIN, PacketType.DEBUG): ([Debug("text")], State.LOGIN),
    (State.LOGIN, PacketType.LOGIN_REQUEST): (
        [LoginRequested(LoginRequest("USER", "PASS", b"", 1))],
        State.PENDING,
    ),
    (State.LOGIN, PacketType.CLIENT_HEARTBEAT): ([], State.LOGIN),
    (State.PENDING, PacketType.DEBUG): ([Debug("text")], State.PENDING),
    (State.PENDING, PacketType.CLIENT_HEARTBEAT): ([], State.PENDING),
    (State.PENDING, PacketType.LOGOUT_REQUEST): ([Logout(), Closed("logged out")], State.CLOSING),
    (State.ACTIVE, PacketType.DEBUG): ([Debug("text")], State.ACTIVE),
    (State.ACTIVE, PacketType.UNSEQUENCED): ([(Unsequenced, [b"message"])], State.ACTIVE),
    (State.ACTIVE, PacketType.CLIENT_HEARTBEAT): ([], State.ACTIVE),
    (State.ACTIVE, PacketType.LOGOUT_REQUEST): ([Logout(), Closed("logged out")], State.CLOSING),
}


def check_cell(
    session: Session, kind: PacketType, table: dict[tuple[State, PacketType], tuple[list[object], State]]
) -> None:
    state, codec = session.state, session.codec
    events = plain(session.receive(packet(codec, kind), 1))
    if state in (State.CLOSING, State.CLOSED):
        assert (events, session.state) == ([], state)
        assert session.output_bytes == 0
    elif (state, kind) in table and not (
        isinstance(session, ClientSession) and kind is PacketType.UNSEQUENCED and not codec.server_unsequenced
    ):
        assert (events, session.state) == table[state, kind]
        assert session.output_bytes == 0
    else:
        violation, closed = events
        assert isinstance(violation, ProtocolViolation)
        assert closed == Closed(f"protocol violation: {violation.reason}")
        assert session.state is State.CLOSING
        assert session.deadline_ns() is None
        if state is State.ACTIVE:
            assert session.take_output(1) == codec.frame(PacketType.DEBUG, violation.reason.encode())
        elif isinstance(session, ServerSession):
            assert session.take_output(1) == codec.frame(PacketType.LOGIN_REJECTED, b"A")
        else:
            assert session.take_output(1) == b""


CLIENT_STATES = (State.LOGIN, State.ACTIVE, State.CLOSING, State.CLOSED)


@codecs
@pytest.mark.parametrize(("state", "kind"), list(itertools.product(CLIENT_STATES, PacketType)))
def test_every_packet_in_every_state_of_the_client(codec: Codec, state: State, kind: PacketType) -> None:
    check_cell(client_in(state, codec), kind, CLIENT_TABLE)


@codecs
@pytest.mark.parametrize(("state", "kind"), list(itertools.product(State, PacketType)))
def test_every_packet_in_every_state_of_the_server(codec: Codec, state: State, kind: PacketType) -> None:
    check_cell(server_in(state, codec), kind, SERVER_TABLE)


CLIENT_CALLS: dict[str, tuple[Callable[[ClientSession], None], set[State]]] = {
    "send_unsequenced": (lambda client: client.send_unsequenced(b"x"), {State.ACTIVE}),
    "send_debug": (lambda client: client.send_debug("x"), {State.LOGIN, State.ACTIVE}),
    "logout": (lambda client: client.logout(0), {State.LOGIN, State.ACTIVE}),
    "close": (lambda client: client.close(), set(CLIENT_STATES)),
}

SERVER_CALLS: dict[str, tuple[Callable[[ServerSession], None], set[State]]] = {
    "accept": (lambda server: server.accept(b"S", 1, 0), {State.PENDING}),
    "reject": (lambda server: server.reject("A", 0), {State.PENDING}),
    "send_sequenced": (lambda server: server.send_sequenced([b"x"]), {State.ACTIVE}),
    "send_unsequenced": (lambda server: server.send_unsequenced(b"x"), {State.ACTIVE}),
    "send_unsequenced_batch": (
        lambda server: server.send_unsequenced_batch(batch_of(b"x")),
        {State.ACTIVE},
    ),
    "send_debug": (lambda server: server.send_debug("x"), {State.ACTIVE}),
    "end_session": (lambda server: server.end_session(0), {State.ACTIVE}),
    "close": (lambda server: server.close(), set(State)),
}


@pytest.mark.parametrize(("state", "name"), list(itertools.product(CLIENT_STATES, CLIENT_CALLS)))
def test_every_call_in_every_state_of_the_client(state: State, name: str) -> None:
    client = client_in(state, SOUPBINTCP)
    call, allowed = CLIENT_CALLS[name]
    if state in allowed:
        call(client)
    else:
        with pytest.raises(LocalProtocolError, match="cannot"):
            call(client)
        assert (client.state, client.output_bytes) == (state, 0)


@pytest.mark.parametrize(("state", "name"), list(itertools.product(State, SERVER_CALLS)))
def test_every_call_in_every_state_of_the_server(state: State, name: str) -> None:
    server = server_in(state, SOUPBINTCP)
    call, allowed = SERVER_CALLS[name]
    if state in allowed:
        call(server)
    else:
        with pytest.raises(LocalProtocolError, match="cannot"):
            call(server)
        assert (server.state, server.output_bytes) == (state, 0)


@pytest.mark.parametrize("codec", [SOUPBINTCP_3, SOUPTCP_2, SOUPTCP_3], ids=name_of)
def test_a_server_of_an_old_version_sends_no_unsequenced_data(codec: Codec) -> None:
    with pytest.raises(LocalProtocolError, match="sends no unsequenced data"):
        active_server(codec).send_unsequenced(b"x")


def test_bad_arguments_are_our_own_fault() -> None:
    with pytest.raises(LocalProtocolError, match="buffer"):
        client_of(buffer_bytes=65_536)
    with pytest.raises(LocalProtocolError, match="above 0"):
        client_of(heartbeat_ns=0)
    with pytest.raises(LocalProtocolError, match="user name"):
        client_of(user="TOOLONG")
    with pytest.raises(LocalProtocolError, match="session"):
        client_of(session=b"ELEVENCHARS")
    server = server_in(State.PENDING, SOUPBINTCP)
    with pytest.raises(LocalProtocolError, match="reject code"):
        server.reject("X", 0)
    with pytest.raises(LocalProtocolError, match="first is 1"):
        server.accept(b"S", 0, 0)
    with pytest.raises(LocalProtocolError, match="session"):
        server.accept(b"ELEVENCHARS", 1, 0)
    assert server.state is State.PENDING
    with pytest.raises(LocalProtocolError, match="on offer"):
        server.output_sent(1, 0)


@codecs
def test_what_was_right_before_a_violation_is_still_delivered(codec: Codec) -> None:
    client = active_client(codec)
    good = codec.frame(PacketType.SEQUENCED, b"one") + codec.frame(PacketType.SEQUENCED, b"two")
    first, violation, closed = plain(client.receive(good + b"\0\0" + good, 0))
    assert first == (Sequenced, 1, [b"one", b"two"])
    assert isinstance(violation, ProtocolViolation)
    assert isinstance(closed, Closed)
    assert plain(client.receive(good, 0)) == []
    assert client.next_number == 3


def test_closed_comes_once_and_last() -> None:
    client = active_client()
    events = client.receive(SOUPBINTCP.frame(PacketType.END_OF_SESSION), 0)
    assert next(events) == EndOfSession()
    events.close()  # an owner that stops asking here
    assert plain(client.received(0, 0)) == [Closed("end of session")]
    assert plain(client.received(0, 0)) == []
    assert plain(client.disconnected("gone")) == []
    assert plain(client.handle_timer(10**12)) == []
    assert client.closed


def test_an_owner_that_closes_learns_how_it_ended() -> None:
    client = active_client()
    client.logout(0)
    assert plain(client.receive(SOUPBINTCP.frame(PacketType.SEQUENCED, b"late"), 0)) == []
    assert plain(client.disconnected("the peer closed the connection")) == [
        Closed("the peer closed the connection")
    ]


def test_a_connection_lost_in_the_middle_of_a_packet_says_so() -> None:
    client = active_client()
    assert plain(client.receive(b"\0\4Sab", 0)) == []
    assert plain(client.disconnected("reset")) == [Closed("reset, in the middle of a packet")]


def test_events_are_lazy_and_what_is_not_asked_for_stays() -> None:
    server = server_of()
    login = client_of().take_output(0)
    data = login + SOUPBINTCP.frame(PacketType.UNSEQUENCED, b"early bird")
    events = server.receive(data, 0)
    assert isinstance(next(events), LoginRequested)
    server.accept(b"S", 1, 0)  # the answer is decided before the next packet is looked at
    assert plain(events) == [(Unsequenced, [b"early bird"])]

    client = active_client()
    space = client.space()
    data = SOUPBINTCP.frame(PacketType.SEQUENCED, b"a") + SOUPBINTCP.frame(PacketType.DEBUG, b"b")
    space[: len(data)] = data
    first = client.received(len(data), 0)
    assert plain(itertools.islice(first, 1)) == [(Sequenced, 1, [b"a"])]
    assert plain(client.received(0, 0)) == [Debug("b")]


def test_debug_text_that_is_not_ascii_is_shown() -> None:
    client = active_client()
    assert plain(client.receive(SOUPBINTCP.frame(PacketType.DEBUG, b"caf\xc3\n"), 0)) == [Debug("caf\\xc3\n")]
    client.send_debug("caf\u00e9")
    assert client.take_output(0) == SOUPBINTCP.frame(PacketType.DEBUG, b"caf\\xe9")
    with pytest.raises(LocalProtocolError, match="line feed"):
        active_client(SOUPTCP_3).send_debug("two\nlines")


@pytest.mark.parametrize("reason", ["S", "A", "Q"])
def test_reject_codes(reason: str) -> None:
    client = client_of()
    events = plain(client.receive(SOUPBINTCP.frame(PacketType.LOGIN_REJECTED, reason.encode()), 0))
    text = {"S": "session not available", "A": "not authorized", "Q": "reason 'Q'"}[reason]
    assert events == [Rejected(reason), Closed(f"login rejected: {text}")]


@pytest.mark.parametrize(
    ("session", "data"),
    [
        (client_of, b"\0\1J"),
        (client_of, b"\0\2AS"),
        (client_of, SOUPBINTCP.frame(PacketType.LOGIN_ACCEPTED, b"S".rjust(10) + b"0".rjust(20))),
        (server_of, b"\0\1L"),
        (server_of, b"\0\5LUSER"),
    ],
)
def test_short_fixed_packets_are_violations(session: Callable[[], Session], data: bytes) -> None:
    violation, closed = plain(session().receive(data, 0))
    assert isinstance(violation, ProtocolViolation)
    assert isinstance(closed, Closed)


def test_every_truncation_of_a_whole_session_is_quiet() -> None:
    server = active_server()
    server.send_sequenced([b"one", b"", b"three"])
    server.send_debug("text")
    server.send_unsequenced(b"u")
    server.end_session(0)
    stream = server.take_output(0)
    for length in range(len(stream)):
        client = active_client()
        whole = plain(client.receive(stream[:length], 0))
        again = active_client()
        pieces = [event for i in range(length) for event in plain(again.receive(stream[i : i + 1], 0))]
        assert not any(isinstance(event, ProtocolViolation | Closed) for event in whole + pieces)
        assert client.next_number == again.next_number
        assert client.state is again.state is State.ACTIVE
