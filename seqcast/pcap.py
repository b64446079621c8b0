"""Writing captures: pcap with nanoseconds, Ethernet, IPv4 and UDP, with the checksums that they should have."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from typing import BinaryIO

MAGIC_NS = 0xA1B23C4D
SNAP_BYTES = 262_144
"""Longest frame of the file, as its header says; ours have less than 64 KiB and 64 bytes."""

ETHERNET = 1
TTL = 1
SOURCE_ADDRESS = IPv4Address("127.0.0.1")
SOURCE_MAC = bytes((2, 0, 0, 0, 0, 1))
"""Locally administered: no network card has it."""

_FILE = struct.Struct("<IHHiIII")
_FRAME = struct.Struct("<IIII")
_IP = struct.Struct(">BBHHHBBH4s4s")
_UDP = struct.Struct(">HHHH")
_PSEUDO = struct.Struct(">4s4sBBH")
_ETHERTYPE_IPV4 = struct.pack(">H", 0x0800)
_PROTOCOL_UDP = 17


@define(eq=False)
class CaptureWriter:
    """Writes datagrams that go to `group`:`port` to `stream`, which stays open.

    A datagram has up to 65507 bytes; one that fills more than a frame of 1500 is written whole, as a capture on the
    sending host shows it.
    """

    stream: BinaryIO
    group: str
    port: int
    source: str = str(SOURCE_ADDRESS)
    frames: int = field(default=0, init=False)
    _ethernet: bytes = field(init=False)
    _addresses: tuple[bytes, bytes] = field(init=False)

    def __attrs_post_init__(self) -> None:
        group = IPv4Address(self.group).packed
        self._addresses = IPv4Address(self.source).packed, group
        multicast = bytes((1, 0, 0x5E, group[1] & 0x7F, group[2], group[3]))
        self._ethernet = multicast + SOURCE_MAC + _ETHERTYPE_IPV4
        self.stream.write(_FILE.pack(MAGIC_NS, 2, 4, 0, 0, SNAP_BYTES, ETHERNET))

    def write(self, time_ns: int, payload: bytes) -> None:
        """One datagram that was sent at `time_ns`, UTC nanoseconds."""
        source, group = self._addresses
        length = _UDP.size + len(payload)
        pseudo = _PSEUDO.pack(source, group, 0, _PROTOCOL_UDP, length)
        udp = _UDP.pack(self.port, self.port, length, 0)
        udp = _UDP.pack(self.port, self.port, length, checksum(pseudo + udp + payload) or 0xFFFF)
        fields = (0x45, 0, _IP.size + length, self.frames & 0xFFFF, 0, TTL, _PROTOCOL_UDP)
        ip = _IP.pack(*fields, checksum(_IP.pack(*fields, 0, source, group)), source, group)
        size = len(self._ethernet) + len(ip) + length
        seconds, nanoseconds = divmod(time_ns, 10**9)
        head = _FRAME.pack(seconds & 0xFFFFFFFF, nanoseconds, size, size)
        self.stream.write(b"".join((head, self._ethernet, ip, udp, payload)))
        self.frames += 1


def checksum(data: bytes) -> int:
    """The checksum of RFC 1071: the remainder by 65535 is the one's complement sum of the 16-bit digits."""
    if len(data) % 2:
        data += b"\0"
    total = int.from_bytes(data, "big")
    return 0xFFFF - (total % 0xFFFF or (0xFFFF if total else 0))
