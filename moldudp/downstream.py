"""The sending side of a stream: messages in, downstream packets out, heartbeats when it is quiet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moldudp.cadence import STEADY_NS, Cadence
from moldudp.errors import LocalProtocolError
from moldudp.packets import Codec, session_field
from native.messages import Messages

if TYPE_CHECKING:
    from collections.abc import Sequence


class Downstream:
    """A machine that numbers messages and packs them; it owns no socket and no clock.

    The caller sends every packet that a method returns, calls `due` no later than `deadline_ns()`, and
    keeps the messages itself where receivers may request them again (see `RequestServer`). `capacity` is
    the limit of a packet in bytes, header included: None for the protocol's custom.
    """

    def __init__(
        self,
        codec: Codec,
        session: str | bytes,
        *,
        capacity: int | None = None,
        heartbeat_ns: int = STEADY_NS,
        next_number: int = 1,
    ) -> None:
        self.codec = codec
        self.session = session_field(session)
        self.capacity = codec.datagram_bytes if capacity is None else capacity
        self.next_number = next_number
        """Number that the next message gets."""
        self.ended = False
        self._cadence = Cadence(heartbeat_ns)
        codec.check_number(next_number)
        if self.capacity <= codec.header_bytes + codec.length_struct.size:
            raise LocalProtocolError(f"a packet of {self.capacity} bytes holds no message")

    def send(self, messages: Messages | Sequence[bytes | memoryview], now_ns: int) -> list[bytes]:
        """Number these messages and return the packets that carry them, as few as they fit into.

        Raises LocalProtocolError, and sends none of them, when one cannot be carried: above the packet,
        empty in MoldUDP, numbered beyond what the protocol counts, or after the end of the session.
        """
        if self.ended:
            raise LocalProtocolError("the session has ended: nothing may be sent on it")
        if not messages:
            return []
        self._check(messages)
        packets = []
        start = 0
        while start < len(messages):
            packet, count = self.codec.pack(self.session, self.next_number, messages, self.capacity, start)
            packets.append(packet)
            start += count
            self.next_number += count
        self._cadence.sent(now_ns)
        return packets

    def end(self, now_ns: int) -> list[bytes]:
        """End the session: returns the first end-of-session packet; `due` repeats it in place of heartbeats.

        How long it is repeated is the caller's choice ("for a short while", MoldUDP64 1.00, End of Session).
        """
        if self.ended:
            raise LocalProtocolError("the session has ended before")
        self.ended = True
        self._cadence.sent(now_ns)
        return [self.codec.end_of_session(self.session, self.next_number)]

    def due(self, now_ns: int) -> list[bytes]:
        """The heartbeat, or the end of session, that must go out now; often none."""
        if not self._cadence.due(now_ns):
            return []
        if self.ended:
            return [self.codec.end_of_session(self.session, self.next_number)]
        return [self.codec.heartbeat(self.session, self.next_number)]

    def deadline_ns(self) -> int:
        """When `due` has something to send, unless messages are sent before."""
        return self._cadence.deadline_ns()

    def _check(self, messages: Messages | Sequence[bytes | memoryview]) -> None:
        self.codec.check_number(self.next_number + len(messages) - 1)
        limit = self.capacity - self.codec.header_bytes - self.codec.length_struct.size
        lengths = messages.lengths if isinstance(messages, Messages) else list(map(len, messages))
        shortest, longest = min(lengths), max(lengths)
        self.codec.check_message(shortest)
        self.codec.check_message(longest)
        if longest > limit:
            raise LocalProtocolError(f"a message of {longest} bytes is above the {limit} that fit a packet")
