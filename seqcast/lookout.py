"""The lookout of a receiver: when its session was heard last, which lines are well, and what there is to tell."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from attrs import define, field

from seqcast.line_watch import LINE_NAMES, LineWatch
from seqcast.session_watch import SessionWatch, session_name

if TYPE_CHECKING:
    import moldudp
    from seqcast.events import Event

LOOK_NS = 10_000_000
"""A look is due so often while all is well: the times that matter are seconds, and a turn may take microseconds."""

EVENTS_MAX = 256
"""Events that wait to be taken. Most need seconds to come about, so whoever has so many does not take them."""


@define(eq=False)
class Lookout:
    """The machine. `look` compares the receiver machine with what it was; it costs some microseconds."""

    line_watch: LineWatch = field(factory=LineWatch)
    session_watch: SessionWatch = field(factory=SessionWatch)
    heard_ns: int | None = field(default=None, init=False)
    """When a good datagram of the session came last, on any line; before the first one, when it was first looked."""
    events_dropped: int = field(default=0, init=False)
    """Events that nobody took, and that gave way to newer ones."""
    due_ns: int = field(default=0, init=False)
    """When to look again."""
    _heard: tuple[int, ...] = field(default=(), init=False)
    _events: deque[Event] = field(factory=deque, init=False)

    def look(self, mold: moldudp.Receiver, came_ns: int | None, now_ns: int) -> None:
        """See what the lines have brought: who is well, and whether it is still our session.

        `came_ns` is when a datagram came last, good or bad; None before the first.
        """
        self.due_ns = now_ns + LOOK_NS
        lines = mold.lines
        heard = lines.heard[: len(LINE_NAMES)]
        if heard != self._heard and came_ns is not None:
            self._heard, self.heard_ns = heard, came_ns
        elif self.heard_ns is None:
            self.heard_ns = now_ns
        for event in self.line_watch.look(lines, now_ns):
            self._note(event)
        watch = self.session_watch
        if watch.own is None and mold.session is not None:
            watch.own = session_name(mold.session)
        fresh = watch.look(mold.foreign, self.heard_ns if any(self._heard) else None, mold.ended, now_ns)
        if fresh is not None:
            self._note(fresh)

    def silent(self, silence_ns: int, now_ns: int) -> bool:
        """Whether the lines have been silent for so long, as of the last look."""
        return self.heard_ns is None or now_ns - self.heard_ns >= silence_ns

    def take_events(self) -> list[Event]:
        """What was noticed since the last call, oldest first."""
        events = list(self._events)
        self._events.clear()
        return events

    def _note(self, event: Event) -> None:
        if len(self._events) == EVENTS_MAX:
            self._events.popleft()
            self.events_dropped += 1
        self._events.append(event)
