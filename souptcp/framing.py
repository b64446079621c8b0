"""The three ways to put logical packets on a TCP stream, behind one interface.

| codec | framing | sequence digits | end of session | server may send `U` |
|---|---|---|---|---|
| `SOUPBINTCP_3` (3.00) | length prefix | 20 | `Z` | no |
| `SOUPBINTCP` (4.00) | length prefix | 20 | `Z` | yes |
| `SOUPBINTCP_4_10` | length prefix | 20, and a time-out in the login | `Z` | yes |
| `SOUPTCP_2` (2.00) | line | 10 | `S` with an empty message | no |
| `SOUPTCP_3` (3.00) | line | 20 | `Z` | no |

The version is not negotiated on the wire, so both ends are told. One thing can be seen: a login of 4.10 is
five bytes longer, and a SoupBinTCP server of any version here takes both lengths.

A codec keeps nothing, so one instance serves any number of sessions.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

from attrs import Factory, field, frozen, validators

from souptcp._native import HEADER_BYTES, LINE_OVERHEAD, PAYLOAD_LIMIT, pack_binary, pack_lines, packed_bytes
from souptcp.errors import LocalProtocolError, RemoteProtocolError
from souptcp.packets import LoginAccepted, LoginRequest, PacketType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from native.messages import Messages
    from souptcp._native import RunReader

    Payload = bytes | bytearray | memoryview

PACKET_LIMIT = PAYLOAD_LIMIT + HEADER_BYTES
"""Largest packet in bytes, framing included."""

LINE_LIMIT = PAYLOAD_LIMIT + LINE_OVERHEAD
"""Largest packet of SoupTCP, which names no limit itself: its payload gets the limit of SoupBinTCP, because
without any a peer could fill the buffer for ever."""

LINE_FEED = 0x0A

_TYPES = frozenset(PacketType)

_HEADER = struct.Struct(">HB")


class Packet(NamedTuple):
    """Where one packet lies: its payload is `buffer[start:end]`, the next packet is at `following`."""

    kind: int
    start: int
    end: int
    following: int


class Codec(ABC):
    """What the sessions ask of a framing. `kind` is a `PacketType`."""

    name: str
    version: str
    overhead: int
    """Bytes of framing around a payload."""
    sequence_digits: int
    reads_timeout: bool
    """Whether a login may have the heartbeat time-out of SoupBinTCP 4.10 ..."""
    writes_timeout: bool
    """... and whether ours has it."""
    server_unsequenced: bool
    """Whether a server may send unsequenced data."""

    @abstractmethod
    def packet(self, buffer: bytearray, start: int, end: int) -> Packet | None:
        """Find the packet at `start`; None when it is not all there.

        Raises RemoteProtocolError for bytes that can never become a packet.
        """

    @abstractmethod
    def run(self, reader: RunReader, kind: int, start: int, end: int, first_number: int) -> Messages:
        """Take the packets of type `kind` that follow each other from `start`, as one batch."""

    @abstractmethod
    def frame(self, kind: int, payload: Payload = b"") -> bytes:
        """Frame one packet. Raises LocalProtocolError for a payload that it cannot carry."""

    @abstractmethod
    def pack(self, out: bytearray, kind: int, messages: Messages) -> None:
        """Append a batch to `out`; all of it or, with LocalProtocolError, none."""

    def frame_all(self, kind: int, payloads: Sequence[Payload]) -> bytes:
        """Frame many packets. Raises LocalProtocolError when a packet cannot carry one of the payloads."""
        return b"".join([self.frame(kind, payload) for payload in payloads])

    def size(self, messages: Messages) -> int:
        """Count the bytes that `pack` would append."""
        return packed_bytes(messages, self.overhead)

    def encode_login(self, request: LoginRequest) -> bytes:
        """Frame a Login Request."""
        return self.frame(PacketType.LOGIN_REQUEST, request.encode(self.sequence_digits))

    def decode_login(self, payload: bytes) -> LoginRequest:
        """Read the payload of a Login Request; raises RemoteProtocolError."""
        return LoginRequest.decode(payload, self.sequence_digits, timeout_field=self.reads_timeout)

    def encode_accepted(self, accepted: LoginAccepted) -> bytes:
        """Frame a Login Accepted."""
        return self.frame(PacketType.LOGIN_ACCEPTED, accepted.encode(self.sequence_digits))

    def decode_accepted(self, payload: bytes) -> LoginAccepted:
        """Read the payload of a Login Accepted; raises RemoteProtocolError."""
        return LoginAccepted.decode(payload, self.sequence_digits)


@frozen
class SoupBinTcp(Codec):
    """SoupBinTCP of `version` 3.00, 4.00 or 4.10: length (16 bits), type, payload (section 1.1)."""

    version: str = field(default="4.00", validator=validators.in_(("3.00", "4.00", "4.10")))
    name: str = field(default="SoupBinTCP", init=False)
    overhead: int = field(default=HEADER_BYTES, init=False)
    sequence_digits: int = field(default=20, init=False)
    reads_timeout: bool = field(default=True, init=False)
    writes_timeout: bool = field(init=False, default=Factory(lambda self: self.version == "4.10", True))
    server_unsequenced: bool = field(init=False, default=Factory(lambda self: self.version != "3.00", True))

    def packet(self, buffer: bytearray, start: int, end: int) -> Packet | None:
        """See `Codec.packet`. Length 0 leaves no room for a type."""
        if end - start < 2:
            return None
        counted = buffer[start] << 8 | buffer[start + 1]
        if counted == 0:
            raise RemoteProtocolError("a packet of length 0")
        if end - start > 2:
            _check_type(buffer[start + 2])
        if end - start - 2 < counted:
            return None
        return Packet(buffer[start + 2], start + 3, start + 2 + counted, start + 2 + counted)

    def run(self, reader: RunReader, kind: int, start: int, end: int, first_number: int) -> Messages:
        """See `Codec.run`."""
        return reader.binary(kind, start, end, first_number)

    def frame(self, kind: int, payload: Payload = b"") -> bytes:
        """See `Codec.frame`."""
        length = len(payload) + 1
        if length > PAYLOAD_LIMIT + 1:
            raise LocalProtocolError(
                f"a payload of {len(payload)} bytes: a packet has at most {PAYLOAD_LIMIT}"
            )
        return b"".join((_HEADER.pack(length, kind), payload))

    def pack(self, out: bytearray, kind: int, messages: Messages) -> None:
        """See `Codec.pack`."""
        pack_binary(out, kind, messages)


@frozen
class SoupTcp(Codec):
    """SoupTCP of `version` 2.00 or 3.00: the type, the payload, a line feed.

    A payload cannot hold a line feed. In 2.00 an empty sequenced packet is the end of the session, and is
    read and written here as type `Z`, so that the sessions need not know.
    """

    version: str = field(validator=validators.in_(("2.00", "3.00")))
    name: str = field(default="SoupTCP", init=False)
    overhead: int = field(default=LINE_OVERHEAD, init=False)
    sequence_digits: int = field(
        init=False, default=Factory(lambda self: 10 if self.empty_ends else 20, True)
    )
    reads_timeout: bool = field(default=False, init=False)
    writes_timeout: bool = field(default=False, init=False)
    server_unsequenced: bool = field(default=False, init=False)

    @property
    def empty_ends(self) -> bool:
        """Whether an empty sequenced packet is the end of the session."""
        return self.version == "2.00"

    def packet(self, buffer: bytearray, start: int, end: int) -> Packet | None:
        """See `Codec.packet`. A line without a type, or above the limit, is no packet."""
        if start == end:
            return None
        kind = buffer[start]
        if kind == LINE_FEED:
            raise RemoteProtocolError("a packet without a type")
        _check_type(kind)
        if self.empty_ends and kind == PacketType.END_OF_SESSION:
            raise RemoteProtocolError("packet type b'Z', which SoupTCP 2.00 does not know")
        stop = buffer.find(b"\n", start + 1, min(end, start + LINE_LIMIT))
        if stop < 0:
            if end - start >= LINE_LIMIT:
                raise RemoteProtocolError(f"a packet of more than {LINE_LIMIT} bytes")
            return None
        if self.empty_ends and kind == PacketType.SEQUENCED and stop == start + 1:
            kind = PacketType.END_OF_SESSION
        return Packet(kind, start + 1, stop, stop + 1)

    def run(self, reader: RunReader, kind: int, start: int, end: int, first_number: int) -> Messages:
        """See `Codec.run`."""
        stop_at_empty = self.empty_ends and kind == PacketType.SEQUENCED
        return reader.lines(kind, start, end, first_number, stop_at_empty=stop_at_empty)

    def frame(self, kind: int, payload: Payload = b"") -> bytes:
        """See `Codec.frame`."""
        if len(payload) > PAYLOAD_LIMIT:
            raise LocalProtocolError(
                f"a payload of {len(payload)} bytes: a packet has at most {PAYLOAD_LIMIT}"
            )
        if b"\n" in bytes(payload):
            raise LocalProtocolError("a payload that holds a line feed would read as two packets of SoupTCP")
        if self.empty_ends:
            if kind == PacketType.END_OF_SESSION:
                kind = PacketType.SEQUENCED
            elif kind == PacketType.SEQUENCED and not payload:
                raise LocalProtocolError(
                    "an empty sequenced message is the end of the session in SoupTCP 2.00"
                )
        return b"".join((bytes((kind,)), payload, b"\n"))

    def pack(self, out: bytearray, kind: int, messages: Messages) -> None:
        """See `Codec.pack`."""
        if self.empty_ends and kind == PacketType.SEQUENCED and 0 in messages.lengths:
            raise LocalProtocolError("an empty sequenced message is the end of the session in SoupTCP 2.00")
        pack_lines(out, kind, messages)


def _check_type(kind: int) -> None:
    """Refuse at its first byte what would be refused when it is whole: nobody waits for 64 KiB of garbage."""
    if kind not in _TYPES:
        raise RemoteProtocolError(f"packet type {bytes((kind,))!r}, which no version knows")


SOUPBINTCP_3 = SoupBinTcp("3.00")
SOUPBINTCP = SoupBinTcp("4.00")
SOUPBINTCP_4_10 = SoupBinTcp("4.10")
SOUPTCP_2 = SoupTcp("2.00")
SOUPTCP_3 = SoupTcp("3.00")
