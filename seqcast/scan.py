"""What of MoldUDP64 there is in a capture: its sessions, and where in the file the packets of each lie.

A first look notes for every packet its numbers and its place, some 40 bytes; nothing else is kept. So whatever order
packets were captured in, and however far from its place one that was sent again lies, is all the same.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from attrs import define, field

from moldudp import MOLDUDP64, RemoteProtocolError
from seqcast.capture import CaptureError
from seqcast.session_watch import session_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from native.messages import Messages
    from seqcast.capture import Capture, Datagram

SESSIONS_MOST = 64
"""In one capture. One with more is of something else, and every one costs memory."""

PROGRESS_DATAGRAMS = 4096

NUL_SESSION = bytes(10)
"""Some senders have no session, and say so with zeros."""


@define(eq=False)
class Found:
    """The packets of one session, as they lie in the file. Numbers are those of the stream."""

    session: bytes
    firsts: array[int] = field(factory=lambda: array("Q"))
    counts: array[int] = field(factory=lambda: array("H"))
    times: array[int] = field(factory=lambda: array("Q"))  # UTC nanoseconds
    offsets: array[int] = field(factory=lambda: array("Q"))
    lengths: array[int] = field(factory=lambda: array("I"))
    announced: int = 0
    """Highest next-number that a heartbeat or an end of session told."""
    ended: int | None = None
    """Next-number at the end of the session."""
    out_of_order: int = 0
    """Packets that came after one with higher numbers."""

    @property
    def name(self) -> str:
        """The session without padding; empty where it has no name."""
        return session_name(self.session) or ""

    @property
    def first(self) -> int | None:
        """The lowest number; None without a message."""
        return min(self.firsts, default=None)

    def add(self, first: int, count: int, datagram: Datagram, start: int, length: int) -> None:
        """Note a packet, `length` bytes from `start` of the payload of a datagram."""
        if self.firsts and first < self.firsts[-1]:
            self.out_of_order += 1
        self.firsts.append(first)
        self.counts.append(count)
        self.times.append(datagram.time_ns)
        self.offsets.append(datagram.offset + start)
        self.lengths.append(length)

    def order(self) -> range | list[int]:
        """The packets by their numbers; of those with the same the longest first."""
        indices = range(len(self.firsts))
        if not self.out_of_order and not any(map(int.__eq__, self.firsts, self.firsts[1:])):
            return indices
        return sorted(indices, key=lambda index: (self.firsts[index], -self.counts[index], index))

    def gaps(self) -> list[tuple[int, int]]:
        """(first, last) of the numbers that no packet carries, from the first one that is there."""
        gaps = []
        expected = self.first or 1
        for index in self.order():
            if self.firsts[index] > expected:
                gaps.append((expected, self.firsts[index] - 1))
            expected = max(expected, self.firsts[index] + self.counts[index])
        if self.firsts and self.announced > expected:
            gaps.append((expected, self.announced - 1))
        return gaps


@define(eq=False)
class Scan:
    """What a capture holds. Only what goes to `port`, and to the address `group`, is looked at, where they are given.

    `other` datagrams are no MoldUDP64 packets.
    """

    capture: Capture
    group: int | None = None
    port: int | None = None
    sessions: dict[bytes, Found] = field(factory=dict)
    datagrams: int = 0
    other: int = 0
    elsewhere: int = 0

    def run(self, progress: Callable[[int, int], None] = lambda _done, _total: None) -> None:
        """Look at everything. `progress` is told (bytes done, bytes in all). Raises CaptureError."""
        capture = self.capture
        for datagram in capture:
            self.datagrams += 1
            if self.datagrams % PROGRESS_DATAGRAMS == 0:
                progress(capture.position, len(capture.view))
            if (self.port is not None and datagram.port != self.port) or (
                self.group is not None and datagram.destination != self.group
            ):
                self.elsewhere += 1
            elif not self._take(datagram):
                self.other += 1

    def _take(self, datagram: Datagram) -> bool:
        """Take up one datagram; False when it holds no packet.

        On the machine that sends, a capture may show several packets in one datagram: the network card, or the
        kernel on the other side, would have taken them apart.
        """
        view = self.capture.view[datagram.offset : datagram.offset + datagram.length]
        start, following = 0, 0
        while len(view) - start >= MOLDUDP64.header_bytes:
            try:
                header, messages, ends = MOLDUDP64.decode_in_place(view[start:])
            except RemoteProtocolError:
                return start > 0
            number, count = header.sequence_number, len(messages)
            if start and (header.session != bytes(view[:10]) or number != following):
                break  # padding
            if not 1 <= number <= MOLDUDP64.number_max - count:
                return start > 0
            found = self._session(header.session)
            if found is None:
                return False
            following = number + count
            length = MOLDUDP64.header_bytes
            if count:
                length = messages.offsets[-1] + messages.lengths[-1]
                found.add(number, count, datagram, start, length)
            else:
                found.announced = max(found.announced, number)
                if ends:
                    found.ended = max(found.ended or 0, number)
            start += length
        return start > 0

    def _session(self, session: bytes) -> Found | None:
        found = self.sessions.get(session)
        if found is None:
            if session_name(session) is None and session != NUL_SESSION:
                return None
            if len(self.sessions) == SESSIONS_MOST:
                raise CaptureError(
                    f"{self.capture.name}: more than {SESSIONS_MOST} sessions: --port says which datagrams are meant"
                )
            found = self.sessions[session] = Found(session)
        return found

    def messages(self, found: Found, index: int) -> Messages:
        """The messages of one of its packets, in the file."""
        start = found.offsets[index]
        return MOLDUDP64.decode_in_place(self.capture.view[start : start + found.lengths[index]])[1]

    def packet(self, found: Found, index: int) -> memoryview:
        """The bytes of one of its packets, in the file."""
        start = found.offsets[index]
        return self.capture.view[start : start + found.lengths[index]]

    def with_messages(self) -> Iterator[Found]:
        """The sessions of which there is a message."""
        return (found for found in self.sessions.values() if found.firsts)
