"""Several senders at once: each of their messages is due once, in the order of its own sender."""

from __future__ import annotations

import struct

import pytest

from bench.lanes import LaneChecker
from bench.payload import LANE_BITS, MESSAGE_BYTES, VECTOR_MESSAGES
from native.messages import MessageTable

WAYS = pytest.mark.parametrize("vectorized", [True, False], ids=["numpy", "python"])
MANY = 2 * VECTOR_MESSAGES


def batch_of(counters: list[int], numbers: list[int], *, again: dict[int, int] | None = None, cut: int = -1):
    table, buffer = MessageTable(len(counters)), bytearray()
    for row, (counter, number) in enumerate(zip(counters, numbers, strict=True)):
        length = MESSAGE_BYTES - (row == cut)
        table.set(row, number, len(buffer), length)
        tail = struct.pack(">Q", (again or {}).get(row, counter))
        buffer += (struct.pack(">QQ", counter, 0).ljust(MESSAGE_BYTES - 8, b".") + tail)[:length]
    return table.view(memoryview(bytes(buffer)), len(counters))


def mixed(count: int, first: int = 0) -> list[int]:
    """Lanes 0, 1 and 2 in turn, but 2 in pairs."""
    order = [(0, 0), (1, 0), (2, 0), (2, 1)]
    made = []
    for row in range(count):
        lane, more = order[row % 4]
        step = first + row // 4
        made.append((lane << LANE_BITS) + (2 * step + more if lane == 2 else step))
    return made


@WAYS
@pytest.mark.parametrize("count", [8, MANY])
def test_what_is_in_order_within_each_lane_is_good(vectorized: bool, count: int) -> None:
    checker = LaneChecker(5, vectorized=vectorized)
    checker.check(batch_of(mixed(count), list(range(5, 5 + count))))
    checker.check(batch_of(mixed(count, count // 4), list(range(5 + count, 5 + 2 * count))))
    assert (checker.received, checker.wrong, checker.number) == (2 * count, 0, 5 + 2 * count)
    assert checker.due == {0: count // 2, 1: count // 2, 2: count}


@WAYS
@pytest.mark.parametrize("what", ["lost", "again", "shifted", "cut", "hole", "backwards"])
@pytest.mark.parametrize("holes", [False, True])
def test_each_way_to_be_wrong_is_counted(vectorized: bool, what: str, holes: bool) -> None:
    counters, numbers = mixed(MANY), list(range(1, MANY + 1))
    again, cut = None, -1
    if what == "lost":
        counters[8:] = [counter + (counter >> LANE_BITS == 1) for counter in counters[8:]]
    elif what == "again":
        counters[9] = counters[5]
        counters[13:] = [counter - (counter >> LANE_BITS == 1) for counter in counters[13:]]
    elif what == "shifted":
        again = {40: 1}
    elif what == "cut":
        cut = 41
    elif what == "hole":
        numbers[50:] = [number + 1 for number in numbers[50:]]
    else:
        numbers[50] = numbers[49]
        numbers[51:] = [number - 1 for number in numbers[51:]]
    checker = LaneChecker(1, vectorized=vectorized, holes=holes)
    checker.check(batch_of(counters, numbers, again=again, cut=cut))
    expected = {"hole": 0 if holes else 1, "cut": 2}.get(
        what, 1
    )  # after a cut one its lane goes on at another count
    assert (checker.received, checker.wrong) == (MANY, expected)


def test_nothing_is_nothing() -> None:
    checker = LaneChecker(1)
    checker.check(batch_of([0], [1]).after(1))
    assert (checker.received, checker.number) == (0, 1)
