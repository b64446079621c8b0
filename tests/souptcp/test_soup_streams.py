"""Two machines back to back over any chunking, and one machine against any bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import (
    CODECS,
    SECOND,
    active_client,
    active_server,
    batch_of,
    client_of,
    framing_of,
    messages_of,
    name_of,
    plain,
    server_of,
)
from oracle_soup import accepted, frame

from souptcp import (
    PACKET_LIMIT,
    SOUPBINTCP,
    Accepted,
    ClientSession,
    Closed,
    Codec,
    EndOfSession,
    LoginRequested,
    OutputFull,
    ProtocolViolation,
    Sequenced,
    ServerSession,
    Session,
    Unsequenced,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

codecs = pytest.mark.parametrize("codec", CODECS, ids=name_of)

payload = st.binary(min_size=1, max_size=40).map(lambda data: data.replace(b"\n", b"-"))
step = st.one_of(
    st.tuples(st.just("sequenced"), st.lists(payload, max_size=5)),
    st.tuples(st.just("unsequenced"), payload),
    st.tuples(st.just("answer"), payload),
    st.tuples(st.just("debug"), payload),
    st.tuples(st.just("time"), st.integers(0, 3)),
    st.tuples(st.just("carry"), st.integers(1, 30)),
)


class Wire:
    """Bytes between two machines, which arrive in pieces of any size."""

    def __init__(self, sender: Session, receiver: Session) -> None:
        self.sender = sender
        self.receiver = receiver
        self.events: list[object] = []
        self._bytes = bytearray()

    def carry(self, size: int | None, now_ns: int) -> None:
        self._bytes += self.sender.take_output(now_ns)
        piece = bytes(self._bytes[:size])
        del self._bytes[: len(piece)]
        self.events += plain(self.receiver.receive(piece, now_ns))


@codecs
@given(steps=st.lists(step, max_size=30), number=st.integers(1, 2**40))
def test_everything_arrives_once_in_order_however_it_is_cut(
    codec: Codec, steps: list[tuple[str, object]], number: int
) -> None:
    number %= 10**10 if codec.sequence_digits == 10 else 2**41
    client = client_of(codec, sequence_number=number)
    server = server_of(codec)
    upwards, downwards = Wire(client, server), Wire(server, client)
    upwards.carry(None, 0)
    server.accept(b"S1", number, 0)
    downwards.carry(None, 0)
    now_ns = 0
    sequenced: list[bytes] = []
    up: list[bytes] = []
    down: list[bytes] = []
    for kind, value in steps:
        match kind, value:
            case "sequenced", list(payloads):
                server.send_sequenced(payloads)
                sequenced += payloads
            case "unsequenced", bytes(payload_):
                client.send_unsequenced(payload_)
                up.append(payload_)
            case "answer", bytes(payload_) if codec.server_unsequenced:
                server.send_unsequenced(payload_)
                down.append(payload_)
            case "debug", bytes(payload_):
                client.send_debug(payload_.hex())
                server.send_debug(payload_.hex())
            case "time", int(seconds):
                now_ns += seconds * SECOND
                for wire in (upwards, downwards):
                    assert plain(wire.sender.handle_timer(now_ns)) == []
                    wire.carry(None, now_ns)
            case "carry", int(size):
                upwards.carry(size, now_ns)
                downwards.carry(size, now_ns)
    upwards.carry(None, now_ns)
    server.end_session(now_ns)
    downwards.carry(None, now_ns)
    assert messages_of(downwards.events) == list(enumerate(sequenced, number))
    assert unsequenced_of(downwards.events) == down
    assert unsequenced_of(upwards.events) == up
    assert downwards.events[-2:] == [EndOfSession(), Closed("end of session")]
    assert client.next_number == server.next_number == number + len(sequenced)


def unsequenced_of(events: list[object]) -> list[bytes]:
    return [
        data for event in events if isinstance(event, tuple) and event[0] is Unsequenced for data in event[1]
    ]


def merged(events: list[object]) -> list[object]:
    """Events with batches joined, so that cuts do not show."""
    result: list[object] = []
    for event in events:
        last = result[-1] if result else None
        if isinstance(event, tuple) and isinstance(last, tuple) and event[0] is last[0]:
            result[-1] = (*last[:-1], last[-1] + event[-1])
        else:
            result.append(event)
    return result


def in_pieces(session: Session, data: bytes, sizes: list[int]) -> Iterator[object]:
    position = 0
    for size in sizes:
        yield from plain(session.receive(data[position : position + size], 0))
        position += size
    yield from plain(session.receive(data[position:], 0))


ROLES = {"client": active_client, "server": active_server, "login": client_of, "early": server_of}

garbage = st.one_of(
    st.binary(max_size=100),
    st.lists(
        st.tuples(st.sampled_from([b"+", b"A", b"J", b"S", b"U", b"H", b"R", b"Z", b"O", b"L"]), payload),
        max_size=12,
    ),
)


@codecs
@pytest.mark.parametrize("role", ROLES)
@given(data=garbage, tail=st.binary(max_size=8), sizes=st.lists(st.integers(0, 9), max_size=12))
def test_any_bytes_give_the_same_events_however_they_are_cut(
    codec: Codec, role: str, data: bytes | list[tuple[bytes, bytes]], tail: bytes, sizes: list[int]
) -> None:
    if isinstance(data, list):
        data = b"".join(frame(framing_of(codec), kind, payload_) for kind, payload_ in data)
    data += tail
    make = ROLES[role]
    whole, cut, bytewise = make(codec), make(codec), make(codec)
    events = merged(plain(whole.receive(data, 0)))
    assert merged(list(in_pieces(cut, data, sizes))) == events
    assert merged(list(in_pieces(bytewise, data, [1] * len(data)))) == events
    assert whole.take_output(0) == cut.take_output(0) == bytewise.take_output(0)
    closed = [event for event in events if isinstance(event, Closed)]
    assert closed == ([events[-1]] if whole.closing else [])


@codecs
def test_byte_at_a_time_with_trailing_bytes(codec: Codec) -> None:
    framing = framing_of(codec)
    stream = accepted(framing, "S1", 9) + b"".join(
        frame(framing, b"S", b"m%d" % i) + frame(framing, b"H", b"") for i in range(5)
    )
    stream += frame(framing, b"S", b"x")[:-1]  # never completed
    client = client_of(codec)
    events = list(in_pieces(client, stream, [1] * len(stream)))
    assert events[0] == Accepted(b"S1", 9)
    assert messages_of(events) == [(9 + i, b"m%d" % i) for i in range(5)]
    assert plain(client.disconnected("gone")) == [Closed("gone, in the middle of a packet")]


@given(
    sizes=st.lists(st.sampled_from([0, 1, 200, 32_000, 65_533, 65_534]), min_size=1, max_size=6),
    piece=st.integers(1000, 70_000),
)
def test_the_largest_packets_through_the_smallest_buffer(sizes: list[int], piece: int) -> None:
    client, server = active_client(buffer_bytes=PACKET_LIMIT), active_server()
    payloads = [bytes([i]) * size for i, size in enumerate(sizes)]
    server.send_sequenced(payloads)
    stream = server.take_output(0)
    events = list(in_pieces(client, stream, [piece] * (len(stream) // piece)))
    assert messages_of(events) == list(enumerate(payloads, 1))


def test_the_buffer_has_always_room_for_the_rest_of_a_packet() -> None:
    client = active_client(buffer_bytes=PACKET_LIMIT)
    packet = SOUPBINTCP.frame(ord("S"), bytes(65_534))
    assert plain(client.receive(packet[:-1], 0)) == []
    assert len(client.space()) == 1
    (event,) = plain(client.receive(packet[-1:] + packet, 0))[:1]
    assert event == (Sequenced, 1, [bytes(65_534)])


def test_more_messages_than_a_batch_has_rows() -> None:
    client, server = active_client(), active_server()
    server.send_sequenced([b""] * 10_000)
    batches = plain(client.receive(server.take_output(0), 0))
    assert [len(batch[2]) for batch in batches if isinstance(batch, tuple)] == [4096, 4096, 1808]
    assert client.next_number == 10_001


def test_a_session_of_many_kinds_is_what_was_meant() -> None:
    """A whole session as one list of events, for people to read."""
    client, server = (
        ClientSession(SOUPBINTCP, user="U", password="P", sequence_number=5),
        ServerSession(SOUPBINTCP, now_ns=0),
    )
    (requested,) = plain(server.receive(client.take_output(0), 0))
    assert isinstance(requested, LoginRequested)
    server.accept(b"S1", requested.request.sequence_number, 0)
    server.send_sequenced([b"a", b"b"])
    server.send_unsequenced(b"beside")
    server.send_sequenced([b"c"])
    server.send_unsequenced_batch(batch_of(b"two", b"", b"more"))
    server.end_session(0)
    assert plain(client.receive(server.take_output(0), 0)) == [
        Accepted(b"S1", 5),
        (Sequenced, 5, [b"a", b"b"]),
        (Unsequenced, [b"beside"]),
        (Sequenced, 7, [b"c"]),
        (Unsequenced, [b"two", b"", b"more"]),
        EndOfSession(),
        Closed("end of session"),
    ]


def test_a_flood_of_unread_output_raises_in_the_sender_only() -> None:
    server = active_server(output_limit_bytes=1000)
    with pytest.raises(OutputFull):
        server.send_sequenced([bytes(1000)])
    with pytest.raises(OutputFull):
        server.send_unsequenced_batch(batch_of(bytes(1000)))
    assert not server.output_bytes
    assert not server.closing
    assert not any(isinstance(event, ProtocolViolation) for event in plain(server.handle_timer(SECOND)))
