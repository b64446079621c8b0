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
        LatencyHistogram.from_state({**histogram.state(), "bucket_bits": 7})


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
