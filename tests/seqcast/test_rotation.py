"""Which rewinder is asked: spread by chance, the next after a failure, and a pause only when all have failed."""

from __future__ import annotations

from collections import Counter
from random import Random

from moldudp import Bucket
from seqcast.rotation import AVOIDED_NS, Rotation

MS = 1_000_000


def rotation_of(count: int, seed: int = 1, *, jitter: float = 0.0, rate: float = 1e9) -> Rotation:
    return Rotation(
        count=count,
        random=Random(seed),
        retry_ns=20 * MS,
        retry_limit_ns=1000 * MS,
        jitter=jitter,
        bucket=Bucket(rate, 5),
    )


def test_receivers_spread_over_the_rewinders() -> None:
    firsts = Counter(rotation_of(3, seed).take(0) for seed in range(300))
    assert set(firsts) == {0, 1, 2}
    assert min(firsts.values()) > 70


def test_those_who_lose_one_spread_over_the_others() -> None:
    seconds: Counter[int | None] = Counter()
    for seed in range(300):
        rotation = rotation_of(3, seed)
        if rotation.take(0) == 1:
            rotation.failed(0)
            seconds[rotation.take(0)] += 1
    assert set(seconds) == {0, 2}
    assert min(seconds.values()) > 25


def test_one_that_works_is_kept() -> None:
    rotation = rotation_of(3)
    first = rotation.take(0)
    rotation.progressed()
    assert [rotation.take(now * MS) for now in range(10)] == [first] * 10


def test_all_are_tried_before_the_pause_and_the_pause_grows() -> None:
    rotation = rotation_of(3)
    now_ns, pauses, rounds = 0, [], []
    for _ in range(8):
        asked = []
        for _ in range(3):
            asked.append(rotation.take(now_ns))
            rotation.failed(now_ns)
        rounds.append(set(asked))
        pauses.append((rotation.ready_ns - now_ns) // MS)
        assert rotation.take(rotation.ready_ns - 1) is None
        now_ns = rotation.ready_ns
    assert rounds == [{0, 1, 2}] * 8
    assert pauses == [20, 40, 80, 160, 320, 640, 1000, 1000]


def test_progress_forgives() -> None:
    rotation = rotation_of(2)
    for _ in range(6):
        rotation.take(rotation.ready_ns)
        rotation.failed(rotation.ready_ns)
    now_ns = rotation.ready_ns
    rotation.take(now_ns)
    rotation.progressed()
    rotation.failed(now_ns)
    assert rotation.ready_ns == now_ns  # the other one at once


def test_one_that_failed_stands_behind_for_a_while() -> None:
    rotation = rotation_of(3)
    first = rotation.take(0)
    rotation.failed(0)
    second = rotation.take(0)
    rotation.progressed()
    assert second != first
    assert rotation.take(AVOIDED_NS - 1) == second
    assert rotation.take(AVOIDED_NS) == first


def test_a_little_chance_lies_between_one_and_the_next() -> None:
    times = set()
    for seed in range(50):
        rotation = rotation_of(3, seed, jitter=0.5)
        rotation.take(0)
        rotation.failed(0)
        times.add(rotation.ready_ns)
    assert len(times) > 40
    assert max(times) <= 10 * MS


def test_logins_are_held_to_a_rate() -> None:
    rotation = rotation_of(1, rate=10)
    now_ns, times = 0, []
    while now_ns < 10_000 * MS:
        assert rotation.take(now_ns) == 0
        rotation.progressed()
        times.append(now_ns)
        now_ns = max(now_ns, rotation.ready_ns)
    assert times[:5] == [0] * 5
    assert 100 <= len(times) <= 105
    assert rotation.take(now_ns - 1) is None
    assert rotation.bucket.held_back == 1
