"""One test for each rule of the session protocol, in virtual time.

The rules are those of SoupBinTCP 1.2 Protocol Flow, Heartbeats and End of Session, and of the packet tables;
where the specification is silent and the choice is ours, the test says so.
"""

from __future__ import annotations

import pytest
from machines import (
    CODECS,
    SECOND,
    active_client,
    active_pair,
    active_server,
    client_of,
    exchange,
    framing_of,
    messages_of,
    name_of,
    plain,
    server_of,
)
from oracle_soup import frame, login

from souptcp import (
    SOUPBINTCP,
    SOUPBINTCP_3,
    SOUPBINTCP_4_10,
    SOUPTCP_2,
    SOUPTCP_3,
    Accepted,
    Closed,
    Codec,
    Debug,
    EndOfSession,
    LocalProtocolError,
    LoginRequest,
    LoginRequested,
    Logout,
    OutputFull,
    PacketType,
    ProtocolViolation,
    Sequenced,
    Session,
    State,
    Unsequenced,
)

codecs = pytest.mark.parametrize("codec", CODECS, ids=name_of)
HEARTBEATS = {"client": PacketType.CLIENT_HEARTBEAT, "server": PacketType.SERVER_HEARTBEAT}


# Protocol flow: login


@codecs
def test_the_client_sends_its_login_immediately(codec: Codec) -> None:
    client = client_of(codec, session=b"S1", sequence_number=7)
    timeout = "15000" if codec.version == "4.10" else ""
    assert client.take_output(0) == login(framing_of(codec), "USER", "PASSWORD", "S1", 7, timeout)


@codecs
def test_the_server_may_drop_a_client_that_does_not_log_in(codec: Codec) -> None:
    server = server_of(codec, now_ns=5 * SECOND)
    assert server.deadline_ns() == 35 * SECOND  # typically 30 s
    list(server.receive(codec.frame(PacketType.CLIENT_HEARTBEAT), 34 * SECOND))  # life is not a login
    assert plain(server.handle_timer(35 * SECOND - 1)) == []
    assert plain(server.handle_timer(35 * SECOND)) == [Closed("no login within 30 s")]
    assert server.closing
    assert server.deadline_ns() is None


def test_a_login_that_nobody_decides_does_not_wait_for_ever() -> None:
    server = server_of(login_timeout_ns=2 * SECOND)
    list(server.receive(client_of().take_output(0), SECOND))
    assert plain(server.handle_timer(2 * SECOND)) == [Closed("no login within 2 s")]


@codecs
def test_login_accepted_is_the_very_first_packet(codec: Codec) -> None:
    server = server_of(codec)
    list(server.receive(client_of(codec).take_output(0), 0))
    assert plain(server.handle_timer(10 * SECOND)) == []  # no heartbeat before it
    with pytest.raises(LocalProtocolError, match="while the login is being decided"):
        server.send_debug("welcome")  # would be allowed, but a client in use takes it for a rejection
    server.accept(b"S1", 3, 0)
    server.send_debug("welcome")
    client = client_of(codec)
    assert exchange(server, client, 0) == [Accepted(b"S1", 3), Debug("welcome")]


@codecs
def test_login_rejected_is_the_only_packet_after_a_bad_login(codec: Codec) -> None:
    server = server_of(codec)
    list(server.receive(client_of(codec).take_output(0), 0))
    server.reject(b"S", 0)
    assert server.closing
    assert plain(server.handle_timer(10 * SECOND)) == []
    assert server.take_output(0) == frame(framing_of(codec), b"J", b"S")


@codecs
def test_debug_may_precede_the_answer(codec: Codec) -> None:
    client = client_of(codec)
    data = codec.frame(PacketType.DEBUG, b"wait") + frame(framing_of(codec), b"H", b"")
    assert plain(client.receive(data, 0)) == [Debug("wait")]
    assert client.state is State.LOGIN


@codecs
def test_debug_and_heartbeats_before_the_login_are_tolerated(codec: Codec) -> None:
    server = server_of(codec)
    data = codec.frame(PacketType.DEBUG, b"hello") + codec.frame(PacketType.CLIENT_HEARTBEAT)
    events = plain(server.receive(data + client_of(codec).take_output(0), 0))
    assert events[0] == Debug("hello")
    assert isinstance(events[1], LoginRequested)


@codecs
def test_a_second_login_is_a_violation(codec: Codec) -> None:
    server = active_server(codec)
    violation, _ = plain(server.receive(client_of(codec).take_output(0), 0))
    assert violation == ProtocolViolation("packet type b'L' when logged in")


@codecs
def test_the_requested_session_is_blank_or_must_match(codec: Codec) -> None:
    for wanted, given_, fits in [(b"", b"S1", True), (b"S1", b"S1", True), (b"S1", b"S2", False)]:
        client = client_of(codec, session=wanted)
        server = server_of(codec)
        (event,) = server.receive(client.take_output(0), 0)
        assert isinstance(event, LoginRequested)
        assert event.request.session == wanted
        server.accept(given_, 1, 0)
        events = exchange(server, client, 0)
        if fits:
            assert events == [Accepted(given_, 1)]
        else:  # ours: a server that lets us into another session would give us other messages
            assert isinstance(events[0], ProtocolViolation)


def test_padding_of_the_requested_session_is_not_compared() -> None:
    client = client_of(session=b"S1        ")
    data = b"\0\x1fA" + b"S1".ljust(10) + b"1".ljust(20)
    assert plain(client.receive(data, 0)) == [Accepted(b"S1", 1)]


# Sequence numbers


@codecs
def test_only_sequenced_data_counts_from_the_number_in_login_accepted(codec: Codec) -> None:
    client, server = active_pair(codec)
    server.send_sequenced([b"one"])
    if codec.server_unsequenced:
        server.send_unsequenced(b"beside")
    server.send_debug("beside")
    plain(server.handle_timer(2 * SECOND))
    server.send_sequenced([b"two", b"three"])
    assert messages_of(exchange(server, client, 2 * SECOND)) == [(1, b"one"), (2, b"two"), (3, b"three")]
    assert client.next_number == server.next_number == 4


@codecs
def test_the_server_decides_the_number(codec: Codec) -> None:
    client = client_of(codec, sequence_number=0)  # 0: from now on
    server = server_of(codec)
    (event,) = server.receive(client.take_output(0), 0)
    assert isinstance(event, LoginRequested)
    assert event.request.sequence_number == 0
    server.accept(b"S1", 135, 0)
    server.send_sequenced([b"x"])
    assert exchange(server, client, 0) == [Accepted(b"S1", 135), (Sequenced, 135, [b"x"])]


@codecs
def test_reconnection_at_the_next_expected_number_continues(codec: Codec) -> None:
    stream = [b"m%d" % number for number in range(1, 10)]
    client, server = active_pair(codec)
    server.send_sequenced(stream[:4])
    got = messages_of(exchange(server, client, 0))
    again = client_of(codec, session=b"SESSION001", sequence_number=client.next_number)
    server = server_of(codec)
    (event,) = server.receive(again.take_output(0), 0)
    assert isinstance(event, LoginRequested)
    server.accept(b"SESSION001", event.request.sequence_number, 0)
    server.send_sequenced(stream[event.request.sequence_number - 1 :])
    got += messages_of(exchange(server, again, 0))
    assert got == list(enumerate(stream, 1))


@pytest.mark.parametrize("codec", [SOUPBINTCP, SOUPTCP_3], ids=name_of)
def test_an_empty_message_is_a_message(codec: Codec) -> None:
    client, server = active_pair(codec)
    server.send_sequenced([b"", b"x", b""])
    assert exchange(server, client, 0) == [(Sequenced, 1, [b"", b"x", b""])]


def test_soup_tcp_2_an_empty_sequenced_packet_ends_the_session_and_has_no_number() -> None:
    client = active_client(SOUPTCP_2)
    events = plain(client.receive(b"Sone\nS\nStwo\n", 0))
    assert events == [(Sequenced, 1, [b"one"]), EndOfSession(), Closed("end of session")]
    assert client.next_number == 2


def test_a_number_that_counts_out_of_64_bits_is_refused() -> None:
    client = client_of()
    data = b"\0\x1fA" + b" " * 10 + b"18446744073709551615"
    assert isinstance(plain(client.receive(data, 0))[0], ProtocolViolation)


# Unsequenced data


@codecs
def test_unsequenced_data_from_the_client_arrives_in_order_and_whole(codec: Codec) -> None:
    client, server = active_pair(codec)
    for payload in (b"one", b"", b"three"):
        client.send_unsequenced(payload)
    assert exchange(client, server, 0) == [(Unsequenced, [b"one", b"", b"three"])]


@codecs
def test_unsequenced_data_before_the_login_is_a_violation(codec: Codec) -> None:
    server = server_of(codec)
    events = plain(server.receive(codec.frame(PacketType.UNSEQUENCED, b"x"), 0))
    assert isinstance(events[0], ProtocolViolation)


def test_unsequenced_data_from_a_server_only_in_4() -> None:
    client, server = active_pair(SOUPBINTCP)
    server.send_unsequenced(b"x")
    data = server.take_output(0)
    assert plain(client.receive(data, 0)) == [(Unsequenced, [b"x"])]
    assert isinstance(plain(active_client(SOUPBINTCP_3).receive(data, 0))[0], ProtocolViolation)


# Heartbeats


@codecs
@pytest.mark.parametrize("role", ["client", "server"])
def test_a_heartbeat_one_second_after_anything_was_sent(codec: Codec, role: str) -> None:
    session: Session = active_client(codec) if role == "client" else active_server(codec)
    beat = codec.frame(HEARTBEATS[role])
    assert session.deadline_ns() == SECOND
    assert plain(session.handle_timer(SECOND - 1)) == []
    assert session.output_bytes == 0
    assert plain(session.handle_timer(SECOND)) == []
    assert session.take_output(SECOND) == beat
    assert session.deadline_ns() == 2 * SECOND
    session.send_debug("x")  # type: ignore[attr-defined]
    session.take_output(SECOND * 3 // 2)
    assert session.deadline_ns() == SECOND * 5 // 2
    session.sent(2 * SECOND)  # by another way, a file for example
    assert session.deadline_ns() == 3 * SECOND


@codecs
def test_no_client_heartbeat_before_the_login_is_accepted(codec: Codec) -> None:
    client = client_of(codec)
    client.take_output(0)
    assert plain(client.handle_timer(14 * SECOND)) == []
    assert client.output_bytes == 0


def test_heartbeats_do_not_pile_up_before_a_peer_that_does_not_read() -> None:
    server = active_server()
    for second in range(1, 14):
        plain(server.handle_timer(second * SECOND))
    assert server.output_bytes == len(SOUPBINTCP.frame(PacketType.SERVER_HEARTBEAT))


@codecs
@pytest.mark.parametrize("role", ["client", "server"])
def test_any_packet_counts_as_life_and_silence_is_death(codec: Codec, role: str) -> None:
    session: Session = active_client(codec) if role == "client" else active_server(codec)
    other = {"client": "server", "server": "client"}[role]
    assert plain(session.receive(codec.frame(PacketType.DEBUG, b"x"), 5 * SECOND)) == [Debug("x")]
    assert plain(session.receive(codec.frame(HEARTBEATS[other]), 10 * SECOND)) == []
    assert plain(session.handle_timer(25 * SECOND - 1)) == []
    assert plain(session.handle_timer(25 * SECOND)) == [Closed(f"nothing from the {other} for 15 s")]
    assert session.closing


def test_the_client_waits_for_the_login_answer_from_when_it_is_told() -> None:
    assert client_of(now_ns=3 * SECOND).deadline_ns() == 18 * SECOND
    client = client_of(now_ns=None)
    assert client.deadline_ns() is None  # the connection is still being made
    client.output_view()
    client.output_sent(10, 5 * SECOND)
    assert client.deadline_ns() == 20 * SECOND
    assert plain(client.handle_timer(20 * SECOND)) == [Closed("nothing from the server for 15 s")]


def test_an_owner_that_does_not_read_cannot_blame_the_peer() -> None:
    server = active_server()
    server.pause()
    assert server.deadline_ns() == SECOND  # our heartbeats go on
    assert plain(server.handle_timer(100 * SECOND)) == []
    server.resume(100 * SECOND)
    server.resume(101 * SECOND)
    assert plain(server.handle_timer(115 * SECOND - 1)) == []
    assert plain(server.handle_timer(115 * SECOND)) == [Closed("nothing from the client for 15 s")]


# Heartbeat time-out of 4.10


@pytest.mark.parametrize("codec", [SOUPBINTCP, SOUPBINTCP_4_10], ids=name_of)
@pytest.mark.parametrize(
    ("field", "timeout_ns"),
    [
        ("5000", 5 * SECOND),
        ("1", 1_000_000),
        ("99999", 99_999_000_000),
        ("    0", 15 * SECOND),  # ours: what servers had before the field existed
        ("     ", 15 * SECOND),
        ("abcde", 15 * SECOND),
        ("", 15 * SECOND),  # a login of 3.00 or 4.00
    ],
)
def test_the_client_chooses_the_servers_patience(codec: Codec, field: str, timeout_ns: int) -> None:
    server = server_of(codec)
    list(server.receive(login("binary", "USER", "PASS", "", 1, field), 0))
    server.accept(b"S", 1, 7)
    assert plain(server.handle_timer(7 + timeout_ns - 1)) == []
    (closed,) = plain(server.handle_timer(7 + timeout_ns))  # 4.10: will close
    assert isinstance(closed, Closed)


def test_the_client_of_4_10_sends_its_choice_and_it_makes_sense() -> None:
    client = client_of(SOUPBINTCP_4_10, heartbeat_timeout_ms=2500)
    assert client.take_output(0).endswith(b" 2500")
    with pytest.raises(LocalProtocolError, match="before our first heartbeat"):
        client_of(SOUPBINTCP_4_10, heartbeat_timeout_ms=1000)
    with pytest.raises(LocalProtocolError, match="not in"):
        client_of(SOUPBINTCP_4_10, heartbeat_timeout_ms=100_000)


# Ends


@codecs
def test_end_of_session_then_close(codec: Codec) -> None:
    client, server = active_pair(codec)
    server.send_sequenced([b"last"])
    server.end_session(0)
    with pytest.raises(LocalProtocolError):
        server.send_sequenced([b"later"])
    assert exchange(server, client, 0) == [
        (Sequenced, 1, [b"last"]),
        EndOfSession(),
        Closed("end of session"),
    ]
    assert server.closing
    assert client.closing


@codecs
def test_logout_closes_at_once(codec: Codec) -> None:
    client, server = active_pair(codec)
    server.send_sequenced([b"on its way"])
    client.logout(0)
    assert exchange(client, server, 0) == [Logout(), Closed("logged out")]
    assert exchange(server, client, 0) == []


@codecs
def test_packets_of_length_0_and_unknown_types_end_it_with_a_reason(codec: Codec) -> None:
    for data in (b"\0\0", b"\0\1?") if codec.name == "SoupBinTCP" else (b"\n", b"?\n"):
        client, server = active_pair(codec)
        violation, closed = plain(server.receive(data, 0))
        assert isinstance(violation, ProtocolViolation)
        assert isinstance(closed, Closed)
        assert exchange(server, client, 0) == [Debug(violation.reason)]


def test_zero_length_packets_are_never_sent() -> None:
    for codec in (SOUPBINTCP, SOUPBINTCP_3, SOUPBINTCP_4_10):
        for kind in PacketType:
            assert codec.frame(kind)[:2] == b"\0\1"


# Output


def test_output_is_bounded() -> None:
    server = active_server(output_limit_bytes=100)
    server.send_sequenced([bytes(60)])
    for call in (
        lambda: server.send_sequenced([bytes(20), bytes(20)]),
        lambda: server.send_unsequenced(bytes(60)),
        lambda: server.send_debug("x" * 60),
    ):
        with pytest.raises(OutputFull):
            call()
    assert (server.next_number, server.output_bytes) == (2, 63)
    server.take_output(0)
    server.send_sequenced([bytes(20), bytes(20)])


def test_output_leaves_in_pieces() -> None:
    server = active_server()
    server.send_sequenced([b"one"])
    view = server.output_view()
    server.send_sequenced([b"two"])  # while the transport holds a view
    assert bytes(view) == b"\0\4Sone"
    server.output_sent(4, 10)
    assert server.output_bytes == 8
    assert bytes(server.output_view()) == b"ne"
    server.output_sent(2, 10)
    assert server.take_output(10) == b"\0\4Stwo"
    assert bytes(server.output_view()) == b""


def test_messages_sent_from_a_file_are_counted() -> None:
    server = active_server()
    server.sent(SECOND, sequenced=10)
    server.send_sequenced([b"x"])
    assert server.next_number == 12


def test_batches_are_forwarded_without_copies_in_python() -> None:
    client, server = active_pair()
    other = active_server()
    server.send_sequenced([b"one", b"", b"three"])
    data = server.take_output(0)
    for event in client.receive(data, 0):
        assert isinstance(event, Sequenced)
        other.send_sequenced(event.messages)
    assert other.take_output(0) == data
    assert other.next_number == 4


def test_the_example_of_real_peers() -> None:
    server = server_of()
    data = bytes.fromhex("002f4c7573657220 2070617373776f72642020" + "20" * 10 + "20" * 19 + "30")
    assert plain(server.receive(data, 0)) == [LoginRequested(LoginRequest("user", "password", b"", 0))]
    client = client_of()
    data = bytes.fromhex("001f4131363839313932313231" + "20" * 17 + "313335")
    assert plain(client.receive(data, 0)) == [Accepted(b"1689192121", 135)]
