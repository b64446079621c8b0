"""The packets of MoldUDP64 1.00 and MoldUDP 1.02a, in the words of the specifications.

MoldUDP64, all integers unsigned and big-endian:

| packet            | Session | Sequence Number            | Message Count                | then           |
|-------------------|---------|----------------------------|------------------------------|----------------|
| offset            | 0       | 10                         | 18                           | 20             |
| type              | 10 bytes| u64                        | u16                          |                |
| Downstream Packet |         | of the first message       | 1..65534                     | message blocks |
| Heartbeat         |         | next expected              | 0                            |                |
| End of Session    |         | next expected              | 0xFFFF                       |                |
| Request Packet    |         | first requested            | Requested Message Count      |                |

A message block is Message Length (u16) and Message Data. Length 0 is a message of no bytes.

MoldUDP is the older protocol and differs in all of it: integers are little-endian, the Sequence Number is a
u32 @10, the Message Count is @14, blocks start @16, and a block of length 0 is the End of Session, so that
an empty message cannot be carried. That marker takes a sequence number like a message, and can be requested
again.

The two `Codec` objects, `MOLDUDP64` and `MOLDUDP`, have one interface. They serve headers and single packets;
streams go through `Receiver` and `Downstream`.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from attrs import field, frozen

from moldudp import _native
from moldudp.errors import LocalProtocolError, RemoteProtocolError
from native.messages import Messages

if TYPE_CHECKING:
    from collections.abc import Sequence

SESSION_BYTES = 10
"""Session, the first field of every packet: ten bytes, compared as they are."""

MESSAGE_MAX = 65535
"""Longest message that the Message Length field can announce; a datagram holds less."""

MOLDUDP64_END_OF_SESSION = 0xFFFF
"""Message Count of an End of Session packet in MoldUDP64."""

MOLDUDP64_DATAGRAM_BYTES = 1472
"""UDP payload that fills an Ethernet frame: 1500, less 20 for IP and 8 for UDP."""

MOLDUDP_DATAGRAM_BYTES = 1440
"""Largest downstream packet of Nasdaq Nordic's MoldUDP feeds, header included."""


@frozen
class Header:
    """The fields that every packet starts with.

    `sequence_number` is the number of the first message, or the next expected number where the packet
    carries none; `count` is the Message Count as it stands in the packet, which is not to be trusted.
    """

    session: bytes
    sequence_number: int
    count: int


@frozen
class Packet:
    """A whole downstream packet: `messages` in order, numbered from `header.sequence_number` on."""

    header: Header
    messages: tuple[bytes, ...]
    end_of_session: bool

    @property
    def next_number(self) -> int:
        """The number after the last message of this packet."""
        return self.header.sequence_number + len(self.messages)


def session_field(session: str | bytes) -> bytes:
    """Session as it goes on the wire: ten bytes, padded on the right with spaces.

    Raises LocalProtocolError for more than ten bytes, or text that is not ASCII.
    """
    if isinstance(session, str):
        try:
            session = session.encode("ascii")
        except UnicodeEncodeError:
            raise LocalProtocolError(f"session {session!r} is not ASCII") from None
    if len(session) > SESSION_BYTES:
        raise LocalProtocolError(f"session {session!r} is longer than {SESSION_BYTES} bytes")
    return session.ljust(SESSION_BYTES, b" ")


@frozen(eq=False)
class Codec:
    """One of the two protocols: the constants that set it apart, and how its packets are written and read.

    `number_max` is the last number that a message may have and `count_max` the most messages of one packet.
    `datagram_bytes` is the customary limit of a packet, header included.
    """

    name: str
    protocol: int
    header_struct: struct.Struct = field(repr=False)
    length_struct: struct.Struct = field(repr=False)
    number_max: int = field(repr=False)
    count_max: int = field(repr=False)
    datagram_bytes: int = field(repr=False)
    empty_message_ends: bool = field(repr=False)

    @property
    def header_bytes(self) -> int:
        """Length of a header: 20 in MoldUDP64, 16 in MoldUDP."""
        return self.header_struct.size

    def header(self, session: bytes, sequence_number: int, count: int) -> bytes:
        """The header of a packet; LocalProtocolError for a value that its field cannot hold."""
        if len(session) != SESSION_BYTES:
            raise LocalProtocolError(f"session {session!r} is not {SESSION_BYTES} bytes: see session_field")
        try:
            return self.header_struct.pack(session, sequence_number, count)
        except struct.error:
            raise LocalProtocolError(
                f"{self.name} cannot carry sequence number {sequence_number} with count {count}"
            ) from None

    def heartbeat(self, session: bytes, next_number: int) -> bytes:
        """A heartbeat: Message Count 0, and the number of the message to come."""
        return self.header(session, next_number, 0)

    def end_of_session(self, session: bytes, next_number: int) -> bytes:
        """An End of Session packet, in place of a heartbeat: no message will have `next_number`."""
        if self.empty_message_ends:
            return self.header(session, next_number, 1) + self.length_struct.pack(0)
        return self.header(session, next_number, MOLDUDP64_END_OF_SESSION)

    def request(self, session: bytes, first: int, count: int) -> bytes:
        """A Request Packet for `count` messages (1 to 65535) from number `first` on."""
        if first < 1 or count < 1:
            raise LocalProtocolError(f"a request for {count} messages from number {first} asks for nothing")
        return self.header(session, first, count)

    def check_message(self, length: int) -> None:
        """Raise LocalProtocolError when a message of `length` bytes cannot be carried at all."""
        if length > MESSAGE_MAX:
            raise LocalProtocolError(f"a message of {length} bytes is above {self.name}'s {MESSAGE_MAX}")
        if length == 0 and self.empty_message_ends:
            raise LocalProtocolError(f"an empty message in {self.name} would end the session")

    def check_number(self, number: int) -> None:
        """Raise LocalProtocolError when no message can have this number."""
        if not 1 <= number <= self.number_max:
            raise LocalProtocolError(f"{self.name} cannot number a message {number}")

    def pack(
        self,
        session: bytes,
        first: int,
        messages: Messages | Sequence[bytes | memoryview],
        capacity: int,
        start: int = 0,
    ) -> tuple[bytes, int]:
        """A packet of at most `capacity` bytes: messages `start`, `start` + 1, ... numbered from `first`.

        Returns the packet and how many whole messages it holds: `(b"", 0)` when there are none, or the first
        does not fit. Raises LocalProtocolError when the first cannot be carried at all; one that comes later
        ends the packet. A `Messages` batch is packed in C.
        """
        if len(session) != SESSION_BYTES:
            raise LocalProtocolError(f"session {session!r} is not {SESSION_BYTES} bytes: see session_field")
        if start >= len(messages):
            return b"", 0
        self.check_number(first)
        self.check_message(len(messages[start]))
        if isinstance(messages, Messages):
            return _native.pack(self.protocol, session, first, messages, start=start, capacity=capacity)
        body, count = self.pack_blocks(first, messages, capacity - self.header_bytes, start)
        if count == 0:
            return b"", 0
        return self.header(session, first, count) + body, count

    def pack_blocks(
        self, first: int, messages: Sequence[bytes | memoryview], capacity: int, start: int = 0
    ) -> tuple[bytes, int]:
        """The message blocks alone, as `pack` makes them; stops at whatever cannot be carried."""
        parts: list[bytes | memoryview] = []
        count_max = min(self.count_max, self.number_max + 1 - first, len(messages) - start)
        count = used = 0
        while count < count_max:
            message = messages[start + count]
            length = len(message)
            used += self.length_struct.size + length
            if used > capacity or length > MESSAGE_MAX or (length == 0 and self.empty_message_ends):
                break
            parts.append(self.length_struct.pack(length))
            parts.append(message)
            count += 1
        return b"".join(parts), count

    def decode_header(self, data: bytes | bytearray | memoryview) -> Header:
        """The header of a packet or a request; RemoteProtocolError when `data` is shorter than that."""
        if len(data) < self.header_bytes:
            raise RemoteProtocolError(f"a {self.name} packet of {len(data)} bytes is shorter than a header")
        return Header(*self.header_struct.unpack_from(data))

    def decode(self, data: bytes | bytearray | memoryview) -> Packet:
        """A whole downstream packet. Bytes after the last block are padding and ignored.

        Raises RemoteProtocolError when it is shorter than a header, or a block runs over its end.
        """
        header, messages, ends = self.decode_in_place(data)
        return Packet(header, tuple(messages.payloads()), ends)

    def decode_in_place(self, data: bytes | bytearray | memoryview) -> tuple[Header, Messages, bool]:
        """The same without a copy: header, messages of `data` itself, and whether it ends the session."""
        header = self.decode_header(data)
        decoded = _native.decode(self.protocol, data)
        if decoded is None:
            raise RemoteProtocolError(
                f"{len(data)} bytes do not hold the {header.count} blocks of {self.name} packet "
                f"{header.sequence_number}"
            )
        return header, *decoded


MOLDUDP64 = Codec(
    name="MoldUDP64",
    protocol=_native.PROTOCOL_MOLDUDP64,
    header_struct=struct.Struct(">10sQH"),
    length_struct=struct.Struct(">H"),
    number_max=2**64 - 2,  # a heartbeat must be able to name the number after the last
    count_max=65534,
    datagram_bytes=MOLDUDP64_DATAGRAM_BYTES,
    empty_message_ends=False,
)
"""MoldUDP64 1.00: 64-bit numbers, big-endian; Message Count 0xFFFF ends the session."""

MOLDUDP = Codec(
    name="MoldUDP",
    protocol=_native.PROTOCOL_MOLDUDP,
    header_struct=struct.Struct("<10sIH"),
    length_struct=struct.Struct("<H"),
    number_max=2**32 - 2,  # the same; and the end of the session takes a number of its own
    count_max=65535,
    datagram_bytes=MOLDUDP_DATAGRAM_BYTES,
    empty_message_ends=True,
)
"""MoldUDP 1.02a: 32-bit numbers, little-endian; a message block of length 0 ends the session."""
