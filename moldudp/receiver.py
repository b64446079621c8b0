"""The receiver machine: datagrams of one stream in, its messages in order out, requests for what is missing.

The window in C does the work of each datagram and each message: it checks, puts in order and delivers
without a copy. This class is the face of it and adds the pacing of requests. It owns no socket and no
clock; `now_ns` is monotonic nanoseconds.

A turn of the program around it:

    while receiver.receive_from(socket.fileno(), now_ns):      # each line, bounded by the program
        while messages := receiver.messages():
            ...
    for request in receiver.requests(now_ns):
        request_socket.sendto(request, server)                 # the replies come in by receive_from, too
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import fields, frozen

from moldudp._native import Window
from moldudp.errors import LocalProtocolError
from moldudp.pacing import Gap, Lines, Pacer, Pacing
from moldudp.packets import MOLDUDP64, Codec, session_field

if TYPE_CHECKING:
    from random import Random

    from native.messages import Messages

FIRST_SEEN = 0
"""`start` of a receiver that begins with the first packet it sees, whatever its number."""

MAX_JUMP = 2**40
"""A packet that ends more than this beyond the next number is not believed. At a million messages a second
it is twelve days of stream: more than anyone misses, and far below what random bytes would say."""

DATAGRAM_BYTES = 2048
"""Room for one datagram: an Ethernet frame, and some. Larger datagrams are counted as overlong and
dropped."""

HELD_DATAGRAMS = 4096
"""Datagrams that wait behind a gap. 8 MiB at 2048 bytes each; the lowest gives way to the newest."""

BATCH = 1024
"""Datagrams of one `receive_from`: room that is always left for them, beside those that are held. Eight buffers of as
many datagrams as the kernel ever coalesces; a smaller batch than one of those (`moldudp.sockets.SEGMENTS`) cannot
take coalesced datagrams."""

TABLE_ROWS = 4096
"""Messages of one `messages()` batch."""

TRACKED_GAPS = 256
"""Gaps that the pacing looks at, lowest first: a bound on its work in each turn when very much is lost, and several
times the requests that may be outstanding."""

LISTED_GAPS = 1024
"""Gaps that `gaps()` lists unless it is told otherwise."""


@frozen(kw_only=True)
class ReceiverCounters:
    """What a receiver has counted; a snapshot. Datagrams, unless it says messages."""

    datagrams: int
    """All, good or bad."""
    messages: int
    """Messages delivered."""
    heartbeats: int
    ends: int
    """End-of-session packets that were believed."""
    foreign_session: int
    malformed: int
    """Shorter than a header, or with a block that runs over the end."""
    overlong: int
    """Larger than `datagram_bytes`."""
    surplus: int
    """Dropped because the kernel coalesced more of them into one buffer than it ever should."""
    impossible: int
    """Numbered 0, beyond what the protocol can count, or beyond `max_jump`."""
    duplicates: int
    """Messages that had been delivered before, or were held already."""
    after_end: int
    """Messages and heartbeats numbered beyond the end of the session."""
    early_ends: int
    """End-of-session packets below what was already heard of."""
    held: int
    """Waiting behind a gap now: a gauge."""
    evicted: int
    """Given up while held, for newer ones; their messages are missing again."""
    corrupt: int
    """Cut at a message that failed the check."""
    refused: int
    """Errors that ICMP left on the socket: a request went nowhere."""
    requests_held: int
    """Times that the request rate held requests back for a while."""
    line_datagrams: tuple[int, ...]
    """All, for each line."""
    line_heard: tuple[int, ...]
    """Of them the good ones of the session, duplicates among them: a line that is well is heard."""
    line_highest: tuple[int, ...]
    """Highest next-number heard of, on each line."""


_SCALARS = [
    name.name for name in fields(ReceiverCounters) if not name.name.startswith(("line_", "requests_"))
]


@frozen
class LineCounters:
    """What each line has brought; a snapshot that costs little. Lines that are not there have zeros."""

    heard: tuple[int, ...]
    """Good datagrams of the session, duplicates among them."""
    highest: tuple[int, ...]
    """Highest next-number heard of."""


@frozen
class Foreign:
    """Another session on the lines: the last one that spoke."""

    session: bytes
    """Its ten bytes, whatever they are."""
    datagrams: int
    """How many good datagrams of it came since the last one of a third session. One that says it has ended
    is no longer kept."""
    next_number: int
    """The highest next-number in them."""


class Receiver:
    """Receives one stream. See the module for a turn, and the constants above for what the limits mean.

    `session` None lets the first good packet decide. `start` is the first number to deliver, or
    `FIRST_SEEN`. `random` jitters the requests. `check` is the address of a C function (`sc_message_check`
    of window.h), from the adapter of another package: messages that it refuses are not delivered and stay
    missing.

    Limits out of their range raise LocalProtocolError. Nothing that a peer sends raises.
    """

    def __init__(
        self,
        *,
        random: Random,
        codec: Codec = MOLDUDP64,
        session: str | bytes | None = None,
        start: int = 1,
        datagram_bytes: int = DATAGRAM_BYTES,
        held_datagrams: int = HELD_DATAGRAMS,
        batch: int = BATCH,
        table_rows: int = TABLE_ROWS,
        max_jump: int = MAX_JUMP,
        check: Any = None,
        pacing: Pacing | None = None,
    ) -> None:
        if min(held_datagrams, batch) < 1:
            raise LocalProtocolError("a receiver holds at least one datagram, and reads at least one")
        if not 0 <= start <= codec.number_max + 1:
            raise LocalProtocolError(f"{codec.name} cannot number a message {start}")
        if not 0 <= max_jump < 2**64:
            raise LocalProtocolError(f"a jump of {max_jump} messages is no limit")
        self.codec = codec
        self._table_rows = table_rows
        self._window = Window(
            protocol=codec.protocol,
            blocks=held_datagrams + batch,
            block_bytes=datagram_bytes,
            batch=batch,
            rows=table_rows,
            start=start,
            session=None if session is None else session_field(session),
            max_jump=max_jump,
            check=check,
        )
        self._pacer = Pacer(pacing or Pacing(), random)
        self._held_datagrams = held_datagrams
        self._waited_lines: tuple[int, ...] = ()
        self._patience_ns = 0
        self._spares_front = False
        self._changed = False
        self._waiting = False  # the window may have something to give
        self._now_ns = 0

    # datagrams in

    def receive_datagram(self, data: bytes | bytearray | memoryview, now_ns: int, line: int = 0) -> None:
        """Take one datagram that came on `line` (0 to 3). Messages delivered before are no longer valid.

        Raises LocalProtocolError when `messages` was not called for as many datagrams as can be held.
        """
        self._now_ns = now_ns
        self._waiting = True
        if not self._window.put(data, line):
            raise LocalProtocolError("no room for a datagram: call messages() until it is empty")

    def receive_from(self, fileno: int, now_ns: int, line: int = 0) -> int:
        """Read one batch of datagrams from a socket without waiting; returns how many. Coalesced ones are taken apart.

        0 when none waits, or when `messages` was not called often enough. Messages delivered before are no
        longer valid. Raises OSError when the descriptor is no socket that can be read.
        """
        self._now_ns = now_ns
        self._waiting = True
        return self._window.receive(fileno, line)

    # messages out

    def messages(self) -> Messages:
        """The next messages in stream order, at most `table_rows`; empty when there are none.

        They are valid until the next call of a method that takes datagrams, or of this one.
        """
        if not self._waiting:
            return self._window.nothing
        self._changed = True
        messages = self._window.messages()
        self._waiting = len(messages) == self._table_rows  # part of a table is all there was
        return messages

    def advance(self, number: int) -> None:
        """Go on with `number`: messages below came by another way, such as a replay. Never goes back."""
        if not 0 <= number <= self.codec.number_max + 1:
            raise LocalProtocolError(f"{self.codec.name} cannot number a message {number}")
        self._changed = self._waiting = True
        self._window.advance(number)

    # what is known of the stream

    @property
    def next_number(self) -> int:
        """Number of the next message to deliver; 0 while `FIRST_SEEN` waits for a packet."""
        return self._window.next_number

    @property
    def highest(self) -> int:
        """Highest next-number heard of: every message below it was sent; above `next_number` in a gap."""
        return self._window.highest

    @property
    def complete(self) -> bool:
        """True when every message that was heard of is delivered."""
        return self._window.complete

    @property
    def session(self) -> bytes | None:
        """The ten bytes of the session; None before the first good packet, where none was configured."""
        return self._window.session

    @property
    def heard(self) -> bool:
        """True when any good packet of the session has come, on any line."""
        return any(self._window.line_counters("line_highest"))

    @property
    def ended(self) -> bool:
        """True when the session has ended and every message of it was delivered."""
        return self._window.ended

    @property
    def end_number(self) -> int | None:
        """The number that the end of the session announced as the next; None before."""
        return self._window.end_number or None

    @property
    def lines(self) -> LineCounters:
        """What each line has brought."""
        window = self._window
        return LineCounters(window.line_counters("line_heard"), window.line_counters("line_highest"))

    @property
    def foreign(self) -> Foreign | None:
        """The other session that was heard last; None when there was none, or when it said that it has ended."""
        foreign = self._window.foreign
        return None if foreign is None else Foreign(*foreign)

    @property
    def passed(self) -> int | None:
        """Every line that is waited for has passed the messages below; None when none is waited for."""
        if not self._waited_lines:
            return None
        highest = self._window.line_counters("line_highest")
        return min(highest[line] for line in self._waited_lines)

    @property
    def full(self) -> bool:
        """True when one more datagram behind a gap makes the lowest give way."""
        return self._window.held >= self._held_datagrams

    def gaps(self, limit: int = LISTED_GAPS) -> list[Gap]:
        """What is missing, lowest first: for programs that fill gaps, or pace requests, themselves."""
        return [Gap(first, count) for first, count in self._window.gaps(limit)]

    @property
    def counters(self) -> ReceiverCounters:
        """A snapshot of the counters."""
        return ReceiverCounters(
            requests_held=self._pacer.bucket.held_back,
            line_datagrams=self._window.line_counters("line_datagrams"),
            line_heard=self._window.line_counters("line_heard"),
            line_highest=self._window.line_counters("line_highest"),
            **self._window.counters(_SCALARS),
        )

    # requests

    def wait_for(self, lines: tuple[int, ...], patience_ns: int) -> None:
        """Request nothing that one of `lines` may still bring, for `patience_ns` after a gap was seen.

        A line is believed to bring what lies beyond its highest number. Fewer than two lines are not waited for:
        when one of them alone shows a gap, it has passed it.
        """
        if len(lines) < 2:
            lines = ()
        if (lines, patience_ns) != (self._waited_lines, self._patience_ns):
            self._waited_lines, self._patience_ns = lines, patience_ns
            self._changed = True

    def spare_front(self, spared: bool) -> None:
        """Whether the gap that begins at the next number comes by another way, and is not requested."""
        if spared != self._spares_front:
            self._spares_front = spared
            self._changed = True

    def requests(self, now_ns: int) -> list[bytes]:
        """The request packets to send now, lowest number first; see `moldudp.pacing` for the rules."""
        self._look(now_ns)
        session = self.session
        if session is None:
            return []
        return [self.codec.request(session, gap.first, gap.count) for gap in self._pacer.due(now_ns)]

    def deadline_ns(self) -> int | None:
        """When `requests` has packets to send; None while nothing is missing."""
        self._look(self._now_ns)
        return self._pacer.deadline_ns()

    def _look(self, now_ns: int) -> None:
        if not self._changed:
            return
        self._changed = False
        window = self._window
        if window.next_number >= window.highest:
            self._pacer.look([], now_ns)
            return
        gaps = self.gaps(TRACKED_GAPS)
        if self._spares_front and gaps and gaps[0].first == window.next_number:
            del gaps[0]
        passed = self.passed
        lines = None if passed is None else Lines(passed, self._patience_ns)
        self._pacer.look(gaps, now_ns, lines)
