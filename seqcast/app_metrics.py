"""The numbers of a receiver or a sender as Prometheus metrics of its app (`pip install 'seqcast[metrics]'`).

    from prometheus_client import REGISTRY
    REGISTRY.register(ReceiverMetrics(receiver, name="risk"))

Nothing is done until somebody scrapes, and then what is counted anyway is read, from whatever thread that is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import asdict, define
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from seqcast.exposition import latency_family

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

    from seqcast.receiver import Receiver
    from seqcast.sender import Sender

NAME = ("name",)

RECEIVER_DROPS = (
    *(
        "foreign_session",
        "malformed",
        "overlong",
        "surplus",
        "impossible",
        "duplicates",
        "after_end",
        "early_ends",
    ),
    *("evicted", "corrupt", "refused"),
)
"""What `moldudp.ReceiverCounters` counts of what was dropped."""

ASSEMBLY_DROPS = ("broken", "overlong", "evicted", "stray")
"""What an assembly counts of fragments that were dropped."""


@define(eq=False)
class ReceiverMetrics(Collector):
    """The metrics of one receiver; `name` tells it from others in the same process."""

    receiver: Receiver
    name: str = ""

    def collect(self) -> Iterator[Metric]:
        """Every metric, for a registry."""
        receiver = self.receiver
        yield self._counter("messages", "Messages that the app got.", receiver.delivered)
        yield self._gauge("position", "Number of the next record that the app will get.", receiver.position)
        yield self._gauge(
            "lag_of_app_records",
            "Records that are known to exist and that the app has not got.",
            receiver.lag,
        )
        yield self._gauge(
            "live", "Whether messages come from the lines, not a rewinder.", receiver.source == "live"
        )
        yield self._counter("gaps_filled", "Holes that were found and closed.", receiver.gaps_filled)
        yield self._counter("rewound_records", "Records that came from rewinders.", receiver.rewound)
        yield self._counter("replies", "Datagrams that came as replies to re-requests.", receiver.replies)
        drops = CounterMetricFamily(
            "seqcast_receiver_drops", "What was dropped, by reason.", labels=(*NAME, "reason")
        )
        counters = asdict(receiver.counters)
        for reason in RECEIVER_DROPS:
            drops.add_metric((self.name, reason), counters[reason])
        for reason in ASSEMBLY_DROPS:
            drops.add_metric((self.name, f"fragments_{reason}"), getattr(receiver.assembly, reason))
        yield drops
        yield latency_family(
            "seqcast_receiver_wire_to_delivery_seconds",
            "From the stamp to the app, of what came live: each batch with its oldest message.",
            "name",
            {self.name: receiver.latency.state()},
        )

    def _counter(self, metric: str, text: str, value: float) -> Metric:
        family = CounterMetricFamily(f"seqcast_receiver_{metric}", text, labels=NAME)
        family.add_metric((self.name,), value)
        return family

    def _gauge(self, metric: str, text: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"seqcast_receiver_{metric}", text, labels=NAME)
        family.add_metric((self.name,), float(value))
        return family


@define(eq=False)
class SenderMetrics(Collector):
    """The metrics of one sender, by its user name."""

    sender: Sender

    def collect(self) -> Iterator[Metric]:
        """Every metric, for a registry."""
        sender = self.sender
        gauges = {
            "in_flight": ("Messages that were taken and are not acknowledged.", sender.in_flight),
            "connected": ("Whether there is a connection to the primary.", sender.connected),
            "committed_number": ("Number of the last message that is committed.", sender.committed_number),
        }
        for metric, (text, value) in gauges.items():
            gauge = GaugeMetricFamily(f"seqcast_sender_{metric}", text, labels=("user",))
            gauge.add_metric((sender.user,), float(value))
            yield gauge
        counter = CounterMetricFamily(
            "seqcast_sender_reconnections",
            "Connections that were lost after they were in use.",
            labels=("user",),
        )
        counter.add_metric((sender.user,), sender.reconnections)
        yield counter
