"""Reading captures: the UDP datagrams in a pcap or pcapng file.

pcap with microseconds or nanoseconds, in either byte order, and pcapng; Ethernet (with VLAN tags), Linux cooked
capture (v1, v2), BSD loopback, and raw IP. Everything in a file is somebody else's: what is wrong in it is counted,
or raises CaptureError naming file and position.
"""

from __future__ import annotations

import struct
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from attrs import define, field

from seqcast.errors import SeqcastError

if TYPE_CHECKING:
    from collections.abc import Iterator

_PCAP = {0xA1B2C3D4: 1000, 0xA1B23C4D: 1}  # nanoseconds of the unit of the second half of a time
_SECTION, _INTERFACE, _SIMPLE, _ENHANCED = 0x0A0D0D0A, 1, 3, 6  # blocks of pcapng
_BYTE_ORDER = 0x1A2B3C4D
_TSRESOL, _TSOFFSET = 9, 14  # options of an interface
_IPV4, _TAGS, _TAGS_MOST = 0x0800, (0x8100, 0x88A8, 0x9100), 4
_UDP = 17

ETHERNET = 1
LINKS = {
    0: "null",
    ETHERNET: "Ethernet",
    12: "raw",
    101: "raw",
    108: "loop",
    113: "cooked",
    228: "IPv4",
    276: "cooked 2",
}
"""Link types that are understood, by number."""

PCAPNG_UNIT_DEFAULT = 10**6
"""Of times in pcapng, parts of a second, where the interface does not say."""

FRAME_BYTES_MOST = 1 << 20
"""A frame that claims to be longer is none: the file is damaged."""


class CaptureError(SeqcastError):
    """A file that is no capture, or is damaged."""


class Datagram(NamedTuple):
    """One UDP datagram: its payload is `length` bytes at `offset` of the file. `time_ns` is UTC."""

    time_ns: int
    offset: int
    length: int
    destination: int
    """IPv4 address."""
    port: int
    """It went there."""


class Interface(NamedTuple):
    """An interface of pcapng: its times are in `parts` of a second, `offset` seconds late."""

    link: int
    parts: int
    offset: int

    def time_ns(self, stamp: int) -> int:
        """A time in UTC nanoseconds."""
        return max(0, self.offset * 10**9 + stamp * 10**9 // self.parts)


@define(eq=False)
class Capture:
    """The capture in `view`, called `name` in errors.

    Iterating gives its datagrams. `skipped` counts the other frames by what they are; `cut_short` is set when the
    file ends within a frame, which is what a capture looks like whose program was killed.
    """

    view: memoryview
    name: str
    frames: int = field(default=0, init=False)
    skipped: Counter[str] = field(factory=Counter, init=False)
    cut_short: bool = field(default=False, init=False)
    position: int = field(default=0, init=False)
    """How far it was read, in bytes."""

    def __iter__(self) -> Iterator[Datagram]:
        for time_ns, link, start, end, original in self._frames():
            self.frames += 1
            found = self._datagram(time_ns, link, start, end, original)
            if isinstance(found, str):
                self.skipped[found] += 1
            else:
                yield found

    # files

    def _frames(self) -> Iterator[tuple[int, int, int, int, int]]:
        """(time, link type, start, end, length on the wire) of each frame."""
        if len(self.view) >= 4:
            for order in "<>":
                (magic,) = struct.unpack_from(order + "I", self.view)
                if magic in _PCAP:
                    return self._pcap(order, _PCAP[magic])
                if magic == _SECTION:
                    return self._pcapng()
        raise CaptureError(f"{self.name}: neither pcap nor pcapng: it begins with {bytes(self.view[:4])!r}")

    def _pcap(self, order: str, unit_ns: int) -> Iterator[tuple[int, int, int, int, int]]:
        view, size = self.view, len(self.view)
        if size < 24:
            raise CaptureError(f"{self.name}: {size} bytes are too few for the header of a pcap file")
        (link,) = struct.unpack_from(order + "I", view, 20)
        link &= 0xFFFF  # above it are flags
        self._check_link(link, 20)
        head = struct.Struct(order + "IIII")
        position = 24
        while position < size:
            if size - position < head.size:
                self.cut_short = True
                return
            seconds, part, captured, original = head.unpack_from(view, position)
            start = position + head.size
            if captured > FRAME_BYTES_MOST:
                raise self._damaged(position, f"a frame of {captured} bytes")
            if size - start < captured:
                self.cut_short = True
                return
            self.position = position = start + captured
            yield seconds * 10**9 + part * unit_ns, link, start, position, original

    def _pcapng(self) -> Iterator[tuple[int, int, int, int, int]]:
        last_ns = 0
        interfaces: list[Interface] = []
        for order, kind, start, end in self._blocks():
            if kind == _SECTION:
                interfaces = []
            elif kind == _INTERFACE:
                interfaces.append(self._interface(order, start, end))
            elif kind == _ENHANCED:
                frame = self._enhanced(order, start, end, interfaces)
                last_ns = frame[0]
                yield frame
            elif kind == _SIMPLE and end - start >= 4 and interfaces:  # it has no time
                (original,) = struct.unpack_from(order + "I", self.view, start)
                yield last_ns, interfaces[0].link, start + 4, min(end, start + 4 + original), original

    def _blocks(self) -> Iterator[tuple[str, int, int, int]]:
        """(byte order, kind, start, end) of the body of each block."""
        view, size = self.view, len(self.view)
        position, order = 0, "<"
        while position < size:
            if size - position < 12:
                self.cut_short = True
                return
            if bytes(view[position : position + 4]) == b"\n\r\r\n":
                order = self._byte_order(position)
            kind, length = struct.unpack_from(order + "II", view, position)
            if length < 12 or length % 4:
                raise self._damaged(position, f"a block of {length} bytes")
            if size - position < length:
                self.cut_short = True
                return
            yield order, kind, position + 8, position + length - 4
            self.position = position = position + length

    def _enhanced(
        self, order: str, start: int, end: int, interfaces: list[Interface]
    ) -> tuple[int, int, int, int, int]:
        if end - start < 20:
            raise self._damaged(start, f"a packet block of {end - start} bytes")
        at, high, low, captured, original = struct.unpack_from(order + "IIIII", self.view, start)
        if at >= len(interfaces) or captured > end - start - 20:
            raise self._damaged(start, "a packet that does not fit its block, or is of no interface")
        time_ns = interfaces[at].time_ns(high << 32 | low)
        if time_ns >> 63:
            raise self._damaged(start, "a time beyond the year 2262")
        return time_ns, interfaces[at].link, start + 20, start + 20 + captured, original

    def _damaged(self, position: int, what: str) -> CaptureError:
        return CaptureError(f"{self.name}: byte {position}: {what}: the file is damaged")

    def _byte_order(self, position: int) -> str:
        for order in "<>":
            if struct.unpack_from(order + "I", self.view, position + 8)[0] == _BYTE_ORDER:
                return order
        raise self._damaged(position, "a section of no known byte order")

    def _interface(self, order: str, start: int, end: int) -> Interface:
        view = self.view
        if end - start < 8:
            raise self._damaged(start, f"an interface of {end - start} bytes")
        (link,) = struct.unpack_from(order + "H", view, start)
        self._check_link(link, start)
        parts, offset, position = PCAPNG_UNIT_DEFAULT, 0, start + 8
        while end - position >= 4:
            code, length = struct.unpack_from(order + "HH", view, position)
            value = view[position + 4 : min(end, position + 4 + length)]
            if code == _TSRESOL and len(value) == 1:
                exponent = value[0] & 0x7F
                parts = 2 ** min(exponent, 64) if value[0] & 0x80 else 10 ** min(exponent, 20)
            elif code == _TSOFFSET and len(value) == 8:
                (offset,) = struct.unpack(order + "q", value)
            position += 4 + length + -length % 4
            if code == 0:
                break
        return Interface(link, parts, offset)

    def _check_link(self, link: int, position: int) -> None:
        if link not in LINKS:
            known = ", ".join(sorted(set(LINKS.values())))
            raise CaptureError(f"{self.name}: byte {position}: link type {link} is none of {known}")

    # frames

    def _datagram(self, time_ns: int, link: int, start: int, end: int, original: int) -> Datagram | str:
        """The datagram in a frame, or what it is instead."""
        ip = self._ip(link, start, end)
        view = self.view
        if ip is None or end - ip < 20 or view[ip] >> 4 != 4:
            return "not IPv4"
        total, _, fragment = struct.unpack_from(">HHH", view, ip + 2)
        if view[ip + 9] != _UDP:
            return "not UDP"
        if fragment & 0x3FFF:  # more fragments, or not the first
            return "fragments"
        cut = "cut" if original > end - start else "damaged"
        udp = ip + (view[ip] & 15) * 4
        if end - udp < 8:
            return cut
        (port, length), (destination,) = (
            struct.unpack_from(">HH", view, udp + 2),
            struct.unpack_from(">I", view, ip + 16),
        )
        if length < 8 or udp + length > min(ip + total, end):
            return cut
        return Datagram(time_ns, udp + 8, length - 8, destination, port)

    def _ip(self, link: int, start: int, end: int) -> int | None:
        """Where the IPv4 packet of a frame begins; None when there is none."""
        view = self.view
        match link:
            case 12 | 101 | 228:
                return start
            case 0 | 108:
                return start + 4 if end - start >= 4 and 2 in (view[start], view[start + 3]) else None
            case 113 | 276:
                kind, payload = (start + 14, start + 16) if link == 113 else (start, start + 20)
                return payload if end >= payload and view[kind] << 8 | view[kind + 1] == _IPV4 else None
        position = start + 12
        for _ in range(_TAGS_MOST + 1):
            if end - position < 2:
                return None
            kind = view[position] << 8 | view[position + 1]
            if kind not in _TAGS:
                return position + 2 if kind == _IPV4 else None
            position += 4
        return None
