"""The sender process: as fast as back-pressure lets it, or to a timetable that waits for nobody.

With a number of messages it ends by itself; without one it keeps the timetable until SIGTERM. Several senders of one
process share the messages, each with a user and a lane of its own.
"""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field

from bench import worker
from bench.payload import LANE_BITS, TABLE_MESSAGES, PreparedTable
from bench.samples import Samples
from seqcast.config import read_configuration
from seqcast.intake import OUTBOX_BYTES
from seqcast.sender import Sender

if TYPE_CHECKING:
    from collections.abc import Callable


USER = "BENCH1"

CONNECT_SECONDS = 20.0
"""How long a sequencer that said it is ready may take to let the sender in."""

HEAD_START_NS = 50_000_000
"""Between getting ready and the first message of the timetable."""

PORTION_LEAST = 32
"""Messages that one of several senders hands over at once, at least."""

OUTBOX_BYTES_LEAST = 1 << 18
"""What each of many senders keeps in flight at most, so that a hundred of them need no more memory than a few."""

WAIT_SECONDS = 0.05
"""Longest sleep while only acknowledgements are waited for."""

MESSAGES_WITHOUT_END = 1 << 40
"""Size of a timetable that is ended from outside."""


def send_fast(senders: list[Sender], messages: int, message_bytes: int) -> dict[str, Any]:
    """Send `messages` messages in prepared tables, in turn from each sender, and wait until all are committed."""
    table = PreparedTable(message_bytes)
    portion = max(TABLE_MESSAGES // len(senders), PORTION_LEAST)
    shares = [messages // len(senders) + (lane < messages % len(senders)) for lane in range(len(senders))]
    cpu_before = worker.cpu_seconds()
    started_ns = time.monotonic_ns()
    for first in range(0, shares[0], portion):
        for lane, sender in enumerate(senders):
            count = min(portion, shares[lane] - first)
            if count > 0:
                sender.send_batch(table.fill((lane << LANE_BITS) + first, (), count))
    for sender in senders:
        sender.flush()
    return {
        "sent": messages,
        "committed_number": max(sender.committed_number for sender in senders),
        "seconds": (time.monotonic_ns() - started_ns) / 1e9,
        "cpu_seconds": worker.cpu_seconds() - cpu_before,
        "reconnections": sum(sender.reconnections for sender in senders),
    }


@define(eq=False)
class Timetable:
    """Message i is due at `start_ns` + i / `rate`, whatever became of those before it.

    `acknowledged` holds commit time minus due time of each message, `lateness` the time at which it was handed to the
    sender minus its due time: how well the timetable was kept. Counters start with `first`. `clock` gives monotonic
    nanoseconds.
    """

    sender: Sender
    rate: int
    messages: int
    message_bytes: int
    clock: Callable[[], int] = time.monotonic_ns
    first: int = 0
    start_ns: int = field(default=0, init=False)
    sent: int = field(default=0, init=False)
    ending: bool = field(default=False, init=False)
    """Set it, and nothing more is sent."""
    done: int = field(default=0, init=False)
    acknowledged: Samples = field(factory=Samples, init=False)
    lateness: Samples = field(factory=Samples, init=False)
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
                self.sender.send_batch(table.fill(self.first + self.sent, times_ns, count))
                self.sent += count
                self.lateness.note([now_ns - due_ns for due_ns in times_ns])
            self.sender.poll(self._pause())
            self._note()

    def _due(self, now_ns: int) -> int:
        """How many messages are due and were not sent."""
        if now_ns < self.start_ns:
            return 0
        due = min(self.messages, (now_ns - self.start_ns) * self.rate // 1_000_000_000 + 1)
        return min(due - self.sent, TABLE_MESSAGES)

    def _pause(self) -> float:
        """How long to wait for an answer, in seconds: until the next message is due."""
        if self.sent >= self.messages:
            return WAIT_SECONDS
        return max(0, self.due_ns(self.sent) - self.clock()) / 1e9

    def _note(self) -> None:
        """Count what was acknowledged since the last look."""
        done = self.sender.committed_sequence - self._before
        if done > self.done:
            now_ns = self.clock()
            self.acknowledged.note([now_ns - self.due_ns(i) for i in range(self.done, done)])
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


def send_steady(sender: Sender, message_bytes: int, rate: int, lane: int) -> dict[str, Any]:
    """Send at `rate` a second until SIGTERM, then wait until all is committed."""
    timetable = Steady(sender, rate, MESSAGES_WITHOUT_END, message_bytes, first=lane << LANE_BITS)

    def end(_number: int, _frame: object) -> None:
        timetable.ending = True

    signal.signal(signal.SIGTERM, end)
    timetable.run()
    return {"sent": timetable.sent, "reconnections": sender.reconnections}


def open_senders(settings: dict[str, Any], stack: ExitStack) -> list[Sender]:
    """As many as the settings ask for, all connected."""
    configuration = read_configuration(Path(settings["config"]))
    count = settings.get("senders", 1)
    user = settings.get("user", USER)
    users = [user] if count == 1 else [f"B{number:05}" for number in range(count)]
    outbox_bytes = max(OUTBOX_BYTES // count, OUTBOX_BYTES_LEAST)
    return [
        stack.enter_context(
            Sender(configuration, each, outbox_bytes=outbox_bytes, connect_seconds=CONNECT_SECONDS)
        )
        for each in users
    ]


def main() -> None:
    """Run the process."""
    settings = worker.settings()
    messages, message_bytes, rate = settings["messages"], settings["message_bytes"], settings["rate"]
    with ExitStack() as stack:
        senders = open_senders(settings, stack)
        worker.prepare()
        worker.ready()
        if messages is None:
            worker.report(**send_steady(senders[0], message_bytes, rate, settings.get("lane", 0)))
        elif rate is None:
            worker.report(**send_fast(senders, messages, message_bytes))
        else:
            worker.report(**send_timed(senders[0], messages, message_bytes, rate))


if __name__ == "__main__":
    main()
