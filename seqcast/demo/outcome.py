"""What came of a demo: measurements taken together from all processes, and the judgement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import asdict, frozen

from seqcast.demo.sending import scheduled_ns
from seqcast.latency import LatencyHistogram

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from seqcast.demo.feed import Feed
    from seqcast.demo.plan import Plan

    Delivery = tuple[int, int, int]  # first sender sequence, how many, when (see `receiving.Deliveries`)

NANOSECONDS = 1_000_000_000

MEASURABLE_NS = 10_000_000
"""A throughput over less time than this says more about a single wake-up than about the bus."""


@frozen(kw_only=True)
class ReceiverOutcome:
    """What one receiver got."""

    name: str
    messages: int
    digest: str
    datagrams_lost: int
    """Dropped on purpose before the receiver saw them, and how many messages were in them."""
    messages_lost: int
    gaps_filled: int
    replies: int
    """Packets that came in reply to MoldUDP64 re-requests."""
    rewound: int
    """Messages that came from a rewinder over SoupBinTCP."""
    duplicates_dropped: int


@frozen(kw_only=True)
class SenderOutcome:
    """What became of the sender that was killed. Numbers are sender sequences, which count the input's messages.

    When it was killed, `acknowledged` was known; the sequencer had everything up to `resumed_at`. Its successor
    began again after `sent_again_after`. The sequencer dropped `duplicates` submissions and stamped `stamped`
    messages, both over the whole run. `restart_ns` is from the kill until the successor was let in.
    """

    acknowledged: int
    resumed_at: int
    sent_again_after: int
    duplicates: int
    stamped: int
    restart_ns: int

    @property
    def sent_again(self) -> int:
        """Messages that were sent again though the sequencer had them."""
        return self.resumed_at - self.sent_again_after


@frozen
class Throughput:
    """How many messages got to the clean receiver, in how many nanoseconds from the first submission on."""

    messages: int
    duration_ns: int

    @property
    def rate(self) -> float | None:
        """Messages a second; None when it was over too soon to be measured."""
        if self.duration_ns < MEASURABLE_NS:
            return None
        return self.messages * NANOSECONDS / self.duration_ns


@frozen(kw_only=True)
class Outcome:
    """All of it. `latency` is from when a message was due to leave until the clean receiver delivered it."""

    feed: Feed
    plan: Plan
    durability: str
    receivers: tuple[ReceiverOutcome, ...]
    sender: SenderOutcome
    throughput: Throughput
    latency: LatencyHistogram
    duration_ns: int

    def failures(self) -> list[str]:
        """What is wrong, one sentence each; empty when every promise was kept."""
        found = []
        for receiver in self.receivers:
            found += receiver_failures(receiver, self.feed)
        return found + sender_failures(self.sender, self.feed)

    def as_plain(self) -> dict[str, Any]:
        """Everything as plain values for JSON; times in nanoseconds."""
        rate = self.throughput.rate
        failures = self.failures()
        return {
            "ok": not failures,
            "failures": failures,
            "messages": self.feed.messages,
            "source": self.feed.source,
            "digest": self.feed.digest,
            "durability": self.durability,
            "receivers": {
                receiver.name: {
                    **{key: value for key, value in asdict(receiver).items() if key != "name"},
                    "digest_equal": receiver.digest == self.feed.digest,
                }
                for receiver in self.receivers
            },
            "sender": {**asdict(self.sender), "sent_again": self.sender.sent_again},
            "throughput": {
                **asdict(self.throughput),
                "messages_per_second": None if rate is None else round(rate, 1),
            },
            "latency": {"rate": self.plan.rate, **self.latency.as_plain()},
            "duration_ns": self.duration_ns,
        }


def receiver_failures(receiver: ReceiverOutcome, feed: Feed) -> list[str]:
    """What is wrong with what a receiver got, one sentence each."""
    found = []
    if receiver.messages != feed.messages:
        found.append(
            f"the {receiver.name} receiver got {receiver.messages:,} messages, "
            f"the input has {feed.messages:,}"
        )
    if receiver.digest != feed.digest:
        found.append(
            f"the digest of the {receiver.name} receiver is {receiver.digest}, that of the input {feed.digest}"
        )
    return found


def sender_failures(sender: SenderOutcome, feed: Feed) -> list[str]:
    """What is wrong with what the sequencer made of the sender, one sentence each."""
    found = []
    if sender.stamped != feed.messages:
        found.append(f"the sequencer stamped {sender.stamped:,} messages, the input has {feed.messages:,}")
    if sender.resumed_at < sender.acknowledged:
        found.append(
            f"{sender.acknowledged:,} messages were acknowledged before the sender was killed, "
            f"but the stream had only {sender.resumed_at:,}"
        )
    if sender.duplicates < sender.sent_again:
        found.append(
            f"{sender.sent_again:,} messages were sent twice, "
            f"but the sequencer dropped only {sender.duplicates:,}"
        )
    return found


def throughput(batches: Sequence[Delivery], parts: Iterable[tuple[int, int, int]]) -> Throughput:
    """How fast messages got through in those parts of the stream that were sent at full speed.

    `parts` are (start, first, last): when a sender began, and the sender sequences that it brought in. A part
    takes from there until its last message is delivered; what lies between parts does not count.
    """
    messages = duration_ns = 0
    for start_ns, first, last in parts:
        part = [batch for batch in batches if first <= batch[0] <= last]
        if part:
            messages += sum(count for _, count, _ in part)
            duration_ns += part[-1][2] - start_ns
    return Throughput(messages, duration_ns)


def latencies(batches: Iterable[Delivery], first: int, start_ns: int, rate: int) -> LatencyHistogram:
    """Latencies of the messages from sender sequence `first` on, which were due from `start_ns` on.

    A message is as late as its batch. It counts from when it should have left by the timetable, not from when it
    did, so that a bus that stands still cannot hide it (coordinated omission).
    """
    histogram = LatencyHistogram()
    for sequence, count, delivered_ns in batches:
        histogram.record_many(
            [
                delivered_ns - scheduled_ns(start_ns, position, rate)
                for position in range(max(sequence - first, 0), sequence - first + count)
            ]
        )
    return histogram
