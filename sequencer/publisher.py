"""Publishing: committed records go out as MoldUDP64 downstream packets, on line A and, if configured, line B.

Every line carries the same packets. Between bursts heartbeats tell the next number, so that a receiver that
lost the tail finds out; after the end of the session end-of-session packets take their place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from moldudp import MOLDUDP64, Cadence
from sequencer._native import Outgoing, can_segment, refuses_segments

if TYPE_CHECKING:
    import socket

    from rewinder.counters import Counters
    from rewinder.log import MessageLog

BATCH_DATAGRAMS = 64
"""Packets packed and sent by one call: enough to amortise the call, few enough to stay in the cache."""

TURN_BATCHES = 16
"""Batches in one turn; what is left waits for the next, so that reading is never starved."""

RETRY_NS = 200_000
"""Pause before a socket that took nothing is tried again."""


@define(eq=False)
class Line:
    """One multicast line: a connected socket, and how far the present batch has left on it.

    `segmented`: datagrams of equal size go to the kernel in one piece, until it refuses that once.
    """

    name: str
    socket: socket.socket
    segmented: bool = field(init=False)
    sent: int = field(default=0, init=False)
    datagrams: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.segmented = can_segment(self.socket)


@define(eq=False)
class Publisher:
    """Sends what is committed and was not yet sent.

    `next_number` is the number of the next record to publish. Invariant: it never runs past the commit
    number plus one.
    """

    log: MessageLog
    lines: list[Line]
    counters: Counters
    datagram_bytes: int
    next_number: int
    cadence: Cadence = field(factory=Cadence)
    ended: bool = field(default=False, init=False)
    behind: bool = field(default=False, init=False)
    """True while packets wait for a socket."""
    outgoing: Outgoing = field(init=False)
    _retry_ns: int | None = field(default=None, init=False)
    _unfinished: bool = field(default=False, init=False)  # the turn was full: the next one follows at once

    def __attrs_post_init__(self) -> None:
        self.outgoing = Outgoing(self.log.session, BATCH_DATAGRAMS, self.datagram_bytes)

    def publish(self, commit: int, now_ns: int) -> int:
        """Send records up to `commit`; returns how many datagrams left, over all lines."""
        if self._retry_ns is not None and now_ns < self._retry_ns:
            return 0
        self._retry_ns = None
        work = 0
        for _ in range(TURN_BATCHES):
            if not self.behind:
                if self.next_number > commit:
                    break
                self._fill(commit)
            work += self._send(now_ns)
            if self._retry_ns is not None:
                break
        self._unfinished = self._retry_ns is None and (self.behind or self.next_number <= commit)
        if work:
            self.cadence.sent(now_ns)
        ended = self.log.ended
        if ended is not None and self.next_number > ended and not self.ended:
            self.ended = True
            self.cadence.sent(now_ns)
        return work

    @property
    def idle(self) -> bool:
        """Whether everything that it was given has left, and `published` may follow."""
        return not self.behind and self._retry_ns is None

    def published(self, next_number: int, now_ns: int, *, behind: bool) -> None:
        """Everything below `next_number` was packed past this; `behind`: the last batch has not left on every line."""
        self.next_number, self.behind = next_number, behind
        self.outgoing.filled()
        self.cadence.sent(now_ns)

    def _fill(self, commit: int) -> None:
        """Pack the next batch."""
        segment = self.log.segment_of(self.next_number)
        following = self.outgoing.fill(segment, self.next_number, commit)
        if following == self.next_number:
            # Stamped when datagrams were larger: it can only be replayed, and receivers will ask for it.
            self.counters.add("publish.oversized")
            following += 1
        self.next_number = following
        for line in self.lines:
            line.sent = 0

    def _send(self, now_ns: int) -> int:
        """Bring every line to the end of the present batch; returns datagrams sent."""
        total = 0
        self.behind = False
        for line in self.lines:
            while line.sent < self.outgoing.count:
                try:
                    sent = self.outgoing.send(line.socket, line.sent, segmented=line.segmented)
                except BlockingIOError:
                    self.counters.add(f"publish.{line.name}.full")
                    self._retry_ns = now_ns + RETRY_NS
                    self.behind = True
                    break
                except OSError as error:
                    if line.segmented and refuses_segments(error):
                        self.counters.add(f"publish.{line.name}.unsegmented")
                        line.segmented = False
                        continue
                    # The network refused this packet (no route, no buffers): receivers will ask for it.
                    self.counters.add(f"publish.{line.name}.refused.{error.errno}")
                    line.sent += 1
                    continue
                line.sent += sent
                line.datagrams += sent
                total += sent
        return total

    # timers

    def deadline_ns(self) -> int:
        """When the next heartbeat, or the next try on a full socket, is due."""
        if self._retry_ns is not None:
            return self._retry_ns
        if self._unfinished:
            return 0
        return self.cadence.deadline_ns()

    def handle_timer(self, now_ns: int) -> None:
        """Send the heartbeat that is due; a full socket is tried again by the turn itself."""
        # While packets wait for a socket, `next_number` would announce what nobody has been sent.
        if self._unfinished or self.behind or not self.cadence.due(now_ns):
            return
        if self.ended:
            packet = MOLDUDP64.end_of_session(self.log.session, self.next_number)
        else:
            packet = MOLDUDP64.heartbeat(self.log.session, self.next_number)
        for line in self.lines:
            try:
                line.socket.send(packet)
            except OSError as error:
                self.counters.add(f"publish.{line.name}.refused.{error.errno}")
