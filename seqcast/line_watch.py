"""Watches the multicast lines: which of them are well, and so worth waiting for.

A line is

- *silent* when nothing good was heard on it for a time in which another line went on. A stream that stands still on
  all lines says nothing about any of them, nor does the first packet after that.
- *lagging* when it is far behind the best line for longer than overtaking explains.
- well otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from seqcast.events import LineBack, LineLagging, LineSilent

if TYPE_CHECKING:
    from moldudp import LineCounters

LINE_NAMES = ("a", "b")
"""How the lines are called, in the order of their numbers in the receiver machine."""

LINE_SILENCE_NS = 3_000_000_000
"""Three heartbeats of a publisher in quiet times."""

LINE_LAG_RECORDS = 10_000
"""Far more than lies between two lines that are read in turn: ten milliseconds of a million records a second."""

LINE_LAG_NS = 1_000_000_000
"""A burst that one switch queues is over by then."""


@define
class _Line:
    """What is known of one line."""

    heard: int = 0  # good datagrams
    heard_ns: int | None = None  # when the last of them came, by the looks; None before the first
    missed_ns: int = 0  # for how long other lines have gone on without it
    behind_ns: int | None = None  # since when it is too far behind
    state: str = "well"


@define(eq=False)
class LineWatch:
    """The machine. `lines` are the names of the lines that were joined.

    With none given, lines count from their first good datagram on, and one that was never heard is not missed.
    """

    lines: tuple[str, ...] = ()
    line_silence_ns: int = LINE_SILENCE_NS
    line_lag_records: int = LINE_LAG_RECORDS
    line_lag_ns: int = LINE_LAG_NS
    live: tuple[int, ...] = field(default=(), init=False)
    """The lines that may still bring what is missing, by number: heard, and neither silent nor lagging."""
    _known: dict[int, _Line] = field(factory=dict, init=False)
    _begun_ns: int | None = field(default=None, init=False)
    _heard_ns: int = field(default=0, init=False)  # when any line was heard last

    def __attrs_post_init__(self) -> None:
        self._known = {LINE_NAMES.index(name): _Line() for name in self.lines}

    def look(self, counters: LineCounters, now_ns: int) -> list[LineSilent | LineLagging | LineBack]:
        """Compare with the last look; returns what has changed since, each change once."""
        begun_ns = self._hear(counters, now_ns)
        best = max((counters.highest[number] for number in self._known), default=0)
        events: list[LineSilent | LineLagging | LineBack] = []
        for number, line in sorted(self._known.items()):
            behind = best - counters.highest[number]
            state = self._state(line, behind, now_ns)
            if state == line.state:
                continue
            line.state = state
            name = LINE_NAMES[number]
            if state == "silent":
                events.append(LineSilent(name, begun_ns if line.heard_ns is None else line.heard_ns))
            elif state == "lagging":
                events.append(LineLagging(name, behind))
            else:
                events.append(LineBack(name))
        self.live = tuple(
            number
            for number, line in sorted(self._known.items())
            if line.state == "well" and line.heard_ns is not None
        )
        return events

    def _hear(self, counters: LineCounters, now_ns: int) -> int:
        """See which lines were heard, and which missed that; returns when the first look was."""
        if self._begun_ns is None:
            self._begun_ns = self._heard_ns = now_ns
        news = False
        for number in range(len(LINE_NAMES)):
            heard = counters.heard[number]
            if heard and number not in self._known:
                self._known[number] = _Line()
            line = self._known.get(number)
            if line is not None and heard != line.heard:
                line.heard, line.heard_ns = heard, now_ns
                news = True
        if news:
            passed_ns = min(now_ns - self._heard_ns, self.line_silence_ns // 2)
            self._heard_ns = now_ns
            for line in self._known.values():
                line.missed_ns = 0 if line.heard_ns == now_ns else line.missed_ns + passed_ns
        return self._begun_ns

    def _state(self, line: _Line, behind: int, now_ns: int) -> str:
        if line.missed_ns >= self.line_silence_ns:
            line.behind_ns = None
            return "silent"
        if behind <= self.line_lag_records or line.heard_ns is None:
            line.behind_ns = None
            return "well"
        if line.behind_ns is None:
            line.behind_ns = now_ns
        late = now_ns - line.behind_ns > self.line_lag_ns
        return "lagging" if late or line.state == "lagging" else "well"
