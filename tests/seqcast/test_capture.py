"""Captures: what is written reads back, in every form that captures have; damage is named, and nothing crashes."""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pcap import read_pcap, udp_frame, udp_payload

from seqcast.capture import Capture, CaptureError, Datagram
from seqcast.pcap import CaptureWriter, checksum

GROUP, PORT = bytes((239, 1, 2, 3)), 26477
TIMES = [0, 1_700_000_000_123_456_789, 4_294_967_295_999_999_999]
PAYLOADS = [b"", b"odd", bytes(range(256)) * 5]


def frames_of(data: bytes) -> tuple[Capture, list[Datagram]]:
    capture = Capture(memoryview(data), "x.pcap")
    return capture, list(capture)


def payloads_of(data: bytes) -> list[bytes]:
    _, datagrams = frames_of(data)
    return [data[each.offset : each.offset + each.length] for each in datagrams]


def written(payloads: list[bytes], times: list[int]) -> bytes:
    stream = io.BytesIO()
    writer = CaptureWriter(stream, "239.1.2.3", PORT)
    for payload, time_ns in zip(payloads, times, strict=True):
        writer.write(time_ns, payload)
    return stream.getvalue()


def pcap(
    frames: list[bytes], *, order: str = "<", magic: int = 0xA1B2C3D4, link: int = 1, cut: int = 0
) -> bytes:
    parts = [struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link)]
    for index, frame in enumerate(frames):
        captured = len(frame) - cut
        parts += [struct.pack(order + "IIII", 7, index, captured, len(frame)), frame[:captured]]
    return b"".join(parts)


def block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    return struct.pack(order + "II", kind, 12 + len(body)) + body + struct.pack(order + "I", 12 + len(body))


def pcapng(
    frames: list[bytes], *, order: str = "<", options: bytes = b"", stamp: int = 5, link: int = 1
) -> bytes:
    section = block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
    interface = block(order, 1, struct.pack(order + "HHI", link, 0, 65535) + options)
    packets = (
        block(
            order,
            6,
            struct.pack(order + "IIIII", 0, stamp >> 32, stamp & 0xFFFFFFFF, len(each), len(each)) + each,
        )
        for each in frames
    )
    return section + interface + block(order, 0x99, b"something else") + b"".join(packets)


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    data = written(PAYLOADS, TIMES)
    capture, datagrams = frames_of(data)
    assert [each.time_ns for each in datagrams] == TIMES
    assert payloads_of(data) == PAYLOADS
    assert {(each.destination, each.port) for each in datagrams} == {(int.from_bytes(GROUP, "big"), PORT)}
    assert (capture.frames, capture.skipped, capture.cut_short) == (3, {}, False)
    path = tmp_path / "written.pcap"
    path.write_bytes(data)
    assert [udp_payload(frame) for frame in read_pcap(path)] == PAYLOADS


def plain_checksum(data: bytes) -> int:
    """As the RFC has it: 16 bits at a time, carries added at the end."""
    total = sum(int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@given(
    st.binary(max_size=100) | st.sampled_from([b"", b"\0\0", b"\xff\xff", b"\xff\xfe\0\1", b"\xff" * 1472])
)
def test_checksum(data: bytes) -> None:
    assert checksum(data) == plain_checksum(data)


@given(st.lists(st.binary(max_size=64), max_size=4))
def test_checksums_of_frames(payloads: list[bytes]) -> None:
    data = written(payloads, [1] * len(payloads))
    for each, payload in zip(frames_of(data)[1], payloads, strict=True):
        ip = data[each.offset - 28 : each.offset - 8]
        assert plain_checksum(ip) == 0
        udp = data[each.offset - 8 : each.offset + each.length]
        assert plain_checksum(ip[12:20] + b"\0\x11" + udp[4:6] + udp) == 0
        assert udp[6:8] != b"\0\0", "no checksum is another thing than one that is zero"
        assert udp[8:] == payload


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("magic", "unit"), [(0xA1B2C3D4, 1000), (0xA1B23C4D, 1)])
def test_pcap_of_either_order_and_unit(order: str, magic: int, unit: int) -> None:
    data = pcap([udp_frame(b"a", PORT), udp_frame(b"b", PORT)], order=order, magic=magic)
    assert [each.time_ns for each in frames_of(data)[1]] == [7 * 10**9, 7 * 10**9 + unit]
    assert payloads_of(data) == [b"a", b"b"]


def option(order: str, code: int, value: bytes) -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("options", "time_ns"),
    [
        (lambda _order: b"", 5000),
        (lambda order: option(order, 9, b"\x09"), 5),
        (lambda order: option(order, 2, b"eth0") + option(order, 9, b"\x03"), 5_000_000),
        (lambda order: option(order, 9, b"\x8a"), 5 * 10**9 // 1024),
        (
            lambda order: option(order, 14, struct.pack(order + "q", 100)) + option(order, 0, b""),
            100 * 10**9 + 5000,
        ),
    ],
)
def test_pcapng(order: str, options: Callable[[str], bytes], time_ns: int) -> None:
    data = pcapng([udp_frame(b"a", PORT)] * 2, order=order, options=options(order))
    assert [each.time_ns for each in frames_of(data + data)[1]] == [time_ns] * 4, "sections follow each other"
    assert payloads_of(data) == [b"a", b"a"]


def test_a_packet_without_a_time_has_that_of_the_one_before() -> None:
    frame = udp_frame(b"simple", PORT)
    data = pcapng([udp_frame(b"a", PORT)]) + block("<", 3, struct.pack("<I", len(frame)) + frame)
    assert [each.time_ns for each in frames_of(data)[1]] == [5000, 5000]
    assert payloads_of(data) == [b"a", b"simple"]


IP = udp_frame(b"payload", PORT)[14:]
LINKS = [
    (1, bytes(12) + b"\x81\x00\0\5\x88\xa8\0\7\x08\x00" + IP),
    (101, IP),
    (228, IP),
    (0, struct.pack("<I", 2) + IP),
    (108, struct.pack(">I", 2) + IP),
    (113, bytes(14) + b"\x08\x00" + IP),
    (276, b"\x08\x00" + bytes(18) + IP),
]


@pytest.mark.parametrize(("link", "frame"), LINKS)
def test_links(link: int, frame: bytes) -> None:
    assert payloads_of(pcap([frame], link=link)) == [b"payload"]
    assert payloads_of(pcapng([frame], link=link)) == [b"payload"]


def changed(at: int, value: bytes) -> bytes:
    frame = bytearray(udp_frame(b"payload", PORT))
    frame[14 + at : 14 + at + len(value)] = value
    return bytes(frame)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", "not IPv4"),
        (bytes(12) + b"\x86\xdd" + bytes(40), "not IPv4"),
        (bytes(12) + b"\x81\x00\0\5" * 6 + b"\x08\x00" + IP, "not IPv4"),
        (changed(0, b"\x65"), "not IPv4"),
        (changed(9, b"\x06"), "not UDP"),
        (changed(6, b"\x20\x00"), "fragments"),
        (changed(6, b"\x00\x01"), "fragments"),
        (changed(24, b"\x00\x07"), "damaged"),
        (changed(24, b"\xff\xff"), "damaged"),
        (changed(0, b"\x4f"), "damaged"),
        (udp_frame(b"", PORT)[:-4], "damaged"),
    ],
)
def test_what_is_no_datagram_is_counted(frame: bytes, reason: str) -> None:
    capture, datagrams = frames_of(pcap([frame, udp_frame(b"good", PORT)]))
    assert (capture.skipped, len(datagrams), capture.frames) == ({reason: 1}, 1, 2)


def test_a_frame_of_which_only_a_part_was_captured() -> None:
    capture, datagrams = frames_of(pcap([udp_frame(b"payload", PORT)], cut=3))
    assert (capture.skipped, datagrams) == ({"cut": 1}, [])


FRAMES = [udp_frame(b"first", PORT), udp_frame(b"second", PORT)]
WHOLE = [pcap(FRAMES), pcapng(FRAMES)]


@pytest.mark.parametrize("data", WHOLE)
def test_a_file_that_was_cut_short_gives_what_is_whole(data: bytes) -> None:
    whole = payloads_of(data)
    for length in range(len(data)):
        capture = Capture(memoryview(data[:length]), "x.pcap")
        found = []
        with suppress(CaptureError):
            for each in capture:
                found.append(data[each.offset : each.offset + each.length])
        assert found == whole[: len(found)]
        assert len(found) < len(whole)
    assert len(found) == len(whole) - 1
    assert capture.cut_short


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "neither pcap nor pcapng: it begins with b''"),
        (b"PK\3\4zip", "neither pcap nor pcapng: it begins with b'PK"),
        (pcap([])[:10], "10 bytes are too few"),
        (pcap([], link=147), "byte 20: link type 147 is none of Ethernet, IPv4, cooked"),
        (
            pcap([]) + struct.pack("<IIII", 0, 0, 1 << 30, 5),
            "byte 24: a frame of 1073741824 bytes: the file is damaged",
        ),
        (pcapng([])[:28] + struct.pack("<II", 6, 13) + bytes(9), "byte 28: a block of 13 bytes"),
        (
            pcapng([])[:28] + block("<", 6, bytes(20)),
            "byte 36: a packet that does not fit its block, or is of no",
        ),
        (pcapng([]) + block("<", 6, bytes(8)), "a packet block of 8 bytes"),
        (
            pcapng([]) + block("<", 6, struct.pack("<IIIII", 0, 0, 0, 9, 9)),
            "a packet that does not fit its block",
        ),
        (pcapng([b""], stamp=(1 << 64) - 1), "a time beyond the year 2262"),
        (pcapng([])[:28] + block("<", 1, b"\1\0\0\0"), "an interface of 4 bytes"),
        (b"\n\r\r\n" + bytes(24), "byte 0: a section of no known byte order"),
    ],
)
def test_what_is_no_capture_is_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(CaptureError) as caught:
        frames_of(data)
    assert str(caught.value).startswith("x.pcap: ")
    assert sentence in str(caught.value)


@pytest.mark.parametrize("data", WHOLE)
def test_damage_anywhere_is_an_error_or_a_count(data: bytes) -> None:
    chance = random.Random(1)
    for _ in range(2000):
        damaged = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            _, datagrams = frames_of(bytes(damaged))
        except CaptureError:
            continue
        assert all(each.offset + each.length <= len(data) and each.length >= 0 for each in datagrams)
