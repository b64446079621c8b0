"""What nodes publish, as Prometheus metrics (prometheus_client, `pip install 'seqcast[metrics]'`).

Every metric has the label `node`. docs/OBSERVE.md says what each means, and which of them are worth an alarm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from seqcast.health import why_not_ready
from seqcast.latency import LatencyHistogram
from seqcast.meters import Kind, counters_of, meter_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client import Metric

    from seqcast.settings import Configuration
    from seqcast.watch import Sighting

GAUGES = {
    "epoch": ("seqcast_epoch", "Epoch of the last record."),
    "last": ("seqcast_last_number", "Number of the last record in the log."),
    "commit": ("seqcast_commit_number", "Number up to which the node knows records to be committed."),
    "synced": ("seqcast_synced_number", "Number up to which the log is on the disk."),
    "published": ("seqcast_published_number", "Number up to which a primary has multicast the stream."),
    "missing": (
        "seqcast_missing_records",
        "Records that are committed, and that a follower does not hold yet.",
    ),
    "uptime_seconds": ("seqcast_uptime_seconds", "Time since the node was started."),
}
"""By key of the status: metric and what it is."""

COUNTERS = {
    "turns": ("seqcast_turns", "Turns of the node's loop."),
    "stamped": ("seqcast_stamped_records", "Records that the node has stamped."),
    "takeovers": ("seqcast_takeovers", "Times that the node has become primary."),
}

REQUESTS = {
    "requests": ("seqcast_rerequests", "Packets that receivers asked for again over UDP."),
    "replies": ("seqcast_rerequest_replies", "Packets that were sent again."),
    "messages": ("seqcast_rerequest_messages", "Messages in packets that were sent again."),
}

KINDS = {
    Kind.DROP: ("seqcast_drops", "What was thrown away, by place and reason."),
    Kind.REJECT: ("seqcast_rejects", "Who was turned away, by place and reason."),
    Kind.RETRY: ("seqcast_retries", "What failed and is tried again, by place and reason."),
    Kind.EVENT: ("seqcast_events", "Everything else that is counted, by place and event."),
}

LATENCIES = {
    "ingress_to_commit": (
        "seqcast_ingress_to_commit_seconds",
        "From the turn that read a message to its commit, by record.",
    ),
    "commit_to_wire": ("seqcast_commit_to_wire_seconds", "From commit to multicast, by record."),
}

BUCKET_BITS = range(10, 35)
"""Buckets end at powers of two, from 1 us to 17 s, where those of the nodes end too: nothing is guessed."""

NODE = ("node",)


def metrics(configuration: Configuration, sightings: Mapping[str, Sighting]) -> Iterator[Metric]:
    """Every metric of the nodes that were sighted; of those that are down, only that."""
    up = GaugeMetricFamily("seqcast_up", "Whether the node publishes what it does.", labels=NODE)
    ready = GaugeMetricFamily("seqcast_ready", "Whether the node does what it is there for.", labels=NODE)
    statuses = {}
    for name, each in sightings.items():
        alive = each.up and each.status is not None
        up.add_metric((name,), float(alive))
        if alive and each.status is not None:
            statuses[name] = each.status
        ready.add_metric((name,), float(alive and why_not_ready(configuration, statuses[name]) is None))
    yield from (up, ready)
    yield from _plain(statuses)
    yield from _by_label(statuses)
    yield from _counted(statuses)
    yield from _latencies(statuses)


def _plain(statuses: Mapping[str, Mapping[str, Any]]) -> Iterator[Metric]:
    """One number a node."""
    for key, (metric, text) in GAUGES.items():
        gauge = GaugeMetricFamily(metric, text, labels=NODE)
        for name, status in statuses.items():
            if status.get(key) is not None:
                gauge.add_metric((name,), status[key])
        yield gauge
    for table, part in ((COUNTERS, None), (REQUESTS, "requests")):
        for key, (metric, text) in table.items():
            counter = CounterMetricFamily(metric, text, labels=NODE)
            for name, status in statuses.items():
                values = status if part is None else (status.get(part) or {})
                if values.get(key) is not None:
                    counter.add_metric((name,), values[key])
            yield counter
    primary = GaugeMetricFamily("seqcast_primary", "Whether the node is the primary.", labels=NODE)
    votes = GaugeMetricFamily("seqcast_votes", "Whether the node has its vote, of voters.", labels=NODE)
    problem = GaugeMetricFamily(
        "seqcast_access_problem", "Whether the users file cannot be used.", labels=NODE
    )
    for name, status in statuses.items():
        primary.add_metric((name,), float(status.get("role") == "primary"))
        problem.add_metric((name,), float(status.get("access_problem") is not None))
        if status.get("voter"):
            votes.add_metric((name,), float(bool(status.get("votes"))))
    yield from (primary, votes, problem)


def _by_label(statuses: Mapping[str, Mapping[str, Any]]) -> Iterator[Metric]:
    """Numbers for parts of a node."""
    info_labels = ("role", "session", "fingerprint", "durability")
    info = GaugeMetricFamily(
        "seqcast_node_info", "What the node is, in its labels.", labels=(*NODE, *info_labels)
    )
    clients = GaugeMetricFamily("seqcast_clients", "Connections, by port.", labels=(*NODE, "port"))
    datagrams = CounterMetricFamily(
        "seqcast_datagrams", "Datagrams multicast, by line.", labels=(*NODE, "line")
    )
    lag = GaugeMetricFamily(
        "seqcast_follower_lag_records",
        "How many records a follower lacks, as its primary knows.",
        labels=(*NODE, "follower", "voter"),
    )
    for name, status in statuses.items():
        info.add_metric((name, *(str(status.get(label, "")) for label in info_labels)), 1)
        for port, count in (status.get("clients") or {}).items():
            clients.add_metric((name, port), count)
        for line, count in (status.get("datagrams") or {}).items():
            datagrams.add_metric((name, line), count)
        for follower, row in (status.get("followers") or {}).items():
            lag.add_metric((name, follower, str(bool(row["voter"])).lower()), row["lag"])
    yield from (info, clients, datagrams, lag)
    yield from _receivers(statuses)


def _receivers(statuses: Mapping[str, Mapping[str, Any]]) -> Iterator[Metric]:
    """Who replays. Of receivers of one user only the slowest is there: their addresses change all the time."""
    count = GaugeMetricFamily("seqcast_receivers", "Receivers at a rewinder.", labels=NODE)
    behind = GaugeMetricFamily("seqcast_receivers_behind", "Receivers that lack something.", labels=NODE)
    lag = GaugeMetricFamily(
        "seqcast_receiver_lag_records",
        "How many records the slowest receiver of a user lacks.",
        labels=(*NODE, "user", "session"),
    )
    for name, status in statuses.items():
        receivers = status.get("receivers")
        if not receivers:
            continue
        count.add_metric((name,), receivers["count"])
        behind.add_metric((name,), receivers["behind"])
        slowest: dict[tuple[str, str], int] = {}
        for row in receivers["slowest"]:
            who = row["user"], row["session"]
            slowest[who] = max(slowest.get(who, 0), row["lag"])
        for (user, session), records in slowest.items():
            lag.add_metric((name, user, session), records)
    yield from (count, behind, lag)


def _counted(statuses: Mapping[str, Mapping[str, Any]]) -> Iterator[Metric]:
    """Everything that nodes count, by kind."""
    families = {
        kind: CounterMetricFamily(
            metric, text, labels=(*NODE, "where", "event" if kind is Kind.EVENT else "reason")
        )
        for kind, (metric, text) in KINDS.items()
    }
    for name, status in statuses.items():
        for counter, count in counters_of(status).items():
            meter = meter_of(counter)
            families[meter.kind].add_metric((name, meter.where, meter.reason), count)
    yield from families.values()


def _latencies(statuses: Mapping[str, Mapping[str, Any]]) -> Iterator[Metric]:
    for stage, (metric, text) in LATENCIES.items():
        states = {name: (status.get("latency") or {}).get(stage) for name, status in statuses.items()}
        yield latency_family(metric, text, "node", states)


def latency_family(
    metric: str, text: str, label: str, states: Mapping[str, dict[str, Any] | None]
) -> HistogramMetricFamily:
    """A histogram metric out of the states of histograms, by value of its one label."""
    family = HistogramMetricFamily(metric, text, labels=(label,))
    for name, state in states.items():
        histogram = LatencyHistogram.read(state)
        if histogram is not None:
            family.add_metric((name,), _cumulated(histogram), histogram.total_ns / 1e9)
    return family


def _cumulated(histogram: LatencyHistogram) -> list[tuple[str, float]]:
    """How many records took at most so many seconds."""
    rows, below = [], 0
    buckets = iter([*histogram.buckets(), (1 << 64, 0)])
    highest_ns, count = next(buckets)
    for bits in BUCKET_BITS:
        while highest_ns < 1 << bits:
            below += count
            highest_ns, count = next(buckets)
        rows.append((repr((1 << bits) / 1e9), float(below)))
    return [*rows, ("+Inf", float(histogram.count))]
