"""The process of senders that offer more than the bus can carry, to a timetable that waits for nobody, until SIGTERM.

A portion that is due is offered once. What the outbox has no room for (WouldBlock) is refused, and not offered again:
its app knows that it was not taken, so it is not lost.
"""

from __future__ import annotations

import select
import signal
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from attrs import define, field

from bench import worker
from bench.payload import LANE_BITS, PreparedTable
from bench.sender import open_senders
from seqcast.errors import WouldBlock

if TYPE_CHECKING:
    from seqcast.sender import Sender

PORTION_MESSAGES = 512
"""Offered at once: at two million a second every quarter of a millisecond."""


@define(eq=False)
class Flood:
    """`rate` messages a second are offered, by each of the senders in turn. Counts are of messages."""

    senders: list[Sender]
    rate: int
    message_bytes: int
    ending: bool = field(default=False, init=False)
    offered: int = field(default=0, init=False)
    taken: list[int] = field(init=False)
    """By each sender; they also number its messages."""
    refusals: int = field(default=0, init=False)
    """Calls that raised WouldBlock."""
    in_flight_most: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.taken = [0] * len(self.senders)

    def run(self) -> None:
        """Offer until `ending` is set."""
        table = PreparedTable(self.message_bytes)
        start_ns = time.monotonic_ns()
        while not self.ending:
            due_ns = start_ns + (self.offered + PORTION_MESSAGES) * 1_000_000_000 // self.rate
            left = (due_ns - time.monotonic_ns()) / 1e9
            if left > 0:
                readable, _, _ = select.select(self.senders, [], [], left)
                for sender in readable:
                    sender.poll(0)
            else:
                self._offer(self.offered // PORTION_MESSAGES % len(self.senders), table)

    def _offer(self, lane: int, table: PreparedTable) -> None:
        sender = self.senders[lane]
        messages = table.fill((lane << LANE_BITS) + self.taken[lane], (), PORTION_MESSAGES)
        taken = PORTION_MESSAGES
        try:
            sender.send_batch(messages, timeout=0)
        except WouldBlock as error:
            taken = error.taken
            self.refusals += 1
        self.offered += PORTION_MESSAGES
        self.taken[lane] += taken
        self.in_flight_most = max(self.in_flight_most, sum(each.in_flight for each in self.senders))


def flood(senders: list[Sender], rate: int, message_bytes: int) -> dict[str, Any]:
    """Offer until SIGTERM, then wait until all that was taken is committed."""
    offers = Flood(senders, rate, message_bytes)

    def end(_number: int, _frame: object) -> None:
        offers.ending = True

    signal.signal(signal.SIGTERM, end)
    cpu_before, started = worker.cpu_seconds(), time.monotonic()
    offers.run()
    seconds = time.monotonic() - started
    for sender in senders:
        sender.flush()
    return {
        "offered": offers.offered,
        "sent": sum(offers.taken),
        "refused": offers.offered - sum(offers.taken),
        "refusals": offers.refusals,
        "seconds": seconds,
        "seconds_with_flush": time.monotonic() - started,
        "in_flight_most": offers.in_flight_most,
        "in_flight_limit": sum(sender.outbox_bytes for sender in senders) // message_bytes,
        "reconnections": sum(sender.reconnections for sender in senders),
        "cpu_seconds": worker.cpu_seconds() - cpu_before,
    }


def main() -> None:
    """Run the process."""
    settings = worker.settings()
    with ExitStack() as stack:
        senders = open_senders(settings, stack)
        worker.prepare()
        worker.ready()
        worker.report(**flood(senders, settings["rate"], settings["message_bytes"]))


if __name__ == "__main__":
    main()
