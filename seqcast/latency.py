"""A histogram of latencies: bounded memory, any range, a known error.

The buckets are log-linear: below 2048 ns each nanosecond has its own; above, each power of two is cut into
1024 equal buckets. So a percentile is off by less than a thousandth of itself, and it is always off upwards.
This is the layout of Gil Tene's HdrHistogram with three significant digits. Nodes and receivers keep theirs in C, with
16 buckets (`native/src/latency.h`): what they say of them is read here too, and is off by a sixteenth at most.

    latencies = LatencyHistogram()
    latencies.record(now_ns - sent_ns)
    print(latencies.percentile(99.9))
"""

from __future__ import annotations

import math
from array import array
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, Self

from attrs import define, field, validators
from attrs.validators import ge, le

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy

BUCKET_BITS = 10
"""Each power of two has 2**BUCKET_BITS buckets, unless a histogram says otherwise: the error stays below 1/1024."""

BUCKET_BITS_MOST = 16
"""Finest histogram that is read: beyond, it would only be memory."""

LIMIT_BITS = 40
"""Values of more bits (above 18 minutes) share the last bucket; `max_ns` stays exact."""

LIMIT_NS = (1 << LIMIT_BITS) - 1

PERCENTILES: tuple[float, ...] = (50, 90, 99, 99.9, 99.99)
"""What `as_plain` gives."""


def _buckets(bits: int) -> int:
    """How many buckets a histogram has."""
    return (LIMIT_BITS - bits + 1) << bits


def _bucket(value_ns: int, bits: int = BUCKET_BITS) -> int:
    """The bucket of a value of at most LIMIT_NS."""
    shift = max(0, value_ns.bit_length() - bits - 1)
    return (shift << bits) + (value_ns >> shift)


def _highest(bucket: int, bits: int = BUCKET_BITS) -> int:
    """The highest value of a bucket."""
    if bucket < 1 << (bits + 1):  # these have one value each
        return bucket
    shift = (bucket >> bits) - 1
    return ((bucket - (shift << bits) + 1) << shift) - 1


@define(eq=False)
class LatencyHistogram:
    """Counts of latencies in nanoseconds; 248 KiB, however many are recorded.

    `count` is how many were recorded, `total_ns` their sum, `min_ns` and `max_ns` are exact, and None while
    there is none. Each power of two has 2**`bucket_bits` buckets.
    """

    bucket_bits: int = field(default=BUCKET_BITS, validator=validators.and_(ge(0), le(BUCKET_BITS_MOST)))

    count: int = field(default=0, init=False)
    total_ns: int = field(default=0, init=False)
    min_ns: int | None = field(default=None, init=False)
    max_ns: int | None = field(default=None, init=False)
    _counts: array[int] = field(init=False)

    WORST_ERROR: ClassVar[Fraction] = Fraction(1, 1 << BUCKET_BITS)
    """A percentile is at least the true value and less than this part of it too high, with BUCKET_BITS."""

    def __attrs_post_init__(self) -> None:
        self._counts = array("Q", bytes(8 * _buckets(self.bucket_bits)))

    def record(self, latency_ns: int) -> None:
        """Count one latency. Raises ValueError when it is negative: two clocks were compared then."""
        if latency_ns < 0:
            raise ValueError(f"a latency of {latency_ns} ns is negative")
        self._counts[_bucket(min(latency_ns, LIMIT_NS), self.bucket_bits)] += 1
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
        counts, bits = self._counts, self.bucket_bits
        for value in values:
            counts[_bucket(min(value, LIMIT_NS), bits)] += 1
        self._note(len(values), sum(values), lowest, max(values))

    def merge(self, other: LatencyHistogram) -> None:
        """Add the counts of another histogram, which stays as it is. Raises ValueError when it has other buckets."""
        if other.bucket_bits != self.bucket_bits:
            raise ValueError(f"a histogram with {other.bucket_bits} bucket bits, expected {self.bucket_bits}")
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
                last = bucket == len(self._counts) - 1
                return self.max_ns if last else min(_highest(bucket, self.bucket_bits), self.max_ns)
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
            "bucket_bits": self.bucket_bits,
            "total_ns": self.total_ns,
            "min_ns": self.min_ns,
            "max_ns": self.max_ns,
            "counts": [[bucket, count] for bucket, count in enumerate(self._counts) if count],
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The histogram that `state` describes. Raises ValueError when it is none."""
        try:
            histogram = cls(state["bucket_bits"])
            for bucket, count in state["counts"]:
                if bucket < 0:
                    raise IndexError(bucket)
                histogram._counts[bucket] = count
                histogram.count += count
            histogram.total_ns = state["total_ns"]
            histogram.min_ns, histogram.max_ns = state["min_ns"], state["max_ns"]
        except (KeyError, IndexError, TypeError, OverflowError) as error:
            raise ValueError(f"not the state of a histogram: {error!r}") from None
        return histogram

    @classmethod
    def read(cls, state: dict[str, Any] | None) -> Self | None:
        """The same; None where there is none, or that of a program of another version."""
        try:
            return None if state is None else cls.from_state(state)
        except ValueError:
            return None

    def since(self, before: LatencyHistogram) -> LatencyHistogram:
        """What was recorded after `before`, an earlier state of the same histogram; all of it where it is none.

        Minimum and maximum are those of buckets: when each was recorded is not known.
        """
        counts = array("Q", self._counts)
        if len(before._counts) != len(counts):
            return self
        for bucket, count in enumerate(before._counts):
            if count > counts[bucket]:  # its process was started again meanwhile
                return self
            counts[bucket] -= count
        later = LatencyHistogram(self.bucket_bits)
        later._counts = counts
        filled = [bucket for bucket, count in enumerate(counts) if count]
        if filled:
            later.count = self.count - before.count
            later.total_ns = self.total_ns - before.total_ns
            later.min_ns = _highest(filled[0], self.bucket_bits)
            later.max_ns = min(_highest(filled[-1], self.bucket_bits), self.max_ns or 0)
            later.min_ns = min(later.min_ns, later.max_ns)
        return later

    def buckets(self) -> Iterator[tuple[int, int]]:
        """The highest value in nanoseconds, and the count, of each bucket that is not empty, in order."""
        for bucket, count in enumerate(self._counts):
            if count:
                yield _highest(bucket, self.bucket_bits), count

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
        bits = self.bucket_bits
        # frexp: value = mantissa * 2**exponent, the mantissa at least a half: the exponent counts the bits.
        shifts = np.maximum(np.frexp(buckets.astype(np.float64))[1] - (bits + 1), 0).astype(np.int64)
        buckets = (shifts << bits) + (buckets >> shifts)
        np.add.at(np.frombuffer(self._counts, dtype=np.uint64), buckets, np.uint64(1))
        highest = int(values.max())
        # NumPy sums in 64 bits and overflows in silence; Python does neither, and is slow.
        total = values.sum() if highest * values.size < 1 << 63 else values.sum(dtype=object)
        self._note(values.size, int(total), lowest, highest)
