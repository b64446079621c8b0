"""A small reader and writer of pcap files for the tests: classic pcap, Ethernet, IPv4, UDP and TCP."""

from __future__ import annotations

import struct
from pathlib import Path

ETHERNET = 1
_MAGICS = {0xA1B2C3D4: "microseconds", 0xA1B23C4D: "nanoseconds"}
_IPV4, _VLAN = 0x0800, 0x8100
_TCP, _UDP = 6, 17


def read_pcap(path: Path | str) -> list[bytes]:
    """The link-layer frames of a capture, in order; ValueError for anything but whole frames of Ethernet."""
    data = Path(path).read_bytes()
    for order in "<>":
        if len(data) >= 24 and struct.unpack_from(order + "I", data)[0] in _MAGICS:
            break
    else:
        raise ValueError(f"{path} is no pcap file")
    (link,) = struct.unpack_from(order + "I", data, 20)
    if link != ETHERNET:
        raise ValueError(f"{path} has link type {link}, not Ethernet")
    frames = []
    position = 24
    while position < len(data):
        captured, original = struct.unpack_from(order + "II", data, position + 8)
        position += 16
        if captured != original or len(data) - position < captured:
            raise ValueError(f"{path} holds a cut frame")
        frames.append(data[position : position + captured])
        position += captured
    return frames


def write_pcap(path: Path | str, frames: list[bytes]) -> None:
    """Write Ethernet frames, one microsecond apart."""
    parts = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, ETHERNET)]
    for index, frame in enumerate(frames):
        parts += [struct.pack("<IIII", 0, index, len(frame), len(frame)), frame]
    Path(path).write_bytes(b"".join(parts))


def udp_frame(payload: bytes, port: int, group: bytes = bytes((239, 1, 2, 3))) -> bytes:
    """An Ethernet frame that carries `payload` by UDP to `port` of a multicast group."""
    udp = struct.pack(">HHHH", port, port, 8 + len(payload), 0) + payload
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 1, _UDP, 0, bytes((10, 0, 0, 1)), group)
    total = sum(struct.unpack(">10H", head))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack(">H", ~total & 0xFFFF) + head[12:]
    ethernet = bytes((1, 0, 0x5E, group[1] & 0x7F, *group[2:])) + bytes((2, 0, 0, 0, 0, 1))
    return ethernet + struct.pack(">H", _IPV4) + head + udp


def udp_payload(frame: bytes) -> bytes:
    """The UDP payload of an Ethernet frame."""
    protocol, datagram = _ip_payload(frame)
    if protocol != _UDP:
        raise ValueError(f"IP protocol {protocol} is not UDP")
    (length,) = struct.unpack_from(">H", datagram, 4)
    return datagram[8:length]


def tcp_payload(frame: bytes) -> bytes:
    """The TCP payload of an Ethernet frame."""
    protocol, segment = _ip_payload(frame)
    if protocol != _TCP:
        raise ValueError(f"IP protocol {protocol} is not TCP")
    return segment[(segment[12] >> 4) * 4 :]


def _ip_payload(frame: bytes) -> tuple[int, bytes]:
    position = 12
    (kind,) = struct.unpack_from(">H", frame, position)
    while kind == _VLAN:
        position += 4
        (kind,) = struct.unpack_from(">H", frame, position)
    if kind != _IPV4:
        raise ValueError(f"EtherType {kind:#06x} is not IPv4")
    packet = frame[position + 2 :]
    (total,) = struct.unpack_from(">H", packet, 2)
    return packet[9], packet[(packet[0] & 15) * 4 : total]
