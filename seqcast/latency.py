"""A histogram of latencies: bounded memory, any range, a known error.

The buckets are log-linear: below 2048 ns each nanosecond has its own; above, each power of two is cut into
1024 equal buckets. So a percentile is off by less than a thousandth of itself, and it is always off upwards.
This is the layout of Gil Tene's HdrHistogram with three significant digits.

    latencies = LatencyHistogram()
    latencies.record(now_ns - sent_ns)
    print(latencies.percentile(99.9))
"""

from __future__ import annotations

import math
from array import array
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, Self

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy

BUCKET_BITS = 10
"""Each power of two has 2**BUCKET_BITS buckets: the error stays below one part in 1024."""

LIMIT_BITS = 40
"""Values of more bits (above 18 minutes) share the last bucket; `max_ns` stays exact."""

LIMIT_NS = (1 << LIMIT_BITS) - 1

PERCENTILES: tuple[float, ...] = (50, 90, 99, 99.9, 99.99)
"""What `as_plain` gives."""

_EXACT = 1 << (BUCKET_BITS + 1)  # values below have a bucket each
_BUCKETS = (LIMIT_BITS - BUCKET_BITS + 1) << BUCKET_BITS


def _bucket(value_ns: int) -> int:
    """The bucket of a value of at most LIMIT_NS."""
    shift = max(0, value_ns.bit_length() - BUCKET_BITS - 1)
    return (shift << BUCKET_BITS) + (value_ns >> shift)


def _highest(bucket: int) -> int:
    """The highest value of a bucket."""
    if bucket < _EXACT:
        return bucket
    shift = (bucket >> BUCKET_BITS) - 1
    return ((bucket - (shift << BUCKET_BITS) + 1) << shift) - 1


@define(eq=False)
class LatencyHistogram:
    """Counts of latencies in nanoseconds; 248 KiB, however many are recorded.

    `count` is how many were recorded, `total_ns` their sum, `min_ns` and `max_ns` are exact, and None while
    there is none.
    """

    count: int = field(default=0, init=False)
    total_ns: int = field(default=0, init=False)
    min_ns: int | None = field(default=None, init=False)
    max_ns: int | None = field(default=None, init=False)
    _counts: array[int] = field(factory=lambda: array("Q", bytes(8 * _BUCKETS)), init=False)

    WORST_ERROR: ClassVar[Fraction] = Fraction(1, 1 << BUCKET_BITS)
    """A percentile is at least the true value and less than this part of it too high."""

    def record(self, latency_ns: int) -> None:
        """Count one latency. Raises ValueError when it is negative: two clocks were compared then."""
        if latency_ns < 0:
            raise ValueError(f"a latency of {latency_ns} ns is negative")
        self._counts[_bucket(min(latency_ns, LIMIT_NS))] += 1
        self._note(1, latency_ns, latency_ns, latency_ns)

    def record_many(self, latencies_ns: Iterable[int]) -> None:
        """Count many: any iterable of integers; a NumPy array of integers is counted without a loop.

        Raises ValueError when one is negative: nothing was counted then.
        """
        if hasattr(latencies_ns, "dtype"):
            self._record_array(latencies_ns)
            return
        values = latencies_ns if isinstance(latencies_ns, list | tuple | array) else list(latencies_ns)
        if not values:
            return
        lowest = min(values)
        if lowest < 0:
            raise ValueError(f"a latency of {lowest} ns is negative")
        counts = self._counts
        for value in values:
            counts[_bucket(min(value, LIMIT_NS))] += 1
        self._note(len(values), sum(values), lowest, max(values))

    def merge(self, other: LatencyHistogram) -> None:
        """Add the counts of another histogram, which stays as it is."""
        if other.min_ns is None or other.max_ns is None:
            return
        counts = self._counts
        for bucket, count in enumerate(other._counts.tolist()):
            if count:
                counts[bucket] += count
        self._note(other.count, other.total_ns, other.min_ns, other.max_ns)

    @property
    def mean_ns(self) -> float | None:
        """The mean; exact, None while nothing is recorded."""
        return self.total_ns / self.count if self.count else None

    def percentile(self, percent: float) -> int | None:
        """Nanoseconds within which `percent` of all latencies lie (0 to 100); None while there is none.

        It is the nearest rank: the smallest recorded latency with at least `percent` of all at or below it,
        or rather the upper end of its bucket. 0 and 100 give the exact minimum and maximum.
        """
        if not 0 <= percent <= 100:
            raise ValueError(f"a percentile lies between 0 and 100, not at {percent}")
        if self.min_ns is None or self.max_ns is None:
            return None
        # In decimal as it was written: in binary, 99.9 % of 1000 may come out as rank 1000.
        rank = math.ceil(Fraction(str(percent)) * self.count / 100)
        if rank == 0:
            return self.min_ns
        if rank == self.count:
            return self.max_ns
        below = 0
        for bucket, count in enumerate(self._counts):
            below += count
            if below >= rank:
                # The last bucket has no upper end.
                return self.max_ns if bucket == _BUCKETS - 1 else min(_highest(bucket), self.max_ns)
        raise AssertionError("the counts add up to less than the count")

    def as_plain(self) -> dict[str, int | float | None]:
        """Count, minimum, mean, the usual percentiles and maximum, for JSON; None where there is none."""
        mean = self.mean_ns
        return {
            "count": self.count,
            "min_ns": self.min_ns,
            "mean_ns": None if mean is None else round(mean, 1),
            **{f"p{percent:g}_ns": self.percentile(percent) for percent in PERCENTILES},
            "max_ns": self.max_ns,
        }

    def state(self) -> dict[str, Any]:
        """The whole histogram as plain values, for another process; `from_state` makes it again."""
        return {
            "bucket_bits": BUCKET_BITS,
            "total_ns": self.total_ns,
            "min_ns": self.min_ns,
            "max_ns": self.max_ns,
            "counts": [[bucket, count] for bucket, count in enumerate(self._counts) if count],
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The histogram that `state` describes. Raises ValueError when it was cut into other buckets."""
        if state["bucket_bits"] != BUCKET_BITS:
            raise ValueError(f"a histogram with {state['bucket_bits']} bucket bits, expected {BUCKET_BITS}")
        histogram = cls()
        for bucket, count in state["counts"]:
            histogram._counts[bucket] = count
            histogram.count += count
        histogram.total_ns = state["total_ns"]
        histogram.min_ns, histogram.max_ns = state["min_ns"], state["max_ns"]
        return histogram

    def _note(self, count: int, total_ns: int, lowest_ns: int, highest_ns: int) -> None:
        self.count += count
        self.total_ns += total_ns
        self.min_ns = lowest_ns if self.min_ns is None else min(self.min_ns, lowest_ns)
        self.max_ns = highest_ns if self.max_ns is None else max(self.max_ns, highest_ns)

    def _record_array(self, values: Any) -> None:
        import numpy as np  # noqa: PLC0415  (optional: whoever passes an array has it)

        if values.dtype.kind not in "iu":
            raise ValueError(f"latencies are integers, not {values.dtype}")
        if not values.size:
            return
        lowest = int(values.min())
        if lowest < 0:
            raise ValueError(f"a latency of {lowest} ns is negative")
        buckets: numpy.ndarray[Any, Any] = np.minimum(values.ravel(), LIMIT_NS).astype(np.int64)
        # frexp: value = mantissa * 2**exponent, the mantissa at least a half: the exponent counts the bits.
        shifts = np.maximum(np.frexp(buckets.astype(np.float64))[1] - (BUCKET_BITS + 1), 0).astype(np.int64)
        buckets = (shifts << BUCKET_BITS) + (buckets >> shifts)
        np.add.at(np.frombuffer(self._counts, dtype=np.uint64), buckets, np.uint64(1))
        highest = int(values.max())
        # NumPy sums in 64 bits and overflows in silence; Python does neither, and is slow.
        total = values.sum() if highest * values.size < 1 << 63 else values.sum(dtype=object)
        self._note(values.size, int(total), lowest, highest)
