"""One test for each rule of the specification, named by its section (MoldUDP64 1.00; MoldUDP where it differs).

Rules that the specification leaves open, and what is done here, are marked "ours".
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from moldudp import (
    MOLDUDP,
    MOLDUDP64,
    Codec,
    Downstream,
    ListStore,
    LocalProtocolError,
    Receiver,
    RequestServer,
)
from native import ffi

SESSION = b"SESS000001"
SECOND = 1_000_000_000


def receiver_of(codec: Codec, **settings: Any) -> Receiver:
    return Receiver(codec=codec, random=random.Random(1), **settings)


def hear(receiver: Receiver, *datagrams: bytes) -> list[int]:
    numbers = []
    for datagram in datagrams:
        receiver.receive_datagram(datagram, 0)
        while batch := receiver.messages():
            numbers += batch.numbers
    return numbers


def test_session_field_identifies_the_sequence(codec: Codec) -> None:
    """Session: a packet of another session is not part of this stream."""
    other = codec.pack(b"SESS000002", 2, [b"x"], 100)[0]
    assert hear(receiver_of(codec), codec.pack(SESSION, 1, [b"x"], 100)[0], other) == [1]


def test_sequence_number_is_of_the_first_message_and_the_rest_follow(codec: Codec) -> None:
    """Downstream Packet: later messages are numbered implicitly, one up each."""
    assert hear(receiver_of(codec, start=7), codec.pack(SESSION, 7, [b"a", b"b", b"c"], 100)[0]) == [7, 8, 9]


def test_first_message_of_a_session_is_number_1(codec: Codec) -> None:
    """Downstream Packet, Sequence Number."""
    assert codec.decode_header(Downstream(codec, SESSION).send([b"x"], 0)[0]).sequence_number == 1
    with pytest.raises(LocalProtocolError):
        codec.pack(SESSION, 0, [b"x"], 100)


def test_message_length_excludes_itself(codec: Codec) -> None:
    """Message Block: the length is that of the message data."""
    order = "big" if codec is MOLDUDP64 else "little"
    packet, _ = codec.pack(SESSION, 1, [b"abc"], 100)
    assert int.from_bytes(packet[codec.header_bytes : codec.header_bytes + 2], order) == 3


def test_count_of_zero_is_a_heartbeat(codec: Codec) -> None:
    """Heartbeats: Message Count 0, no body, the next expected number; it consumes none."""
    heartbeat = codec.heartbeat(SESSION, 1)
    assert len(heartbeat) == codec.header_bytes
    receiver = receiver_of(codec)
    assert hear(receiver, heartbeat, heartbeat, codec.pack(SESSION, 1, [b"x"], 100)[0]) == [1]
    assert receiver.counters.heartbeats == 2


def test_heartbeat_reveals_a_lost_tail(codec: Codec) -> None:
    """Heartbeats: their purpose."""
    receiver = receiver_of(codec)
    hear(receiver, codec.heartbeat(SESSION, 3))
    assert [(gap.first, gap.count) for gap in receiver.gaps()] == [(1, 2)]


def test_heartbeats_come_at_least_once_a_second(codec: Codec) -> None:
    """Heartbeats: typically one per second in quiet times; quicker at first is ours."""
    sender = Downstream(codec, SESSION)
    sender.send([b"x"], 0)
    last = 0
    for now_ns in range(0, 20 * SECOND, SECOND // 1000):
        if sender.due(now_ns):
            assert now_ns - last <= SECOND
            last = now_ns
    assert last >= 19 * SECOND


def test_end_of_session_is_sent_instead_of_heartbeats(codec: Codec) -> None:
    """End of Session: with the next expected number, in place of heartbeats, for a while."""
    sender = Downstream(codec, SESSION)
    sender.send([b"x"], 0)
    sender.end(0)
    packets = [packet for now_ns in range(0, 5 * SECOND, SECOND // 1000) for packet in sender.due(now_ns)]
    assert set(packets) == {codec.end_of_session(SESSION, 2)}
    assert len(packets) > 5


def test_no_message_after_the_end_of_session(codec: Codec) -> None:
    """End of Session: no messages may be sent on the session any more; ours: one that comes is not believed."""
    sender = Downstream(codec, SESSION)
    sender.end(0)
    with pytest.raises(LocalProtocolError):
        sender.send([b"x"], 0)
    assert (
        hear(receiver_of(codec), codec.end_of_session(SESSION, 1), codec.pack(SESSION, 1, [b"x"], 99)[0])
        == []
    )


def test_end_of_session_packet_consumes_no_number_in_moldudp64() -> None:
    """End of Session: Message Count 0xFFFF, no body."""
    assert MOLDUDP64.end_of_session(SESSION, 3)[18:] == b"\xff\xff"
    receiver = receiver_of(MOLDUDP64, start=3)
    hear(receiver, MOLDUDP64.end_of_session(SESSION, 3))
    assert (receiver.ended, receiver.next_number) == (True, 3)


def test_end_of_session_is_an_empty_block_in_moldudp() -> None:
    """MoldUDP: Message Count 0xFFFF has no meaning there."""
    assert MOLDUDP.end_of_session(SESSION, 3)[14:] == b"\1\0\0\0"
    receiver = receiver_of(MOLDUDP)
    hear(receiver, MOLDUDP.header(SESSION, 1, 0xFFFF))
    assert (receiver.ended, receiver.counters.malformed) == (False, 1)


def test_requests_stay_valid_after_the_end_of_session(codec: Codec) -> None:
    """End of Session: what was missed can still be requested."""
    store = ListStore(codec, SESSION)
    store.extend([b"x"])
    store.end()
    assert RequestServer(codec, store).respond(codec.request(SESSION, 1, 1)) is not None


def test_request_packet_is_a_header_alone(codec: Codec) -> None:
    """Request Packet: session, first number, requested count; no body."""
    assert codec.request(SESSION, 9, 4) == codec.header(SESSION, 9, 4)


def test_reply_is_one_packet_and_the_rest_must_be_asked_for_again(codec: Codec) -> None:
    """Request Packet: at most one packet for each request, of whole messages."""
    store = ListStore(codec, SESSION)
    store.extend([bytes(100)] * 30)
    server = RequestServer(codec, store, capacity=500)
    receiver = receiver_of(codec)
    hear(receiver, codec.heartbeat(SESSION, 31))
    numbers: list[int] = []
    rounds = now_ns = 0
    while receiver.gaps():
        now_ns += 2_000_000
        for request in receiver.requests(now_ns):
            reply = server.respond(request)
            assert reply is not None
            assert len(reply) <= 500
            receiver.receive_datagram(reply, now_ns)
            numbers += receiver.messages().numbers
            rounds += 1
    assert numbers == list(range(1, 31))
    assert rounds == 8  # four messages fit a reply


def test_receiver_with_a_gap_does_not_deliver_beyond_it(codec: Codec) -> None:
    """Receiver example: messages are processed in sequence; ours: the early packet is kept, not dropped."""
    receiver = receiver_of(codec)
    early, missing = (codec.pack(SESSION, number, [b"x"], 100)[0] for number in (2, 1))
    assert hear(receiver, early) == []
    assert hear(receiver, missing) == [1, 2]


def test_check_that_refuses_keeps_messages_back(codec: Codec) -> None:
    """Ours: a message that fails the check stays a gap, and so does the rest of its datagram."""

    def refuse_bad(message: Any, length: int, number: int) -> int:
        assert number in {1, 2, 3}
        return int(ffi.buffer(message, length)[:] == b"bad")

    check = ffi.callback("sc_message_check", refuse_bad)
    receiver = receiver_of(codec, check=check)
    assert hear(receiver, codec.pack(SESSION, 1, [b"a", b"bad", b"c"], 100)[0]) == [1]
    assert [(gap.first, gap.count) for gap in receiver.gaps()] == [(2, 2)]
    assert receiver.counters.corrupt == 1
    assert hear(receiver, codec.pack(SESSION, 1, [b"a", b"b", b"c"], 100)[0]) == [2, 3]
