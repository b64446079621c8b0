"""Ordering: submitted messages of many senders become one numbered stream at the end of the log.

The kernel (`native/src/order.h`) does the work per message; this module deals with what happens per batch:
a full segment, and a sender that broke the rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from attrs import define, field

from sequencer._native import STOP_ALL, STOP_FULL, STOP_REASONS, OrderKernel

if TYPE_CHECKING:
    from native.messages import Messages
    from rewinder.log import MessageLog


class Outcome(NamedTuple):
    """What became of one batch: counts of messages, and why it ended early (None when all were taken).

    The stamped ones have consecutive sender sequences and stream numbers.
    """

    stamped: int
    duplicates: int
    refusal: str | None


@define(eq=False)
class Ordering:
    """Stamps messages into `log`.

    `payload_limit` is the largest payload in bytes that one record may carry, so that every record fits one
    multicast datagram.
    """

    log: MessageLog
    payload_limit: int
    stamped: int = field(default=0, init=False)
    duplicates: int = field(default=0, init=False)
    _kernel: OrderKernel = field(factory=OrderKernel, init=False)

    def submit(self, slot: int, messages: Messages, utc_ns: int) -> Outcome:
        """Order a batch of one sender, whose slot in the log's sender table is `slot`.

        Each message of the batch is the payload of a SoupBinTCP unsequenced packet. The stamp time is
        `utc_ns`, or the time of the last record when the clock went back.

        Raises StorageFull when the log cannot grow: the messages ordered so far stay in the log, the rest
        was not taken, and the sender will send it again.
        """
        log, kernel = self.log, self._kernel
        senders = log.senders
        start = stamped = duplicates = 0
        try:
            while True:
                time_ns = max(utc_ns, log.last_time_ns)
                kernel.run(log.tail, senders, slot, time_ns, self.payload_limit, messages, start)
                start += kernel.taken
                stamped += kernel.stamped
                duplicates += kernel.duplicates
                if kernel.stop != STOP_FULL:
                    break
                log.roll()
        finally:
            self.stamped += stamped
            self.duplicates += duplicates
        refusal = None if kernel.stop == STOP_ALL else STOP_REASONS[kernel.stop]
        return Outcome(stamped, duplicates, refusal)
