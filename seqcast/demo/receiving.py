"""The work of a receiver process: the whole session, its digest, and when each batch came."""

from __future__ import annotations

import time
from array import array
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

import moldudp
from seqcast.config import read_configuration
from seqcast.demo.feed import StreamDigest
from seqcast.receiver import Receiver

if TYPE_CHECKING:
    from seqcast.batch import Batch
    from seqcast.demo.worker import Demonstrator

TURN_SECONDS = 0.05
"""How long one look at the network lasts at most: progress is reported in between."""


@frozen(kw_only=True)
class ReceiverOrder:
    """What a receiver is to do.

    `loss` is the share of datagrams that are dropped before the receiver sees them. With `held` it prepares
    itself and waits for an order to start. `deliveries` is a file for what `Deliveries` notes; None for none.
    """

    config: str
    loss: float
    seed: int
    held: bool
    deliveries: str | None


@define(eq=False)
class Deliveries:
    """When messages were delivered: for each batch its first sender sequence, its size and the time.

    Times are monotonic nanoseconds, which all processes of one machine share.
    """

    rows: array[int] = field(factory=lambda: array("Q"))

    def note(self, sequence: int, count: int, now_ns: int) -> None:
        """Messages `sequence` to `sequence + count - 1` were delivered at `now_ns`."""
        self.rows.extend((sequence, count, now_ns))

    def batches(self) -> list[tuple[int, int, int]]:
        """What was noted, in the order of delivery: (sequence, count, time)."""
        rows = self.rows
        return list(zip(rows[0::3], rows[1::3], rows[2::3], strict=True))

    def write(self, path: Path) -> None:
        """Write everything to a file, in the byte order of this machine."""
        path.write_bytes(self.rows.tobytes())

    @classmethod
    def read(cls, path: Path) -> Deliveries:
        """What another process of this machine wrote."""
        deliveries = cls()
        deliveries.rows.frombytes(path.read_bytes())
        return deliveries


def receive(order: ReceiverOrder, demonstrator: Demonstrator) -> None:
    """Do it. Events: `prepared` (with `held`), `listening`, `progress`, `done`."""
    configuration = read_configuration(order.config)
    if order.held:
        demonstrator.tell("prepared")
        demonstrator.order()

    def lossy(receiver: moldudp.Receiver) -> moldudp.Faults:
        # Random numbers of its own: one seed loses the same packets, whatever the receiver draws.
        return moldudp.Faults(receiver, Random(order.seed), loss=order.loss)  # noqa: S311

    with Receiver(configuration, faults=lossy if order.loss else None) as receiver:
        demonstrator.tell("listening")
        run = Run(receiver, demonstrator)
        run.run()
        if order.deliveries is not None:
            run.deliveries.write(Path(order.deliveries))
        demonstrator.tell("done", count=run.digest.count, result=run.result())


@define(eq=False)
class Run:
    """One run: everything up to the end of the session."""

    receiver: Receiver
    demonstrator: Demonstrator
    digest: StreamDigest = field(factory=StreamDigest, init=False)
    deliveries: Deliveries = field(factory=Deliveries, init=False)

    def run(self) -> None:
        """Receive until the session ends."""
        receiver = self.receiver
        while not receiver.ended:
            batch = receiver.poll(timeout=TURN_SECONDS)
            if len(batch):
                self._take(batch)
            self.demonstrator.progress(
                count=self.digest.count,
                lag=receiver.lag,
                source=receiver.source,
                trouble=receiver.trouble,
            )

    def _take(self, batch: Batch) -> None:
        now_ns = time.monotonic_ns()
        self.digest.update(batch.payloads)
        _, sequence, _ = batch.stamps[0]
        self.deliveries.note(sequence, len(batch), now_ns)

    def result(self) -> dict[str, Any]:
        """What came of it: a `ReceiverOutcome` without its name."""
        receiver = self.receiver
        injected = receiver.injected
        return {
            "messages": self.digest.count,
            "digest": self.digest.hexdigest(),
            "datagrams_lost": injected.counters.lost if injected is not None else 0,
            "messages_lost": injected.counters.lost_messages if injected is not None else 0,
            "gaps_filled": receiver.gaps_filled,
            "replies": receiver.replies,
            "rewound": receiver.rewound,
            "duplicates_dropped": receiver.duplicates_dropped,
        }
