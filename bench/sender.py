"""The sender process: as fast as back-pressure lets it, or to a timetable that waits for nobody.

With a number of messages it ends by itself; without one it keeps the timetable until SIGTERM.
"""

from __future__ import annotations

import select
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field

from bench import worker
from bench.payload import TABLE_MESSAGES, PreparedTable
from seqcast.config import read_configuration
from seqcast.latency import LatencyHistogram
from seqcast.sender import Sender

if TYPE_CHECKING:
    from collections.abc import Callable


USER = "BENCH1"

CONNECT_SECONDS = 20.0
"""How long a sequencer that said it is ready may take to let the sender in."""

HEAD_START_NS = 50_000_000
"""Between getting ready and the first message of the timetable."""

WAIT_SECONDS = 0.05
"""Longest sleep while only acknowledgements are waited for."""

MESSAGES_WITHOUT_END = 1 << 62
"""Size of a timetable that is ended from outside."""


def send_fast(sender: Sender, messages: int, message_bytes: int) -> dict[str, Any]:
    """Send `messages` messages in prepared tables, and wait until all are committed."""
    table = PreparedTable(message_bytes)
    cpu_before = worker.cpu_seconds()
    started_ns = time.monotonic_ns()
    for first in range(0, messages, TABLE_MESSAGES):
        count = min(TABLE_MESSAGES, messages - first)
        sender.send_batch(table.fill(first, (), count))
    sender.flush()
    return {
        "sent": messages,
        "committed_number": sender.committed_number,
        "seconds": (time.monotonic_ns() - started_ns) / 1e9,
        "cpu_seconds": worker.cpu_seconds() - cpu_before,
        "reconnections": sender.reconnections,
    }


def wait_for_answer(sender: Sender, seconds: float) -> None:
    """Sleep until the sequencer answers, at most `seconds`.

    `Sender.poll` can wait, too, but poll(2) counts in milliseconds, and a timetable in microseconds.
    """
    select.select([sender.fileno()], [], [], seconds)


@define(eq=False)
class Timetable:
    """Message i is due at `start_ns` + i / `rate`, whatever became of those before it.

    `acknowledged` counts commit time minus due time, `lateness` the time at which a message was handed to the
    sender minus its due time: how well the timetable was kept. `clock` gives monotonic nanoseconds, `wait` sleeps
    until an answer comes or so many seconds are over.
    """

    sender: Sender
    rate: int
    messages: int
    message_bytes: int
    clock: Callable[[], int] = time.monotonic_ns
    wait: Callable[[Sender, float], None] = field(default=wait_for_answer)
    start_ns: int = field(default=0, init=False)
    sent: int = field(default=0, init=False)
    ending: bool = field(default=False, init=False)
    """Set it, and nothing more is sent."""
    done: int = field(default=0, init=False)
    acknowledged: LatencyHistogram = field(factory=LatencyHistogram, init=False)
    lateness: LatencyHistogram = field(factory=LatencyHistogram, init=False)
    _before: int = field(default=0, init=False)  # this user's last sequence when the timetable began

    def due_ns(self, index: int) -> int:
        """When a message is due, in monotonic nanoseconds."""
        return self.start_ns + index * 1_000_000_000 // self.rate

    def run(self) -> None:
        """Send all, and wait until all are committed."""
        table = PreparedTable(self.message_bytes)
        self._before = self.sender.last_sequence
        self.start_ns = self.clock() + HEAD_START_NS
        while self.done < self.messages:
            if self.ending:
                self.messages = self.sent
            now_ns = self.clock()
            count = self._due(now_ns)
            if count:
                times_ns = [self.due_ns(index) for index in range(self.sent, self.sent + count)]
                self.lateness.record_many([now_ns - due_ns for due_ns in times_ns])
                self.sender.send_batch(table.fill(self.sent, times_ns, count))
                self.sent += count
            else:
                self._sleep(now_ns)
            self.sender.poll(0)
            self._note()

    def _due(self, now_ns: int) -> int:
        """How many messages are due and were not sent."""
        if now_ns < self.start_ns:
            return 0
        due = min(self.messages, (now_ns - self.start_ns) * self.rate // 1_000_000_000 + 1)
        return min(due - self.sent, TABLE_MESSAGES)

    def _sleep(self, now_ns: int) -> None:
        """Until the next message is due, or an answer comes."""
        left = WAIT_SECONDS
        if self.sent < self.messages:
            left = max(0, self.due_ns(self.sent) - now_ns) / 1e9
        self.wait(self.sender, left)

    def _note(self) -> None:
        """Count what was acknowledged since the last look."""
        done = self.sender.committed_sequence - self._before
        if done > self.done:
            now_ns = self.clock()
            self.acknowledged.record_many([now_ns - self.due_ns(i) for i in range(self.done, done)])
            self.done = done


def send_timed(sender: Sender, messages: int, message_bytes: int, rate: int) -> dict[str, Any]:
    """Send `messages` messages at `rate` a second; `acknowledged` and `lateness` are states of histograms."""
    cpu_before = worker.cpu_seconds()
    timetable = Timetable(sender, rate, messages, message_bytes)
    timetable.run()
    return {
        "sent": timetable.sent,
        "committed_number": sender.committed_number,
        "seconds": (time.monotonic_ns() - timetable.start_ns) / 1e9,
        "cpu_seconds": worker.cpu_seconds() - cpu_before,
        "reconnections": sender.reconnections,
        "acknowledged": timetable.acknowledged.state(),
        "lateness": timetable.lateness.state(),
    }


@define(eq=False)
class Steady(Timetable):
    """A timetable that runs until SIGTERM, and reports when it was let in by another sequencer."""

    _answered: bool = field(default=True, init=False)

    def _note(self) -> None:
        super()._note()
        answered = self.sender.connected
        if answered and not self._answered:
            worker.report(connected_ns=self.clock())
        self._answered = answered


def send_steady(sender: Sender, message_bytes: int, rate: int) -> dict[str, Any]:
    """Send at `rate` a second until SIGTERM, then wait until all is committed."""
    timetable = Steady(sender, rate, MESSAGES_WITHOUT_END, message_bytes)

    def end(_number: int, _frame: object) -> None:
        timetable.ending = True

    signal.signal(signal.SIGTERM, end)
    timetable.run()
    return {"sent": timetable.sent, "reconnections": sender.reconnections}


def main() -> None:
    """Run the process."""
    settings = worker.settings()
    configuration = read_configuration(Path(settings["config"]))
    messages, message_bytes, rate = settings["messages"], settings["message_bytes"], settings["rate"]
    with Sender(configuration, USER, connect_seconds=CONNECT_SECONDS) as sender:
        worker.prepare()
        worker.ready()
        if messages is None:
            worker.report(**send_steady(sender, message_bytes, rate))
        elif rate is None:
            worker.report(**send_fast(sender, messages, message_bytes))
        else:
            worker.report(**send_timed(sender, messages, message_bytes, rate))


if __name__ == "__main__":
    main()
