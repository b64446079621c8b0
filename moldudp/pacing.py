"""When to request what is missing: the pacing of MoldUDP request packets, apart from packets and sockets.

The specifications leave this to the receiver. The rules here:

- A gap is requested only after a reorder delay, because most gaps are packets that overtook each other, or
  come on the other line. The delay is jittered, so that receivers that lost the same packet do not ask in
  chorus.
- What a line that is waited for has not passed yet is not requested: it is likely to come. That has an end too.
- A gap is cut into requests of limited size, and a limited number of them is outstanding.
- A request that brought nothing is repeated, each time after twice the pause, up to a limit; jittered too.
- A request that brought a part is over. What it left open is requested at once: a reply is one packet,
  so this is the normal way of a long gap.
- A bucket bounds how many messages are requested in a second; what it holds back goes out later, the longest due
  first.

Among requests that are new the lowest messages come first, because nothing beyond them can be delivered before they
are there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field, frozen, validators

from moldudp.bucket import Bucket

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

REQUEST_MESSAGES_MAX = 65533
"""65534 and 65535 are read as "all that fits" by servers in the field."""


@frozen
class Gap:
    """`count` messages are missing from number `first` on."""

    first: int
    count: int

    @property
    def end(self) -> int:
        """The number after the last missing one."""
        return self.first + self.count


@frozen(kw_only=True)
class Pacing:
    """Settings of the request pacing; times in nanoseconds.

    The defaults for `request_messages` and `outstanding` belong together with 4096 datagrams that a
    receiver can hold: even with one message in each datagram, the replies to all outstanding requests find
    room.
    """

    reorder_delay_ns: int = field(default=1_000_000, validator=validators.ge(0))
    """Age of a gap when it is first requested: some switch queues' worth of overtaking."""

    retry_ns: int = field(default=10_000_000, validator=validators.gt(0))
    """Pause before a request is repeated for the first time: many round trips of one network."""

    retry_limit_ns: int = field(default=1_000_000_000, validator=validators.gt(0))
    """The pause doubles up to this: a server that is down is asked once a second."""

    jitter: float = field(default=0.25, validator=[validators.ge(0), validators.lt(1)])
    """Part of a time by which chance moves it: the delay later only, a pause either way."""

    request_messages: int = field(
        default=64, validator=[validators.ge(1), validators.le(REQUEST_MESSAGES_MAX)]
    )
    """Most messages of one request; about what one reply can hold."""

    outstanding: int = field(default=64, validator=validators.ge(1))
    """Most requests that wait for a reply at one time."""

    request_rate: int = field(default=200_000, validator=validators.gt(0))
    """Most messages requested in a second, on the average: what a server sends one receiver must leave room
    for the stream and for other receivers."""

    request_burst: int = field(default=10_000, validator=validators.ge(1))
    """Messages that may be requested at once after a quiet time: more than twice what may be outstanding, so
    that the rate bounds long trouble only. The last request of a burst may go beyond."""


@frozen
class Lines:
    """The lines that are waited for: each has passed every message below `passed`.

    A gap that is `patience_ns` old is waited for no longer.
    """

    passed: int
    patience_ns: int


@define
class _Hole:
    """An open gap, when it was seen, and from when on it may be requested."""

    first: int
    end: int
    seen_ns: int
    ready_ns: int


@define
class _Asked:
    """A request that brought nothing yet, and when it is sent, or sent again."""

    first: int
    end: int
    due_ns: int
    attempts: int = 0


class Pacer:
    """The machine behind `Receiver.requests`: gaps in, requests that are due out.

    Invariant: `_asked` are disjoint, in order, and each lies inside one of `_holes`, which are disjoint and
    in order.
    """

    def __init__(self, pacing: Pacing, random: Random) -> None:
        self.pacing = pacing
        self.bucket = Bucket(pacing.request_rate, pacing.request_burst)
        self._random = random
        self._holes: list[_Hole] = []
        self._asked: list[_Asked] = []
        self._lines: Lines | None = None

    @property
    def outstanding(self) -> int:
        """How many requests wait for a reply."""
        return len(self._asked)

    def look(self, gaps: list[Gap], now_ns: int, lines: Lines | None = None) -> None:
        """Compare the gaps that are open now, lowest first, with what was known; `lines` None waits for none."""
        self._lines = lines
        if not gaps and not self._holes:
            return
        known = iter(self._holes)
        old = next(known, None)
        holes = []
        for gap in gaps:
            while old is not None and old.end <= gap.first:
                old = next(known, None)
            if old is not None and old.first < gap.end:
                holes.append(_Hole(gap.first, gap.end, old.seen_ns, old.ready_ns))
            else:
                holes.append(_Hole(gap.first, gap.end, now_ns, now_ns + self._delay_ns()))
        self._holes = holes
        position = 0
        kept = []
        for asked in self._asked:
            while position < len(holes) and holes[position].end < asked.end:
                position += 1
            if position < len(holes) and holes[position].first <= asked.first:
                kept.append(asked)
        self._asked = kept

    def due(self, now_ns: int) -> list[Gap]:
        """The ranges to request now, lowest first."""
        wanted = [asked for asked in self._asked if asked.due_ns <= now_ns]
        fresh = self._fresh(now_ns)
        if not wanted and not fresh:
            return []
        # The longest due first, so that repetitions of the lowest never keep the others out at a low rate.
        wanted = sorted([*wanted, *fresh], key=lambda asked: (asked.due_ns, asked.first))
        requests = []
        for asked in wanted:
            if not self.bucket.take(asked.end - asked.first, now_ns):
                break
            asked.due_ns = now_ns + self._pause_ns(asked.attempts)
            asked.attempts += 1
            requests.append(Gap(asked.first, asked.end - asked.first))
        sent = [asked for asked in fresh if asked.attempts]
        if sent:
            self._asked = sorted([*self._asked, *sent], key=lambda asked: asked.first)
        return sorted(requests, key=lambda gap: gap.first)

    def deadline_ns(self) -> int | None:
        """When `due` has something to say; None while nothing is missing."""
        times = [asked.due_ns for asked in self._asked]
        if len(self._asked) < self.pacing.outstanding:
            times += [self._open_ns(hole, first) for hole, first, _ in self._unasked()]
        return max(min(times), self.bucket.ready_ns) if times else None

    def _fresh(self, now_ns: int) -> list[_Asked]:
        """New requests for what no request covers, as many as may be outstanding beside those that are."""
        fresh: list[_Asked] = []
        room = self.pacing.outstanding - len(self._asked)
        for hole, first, end in self._unasked():
            if len(fresh) >= room:
                break
            if hole.ready_ns > now_ns:
                continue
            if self._lines is not None and now_ns < hole.seen_ns + self._lines.patience_ns:
                end = min(end, self._lines.passed)  # noqa: PLW2901
            for start in range(first, end, self.pacing.request_messages):
                if len(fresh) >= room:
                    break
                stop = min(end, start + self.pacing.request_messages)
                fresh.append(_Asked(start, stop, self._open_ns(hole, start)))
        return fresh

    def _open_ns(self, hole: _Hole, first: int) -> int:
        """From when on the message `first` of a hole may be requested."""
        if self._lines is None or first < self._lines.passed:
            return hole.ready_ns
        return max(hole.ready_ns, hole.seen_ns + self._lines.patience_ns)

    def _unasked(self) -> Iterator[tuple[_Hole, int, int]]:
        """The ranges of the holes that no request covers, as (hole, first, end), lowest first."""
        asked = iter(self._asked)
        request = next(asked, None)
        for hole in self._holes:
            first = hole.first
            while request is not None and request.first < hole.end:
                if first < request.first:
                    yield hole, first, request.first
                first = request.end
                request = next(asked, None)
            if first < hole.end:
                yield hole, first, hole.end

    def _delay_ns(self) -> int:
        delay_ns = self.pacing.reorder_delay_ns
        return delay_ns + int(delay_ns * self.pacing.jitter * self._random.random())

    def _pause_ns(self, attempts: int) -> int:
        """The pause after `attempts` repetitions; the exponent is bounded, so that the number stays small."""
        pause_ns = min(self.pacing.retry_ns << min(attempts, 32), self.pacing.retry_limit_ns)
        return int(pause_ns * (1 + self.pacing.jitter * (2 * self._random.random() - 1)))
