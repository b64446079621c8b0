"""The work of a sender process: as fast as it can first, then by a timetable.

It knows nothing of its own death: the first sender of a demo does the same as the second, and is killed from
outside in the middle of it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from seqcast.config import read_configuration
from seqcast.demo.feed import Supply
from seqcast.errors import SeqcastError
from seqcast.feeds import open_input
from seqcast.sender import Sender

if TYPE_CHECKING:
    from seqcast.demo.worker import Demonstrator

USER = "DEMO"
"""The sender's user name."""

BATCH_MESSAGES = 1_024
"""Handed to the sender at once, so that acknowledgements are seen in between."""

OUTBOX_BYTES = 512 * 1024
"""What a sender has in flight at most, some thousand messages: it must not be done before it is killed."""

RESUMING_OUTBOX_BYTES = 2 << 20
"""The same for a sender that sends again what is in the stream already. It has room for all of that, because
the acknowledgement of what is known already frees none: a full OUTBOX_BYTES, and CHECKPOINT_MESSAGES of the
longest (MESSAGE_LIMIT_BYTES and 12 bytes of framing each) are 1.1 MB."""

WAIT_SECONDS = 0.02
"""How long a sender that has nothing to send looks at its connection at once."""

REPORT_NS = 1_000_000
"""How often progress is reported: often, because the demo kills the sender by it."""


@frozen(kw_only=True)
class SenderOrder:
    """What a sender is to do.

    `acknowledged` is None for the first sender of the user; else how many messages a predecessor knew to be
    acknowledged. Messages up to `fast` go at full speed; those up to `messages` at `rate` a second, once an
    order to go on has come.
    """

    config: str
    feed: str
    acknowledged: int | None
    fast: int
    messages: int
    rate: int


def send(order: SenderOrder, demonstrator: Demonstrator) -> None:
    """Do it. Events: `open`, `progress`, `fast` (all of that part is acknowledged), `done`."""
    demonstrator.report_ns = REPORT_NS
    path = Path(order.feed)
    resuming = order.acknowledged is not None
    sender = Sender(
        read_configuration(order.config),
        USER,
        outbox_bytes=RESUMING_OUTBOX_BYTES if resuming else OUTBOX_BYTES,
    )
    with open_input(path) as stream:
        run = Run(sender, Supply(stream, str(path)), demonstrator)
        try:
            sender.open()
            if order.acknowledged is not None:
                send_again_from(sender, order.acknowledged)
                run.supply.skip(order.acknowledged)
            demonstrator.tell("open", resumed_at=sender.resumed_at, start_ns=time.monotonic_ns())
            run.fast(order.fast)
            demonstrator.tell("fast", committed=sender.committed_sequence)
            run.wait_for_order()
            start_ns = run.paced(order.messages, order.rate)
            demonstrator.tell("done", start_ns=start_ns, reconnections=sender.reconnections)
        finally:
            sender.close()


def send_again_from(sender: Sender, acknowledged: int) -> None:
    """Have an opened sender go on after its message `acknowledged`, though the sequencer knows more.

    The next message gets the sender sequence `acknowledged + 1`. So what the sequencer has above that is
    submitted again under the sequences it had, and the sequencer drops it. Opening a sender tells where its
    user stopped, so nobody needs this; the demo does it so that the sequencer has something to drop.

    Raises SeqcastError when the sequencer knows less than was acknowledged: the stream has lost messages.
    """
    if sender.resumed_at < acknowledged:
        raise SeqcastError(
            f"{acknowledged:,} messages were acknowledged, but the sequencer has {sender.resumed_at:,}"
        )
    sender.submission.outbox.begin(acknowledged + 1)


@define(eq=False)
class Run:
    """One run over the input."""

    sender: Sender
    supply: Supply
    demonstrator: Demonstrator
    _told: int = field(default=0, init=False)

    def fast(self, until: int) -> None:
        """Send up to message `until` as fast as it is taken, and wait for the acknowledgements."""
        while self.supply.position < until:
            self._send(until - self.supply.position)
        self._flush()

    def wait_for_order(self) -> None:
        """Keep the connection alive until an order comes."""
        while not self.demonstrator.ordered():
            self.sender.poll(WAIT_SECONDS)
            self._progress()
        self.demonstrator.order()

    def paced(self, until: int, rate: int) -> int:
        """Send up to message `until`, number i of them (from 0) at `scheduled_ns(start_ns, i, rate)`.

        Returns `start_ns`. The timetable is kept whatever the bus does: a message that is late because one
        before it was held up leaves at once, and its latency counts from when it should have left.
        """
        first = self.supply.position
        start_ns = time.monotonic_ns()
        while self.supply.position < until:
            sent = self.supply.position - first
            now_ns = time.monotonic_ns()
            due = (now_ns - start_ns) * rate // 1_000_000_000 + 1 - sent
            if due > 0:
                self._send(min(due, until - self.supply.position))
                self.sender.poll()
            else:
                time.sleep(max(0, scheduled_ns(start_ns, sent, rate) - time.monotonic_ns()) / 1e9)
        self._flush()
        return start_ns

    def _send(self, limit: int) -> None:
        messages = self.supply.take(min(limit, BATCH_MESSAGES))
        if messages is None:
            raise SeqcastError(f"{self.supply.name} ended after {self.supply.position:,} messages")
        self.sender.send_batch(messages)
        self._progress()

    def _flush(self) -> None:
        """Wait until everything has left and is acknowledged.

        `Sender.in_flight` would not do: frames that were sent again stay in the outbox until something new is
        acknowledged.
        """
        sender = self.sender
        while sender.submission.outbox.unsent or sender.committed_sequence < self.supply.position:
            sender.poll(WAIT_SECONDS)
            self._progress()

    def _progress(self) -> None:
        self.demonstrator.progress(count=self.sender.committed_sequence)


def scheduled_ns(start_ns: int, position: int, rate: int) -> int:
    """When message `position` (from 0) of a timetable of `rate` messages a second is due."""
    return start_ns + position * 1_000_000_000 // rate
