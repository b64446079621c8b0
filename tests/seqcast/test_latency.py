"""The latency histogram against sorted lists."""

from __future__ import annotations

import json
import math
from array import array
from fractions import Fraction
from random import Random

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewinder._native import LatencyKernel, StagesKernel
from seqcast.latency import BUCKET_BITS, LIMIT_NS, LatencyHistogram, _bucket, _highest

NANOSECONDS = (
    st.integers(0, LIMIT_NS) | st.integers(0, 5000) | st.integers(0, 40).map(lambda bits: (1 << bits) - 1)
)
PERCENTS = st.sampled_from([0, 0.01, 1, 50, 90, 99, 99.9, 99.99, 100]) | st.floats(0, 100)


def nearest_rank(values: list[int], percent: float) -> int:
    rank = math.ceil(Fraction(str(percent)) * len(values) / 100)
    return sorted(values)[max(rank, 1) - 1]


def filled(values: list[int]) -> LatencyHistogram:
    histogram = LatencyHistogram()
    histogram.record_many(values)
    return histogram


@given(st.lists(NANOSECONDS, min_size=1, max_size=200), PERCENTS)
def test_percentiles_are_those_of_the_sorted_list_or_just_above(values: list[int], percent: float) -> None:
    exact = nearest_rank(values, percent)
    measured = filled(values).percentile(percent)
    assert measured is not None
    assert exact <= measured <= exact * (1 + LatencyHistogram.WORST_ERROR)
    if exact < 2 << BUCKET_BITS:
        assert measured == exact


@given(st.lists(NANOSECONDS, max_size=100))
def test_each_way_in_counts_alike(values: list[int]) -> None:
    single = LatencyHistogram()
    for value in values:
        single.record(value)
    for many in (
        values,
        tuple(values),
        iter(values),
        array("q", values),
        numpy.array(values, dtype=numpy.int64),
        numpy.array(values, dtype=numpy.uint64),
    ):
        histogram = LatencyHistogram()
        histogram.record_many(many)
        assert histogram.state() == single.state()
    assert single.count == len(values)
    assert single.total_ns == sum(values)
    assert (single.min_ns, single.max_ns) == ((min(values), max(values)) if values else (None, None))


@given(st.lists(NANOSECONDS, max_size=50), st.lists(NANOSECONDS, max_size=50))
def test_merged_is_recorded_together(ours: list[int], theirs: list[int]) -> None:
    merged, other = filled(ours), filled(theirs)
    merged.merge(other)
    assert merged.state() == filled(ours + theirs).state()
    assert merged.count == len(ours) + len(theirs)
    assert other.state() == filled(theirs).state()


@given(st.lists(NANOSECONDS, max_size=50))
def test_state_goes_through_json(values: list[int]) -> None:
    histogram = filled(values)
    again = LatencyHistogram.from_state(json.loads(json.dumps(histogram.state())))
    assert again.state() == histogram.state()
    assert again.as_plain() == histogram.as_plain()


def test_buckets_are_contiguous_and_end_where_they_say() -> None:
    assert _bucket(0) == 0
    bucket = 0
    while _highest(bucket) < LIMIT_NS:
        assert _bucket(_highest(bucket)) == bucket
        assert _bucket(_highest(bucket) + 1) == bucket + 1
        bucket += 1
    assert _bucket(LIMIT_NS) == bucket == len(LatencyHistogram()._counts) - 1


def test_a_day_of_latency() -> None:
    histogram = filled([1000, 10 * LIMIT_NS, 20 * LIMIT_NS])
    histogram.record_many(numpy.array([30 * LIMIT_NS]))
    assert histogram.percentile(25) == 1000
    # Above the limit a percentile is the maximum: too high, never too low.
    assert histogram.percentile(50) == histogram.max_ns == 30 * LIMIT_NS
    assert histogram.total_ns == 1000 + 60 * LIMIT_NS


def test_nothing_recorded() -> None:
    histogram = LatencyHistogram()
    histogram.record_many([])
    histogram.record_many(numpy.array([], dtype=numpy.int64))
    histogram.merge(LatencyHistogram())
    assert histogram.percentile(50) is None
    assert histogram.mean_ns is None
    assert set(histogram.as_plain().values()) == {0, None}


@pytest.mark.parametrize("values", [[5, -1], (-1,), numpy.array([7, -3]), array("q", [-2])])
def test_a_negative_latency_is_an_error_and_counts_nothing(values: object) -> None:
    histogram = LatencyHistogram()
    with pytest.raises(ValueError, match="negative"):
        histogram.record_many(values)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="negative"):
        histogram.record(-1)
    assert histogram.state() == LatencyHistogram().state()


def test_bad_arguments() -> None:
    histogram = LatencyHistogram()
    with pytest.raises(ValueError, match="integers"):
        histogram.record_many(numpy.array([1.5]))
    for percent in (-1, 100.1, math.nan):
        with pytest.raises(ValueError, match="between 0 and 100"):
            histogram.percentile(percent)
    with pytest.raises(ValueError, match="bucket bits"):
        histogram.merge(LatencyHistogram(7))
    for wrong in (
        {"bucket_bits": 17},
        {"bucket_bits": "a"},
        {"counts": [[-1, 5]]},
        {"counts": [[1 << 20, 5]]},
    ):
        with pytest.raises(ValueError, match=r"histogram|bucket_bits"):
            LatencyHistogram.from_state({**histogram.state(), **wrong})
    with pytest.raises(ValueError, match="not the state"):
        LatencyHistogram.from_state({"bucket_bits": 5})


def test_what_the_kernel_counts_is_read_here() -> None:
    """The buckets of `native/src/latency.h` are these, at every edge."""
    kernel, here = LatencyKernel(), LatencyHistogram(4)
    values = sorted({(1 << bits) + off for bits in range(41) for off in (-1, 0, 1)} | {LIMIT_NS + 10**6})
    for value in values:
        kernel.between(1000, 1000 + value, 3)
        for _ in range(3):
            here.record(value)
    kernel.between(5, 4, 1)  # a clock that went back
    here.record(0)
    assert kernel.count == here.count
    assert LatencyHistogram.from_state(json.loads(json.dumps(kernel.state()))).state() == here.state()


def test_the_stages_of_a_primary() -> None:
    stages = StagesKernel(10)
    stages.turn(15, 10, 10, 1000, 0, 0)
    stages.turn(15, 15, 12, 2000, 2300, 2350)
    stages.turn(15, 15, 15, 3000, 3000, 3300)
    assert LatencyHistogram.from_state(stages.to_commit.state()).as_plain()["max_ns"] == 1300
    assert stages.to_commit.count == 5
    to_wire = LatencyHistogram.from_state(stages.to_wire.state())
    assert (to_wire.count, to_wire.min_ns, to_wire.max_ns) == (5, 50, 1000)


def test_since() -> None:
    before, after = LatencyHistogram(5), LatencyHistogram(5)
    before.record_many([10, 10, 1 << 30])
    after.merge(before)
    assert after.since(before).as_plain()["count"] == 0
    after.record_many([40, 5000])
    later = after.since(before)
    assert (later.count, later.total_ns, later.min_ns) == (2, 5040, 40)
    assert later.max_ns is not None
    assert 5000 <= later.max_ns <= 5000 * (1 + 1 / 32)
    assert before.since(after) is before, "started again meanwhile: all of it is new"
    assert after.since(LatencyHistogram()) is after


def test_rank_is_taken_in_decimal() -> None:
    histogram = filled(list(range(1, 1001)))
    assert [histogram.percentile(p) for p in (99.9, 99, 50, 0.1, 0)] == [999, 990, 500, 1, 1]


def test_as_plain_names_what_it_gives() -> None:
    random = Random(5)
    values = [int(random.expovariate(1 / 80_000)) for _ in range(20_000)]
    plain = filled(values).as_plain()
    assert list(plain) == [
        "count",
        "min_ns",
        "mean_ns",
        "p50_ns",
        "p90_ns",
        "p99_ns",
        "p99.9_ns",
        "p99.99_ns",
        "max_ns",
    ]
    assert plain["count"] == 20_000
    assert plain["max_ns"] == max(values)
    assert plain["mean_ns"] == round(sum(values) / len(values), 1)
    assert json.loads(json.dumps(plain)) == plain
