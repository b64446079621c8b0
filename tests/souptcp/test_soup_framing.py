"""The framings against golden bytes, against every cut, and against the plain codec of oracle_soup."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import CODECS, framing_of, name_of
from oracle_soup import LIMIT, accepted, frame, login, split

from native.messages import MessageTable
from souptcp import (
    PACKET_LIMIT,
    SOUPBINTCP,
    SOUPBINTCP_3,
    SOUPBINTCP_4_10,
    SOUPTCP_2,
    SOUPTCP_3,
    Codec,
    LocalProtocolError,
    LoginAccepted,
    LoginRequest,
    PacketType,
    RemoteProtocolError,
    SoupBinTcp,
    SoupTcp,
)
from souptcp._native import RunReader
from souptcp.framing import LINE_LIMIT

BLANK_LOGIN = b"foo   bar       " + b" " * 10
NUMBER = b" " * 19 + b"1"

GOLDEN = [  # bytes written out by hand from the specifications' tables
    (SOUPBINTCP, b"L", BLANK_LOGIN + NUMBER, "002f4c666f6f20202062617220202020202020" + "20" * 29 + "31"),
    (
        SOUPBINTCP_4_10,
        b"L",
        BLANK_LOGIN + NUMBER + b" 5000",
        "00344c666f6f20202062617220202020202020" + "20" * 29 + "31" + "2035303030",
    ),
    (SOUPBINTCP, b"A", b"SESS000001" + b" " * 19 + b"1", "001f4153455353303030303031" + "20" * 19 + "31"),
    (SOUPBINTCP, b"J", b"A", "00024a41"),
    (SOUPBINTCP, b"S", b"one", "0004536f6e65"),
    (SOUPBINTCP, b"S", b"", "000153"),
    (SOUPBINTCP, b"U", b"one", "0004556f6e65"),
    (SOUPBINTCP, b"H", b"", "000148"),
    (SOUPBINTCP, b"R", b"", "000152"),
    (SOUPBINTCP, b"Z", b"", "00015a"),
    (SOUPBINTCP, b"O", b"", "00014f"),
    (SOUPBINTCP, b"+", b"dbg", "00042b646267"),
    (SOUPTCP_2, b"L", BLANK_LOGIN + NUMBER[10:], "4c666f6f20202062617220202020202020" + "20" * 19 + "310a"),
    (SOUPTCP_3, b"L", BLANK_LOGIN + NUMBER, "4c666f6f20202062617220202020202020" + "20" * 29 + "310a"),
    (SOUPTCP_2, b"Z", b"", "530a"),
    (SOUPTCP_3, b"Z", b"", "5a0a"),
    (SOUPTCP_3, b"S", b"", "530a"),
    (SOUPTCP_2, b"S", b"one", "536f6e650a"),
    (SOUPTCP_2, b"H", b"", "480a"),
    (SOUPTCP_2, b"R", b"", "520a"),
    (SOUPTCP_2, b"J", b"A", "4a410a"),
]

codecs = pytest.mark.parametrize("codec", CODECS, ids=name_of)


def table_of(payloads: list[bytes]):
    """A `Messages` of these payloads, as a decoder would hand it out."""
    table = MessageTable(max(1, len(payloads)))
    buffer = bytearray()
    for i, payload in enumerate(payloads):
        table.rows[i].offset, table.rows[i].length = len(buffer), len(payload)
        buffer += payload
    return table.view(memoryview(bytes(buffer) or b"\0"), len(payloads))


def split_with(codec: Codec, data: bytes) -> tuple[list[tuple[bytes, bytes]], int, bool]:
    """The same answer as the oracle's `split`, from the codec's `packet`."""
    buffer, position, packets = bytearray(data), 0, []
    while True:
        try:
            packet = codec.packet(buffer, position, len(buffer))
        except RemoteProtocolError:
            return packets, position, True
        if packet is None:
            return packets, position, False
        packets.append((bytes((packet.kind,)), bytes(buffer[packet.start : packet.end])))
        position = packet.following


@pytest.mark.parametrize(("codec", "kind", "payload", "golden"), GOLDEN)
def test_golden_packets(codec: Codec, kind: bytes, payload: bytes, golden: str) -> None:
    data = bytes.fromhex(golden)
    assert codec.frame(kind[0], payload) == data
    assert split_with(codec, data + b"\0") == ([(kind, payload)], len(data), codec.name == "SoupTCP")
    for length in range(len(data)):
        assert split_with(codec, data[:length]) == ([], 0, False)


@codecs
def test_login_packets_agree_with_the_plain_codec(codec: Codec) -> None:
    framing = framing_of(codec)
    request = LoginRequest("foo", "bar", b"S1", 77, 5000 if codec.writes_timeout else None)
    packet = login(framing, "foo", "bar", "S1", 77, "5000" if codec.writes_timeout else "")
    assert codec.encode_login(request) == packet
    assert codec.encode_accepted(LoginAccepted(b"S1", 77)) == accepted(framing, "S1", 77)
    (decoded,), _, _ = split_with(codec, packet)
    assert codec.decode_login(decoded[1]) == request


def test_lengths_of_the_specification() -> None:
    request = LoginRequest("foo", "bar")
    timed = LoginRequest("foo", "bar", b"", 0, 15000)
    assert len(SOUPBINTCP_3.encode_login(request)) == len(SOUPBINTCP.encode_login(request)) == 2 + 47
    assert len(SOUPBINTCP_4_10.encode_login(timed)) == 2 + 52
    assert len(SOUPTCP_2.encode_login(request)) == 38
    assert len(SOUPTCP_3.encode_login(request)) == 48
    assert len(SOUPTCP_2.encode_accepted(LoginAccepted(b"", 1))) == 22
    assert len(SOUPTCP_3.encode_accepted(LoginAccepted(b"", 1))) == 32
    assert PACKET_LIMIT == 65537


def test_what_the_versions_differ_in() -> None:
    assert [codec.server_unsequenced for codec in CODECS] == [False, True, True, False, False]
    assert [codec.writes_timeout for codec in CODECS] == [False, False, True, False, False]
    assert [codec.reads_timeout for codec in CODECS] == [True, True, True, False, False]
    assert SoupBinTcp("4.10") == SOUPBINTCP_4_10
    with pytest.raises(ValueError, match="version"):
        SoupBinTcp("5.00")
    with pytest.raises(ValueError, match="version"):
        SoupTcp("1.00")


def test_payload_limits() -> None:
    for codec in CODECS:
        packet = codec.frame(PacketType.SEQUENCED, bytes(LIMIT))
        assert split_with(codec, packet) == ([(b"S", bytes(LIMIT))], len(packet), False)
        assert len(packet) <= PACKET_LIMIT
        with pytest.raises(LocalProtocolError, match="at most 65534"):
            codec.frame(PacketType.SEQUENCED, bytes(LIMIT + 1))
        with pytest.raises(LocalProtocolError, match=r"message 1 of 2.*at most 65534"):
            codec.pack(bytearray(), PacketType.SEQUENCED, table_of([b"a", bytes(LIMIT + 1)]))


def test_a_line_feed_cannot_be_carried_by_lines() -> None:
    for codec in (SOUPTCP_2, SOUPTCP_3):
        with pytest.raises(LocalProtocolError, match="line feed"):
            codec.frame(PacketType.SEQUENCED, b"a\nb")
        out = bytearray(b"kept")
        with pytest.raises(LocalProtocolError, match=r"message 1 of 2.*line feed"):
            codec.pack(out, PacketType.SEQUENCED, table_of([b"a", b"\n"]))
        assert out == b"kept"


def test_an_empty_message_cannot_be_carried_by_2_00() -> None:
    with pytest.raises(LocalProtocolError, match="end of the session"):
        SOUPTCP_2.frame(PacketType.SEQUENCED, b"")
    with pytest.raises(LocalProtocolError, match="end of the session"):
        SOUPTCP_2.pack(bytearray(), PacketType.SEQUENCED, table_of([b"a", b""]))
    assert SOUPTCP_2.frame(PacketType.UNSEQUENCED) == b"U\n"


@pytest.mark.parametrize(
    ("codec", "data", "complaint"),
    [
        (SOUPBINTCP, b"\0\0", "length 0"),
        (SOUPBINTCP, b"\0\0S", "length 0"),
        (SOUPBINTCP, b"\xff\xffx", "type b'x'"),
        (SOUPBINTCP, b"\0\1x", "type b'x'"),
        (SOUPTCP_3, b"\n", "without a type"),
        (SOUPTCP_3, b"x", "type b'x'"),
        (SOUPTCP_2, b"Z", "2.00 does not know"),
        (SOUPTCP_3, b"S" + bytes(LINE_LIMIT - 1), "more than 65536"),
    ],
)
def test_bytes_that_can_never_become_a_packet(codec: Codec, data: bytes, complaint: str) -> None:
    with pytest.raises(RemoteProtocolError, match=complaint):
        codec.packet(bytearray(data), 0, len(data))


payloads = st.lists(st.binary(max_size=12).map(lambda data: data.replace(b"\n", b"-")), max_size=12)


@codecs
@given(data=st.data())
def test_packets_agree_with_the_plain_codec(codec: Codec, data: st.DataObject) -> None:
    framing = framing_of(codec)
    kinds = st.sampled_from([b"+", b"A", b"S", b"U", b"H", b"R", b"Z", b"O"])
    packets = data.draw(st.lists(st.tuples(kinds, st.binary(max_size=9)), max_size=9))
    stream = b"".join(frame(framing, kind, payload.replace(b"\n", b"-")) for kind, payload in packets)
    stream += data.draw(st.binary(max_size=5))
    assert split_with(codec, stream) == split(framing, stream)


@codecs
@given(stream=st.binary(max_size=80) | st.text("\n\0\1\2SUHZx", max_size=40).map(str.encode))
def test_any_bytes_agree_with_the_plain_codec(codec: Codec, stream: bytes) -> None:
    assert split_with(codec, stream) == split(framing_of(codec), stream)


@codecs
@given(payloads=payloads)
def test_batches_agree_with_single_packets(codec: Codec, payloads: list[bytes]) -> None:
    if codec.version == "2.00":
        payloads = [payload or b"-" for payload in payloads]
    singles = b"".join(frame(framing_of(codec), b"S", payload) for payload in payloads)
    messages = table_of(payloads)
    out = bytearray(b"before")
    codec.pack(out, PacketType.SEQUENCED, messages)
    assert bytes(out) == b"before" + singles == b"before" + codec.frame_all(PacketType.SEQUENCED, payloads)
    assert codec.size(messages) == len(singles)


@codecs
@given(
    stream=st.text("\n\0\1\2SU", max_size=60).map(str.encode),
    start=st.integers(0, 10),
    rows=st.integers(1, 9),
)
def test_runs_agree_with_the_plain_codec(codec: Codec, stream: bytes, start: int, rows: int) -> None:
    start = min(start, len(stream))
    packets, _, _ = split(framing_of(codec), stream[start:])
    expected = []
    for kind, payload in packets[:rows]:
        if kind != b"S":
            break
        expected.append(payload)
    buffer = bytearray(stream or b"\0")
    reader = RunReader(memoryview(buffer), rows)
    messages = codec.run(reader, PacketType.SEQUENCED, start, len(stream), 7)
    assert messages.payloads() == expected
    assert messages.numbers == list(range(7, 7 + len(expected)))
    assert reader.consumed == sum(len(frame(framing_of(codec), b"S", payload)) for payload in expected)
