"""Which lines are well: each change is said once, and a stream that stands still accuses nobody."""

from __future__ import annotations

from attrs import define, field

from moldudp import LineCounters
from seqcast.events import Event, LineBack, LineLagging, LineSilent
from seqcast.line_watch import LineWatch

MS = 1_000_000
SECOND = 1000 * MS


@define(eq=False)
class Lines:
    """Two lines that a test moves, and everything that the watch says."""

    watch: LineWatch
    heard: list[int] = field(factory=lambda: [0] * 4)
    highest: list[int] = field(factory=lambda: [0] * 4)
    now_ns: int = 0
    said: list[tuple[int, Event]] = field(factory=list)

    def hear(self, line: int, highest: int) -> None:
        self.heard[line] += 1
        self.highest[line] = max(highest, self.highest[line])

    def until(self, seconds: float, *beating: int) -> None:
        """Looks every 10 ms; a heartbeat each second on the lines that are named."""
        while self.now_ns < seconds * SECOND:
            self.now_ns += 10 * MS
            if self.now_ns % SECOND == 0:
                for line in beating:
                    self.hear(line, self.highest[line])
            self.look()

    def look(self) -> None:
        counters = LineCounters(tuple(self.heard), tuple(self.highest))
        self.said += [(self.now_ns // MS, event) for event in self.watch.look(counters, self.now_ns)]


def test_a_line_that_falls_silent_and_comes_back() -> None:
    lines = Lines(LineWatch(("a", "b")))
    lines.until(5, 0, 1)
    assert lines.watch.live == (0, 1)
    lines.until(12, 0)
    assert lines.said == [(8000, LineSilent("b", 5 * SECOND))]
    assert lines.watch.live == (0,)
    lines.until(20, 0, 1)
    assert lines.said[1:] == [(13000, LineBack("b"))]
    assert lines.watch.live == (0, 1)


def test_a_stream_that_stands_still_accuses_no_line() -> None:
    lines = Lines(LineWatch(("a", "b")))
    lines.until(5, 0, 1)
    lines.now_ns += 10 * MS
    lines.hear(0, 7)  # the last datagram came on one line only
    lines.look()
    lines.until(60)
    assert lines.said == []
    lines.until(62, 1)  # it goes on, on one line a little sooner
    lines.until(70, 0, 1)
    assert lines.said == []
    lines.until(130)
    lines.until(140, 1)  # or on one line only
    assert lines.said == [(133000, LineSilent("a", 70 * SECOND))]
    assert lines.watch.live == (1,)


def test_a_line_that_was_joined_and_never_heard_is_missed() -> None:
    lines = Lines(LineWatch(("a", "b"), line_lag_records=100))
    lines.hear(1, 1000)
    lines.until(6, 1)
    assert [event for _, event in lines.said] == [LineSilent("a", 10 * MS)]
    assert lines.watch.live == (1,)


def test_a_line_that_was_not_joined_is_not_missed() -> None:
    for lines in (Lines(LineWatch(("b",))), Lines(LineWatch())):
        lines.until(20, 1, 3)
        assert (lines.said, lines.watch.live) == ([], (1,))


def test_replies_are_no_line() -> None:
    """They are counted beside the lines, and lag behind nobody."""
    lines = Lines(LineWatch(("a",)))
    lines.hear(3, 1_000_000)
    lines.until(20, 0)
    assert (lines.said, lines.watch.live) == ([], (0,))


def test_a_line_that_lags_and_catches_up() -> None:
    lines = Lines(LineWatch(("a", "b"), line_lag_records=100))
    lines.hear(0, 50)
    lines.hear(1, 50)
    lines.until(2, 0, 1)
    lines.hear(0, 500)
    lines.until(2.9, 0, 1)
    assert lines.said == []  # a burst may take its time
    lines.until(4, 0, 1)
    assert lines.said == [(3020, LineLagging("b", 450))]
    assert lines.watch.live == (0,)
    lines.hear(1, 399)
    lines.until(5, 0, 1)
    assert len(lines.said) == 1
    lines.hear(1, 400)
    lines.until(6, 0, 1)
    assert lines.said[1:] == [(5010, LineBack("b"))]


def test_a_lag_that_ends_in_time_is_not_said() -> None:
    lines = Lines(LineWatch(("a", "b"), line_lag_records=100))
    for second in range(1, 20):
        lines.hear(0, second * 500)
        lines.until(second - 0.2, 0, 1)
        lines.hear(1, second * 500)
        lines.until(second, 0, 1)
    assert lines.said == []


def test_a_lagging_line_may_fall_silent() -> None:
    lines = Lines(LineWatch(("a", "b"), line_lag_records=100))
    lines.hear(0, 1000)
    lines.until(3, 0, 1)
    lines.until(9, 0)
    assert [type(event) for _, event in lines.said] == [LineLagging, LineSilent]
    lines.hear(1, 1000)
    lines.until(10, 0)
    assert lines.said[-1][1] == LineBack("b")
