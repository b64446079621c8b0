"""Serving the log over SoupBinTCP: replay and gap fill are the same thing, a login at a number.

Segments hold records framed as sequenced-data packets, so a replay moves bytes from the page cache to the
socket and looks at none of them. A client that has everything waits in `_caught_up` until the visible number
moves. Anything else that goes to the client (a heartbeat, an answer) is queued in its session and may only be
written where a packet ends, so bytes of the log leave in stretches that end on a packet's edge.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

from attrs import define, field

from rewinder.errors import LogError
from rewinder.service import Denied, Granted

if TYPE_CHECKING:
    from native.messages import Messages
    from rewinder.admission import Admission
    from rewinder.counters import Counters
    from rewinder.reading import LogReader
    from rewinder.segment import Segment
    from rewinder.service import Client
    from souptcp import LoginRequest

Log = TypeVar("Log", bound="LogReader")
"""The kind of log that is served: one that grows, or one that is only read."""

STRETCH_RECORDS = 4096
"""Records aimed at in one stretch; a stretch is also what a client may get beyond its share of a turn."""

TURN_BYTES = 1 << 20
"""Bytes of the log that one client gets in one turn, so that replays do not hold up the live stream."""

END_PATIENCE_NS = 500_000_000
"""After End of Session the client is given this long to close first, as most do."""

SMALL_BYTES = 32 * 1024
"""Below this a plain send from the mapped log is cheaper than a sendfile call."""


@define(eq=False)
class Cursor:
    """Where a client is in the log: the next byte, and the packet's edge it is being brought to."""

    segment: Segment
    offset: int
    target: int
    number: int  # first record not before `target`


@define(eq=False)
class LogServer(Generic[Log]):
    """The application of a replay port, and the sequenced half of a replication port.

    `visible` is the number of the last record that may be shown: the commit number to receivers, the end of
    the log to followers. `final` says that nothing will ever follow it: the session is an old one.
    """

    log: Log
    admission: Admission
    counters: Counters
    name: str = "replay"
    says_end: bool = True  # a follower is not told: it stays, to hear that the end is committed
    final: bool = False
    visible: int = field(default=0, init=False)
    _caught_up: dict[int, Client] = field(factory=dict, init=False)

    def show(self, number: int, now_ns: int) -> int:
        """The visible number has become `number`: serve the clients that wait. Returns bytes sent."""
        self.visible = number
        if not self._caught_up:
            return 0
        waiting = list(self._caught_up.values())
        return sum(self.pour(client, now_ns) for client in waiting)

    # Application

    def login(self, client: Client, request: LoginRequest, _now_ns: int) -> Granted | Denied:
        """Let in who may replay, at the number asked for; 0, and numbers not yet there, mean from now on."""
        return self.admission.check(client, request) or self.enter(client, request.sequence_number)

    def enter(self, client: Client, wanted: int) -> Granted | Denied:
        """Bring a client that may replay to the number it wants."""
        following = self.visible + 1
        number = wanted or following
        if number < self.log.first:
            return Denied(b"S", f"records before {self.log.first} are no longer kept", "not_kept")
        number = min(number, following)
        try:
            segment, offset = self.log.locate(number)
        except (LogError, OSError) as error:
            self.counters.add(f"{self.name}.unreadable")
            return Denied(b"S", str(error), "unreadable")
        client.state = Cursor(segment, offset, offset, number)
        return Granted(self.log.session, number)

    def started(self, client: Client, now_ns: int) -> None:
        """Begin to serve."""
        self.pour(client, now_ns)

    def unsequenced(self, _client: Client, messages: Messages, _now_ns: int) -> None:
        """Receivers have nothing to say here: counted."""
        self.counters.add(f"{self.name}.unsequenced", len(messages))

    def writable(self, client: Client, now_ns: int) -> None:
        """The client took what it had been sent: go on."""
        self.pour(client, now_ns)

    def ended(self, client: Client) -> None:
        """Forget a client."""
        self._caught_up.pop(id(client), None)

    # the log's bytes

    def pour(self, client: Client, now_ns: int) -> int:
        """Send a client its share of the log; returns bytes sent."""
        cursor: Cursor = client.state
        self._caught_up.pop(id(client), None)
        sent = 0
        while True:
            client.mid_packet = cursor.offset != cursor.target
            edge = not client.mid_packet
            if edge:
                self.at_edge(client)
                begun = self._begin(client, cursor, now_ns)
                if begun is None:
                    return sent
                sent += begun
            if cursor.offset != cursor.target:  # else it was short, and has left already
                if sent >= TURN_BYTES:
                    client.want_room(hungry=True)
                    return sent
                moved = self._give(client, cursor, now_ns)
                if not moved:
                    return sent
                sent += moved
            if edge and cursor.offset == cursor.target and self._has_all(client, cursor):
                return sent

    def _begin(self, client: Client, cursor: Cursor, now_ns: int) -> int | None:
        """Send what is queued, and set the next target; None when there is nothing to go on with now.

        What is queued and a short stretch behind it leave in one system call: returns how much of the stretch did.
        """
        session, number = client.session, cursor.number
        if number > self.visible or not session.output_bytes:
            return 0 if client.flush(now_ns) and self._aim(client, cursor, now_ns) else None
        if not self._aim(client, cursor, now_ns):
            return None
        start, queued = cursor.offset, session.output_view()
        if cursor.target - start < SMALL_BYTES and len(queued) == session.output_bytes:
            records = cursor.segment.view[start : cursor.target]
            with suppress(OSError):  # a full socket, or a broken one: `flush` below finds out which
                count = client.connection.socket.sendmsg((queued, records))
                session.output_sent(min(count, len(queued)), now_ns)
                cursor.offset += max(0, count - len(queued))
                if cursor.offset == cursor.target:
                    return cursor.offset - start
        if client.flush(now_ns, more=True):
            return cursor.offset - start
        cursor.target, cursor.number = start, number  # nothing of the stretch may leave before what is queued
        return None

    def at_edge(self, client: Client) -> None:
        """A packet's edge: what else this client is to be told may be queued now."""

    def _is_over(self, number: int) -> bool:
        """Whether no record `number` will ever come, and the client is to be told."""
        ended = self.log.ended
        return self.final or (self.says_end and ended is not None and number > ended)

    def _give(self, client: Client, cursor: Cursor, now_ns: int) -> int:
        """Bytes up to the target into the socket; returns how many: 0 when it is full, or the client was let go."""
        try:
            moved = self._move(client, cursor)
        except BlockingIOError:
            client.want_room(hungry=True)
            return 0
        except OSError as error:
            client.service.drop(client, f"cannot write: {error}")
            return 0
        if moved:
            cursor.offset += moved
            client.session.sent(now_ns)
        else:
            self.counters.add(f"{self.name}.unreadable")
            client.service.drop(client, f"{cursor.segment.file} has become shorter")
        return moved

    def _move(self, client: Client, cursor: Cursor) -> int:
        """Hand bytes up to the target to the socket, as many as it takes."""
        count = cursor.target - cursor.offset
        socket = client.connection.socket
        file = cursor.segment.fileno()
        if count < SMALL_BYTES or file < 0:  # a log in memory has no file to send from
            return socket.send(cursor.segment.view[cursor.offset : cursor.target])
        return os.sendfile(socket.fileno(), file, cursor.offset, count)

    def _has_all(self, client: Client, cursor: Cursor) -> bool:
        """Whether the client has all that is visible, and stays: then it waits for more."""
        if cursor.number <= self.visible or self._is_over(cursor.number):
            return False
        self._caught_up[id(client)] = client
        client.want_room(hungry=False)
        return True

    def _aim(self, client: Client, cursor: Cursor, now_ns: int) -> bool:
        """Set the next target; False when the client has all that is visible, or was let go."""
        if self._has_all(client, cursor):
            return False
        if cursor.number > self.visible:
            client.session.end_session(now_ns)
            client.close("end of session", now_ns, debug=False, patience_ns=END_PATIENCE_NS)
            return False
        try:
            if cursor.number > cursor.segment.last:
                cursor.segment, cursor.offset = self.log.locate(cursor.number)
            following = min(cursor.number + STRETCH_RECORDS, self.visible + 1, cursor.segment.last + 1)
            cursor.target = cursor.segment.offset_of(following)
        except (LogError, OSError) as error:
            self.counters.add(f"{self.name}.unreadable")
            client.close(str(error), now_ns)
            return False
        cursor.number = following
        return True
