"""The token bucket: a burst at once, then the rate; it delays and counts whom it delays."""

from __future__ import annotations

from random import Random

import pytest

from moldudp import Bucket

MS = 1_000_000


def test_a_burst_and_then_the_rate() -> None:
    bucket = Bucket(rate=1000, burst=3)
    assert [bucket.take(1, 50 * MS) for _ in range(4)] == [True, True, True, False]
    assert bucket.ready_ns == 51 * MS
    assert not bucket.take(1, 51 * MS - 1)
    assert bucket.take(1, 51 * MS)
    assert not bucket.take(1, 51 * MS)


def test_more_than_there_is_becomes_a_debt() -> None:
    bucket = Bucket(rate=1000, burst=10)
    assert bucket.take(9, 0)
    assert bucket.take(100, 0)  # one token was there
    assert bucket.ready_ns == 100 * MS
    assert not bucket.take(1, 99 * MS)
    assert bucket.take(1, 100 * MS)


def test_a_quiet_time_fills_it_and_no_further() -> None:
    bucket = Bucket(rate=1000, burst=3)
    assert bucket.take(3, 0)
    assert [bucket.take(1, 10**15) for _ in range(4)] == [True, True, True, False]


def test_waiting_is_counted_once() -> None:
    bucket = Bucket(rate=1000, burst=1)
    assert bucket.take(1, 0)
    assert not any(bucket.take(1, now) for now in range(10))
    assert bucket.held_back == 1
    assert bucket.take(1, MS)
    assert not bucket.take(1, MS)
    assert bucket.held_back == 2


@pytest.mark.parametrize("rate", [0.5, 3, 1000, 2_000_000_000])
def test_never_more_than_rate_and_burst(rate: float) -> None:
    """Over any random walk: what was given is at most the burst, the rate, and the last request."""
    chance = Random(1)
    bucket = Bucket(rate=rate, burst=20)
    now_ns = given = 0
    for _ in range(3000):
        now_ns += chance.choice([0, 1, 1000, MS, int(5e9 / rate)])
        amount = chance.randint(1, 30)
        ready = bucket.ready_ns <= now_ns
        assert bucket.take(amount, now_ns) is ready
        given += amount * ready
        assert given <= 20 + 30 + now_ns * rate / 1e9 * 1.0001 + 1


@pytest.mark.parametrize("wrong", [{"rate": 0, "burst": 1}, {"rate": 1, "burst": 0}])
def test_settings_out_of_range(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Bucket(**wrong)
