"""The downlink of a receiver: its sockets on the lines, the one for re-requests, and the login at a rewinder.

The sockets are read in turns of the pump, one batch of each; what has come then leaves through `records`. The
machine behind it, `seqcast.reception`, decides what is asked for, and when.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, evolve, field

import moldudp
from moldudp import FIRST_SEEN
from rewinder.pump import READABLE, WRITABLE
from rewinder.record import RECORD_CHECK
from seqcast.errors import StreamLost
from seqcast.line_watch import LINE_NAMES, LineWatch
from seqcast.lookout import Lookout
from seqcast.reception import Reception, Repair
from seqcast.rewind import SILENCE_NS, Rewind
from seqcast.session_watch import SessionWatch, session_name

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable
    from random import Random

    from native.messages import Messages
    from rewinder.network import Network
    from rewinder.pump import Pump
    from seqcast.endpoints import Endpoints
    from seqcast.events import Event

    FaultsOf = Callable[[moldudp.Receiver], moldudp.Faults]

BATCH_MESSAGES = 4096
"""Most messages in one batch."""

NEVER_NS = 1 << 62

REPLY_LINE = 3
"""Where replies to re-requests are counted, beside the lines."""

RECEIVE_BUFFER = 8 << 20
"""Bytes asked of the kernel for each line."""


@define(eq=False)
class Downlink:
    """Everything of a receiver but its face towards the app.

    `lines` are the names of those to join; without one the stream is read from rewinders alone. `session` has ten
    bytes. `start` is the number of the first record wanted, None for whatever is published next. `faults` puts a
    bad network in front of the lines. `on_event(event)` is told what is noticed, see `seqcast.events`. With `archive`
    a rewinder that says End of Session has given everything there will ever be. `former` are sessions that were left
    for this one.
    """

    pump: Pump
    network: Network
    random: Random
    endpoints: Endpoints
    lines: Iterable[str]
    session: bytes
    start: int | None
    user: str
    password: str
    on_event: Callable[[Event], None] = lambda _event: None
    archive: bool = False
    former: Iterable[str] = ()
    repair: Repair = field(factory=Repair)
    receive_buffer: int = RECEIVE_BUFFER
    rewind_silence_ns: int = SILENCE_NS
    pacing: moldudp.Pacing | None = None
    faults: FaultsOf | None = None
    reception: Reception = field(init=False)
    injected: moldudp.Faults | None = field(default=None, init=False)
    requests: int = field(default=0, init=False)
    """Re-requests that were sent."""
    _sockets: list[socket.socket] = field(factory=list, init=False)
    _replies: socket.socket | None = field(default=None, init=False)
    _watched: Rewind | None = field(default=None, init=False)  # the one that is in the poll set
    _turn: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        endpoints = self.endpoints
        chosen = endpoints.chosen(self.lines)
        servers = endpoints.request_servers if chosen else ()
        repair = self.repair if servers else evolve(self.repair, small_gap=0)
        if not endpoints.rewinders:
            repair = evolve(repair, silence_ns=NEVER_NS)
        self.reception = Reception(
            mold=moldudp.Receiver(
                session=self.session,
                start=FIRST_SEEN if self.start is None else self.start,
                datagram_bytes=endpoints.room_bytes,
                held_datagrams=endpoints.held_datagrams,
                table_rows=BATCH_MESSAGES,
                check=RECORD_CHECK,
                pacing=self.pacing or moldudp.Pacing(reorder_delay_ns=repair.reorder_delay_ns),
                random=self.random,
            ),
            open_rewind=self._open_rewind,
            random=self.random,
            repair=repair,
            eager=self.start is not None and bool(endpoints.rewinders),
            rewinders=max(1, len(endpoints.rewinders)),
            archive=self.archive,
            lookout=Lookout(
                LineWatch(tuple(chosen)), SessionWatch(session_name(self.session), former=self.former)
            ),
        )
        if self.faults is not None:
            self.injected = self.faults(self.reception.mold)
        self._turn = self.random.randrange(1 << 16)
        try:
            for name, line in chosen.items():
                joined = self.network.join(line.group, line.port, endpoints.interface, self.receive_buffer)
                self._add(joined, LINE_NAMES.index(name))
            if servers:
                self._replies = self.network.datagrams(endpoints.interface, 0)
                self._add(self._replies, REPLY_LINE)
        except BaseException:
            self.close()
            raise

    def records(self, now_ns: int) -> Messages | None:
        """The next records in order, checked; None when there are none now. Valid until the next call."""
        return self.reception.records(now_ns)

    def look_after(self, now_ns: int) -> None:
        """Ask for what is missing, once everything that had come was taken; and see when the next timer is."""
        if self.reception.calm(now_ns) and self._watched is None:
            return  # the timer stands: what has come since can only move it later
        for request in self.reception.due(now_ns):
            self._ask(request)
        rewind = self.reception.rewind
        if rewind is not self._watched:
            # A closed descriptor has left the poll set by itself.
            self._watched = rewind
            if rewind is not None:
                self.pump.watch(rewind.fileno(), self._on_rewind, READABLE | WRITABLE)
        for event in self.reception.lookout.take_events():
            self.on_event(event)
        self.pump.timers.watch(self)

    def deadline_ns(self) -> int | None:
        """When `look_after` wants to be called."""
        return self.reception.deadline_ns()

    def handle_timer(self, now_ns: int) -> None:
        """Nothing: the turn comes, and `look_after` after it, when what had come was taken."""

    def close(self) -> None:
        """Leave the groups, and let go of the rewinder."""
        self.pump.timers.forget(self)
        self.reception.close()
        for each in self._sockets:
            self.pump.forget(each.fileno())
            each.close()
        self._sockets.clear()

    # inside

    def _add(self, source: socket.socket, line: int) -> None:
        self._sockets.append(source)
        reception, network = self.reception, self.network
        receiver = reception.mold if self.injected is None or line == REPLY_LINE else self.injected

        def read(_events: int, now_ns: int) -> int:
            count = network.read(source, receiver, now_ns, line)
            if line != REPLY_LINE:
                reception.line_heard(now_ns)
            return count

        self.pump.watch(source.fileno(), read)

    def _on_rewind(self, events: int, now_ns: int) -> int:
        rewind = self._watched
        if rewind is None or rewind is not self.reception.rewind:
            return 0
        if events & WRITABLE and rewind.write(now_ns):
            self.pump.change(rewind.fileno(), READABLE)
        if events & ~WRITABLE:
            self.reception.rewind_readable(now_ns)
        return 1

    def _ask(self, request: bytes) -> None:
        """Send a re-request, each to the next request server."""
        servers = self.endpoints.request_servers
        self._turn += 1
        self.requests += 1
        assert self._replies is not None
        try:
            self._replies.sendto(request, servers[self._turn % len(servers)])
        except OSError:
            self.reception.requests_unsent += 1  # paced again like one that was lost

    def _open_rewind(self, turn: int, number: int, now_ns: int) -> Rewind:
        rewinders = self.endpoints.rewinders
        if not rewinders:
            raise StreamLost(f"record {number} is missing and no rewinder is configured")
        return Rewind.open(
            rewinders[turn],
            user=self.user,
            password=self.password,
            session=self.session,
            number=number,
            now_ns=now_ns,
            timeout_ns=self.rewind_silence_ns,
            connect=self.network.connect,
        )
