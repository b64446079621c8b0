"""The re-request server: MoldUDP64 1.00, Request Packet; silence on everything that is not a good request."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moldudp import MOLDUDP, MOLDUDP64, Codec, ListStore, LocalProtocolError, Receiver, RequestServer

SESSION = b"SESS000001"
MESSAGES = [b"%d" % number * 20 for number in range(1, 101)]


def server_of(codec: Codec, **settings: int) -> RequestServer:
    store = ListStore(codec, SESSION)
    store.extend(MESSAGES)
    return RequestServer(codec, store, **settings)


def test_reply_is_an_ordinary_packet(codec: Codec) -> None:
    server = server_of(codec)
    reply = server.respond(codec.request(SESSION, 5, 3))
    assert reply == codec.pack(SESSION, 5, MESSAGES[4:7], 1400)[0]
    assert (server.counters.requests, server.counters.replies, server.counters.messages) == (1, 1, 3)


def test_one_packet_of_whole_messages(codec: Codec) -> None:
    server = server_of(codec, capacity=200)
    reply = server.respond(codec.request(SESSION, 1, 100))
    assert reply is not None
    assert len(reply) <= 200
    packet = codec.decode(reply)
    assert list(packet.messages) == MESSAGES[: len(packet.messages)]
    assert len(reply) + 2 + len(MESSAGES[len(packet.messages)]) > 200


@pytest.mark.parametrize("count", [0xFFFE, 0xFFFF])
def test_all_that_fits(codec: Codec, count: int) -> None:
    reply = server_of(codec, capacity=60_000).respond(codec.request(SESSION, 2, count))
    assert reply is not None
    assert codec.decode(reply).messages == tuple(MESSAGES[1:])


def test_count_beyond_the_last_is_cut(codec: Codec) -> None:
    reply = server_of(codec).respond(codec.request(SESSION, 99, 50))
    assert reply is not None
    assert codec.decode(reply).messages == tuple(MESSAGES[98:])


def test_silence(codec: Codec) -> None:
    server = server_of(codec)
    request = codec.request(SESSION, 1, 1)
    for length in range(codec.header_bytes):
        assert server.respond(request[:length]) is None
    assert server.respond(codec.request(b"SESS000002", 1, 1)) is None
    assert server.respond(codec.header(SESSION, 0, 1)) is None
    assert server.respond(codec.header(SESSION, 1, 0)) is None
    assert server.respond(codec.request(SESSION, 101, 1)) is None
    assert server.respond(codec.header(SESSION, codec.number_max + 1, 65535)) is None
    counters = server.counters
    assert counters.short == codec.header_bytes
    assert (counters.unknown_session, counters.number_zero, counters.count_zero) == (1, 1, 1)
    assert (counters.beyond_last, counters.unavailable, counters.replies) == (2, 0, 0)
    assert counters.requests == codec.header_bytes + 5


def test_longer_datagram_is_served_by_its_first_bytes(codec: Codec) -> None:
    server = server_of(codec)
    request = codec.request(SESSION, 5, 3)
    assert server.respond(request + b"anything") == server.respond(request)


def test_message_above_the_packet_is_not_answered_with_a_heartbeat(codec: Codec) -> None:
    server = server_of(codec, capacity=40)
    assert server.respond(codec.request(SESSION, 100, 1)) is None
    assert server.counters.unavailable == 1


def test_empty_store(codec: Codec) -> None:
    server = RequestServer(codec, ListStore(codec, "SESS000001"))
    assert server.respond(codec.request(SESSION, 1, 1)) is None
    assert server.counters.beyond_last == 1


def test_sessions_are_compared_as_ten_raw_bytes(codec: Codec) -> None:
    server = RequestServer(codec, ListStore(codec, "SESS1"))
    server.store.extend([b"x"])
    assert server.respond(codec.request(b"SESS1\0\0\0\0\0", 1, 1)) is None
    assert server.respond(codec.request(b"SESS1     ", 1, 1)) is not None


def test_marker_of_moldudp_can_be_requested() -> None:
    server = server_of(MOLDUDP)
    server.store.end()
    assert server.respond(MOLDUDP.request(SESSION, 101, 9)) == MOLDUDP.end_of_session(SESSION, 101)
    reply = server.respond(MOLDUDP.request(SESSION, 100, 9))
    assert reply is not None
    packet = MOLDUDP.decode(reply)
    assert (packet.messages, packet.end_of_session, packet.header.count) == ((MESSAGES[99],), True, 2)
    assert server.respond(MOLDUDP.request(SESSION, 102, 1)) is None
    receiver = Receiver(codec=MOLDUDP, random=random.Random(1), start=100)
    receiver.receive_datagram(reply, 0)
    assert receiver.messages().payloads() == [MESSAGES[99]]
    assert receiver.ended


def test_end_of_moldudp64_takes_no_number() -> None:
    server = server_of(MOLDUDP64)
    server.store.end()
    assert server.respond(MOLDUDP64.request(SESSION, 101, 1)) is None


def test_store_refuses_what_the_protocol_cannot_carry(codec: Codec) -> None:
    store = ListStore(codec, SESSION)
    with pytest.raises(LocalProtocolError):
        store.extend([bytes(65536)])
    store.end()
    with pytest.raises(LocalProtocolError, match="ended"):
        store.extend([b"x"])
    assert store.last(b"SESS000002") is None
    assert store.pack(b"SESS000002", 1, 1, 100) == (b"", 0)
    with pytest.raises(LocalProtocolError, match="holds no message"):
        RequestServer(codec, store, capacity=codec.header_bytes + 2)


@settings(max_examples=300)
@given(st.sampled_from([MOLDUDP64, MOLDUDP]), st.binary(max_size=30), st.booleans())
def test_any_datagram(codec: Codec, datagram: bytes, same_session: bool) -> None:
    """Whatever comes: silence, or one good packet of this session that holds what was asked for."""
    server = server_of(codec)
    if same_session:
        datagram = SESSION + datagram
    reply = server.respond(datagram)
    if reply is None:
        return
    header, packet = codec.decode_header(datagram), codec.decode(reply)
    assert packet.header.session == header.session == SESSION
    assert packet.header.sequence_number == header.sequence_number
    assert 1 <= packet.header.count <= header.count
    assert list(packet.messages) == MESSAGES[header.sequence_number - 1 : packet.next_number - 1]
