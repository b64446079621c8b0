"""The re-request server: request packets in, one downstream packet each out, silence on everything else.

The specification defines no negative answer. A request for what is not there (another session, number 0, a
number beyond the last, a count of 0) gets none, and neither does a datagram too short to be a request. Each
reason has its counter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import define, field

from moldudp.errors import LocalProtocolError
from moldudp.packets import Codec, session_field

if TYPE_CHECKING:
    from collections.abc import Iterable


class MessageStore(Protocol):
    """Where a server finds the messages that may be requested."""

    def last(self, session: bytes) -> int | None:
        """Number of the last message of a session; 0 before the first; None for an unknown session."""

    def pack(self, session: bytes, first: int, count: int, capacity: int) -> tuple[bytes, int]:
        """Message blocks from `first` on: whole ones, `count` at most, as many as fit `capacity` bytes.

        Returns the blocks, in the framing of the server's protocol, and how many they are: `(b"", 0)` where
        `first` is not kept any more, or does not fit. `first` is not above `last(session)`, and `count` is
        at least 1; no more blocks may come back than are asked for.
        """


@define
class RequestCounters:
    """What a request server has counted: each of `requests` got a reply, or one kind of silence."""

    requests: int = 0
    replies: int = 0
    messages: int = 0
    """Messages in the replies."""
    short: int = 0
    """Shorter than a request packet."""
    unknown_session: int = 0
    number_zero: int = 0
    count_zero: int = 0
    beyond_last: int = 0
    unavailable: int = 0
    """The store no longer has the first message, or it does not fit a packet."""


class RequestServer:
    """Answers request packets out of a store. `capacity` limits a reply in bytes, header included."""

    def __init__(self, codec: Codec, store: MessageStore, *, capacity: int | None = None) -> None:
        self.codec = codec
        self.store = store
        self.capacity = codec.datagram_bytes if capacity is None else capacity
        self.counters = RequestCounters()
        if self.capacity <= codec.header_bytes + codec.length_struct.size:
            raise LocalProtocolError(f"a packet of {self.capacity} bytes holds no message")

    def respond(self, datagram: bytes | bytearray | memoryview) -> bytes | None:
        """The reply to one datagram, to be sent to where it came from; None for silence.

        A datagram longer than a request is served by its first bytes. The counts 0xFFFF and 0xFFFE need no
        special case: a reply is one packet, and holds what fits.
        """
        counters = self.counters
        counters.requests += 1
        if len(datagram) < self.codec.header_bytes:
            counters.short += 1
            return None
        session, first, count = self.codec.header_struct.unpack_from(datagram)
        last = self.store.last(session)
        if last is None:
            counters.unknown_session += 1
        elif first == 0:
            counters.number_zero += 1
        elif count == 0:
            counters.count_zero += 1
        elif first > last:
            counters.beyond_last += 1
        else:
            count = min(count, last - first + 1, self.codec.count_max)
            body, packed = self.store.pack(session, first, count, self.capacity - self.codec.header_bytes)
            if packed == 0:
                counters.unavailable += 1
                return None
            counters.replies += 1
            counters.messages += packed
            return self.codec.header(session, first, packed) + body
        return None


@define(eq=False)
class ListStore:
    """A store of one session in memory, for small streams and tests. It grows with every message."""

    codec: Codec
    session: bytes = field(converter=session_field)
    ended: bool = field(default=False, init=False)
    _messages: list[bytes] = field(factory=list, init=False)

    def extend(self, messages: Iterable[bytes | memoryview]) -> None:
        """Keep copies of the next messages of the stream."""
        if self.ended:
            raise LocalProtocolError("the session has ended")
        for message in messages:
            self.codec.check_message(len(message))
            self._messages.append(bytes(message))

    def end(self) -> None:
        """End the session. In MoldUDP the marker takes a number, and can be requested like a message."""
        self.ended = True

    def last(self, session: bytes) -> int | None:
        """See `MessageStore`."""
        if session != self.session:
            return None
        return len(self._messages) + (1 if self._marker else 0)

    def pack(self, session: bytes, first: int, count: int, capacity: int) -> tuple[bytes, int]:
        """See `MessageStore`."""
        if session != self.session:
            return b"", 0
        body, packed = self.codec.pack_blocks(first, self._messages[first - 1 : first - 1 + count], capacity)
        marker = self.codec.length_struct.pack(0)
        reaches_marker = self._marker and packed < count and first + packed == len(self._messages) + 1
        if reaches_marker and len(body) + len(marker) <= capacity:
            return body + marker, packed + 1
        return body, packed

    @property
    def _marker(self) -> bool:
        """Whether the end of the session takes a number of its own."""
        return self.ended and self.codec.empty_message_ends
