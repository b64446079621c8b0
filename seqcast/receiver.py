"""The receiver: the stream, in order, without a hole or a repeat, in the app's own thread.

    with Receiver(lines=[("239.1.2.3", 30001)], rewinders=[("127.0.0.1", 30011)]) as receiver:
        for message in receiver:
            print(message.number, message.payload)

Nothing runs behind the app's back: datagrams are read, holes repaired and heartbeats kept while the app is
inside `poll`, or iterating. A receiver that is slow slows nobody: what the kernel's buffer could not hold for it
comes from a rewinder later, and `lag` and `source` say so.
"""

from __future__ import annotations

import select
import time
from random import Random
from typing import TYPE_CHECKING, Self

from attrs import define, evolve, field

import moldudp
from moldudp.sockets import multicast_receiver, request_socket
from rewinder.record import RECORD_CHECK
from seqcast.assembly import Assembly
from seqcast.batch import Batch
from seqcast.errors import StreamLost
from seqcast.reception import Reception, Repair
from seqcast.rewind import Rewind

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from native.messages import Messages
    from seqcast.batch import Message

BEGIN = 1
"""Start with the first record of the session."""

LIVE = None
"""Start with whatever is published next."""

BATCH_MESSAGES = 4096
"""Most messages in one batch."""

NEVER_NS = 1 << 62

REPLY_LINE = 3
"""Where replies to re-requests are counted, beside the lines."""


@define(eq=False)
class Receiver:
    """A receiver of one stream.

    `lines` are the multicast groups (address, port), one or two, which carry the same packets; none means that
    the stream is read from rewinders alone. `rewinders` are replay ports, `request_servers` MoldUDP64 re-request
    ports. `start` is BEGIN, LIVE or the number of the first record wanted. `faults` puts a bad network in front of
    the lines, for tests and demonstrations: it makes a `moldudp.Faults` of the receiver machine.
    """

    lines: list[tuple[str, int]]
    rewinders: list[tuple[str, int]] = field(factory=list)
    request_servers: list[tuple[str, int]] = field(factory=list)
    session: bytes | None = None
    start: int | None = BEGIN
    interface: str = "127.0.0.1"
    user: str = "reader"
    password: str = ""
    repair: Repair = field(factory=Repair)
    datagram_bytes: int = 2048
    held_datagrams: int = 8192
    receive_buffer: int = 8 << 20
    faults: Callable[[moldudp.Receiver], moldudp.Faults] | None = None
    random: Random = field(factory=Random)
    injected: moldudp.Faults | None = field(default=None, init=False)
    reception: Reception = field(init=False)
    assembly: Assembly = field(init=False)
    delivered: int = field(default=0, init=False)
    first_number: int | None = field(default=None, init=False)
    last_number: int | None = field(default=None, init=False)
    _epoll: select.epoll = field(factory=select.epoll, init=False)
    _sockets: dict[int, tuple[socket.socket, int]] = field(
        factory=dict, init=False
    )  # by descriptor: socket, line
    _request_socket: socket.socket | None = field(default=None, init=False)
    _request_turn: int = field(default=0, init=False)
    _rewind: Rewind | None = field(default=None, init=False)  # the one that is in the poll set
    _records: Messages | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        repair = self.repair if self.request_servers else evolve(self.repair, small_gap=0)
        if not self.rewinders:
            repair = evolve(repair, silence_ns=NEVER_NS)
        self.reception = Reception(
            mold=moldudp.Receiver(
                session=self.session,
                start=moldudp.FIRST_SEEN if self.start is LIVE else self.start,
                datagram_bytes=self.datagram_bytes,
                held_datagrams=self.held_datagrams,
                table_rows=BATCH_MESSAGES,
                check=RECORD_CHECK,
                pacing=moldudp.Pacing(reorder_delay_ns=repair.reorder_delay_ns),
                random=self.random,
            ),
            open_rewind=self._open_rewind,
            random=self.random,
            repair=repair,
            eager=self.start is not LIVE and bool(self.rewinders),
        )
        if self.faults is not None:
            self.injected = self.faults(self.reception.mold)
        self.assembly = Assembly(BATCH_MESSAGES)
        try:
            for position, (group, port) in enumerate(self.lines):
                line = multicast_receiver(group, port, self.interface, receive_buffer=self.receive_buffer)
                self._add(line, position)
            if self.request_servers:
                self._request_socket = request_socket(self.interface)
                self._add(self._request_socket, REPLY_LINE)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Message]:
        """Messages one at a time, until the session ends."""
        while not self.ended:
            yield from self.poll(timeout=1.0)

    # state

    @property
    def position(self) -> int:
        """Number of the next record that the app will get."""
        if self._records is not None:
            return self._records.number(0)
        return self.reception.next_number

    @property
    def lag(self) -> int:
        """Records that are known to exist and that the app has not got."""
        return self.reception.lag + (len(self._records) if self._records is not None else 0)

    @property
    def source(self) -> str:
        """Where the last messages came from: "live" or "rewind"."""
        return self.reception.source

    @property
    def appeared(self) -> bool:
        """True when a line or a rewinder has been heard of."""
        return self.reception.mold.heard or self.reception.answered

    @property
    def ended(self) -> bool:
        """True when the end of the session has been reached and everything before it delivered."""
        return self.assembly.ended is not None

    @property
    def gaps_filled(self) -> int:
        """Holes that were found and closed."""
        return self.reception.gaps_filled

    @property
    def duplicates_dropped(self) -> int:
        """Messages that came again, from a line, a reply or a rewinder, and were dropped."""
        return self.reception.mold.counters.duplicates + self.reception.repeated

    # calls

    def poll(self, limit: int = BATCH_MESSAGES, timeout: float = 0.0) -> Batch:
        """The next messages, at most `limit`; an empty batch when none came within `timeout` seconds.

        The batch's payloads are valid until the next call. Raises LoginRefused when a rewinder does not know
        the user, StreamLost when a record can be had from nobody.
        """
        deadline_ns = time.monotonic_ns() + int(timeout * 1e9)
        while True:
            now_ns = time.monotonic_ns()
            batch = self._deliver(limit, now_ns)
            if batch is not None:
                return batch
            if self.ended:
                return Batch.empty()
            self._ask(self.reception.due(now_ns))
            self._follow_rewind()
            left_ns = deadline_ns - now_ns
            if not self._wait(max(0, left_ns), now_ns) and left_ns <= 0:
                return Batch.empty()

    def close(self) -> None:
        """Leave the groups and let go of the rewinder."""
        reception = getattr(self, "reception", None)
        if reception is not None:
            reception.close()
        for line, _ in self._sockets.values():
            line.close()
        self._sockets.clear()
        self._epoll.close()

    # inside

    def _deliver(self, limit: int, now_ns: int) -> Batch | None:
        """The next messages out of the records at hand."""
        while not self.ended:
            records = self._records
            if records is None:
                records = self.reception.records(now_ns)
                if records is None:
                    return None
            batch, taken = self.assembly.open(records, limit)
            self._records = records.after(taken) if taken < len(records) else None
            if batch is not None:
                if self.first_number is None:
                    self.first_number = batch.first_number
                self.last_number = batch.last_number
                self.delivered += len(batch)
                return batch
        return None

    def _wait(self, left_ns: int, now_ns: int) -> int:
        """Wait for the network, at most until a timer is due; returns how much came."""
        due_ns = self.reception.deadline_ns()
        if due_ns is not None:
            left_ns = min(left_ns, max(0, due_ns - now_ns))
        ready = self._epoll.poll(left_ns / 1e9)
        now_ns = time.monotonic_ns()
        for fileno, events in ready:
            found = self._sockets.get(fileno)
            if found is None:
                if events & select.EPOLLOUT and self._rewind is not None and self._rewind.write(now_ns):
                    self._epoll.modify(fileno, select.EPOLLIN)
                if events & ~select.EPOLLOUT:
                    self.reception.rewind_readable(now_ns)
            elif found[1] == REPLY_LINE:
                self.reception.mold.receive_from(fileno, now_ns, REPLY_LINE)
            else:
                (self.injected or self.reception.mold).receive_from(fileno, now_ns, found[1])
                self.reception.line_heard(now_ns)
        return len(ready)

    def _ask(self, requests: list[bytes]) -> None:
        """Send re-requests, each to the next request server."""
        for request in requests:
            server = self.request_servers[self._request_turn % len(self.request_servers)]
            self._request_turn += 1
            assert self._request_socket is not None
            try:
                self._request_socket.sendto(request, server)
            except OSError:
                self.reception.requests_unsent += 1  # paced again like one that was lost

    def _follow_rewind(self) -> None:
        """Keep the poll set in step with the machine, which opens and closes rewinds."""
        rewind = self.reception.rewind
        if rewind is self._rewind:
            return
        # A closed descriptor has left the poll set by itself.
        self._rewind = rewind
        if rewind is not None:
            self._epoll.register(rewind.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def _open_rewind(self, turn: int, number: int, now_ns: int) -> Rewind:
        if not self.rewinders:
            raise StreamLost(f"record {number} is missing and no rewinder is configured")
        return Rewind.open(
            self.rewinders[turn % len(self.rewinders)],
            user=self.user,
            password=self.password,
            session=self.session or b"",
            number=number,
            now_ns=now_ns,
        )

    def _add(self, line: socket.socket, position: int) -> None:
        self._sockets[line.fileno()] = (line, position)
        self._epoll.register(line.fileno(), select.EPOLLIN)
