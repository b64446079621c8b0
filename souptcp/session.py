"""What a client and a server session share: the receive buffer, the output, the timers, the end.

A session is a machine without IO: it gets bytes and the time, and returns events and bytes. Times are
monotonic nanoseconds, given by the caller. The turn of an owner is

    count = socket.recv_into(session.space())
    for event in session.received(count, now_ns): ...     consume each before asking for the next
    for event in session.handle_timer(now_ns): ...        when session.deadline_ns() has come
    session.output_sent(socket.send(session.output_view()), now_ns)

and `souptcp.connection.Connection` is that turn for sockets.

States and what moves them are in the tables of `client` and `server`. A packet that is not in the table for
the present state, or that is no packet at all, is a `ProtocolViolation`: the session queues a last word for
the peer, reports `ProtocolViolation` and `Closed`, and drops whatever else comes. Nothing that a peer sends
raises an exception.

| state | meaning | heartbeats | time-out |
|---|---|---|---|
| LOGIN | no login yet (server), or no answer to it (client) | no | yes |
| PENDING | server only: the login waits for `accept` or `reject` | no | yes |
| ACTIVE | logged in | yes | yes |
| CLOSING | over; input is dropped, queued output still goes out | no | no: the owner's linger limit |
| CLOSED | over, and the connection is gone | no | no |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from souptcp._native import RunReader
from souptcp.errors import LocalProtocolError, OutputFull, RemoteProtocolError
from souptcp.events import Closed, Debug, ProtocolViolation, Unsequenced
from souptcp.framing import PACKET_LIMIT
from souptcp.packets import PacketType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from native.messages import Messages
    from souptcp.events import Event
    from souptcp.framing import Codec, Packet, Payload

HEARTBEAT_NS = 1_000_000_000
"""Longest silence of ours: the specification says one second since anything was last sent."""

TIMEOUT_NS = 15_000_000_000
"""Silence of the peer after which it is taken for dead: what the specification calls typical for servers."""

BUFFER_BYTES = 256 * 1024
"""Receive buffer: some thousand messages in one read, and never less than the largest packet."""

RUN_ROWS = 4096
"""Messages in one batch: enough to make the price of a batch vanish, and 64 KiB of table."""

OUTPUT_LIMIT_BYTES = 16 << 20
"""Application data kept for a peer that does not read; then `OutputFull`. Owners mostly stop long before."""

_NOTHING = memoryview(b"")


class State(Enum):
    """Where a session is; the value is how error texts say it."""

    LOGIN = "before the login"
    PENDING = "while the login is being decided"
    ACTIVE = "when logged in"
    CLOSING = "when closing"
    CLOSED = "when closed"


class Session(ABC):
    """See the module's text. Subclasses say what packets do: `_TRANSITIONS[state][type]` is a method."""

    _TRANSITIONS: ClassVar[Mapping[State, Mapping[int, Callable[[Any, Packet, int], Event | None]]]]
    _HEARTBEAT: ClassVar[PacketType]

    def __init__(
        self, codec: Codec, *, heartbeat_ns: int, timeout_ns: int, buffer_bytes: int, output_limit_bytes: int
    ) -> None:
        if buffer_bytes < PACKET_LIMIT:
            raise LocalProtocolError(f"a buffer of {buffer_bytes} bytes; a packet may have {PACKET_LIMIT}")
        if heartbeat_ns <= 0 or timeout_ns <= 0:
            raise LocalProtocolError("heartbeat_ns and timeout_ns are above 0")
        self.codec = codec
        self.heartbeat_ns = heartbeat_ns
        self.timeout_ns = timeout_ns
        self.output_limit_bytes = output_limit_bytes
        self.state = State.LOGIN
        self._buffer = bytearray(buffer_bytes)
        self._view = memoryview(self._buffer)
        self._start = 0  # invariant: the bytes received and not yet consumed are _buffer[_start:_end]
        self._end = 0
        self._reader = RunReader(self._view, RUN_ROWS)
        self._queued = bytearray()
        self._leaving = _NOTHING  # what the transport is sending: nothing is ever appended to it
        self._sent_ns = 0
        self._heard_ns: int | None = None
        self.skim: Callable[[memoryview, int, int], tuple[int, int]] | None = None
        """Takes packets out of the receive buffer before they become events: gets the buffer, and from where to where
        there is something, and returns up to where it took packets, all whole, and how many were sequenced."""
        self._next_number = 0
        self._takes_unsequenced = True
        self._paused = False
        self._reason: str | None = None
        self._reported = False

    @property
    def next_number(self) -> int:
        """Number of the sequenced message that comes, or is sent, next; 0 before the login is accepted."""
        return self._next_number

    # input

    def space(self) -> memoryview:
        """Where the transport reads into. Ends the life of the messages of earlier events.

        Empty only when the buffer is full of packets whose events were not asked for.
        """
        if self._start == self._end:
            self._start = self._end = 0
            return self._view
        if self._start:
            rest = self._end - self._start
            self._view[:rest] = self._view[self._start : self._end]
            self._start, self._end = 0, rest
        return self._view[self._end :]

    def received(self, count: int, now_ns: int) -> Iterator[Event]:
        """`count` bytes were read into `space()`. The events come lazily; what is not asked for stays."""
        if self.closing:
            self._start = self._end = 0
            return self._report()
        self._end += count
        if count:
            self._heard_ns = now_ns  # any packet counts as life, and so does a piece of one
            if self.skim is not None and self.state is State.ACTIVE:
                start, sequenced = self.skim(self._view, self._start, self._end)
                if self.state is State.ACTIVE:  # else it was closed meanwhile, and has dropped all
                    self._start = start
                    self._next_number += sequenced
        return self._events(now_ns) if self._start != self._end or self.closing else iter(())

    def received_elsewhere(self, start: int, end: int, now_ns: int) -> None:
        """Bytes `start` to `end` of an empty `space()` were received by another way: they are `waiting` now."""
        self._start, self._end = start, end
        self._heard_ns = now_ns

    def note_traffic(self, heard_ns: int, sent_ns: int) -> None:
        """Whole packets came and went by another way, last at these times."""
        if self._heard_ns is not None:
            self._heard_ns = max(self._heard_ns, heard_ns)
        self._sent_ns = max(self._sent_ns, sent_ns)

    def receive(self, data: bytes, now_ns: int) -> Iterator[Event]:
        """`received` for callers that have the bytes: copies them in, in pieces. Ask for all the events."""
        rest = memoryview(data)
        while rest:
            space = self.space()
            piece = rest[: len(space)]
            space[: len(piece)] = piece
            rest = rest[len(piece) :]
            yield from self.received(len(piece), now_ns)

    @property
    def between_packets(self) -> bool:
        """Whether it is logged in, and has consumed everything that was received: `received_run` may follow."""
        return self._start == self._end and self.state is State.ACTIVE

    @property
    def waiting(self) -> bool:
        """Whether something was received and not consumed: `received(0)` goes on with it."""
        return self._start != self._end

    def received_run(self, count: int, now_ns: int) -> Messages | None:
        """`received` for the most frequent case, without the price of events, for a session between packets.

        `count` bytes, at least one, were read into `space()`. Returns the unsequenced messages that they begin with;
        None when they begin with something else. What is behind those is `waiting` afterwards.
        """
        self._end = count
        self._heard_ns = now_ns
        if not self._takes_unsequenced:
            return None
        messages = self._run(PacketType.UNSEQUENCED, 0)
        return messages if len(messages) else None

    def disconnected(self, reason: str) -> Iterator[Event]:
        """Note that the connection is gone, and why. Queued output is dropped."""
        if self._end > self._start and not self.closing:
            reason += ", in the middle of a packet"
        self.state = State.CLOSED
        self._start = self._end = 0
        self._queued.clear()
        self._leaving = _NOTHING
        self._reason = self._reason or reason
        return self._report()

    # output

    @property
    def has_output(self) -> bool:
        """Whether anything waits for the transport."""
        return bool(self._queued or self._leaving)

    @property
    def output_bytes(self) -> int:
        """Bytes that wait for the transport."""
        return len(self._leaving) + len(self._queued)

    def output_view(self) -> memoryview:
        """Bytes to send next, empty when there are none; say with `output_sent` how many went."""
        if not self._leaving and self._queued:
            self._leaving = memoryview(self._queued)
            self._queued = bytearray()
        return self._leaving

    def output_sent(self, count: int, now_ns: int) -> None:
        """Note that the transport took the first `count` bytes of `output_view()`."""
        offered = len(self._leaving)
        if not 0 <= count <= offered:
            raise LocalProtocolError(f"{count} bytes sent of {offered} that were on offer")
        self._leaving = self._leaving[count:] if count < offered else _NOTHING
        if count:
            self.sent(now_ns)

    def take_output(self, now_ns: int) -> bytes:
        """All the output, taken for sent."""
        data = bytes(self._leaving) + bytes(self._queued)
        self._leaving = _NOTHING
        self._queued.clear()
        if data:
            self.sent(now_ns)
        return data

    def send_framed(self, packets: Payload) -> None:
        """Queue whole packets that are framed already, or the rest of what the transport took in part.

        Raises OutputFull.
        """
        self._require(State.ACTIVE, "send framed packets")
        self._room_for(len(packets))
        self._queued += packets

    def sent(self, now_ns: int) -> None:
        """Bytes went out by another way (a file sent to the socket): no heartbeat is due for a while.

        Whoever does that sends whole packets, or writes nothing else until the packet is whole.
        """
        self._sent_ns = now_ns

    # time

    def deadline_ns(self) -> int | None:
        """When `handle_timer` wants to be called next; None for never. Later packets only postpone it."""
        given_up_ns = self._given_up_ns()
        if self.state is State.ACTIVE:
            heartbeat_ns = self._sent_ns + self.heartbeat_ns
            if given_up_ns is None or heartbeat_ns < given_up_ns:
                return heartbeat_ns
        return given_up_ns

    def handle_timer(self, now_ns: int) -> Iterator[Event]:
        """Do what is due: queue a heartbeat, or give the peer up."""
        given_up_ns = self._given_up_ns()
        if given_up_ns is not None and now_ns >= given_up_ns:
            self._finish(self._why_given_up())
            return self._report()
        if self.state is State.ACTIVE and now_ns - self._sent_ns >= self.heartbeat_ns:
            if not self.output_bytes:  # else what waits says as much, once the peer reads
                self._queued += self.codec.frame(self._HEARTBEAT)
            self._sent_ns = now_ns
        return iter(())

    def pause(self) -> None:
        """Note that the owner stops reading: silence says nothing about the peer until `resume`."""
        self._paused = True

    def resume(self, now_ns: int) -> None:
        """Note that the owner reads again."""
        if self._paused:
            self._paused = False
            self._heard_ns = now_ns

    # ends

    @property
    def closing(self) -> bool:
        """Whether the session is over; there may still be output to flush."""
        return self.state is State.CLOSING or self.state is State.CLOSED

    @property
    def closed(self) -> bool:
        """Whether the connection is gone too."""
        return self.state is State.CLOSED

    def close(self) -> None:
        """End the session from here: nothing more is received; what is queued may still be sent."""
        if not self.closing:
            self.state = State.CLOSING
            self._start = self._end = 0

    # for subclasses

    @abstractmethod
    def _given_up_ns(self) -> int | None:
        """When the peer is given up in the present state; None for never."""

    @abstractmethod
    def _why_given_up(self) -> str:
        """Why it is, in one sentence."""

    @abstractmethod
    def _last_word(self, reason: str) -> bytes:
        """Frame what tells a peer that broke the protocol why the session ends; may be empty."""

    def _silent_ns(self) -> int | None:
        """When the peer has been silent for too long; None while it cannot be."""
        return None if self._paused or self._heard_ns is None else self._heard_ns + self.timeout_ns

    def _finish(self, reason: str) -> None:
        self.state = State.CLOSING
        self._reason = reason

    def _report(self) -> Iterator[Event]:
        """Give out `Closed`, if there is a reason that was not reported yet."""
        if self._reason is None or self._reported:
            return iter(())
        self._reported = True
        return iter((Closed(self._reason),))

    def _events(self, now_ns: int) -> Iterator[Event]:
        while not self.closing:
            try:
                packet = self.codec.packet(self._buffer, self._start, self._end)
                if packet is None:
                    return
                event = self._take(packet, now_ns)
            except RemoteProtocolError as error:
                event = self._violated(str(error))
            if event is not None:
                yield event
        yield from self._report()

    def _take(self, packet: Packet, now_ns: int) -> Event | None:
        handler = self._TRANSITIONS[self.state].get(packet.kind)
        if handler is None:
            raise RemoteProtocolError(f"packet type {bytes((packet.kind,))!r} {self.state.value}")
        return handler(self, packet, now_ns)

    def _violated(self, reason: str) -> Event:
        self._queued += self._last_word(reason)
        self._finish(f"protocol violation: {reason}")
        return ProtocolViolation(reason)

    def _consume(self, packet: Packet) -> bytes:
        """Copy the payload of a single packet, which is thereby done with."""
        self._start = packet.following
        return bytes(self._view[packet.start : packet.end])

    def _run(self, kind: int, first_number: int) -> Messages:
        """Take the packets of one type from here on; at least one, because a whole one is there."""
        messages = self.codec.run(self._reader, kind, self._start, self._end, first_number)
        self._start += self._reader.consumed
        return messages

    def _on_debug(self, packet: Packet, _now_ns: int) -> Event:
        return Debug(self._consume(packet).decode("ascii", "backslashreplace"))

    def _on_heartbeat(self, packet: Packet, _now_ns: int) -> None:
        self._consume(packet)

    def _on_unsequenced(self, _packet: Packet, _now_ns: int) -> Event:
        return Unsequenced(self._run(PacketType.UNSEQUENCED, 0))

    def _require(self, state: State, what: str) -> None:
        if self.state is not state:
            raise LocalProtocolError(f"cannot {what} {self.state.value}")

    def _room_for(self, size: int) -> None:
        waiting = len(self._leaving) + len(self._queued)
        if waiting + size > self.output_limit_bytes:
            raise OutputFull(f"{waiting} bytes wait already for a peer that does not read")

    def _send(self, kind: int, payload: Payload) -> None:
        """Queue one packet of the application."""
        packet = self.codec.frame(kind, payload)
        self._room_for(len(packet))
        self._queued += packet

    def _debug_packet(self, text: str) -> bytes:
        return self.codec.frame(PacketType.DEBUG, text.encode("ascii", "backslashreplace"))
