"""What benchmark messages carry, and that the checker sees every way in which they can be wrong."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.payload import (
    MESSAGE_BYTES,
    MESSAGE_BYTES_LEAST,
    VECTOR_MESSAGES,
    Checker,
    PreparedTable,
    due_times,
)
from native.messages import MessageTable

WAYS = pytest.mark.parametrize("vectorized", [True, False], ids=["numpy", "python"])
MANY = VECTOR_MESSAGES + 8


def expected(counter: int, time_ns: int, length: int = MESSAGE_BYTES) -> bytes:
    filler = length - 24
    return struct.pack(">QQ", counter, time_ns) + b"." * filler + struct.pack(">Q", counter)


def batch_of(payloads: list[bytes], numbers: list[int]):
    """Messages as a receiver has them: anywhere in a buffer."""
    buffer = bytearray(b"\xff" * 7)
    table = MessageTable(max(len(payloads), 1))
    for row, (payload, number) in enumerate(zip(payloads, numbers, strict=True)):
        table.set(row, number, len(buffer), len(payload))
        buffer += payload + b"\xff" * (row % 5)
    return table.view(memoryview(buffer), len(payloads))


@WAYS
@pytest.mark.parametrize("count", [1, MANY])
@pytest.mark.parametrize("length", [MESSAGE_BYTES_LEAST, MESSAGE_BYTES])
def test_a_table_holds_what_the_module_says(vectorized: bool, count: int, length: int) -> None:
    table = PreparedTable(length, capacity=MANY, vectorized=vectorized)
    times = [10**18 + i for i in range(count)]
    messages = table.fill(1000, times, count)
    assert messages.payloads() == [expected(1000 + i, times[i], length) for i in range(count)]
    assert due_times(messages) == times
    again = table.fill(5, (), count)
    assert again.payloads() == [expected(5 + i, 0, length) for i in range(count)]


@WAYS
def test_a_table_refuses_more_than_it_holds(vectorized: bool) -> None:
    table = PreparedTable(capacity=4, vectorized=vectorized)
    assert len(table.fill(0, (), 0)) == 0
    for times, count in (((), 5), ((1, 2), 3), ((), -1)):
        with pytest.raises(ValueError, match="in a table of 4"):
            table.fill(0, times, count)


@WAYS
@given(sizes=st.lists(st.integers(0, 3 * VECTOR_MESSAGES), max_size=6), first=st.integers(1, 2**60))
def test_good_batches_of_any_size_are_good(vectorized: bool, sizes: list[int], first: int) -> None:
    checker = Checker(first, vectorized=vectorized)
    counter = 0
    for size in sizes:
        payloads = [expected(counter + i, 9) for i in range(size)]
        checker.check(batch_of(payloads, [first + counter + i for i in range(size)]))
        counter += size
    assert (checker.received, checker.wrong) == (counter, 0)
    assert checker.number == first + counter


DAMAGES = {
    "a wrong counter": lambda p, n: p.__setitem__(3, expected(77, 0)),
    "a flipped bit in front": lambda p, n: p.__setitem__(3, bytes([p[3][0] ^ 1]) + p[3][1:]),
    "a flipped bit at the end": lambda p, n: p.__setitem__(3, p[3][:-1] + bytes([p[3][-1] ^ 1])),
    "cut short": lambda p, n: p.__setitem__(3, p[3][:-1]),
    "too long": lambda p, n: p.__setitem__(3, p[3] + b"."),
    "empty": lambda p, n: p.__setitem__(3, b""),
    "a wrong number": lambda p, n: n.__setitem__(3, 500),
}


@WAYS
@pytest.mark.parametrize("count", [8, MANY])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_one_bad_message_is_one_wrong(vectorized: bool, count: int, damage) -> None:
    payloads = [expected(i, 0) for i in range(count)]
    numbers = list(range(2, 2 + count))
    damage(payloads, numbers)
    checker = Checker(2, vectorized=vectorized)
    checker.check(batch_of(payloads, numbers))
    assert (checker.received, checker.wrong) == (count, 1)


@WAYS
@pytest.mark.parametrize("count", [8, MANY])
def test_two_that_changed_places_are_two_wrong(vectorized: bool, count: int) -> None:
    payloads = [expected(i, 0) for i in range(count)]
    payloads[2], payloads[5] = payloads[5], payloads[2]
    checker = Checker(1, vectorized=vectorized)
    checker.check(batch_of(payloads, list(range(1, count + 1))))
    assert checker.wrong == 2


@WAYS
@pytest.mark.parametrize("count", [8, MANY])
def test_a_hole_and_a_repeat_show(vectorized: bool, count: int) -> None:
    for counters in ([*range(1, count + 1)], [0, *range(count - 1)]):
        payloads = [expected(counter, 0) for counter in counters]
        checker = Checker(1, vectorized=vectorized)
        checker.check(batch_of(payloads, [1 + counter for counter in counters]))
        assert checker.wrong > 0


def test_the_time_of_a_message_that_is_too_short() -> None:
    assert due_times(batch_of([b"short", expected(1, 42)], [1, 2])) == [0, 42]
