"""The bare codecs: golden vectors, every truncation, padding, limits, and equality with the oracle."""

from __future__ import annotations

import struct

import oracle_mold
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moldudp import (
    MOLDUDP,
    MOLDUDP64,
    Codec,
    Header,
    LocalProtocolError,
    Packet,
    RemoteProtocolError,
    session_field,
)
from native import lib
from native.messages import Messages, MessageTable

SESSION = b"SESS000001"
CODECS = st.sampled_from([MOLDUDP64, MOLDUDP])

# Laid out by hand from the field tables of the specifications.
GOLDEN64 = {
    "data": "53455353303030303031 0000000000000001 0002 0005 68656c6c6f 0000",
    "heartbeat": "53455353303030303031 0000000000000003 0000",
    "end of session": "53455353303030303031 0000000000000003 ffff",
    "request": "53455353303030303031 0000000000000001 0002",
}
# MoldUDP: the layout on which Wireshark's dissector, libtrading and helix agree.
GOLDEN32 = {
    "data": "53455353303030303031 01000000 0200 0500 68656c6c6f 0300 627965",
    "heartbeat": "53455353303030303031 03000000 0000",
    "end of session": "53455353303030303031 03000000 0100 0000",
    "request": "53455353303030303031 01000000 0200",
}


def golden(codec: Codec, name: str) -> bytes:
    return bytes.fromhex((GOLDEN64 if codec is MOLDUDP64 else GOLDEN32)[name])


def batch(messages: list[bytes]) -> Messages:
    """The messages in one buffer, as C hands them out."""
    table = MessageTable(len(messages))
    offset = 1
    for row, message in enumerate(messages):
        table.rows[row].offset = offset
        table.rows[row].length = len(message)
        offset += len(message)
    return table.view(memoryview(b"\0" + b"".join(messages)), len(messages))


def test_constants_are_those_of_the_kernel() -> None:
    assert MOLDUDP64.header_bytes == lib.SC_MOLDUDP64_HEADER_BYTES == struct.calcsize(">10sQH") == 20
    assert MOLDUDP.header_bytes == lib.SC_MOLDUDP_HEADER_BYTES == struct.calcsize("<10sIH") == 16
    assert MOLDUDP64.count_max == lib.SC_MOLDUDP64_COUNT_MAX
    assert MOLDUDP.count_max == lib.SC_MOLDUDP_COUNT_MAX
    assert MOLDUDP64.count_max + 1 == lib.SC_MOLDUDP64_END_OF_SESSION


@pytest.mark.parametrize("as_batch", [False, True], ids=["list", "batch"])
def test_golden_data(codec: Codec, as_batch: bool) -> None:
    messages = [b"hello", b"" if codec is MOLDUDP64 else b"bye"]
    data = golden(codec, "data")
    assert codec.pack(SESSION, 1, batch(messages) if as_batch else messages, 100) == (data, 2)
    packet = codec.decode(data)
    assert packet == Packet(Header(SESSION, 1, 2), tuple(messages), False)
    assert packet.next_number == 3


def test_golden_headers(codec: Codec) -> None:
    assert codec.heartbeat(SESSION, 3) == golden(codec, "heartbeat")
    assert codec.end_of_session(SESSION, 3) == golden(codec, "end of session")
    assert codec.request(SESSION, 1, 2) == golden(codec, "request")
    assert codec.decode(golden(codec, "heartbeat")) == Packet(Header(SESSION, 3, 0), (), False)
    end = codec.decode(golden(codec, "end of session"))
    assert (end.header.sequence_number, end.messages, end.end_of_session, end.next_number) == (3, (), True, 3)
    assert codec.decode_header(golden(codec, "request")) == Header(SESSION, 1, 2)


@pytest.mark.parametrize(
    ("data", "session", "number"),
    [
        ("30303030303833363749 000000000005d921 0000", b"000008367I", 383265),
        ("31353637333236303330 000000000034e3e9 0000", b"1567326030", 3466217),
    ],
    ids=["ISE", "ASX"],
)
def test_golden_heartbeats_of_exchanges(data: str, session: bytes, number: int) -> None:
    assert MOLDUDP64.decode(bytes.fromhex(data)) == Packet(Header(session, number, 0), (), False)
    assert MOLDUDP64.heartbeat(session, number) == bytes.fromhex(data)


def test_every_truncation(codec: Codec) -> None:
    data = golden(codec, "data")
    for length in range(len(data)):
        with pytest.raises(RemoteProtocolError):
            codec.decode(data[:length])
        if length < codec.header_bytes:
            with pytest.raises(RemoteProtocolError):
                codec.decode_header(data[:length])
        else:
            assert codec.decode_header(data[:length]) == Header(SESSION, 1, 2)


def test_trailing_bytes_are_padding(codec: Codec) -> None:
    data = golden(codec, "data")
    for padding in (b"\0", b"\0" * 7, b"\xff" * 300):
        assert codec.decode(data + padding) == codec.decode(data)


def test_bytes_like_inputs(codec: Codec) -> None:
    data = golden(codec, "data")
    assert codec.decode(bytearray(data)) == codec.decode(memoryview(data)) == codec.decode(data)


@pytest.mark.parametrize("count", [1, 2, 1000, 65534])
def test_count_is_never_trusted(codec: Codec, count: int) -> None:
    with pytest.raises(RemoteProtocolError):
        codec.decode(codec.header(SESSION, 1, count))


def test_blocks_after_the_marker_are_not_messages() -> None:
    data = oracle_mold.encode("MoldUDP", SESSION, 5, [b"a", b"", b"b"])
    packet = MOLDUDP.decode(data)
    assert (packet.messages, packet.end_of_session, packet.next_number) == ((b"a",), True, 6)


@settings(max_examples=300)
@given(CODECS, st.binary(max_size=120), st.integers(0, 40))
def test_decoder_equals_the_oracle_on_any_bytes(codec: Codec, body: bytes, count: int) -> None:
    for data in (body, SESSION + body, codec.header(SESSION, 7, count) + body):
        wanted = oracle_mold.decode(codec.name, data)
        if wanted is None:
            with pytest.raises(RemoteProtocolError):
                codec.decode(data)
            continue
        packet = codec.decode(data)
        session, number, claimed, messages, ends = wanted
        assert packet == Packet(Header(session, number, claimed), tuple(messages), ends)


@settings(max_examples=300)
@given(
    CODECS,
    st.binary(min_size=10, max_size=10),
    st.integers(1, 2**32 - 100),
    st.lists(st.binary(max_size=40), max_size=12),
    st.integers(0, 300),
    st.integers(0, 3),
)
def test_encoders_agree_with_each_other_and_the_oracle(
    codec: Codec, session: bytes, first: int, messages: list[bytes], capacity: int, start: int
) -> None:
    if codec is MOLDUDP:
        messages = [message or b"." for message in messages]
    packet, count = codec.pack(session, first, messages, capacity, start)
    assert (packet, count) == codec.pack(session, first, batch(messages), capacity, start)
    taken = messages[start : start + count]
    if count:
        assert len(packet) <= capacity
        assert packet == oracle_mold.encode(codec.name, session, first, taken)
        assert codec.decode(packet).messages == tuple(taken)
    else:
        assert packet == b""
    following = messages[start + count : start + count + 1]
    if following:
        assert len(oracle_mold.encode(codec.name, session, first, taken + following)) > capacity


@pytest.mark.parametrize("as_batch", [False, True], ids=["list", "batch"])
def test_what_cannot_be_carried(codec: Codec, as_batch: bool) -> None:
    def pack(messages: list[bytes], first: int = 1) -> tuple[bytes, int]:
        return codec.pack(SESSION, first, batch(messages) if as_batch else messages, 200_000)

    with pytest.raises(LocalProtocolError, match="65536"):
        pack([bytes(65536)])
    assert pack([b"a", bytes(65536)])[1] == 1
    for number in (0, codec.number_max + 1):
        with pytest.raises(LocalProtocolError, match="cannot number"):
            pack([b"a"], number)
    assert pack([b"a", b"b"], codec.number_max)[1] == 1
    assert codec.heartbeat(SESSION, codec.number_max + 1)
    assert pack([b"a"] * 65540)[1] == codec.count_max


@pytest.mark.parametrize("as_batch", [False, True], ids=["list", "batch"])
def test_empty_message(as_batch: bool) -> None:
    """MoldUDP64 carries it; in MoldUDP it would read as the end of the session."""
    empty = [b""]
    assert MOLDUDP64.pack(SESSION, 1, batch(empty) if as_batch else empty, 100)[1] == 1
    with pytest.raises(LocalProtocolError, match="end the session"):
        MOLDUDP.pack(SESSION, 1, batch(empty) if as_batch else empty, 100)
    later = [b"a", b"", b"b"]
    assert MOLDUDP.pack(SESSION, 1, batch(later) if as_batch else later, 100)[1] == 1


def test_nothing_to_pack(codec: Codec) -> None:
    assert codec.pack(SESSION, 1, [], 100) == (b"", 0)
    assert codec.pack(SESSION, 1, [b"a"], 100, start=1) == (b"", 0)
    assert codec.pack(SESSION, 1, [b"a"], -5) == (b"", 0)
    assert codec.pack(SESSION, 1, batch([b"a"]), -5) == (b"", 0)


def test_headers_refuse_what_their_fields_cannot_hold(codec: Codec) -> None:
    for call in (
        lambda: codec.header(b"short", 1, 1),
        lambda: codec.header(SESSION, -1, 1),
        lambda: codec.header(SESSION, 1, 65536),
        lambda: codec.heartbeat(SESSION, 2**64),
        lambda: codec.pack(b"short", 1, [b"a"], 100),
        lambda: codec.request(SESSION, 0, 1),
        lambda: codec.request(SESSION, 1, 0),
        lambda: codec.request(SESSION, 1, 65536),
    ):
        with pytest.raises(LocalProtocolError):
            call()


def test_session_field() -> None:
    assert session_field("SESS01") == b"SESS01    "
    assert session_field(b"") == b" " * 10
    assert session_field(bytes(10)) == bytes(10)
    for bad in ("ELEVEN CHAR", "caf\u00e9", b"01234567890"):
        with pytest.raises(LocalProtocolError):
            session_field(bad)
