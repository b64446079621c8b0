"""The fault layer: one seed, one run; it counts what it did, and without faults it changes nothing."""

from __future__ import annotations

import random

import pytest

from moldudp import MOLDUDP64, Faults, Receiver

SESSION = b"SESS000001"
PACKETS = [MOLDUDP64.pack(SESSION, 1 + 2 * i, [b"a", b"b"], 100)[0] for i in range(500)]


def run(seed: int, **settings: float) -> tuple[Faults, list[int]]:
    receiver = Receiver(random=random.Random(1), start=1)
    faults = Faults(receiver, random.Random(seed), **settings)
    delivered = []
    for packet in PACKETS:
        faults.receive_datagram(packet, 0)
        delivered += receiver.messages().numbers
    faults.flush(0)
    return faults, delivered + receiver.messages().numbers


def test_without_faults_nothing_changes() -> None:
    faults, delivered = run(1)
    assert delivered == list(range(1, 1001))
    assert faults.receiver.counters.datagrams == faults.counters.datagrams == 500
    assert faults.counters.lost == faults.counters.duplicated == faults.counters.reordered == 0


def test_one_seed_is_one_run() -> None:
    first, delivered = run(7, loss=0.1, duplicate=0.1, reorder=0.1)
    second, again = run(7, loss=0.1, duplicate=0.1, reorder=0.1)
    assert (first.counters, delivered) == (second.counters, again)
    assert first.receiver.counters == second.receiver.counters
    assert run(8, loss=0.1)[0].counters != first.counters


def test_loss_is_counted_in_datagrams_and_messages() -> None:
    faults, _ = run(1, loss=0.2)
    assert 60 < faults.counters.lost < 140
    assert faults.counters.lost_messages == 2 * faults.counters.lost
    assert faults.receiver.counters.datagrams == 500 - faults.counters.lost
    faults.loss = 1.0
    faults.receive_datagram(b"malformed", 0)
    faults.receive_datagram(MOLDUDP64.end_of_session(SESSION, 1), 0)
    assert faults.counters.lost_messages == 2 * (faults.counters.lost - 2)


def test_duplicates_and_late_datagrams_all_come() -> None:
    faults, delivered = run(1, duplicate=0.3, reorder=0.3)
    assert delivered == list(range(1, 1001))
    assert faults.receiver.counters.datagrams == 500 + faults.counters.duplicated
    assert faults.receiver.counters.duplicates == 2 * faults.counters.duplicated
    assert faults.counters.reordered > 60


@pytest.mark.parametrize("name", ["loss", "duplicate", "reorder"])
def test_probabilities(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Faults(Receiver(random=random.Random(1)), random.Random(1), **{name: 1.5})
