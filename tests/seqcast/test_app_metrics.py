"""The metrics of an app: what its receiver and its sender count, read when somebody scrapes."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from seqcast.app_metrics import ReceiverMetrics, SenderMetrics
from seqcast.latency import LatencyHistogram
from seqcast.testing import Bus


def scraped(*collectors) -> dict[tuple[str, ...], float]:
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


@pytest.mark.bus(seeds=1, loss=0.4)
def test_a_receiver_and_a_sender(bus: Bus) -> None:
    sender, receiver = bus.sender("ALPHA"), bus.receiver()
    nothing = scraped(ReceiverMetrics(receiver, "risk"))
    assert nothing["seqcast_receiver_wire_to_delivery_seconds_count", "risk"] == 0
    taken = 0
    for number in range(100):
        last = sender.send(b"%d" % number).wait()
        taken += len(receiver.poll(timeout=0.01))
    taken += len(receiver.take(100 - taken))
    assert taken == 100
    found = scraped(ReceiverMetrics(receiver, "risk"), SenderMetrics(sender))
    assert found["seqcast_receiver_messages_total", "risk"] == 100
    assert found["seqcast_receiver_position", "risk"] == last + 1
    assert found["seqcast_receiver_lag_of_app_records", "risk"] == 0
    assert found["seqcast_receiver_gaps_filled_total", "risk"] == receiver.gaps_filled > 0
    duplicates = found["seqcast_receiver_drops_total", "risk", "duplicates"]
    assert duplicates == receiver.counters.duplicates
    assert found["seqcast_receiver_drops_total", "risk", "fragments_broken"] == 0
    assert found["seqcast_sender_in_flight", "ALPHA"] == 0
    assert found["seqcast_sender_committed_number", "ALPHA"] == last
    assert found["seqcast_sender_connected", "ALPHA"] == 1
    live = found["seqcast_receiver_wire_to_delivery_seconds_count", "risk"]
    assert 0 < live <= 100
    latency = LatencyHistogram.from_state(receiver.latency.state())
    assert latency.total_ns > 0, "virtual time passes on the wire"
    total = found["seqcast_receiver_wire_to_delivery_seconds_sum", "risk"]
    assert total == pytest.approx(latency.total_ns / 1e9)
