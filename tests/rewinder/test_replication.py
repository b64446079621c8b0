"""The packets beside the log, and the record that two logs share last."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewinder.replication import EPOCH_LIMIT, Committed, Epochs, Held, decode, shared_last

U64 = st.integers(0, 2**64 - 1)


def test_bytes_of_each_packet() -> None:
    assert Committed(2, 7).encode() == b"C" + bytes(7) + b"\x02" + bytes(7) + b"\x07"
    assert Held(1, 258).encode() == b"H" + bytes(7) + b"\x01" + bytes(6) + b"\x01\x02"
    assert Epochs(3, ((1, 1), (3, 9))).encode() == (
        b"E" + struct.pack(">QH", 3, 2) + struct.pack(">QQQQ", 1, 1, 3, 9)
    )


@given(st.one_of(st.builds(Committed, U64, U64), st.builds(Held, U64, U64)))
def test_round_trip(message: Committed | Held) -> None:
    assert decode(message.encode()) == message


@given(U64, st.lists(st.tuples(U64, U64), max_size=20))
def test_round_trip_of_epochs(epoch: int, table: list[tuple[int, int]]) -> None:
    message = Epochs(epoch, tuple(table))
    assert decode(message.encode()) == message


@pytest.mark.parametrize("message", [Committed(1, 2), Held(1, 2), Epochs(5, ((1, 1), (5, 8)))])
def test_every_truncation_and_a_byte_too_many_are_refused(message: Committed | Held | Epochs) -> None:
    data = message.encode()
    for length in range(len(data)):
        assert decode(data[:length]) is None
    assert decode(data + b"\0") is None


@given(st.binary(max_size=64))
def test_random_bytes_never_raise(data: bytes) -> None:
    decode(data)


def test_a_table_beyond_the_limit_is_refused() -> None:
    rows = tuple((n, n) for n in range(1, EPOCH_LIMIT + 2))
    assert decode(Epochs(1, rows).encode()) is None
    assert decode(Epochs(1, rows[:EPOCH_LIMIT]).encode()) is not None


@pytest.mark.parametrize(
    ("ours", "our_last", "theirs", "their_last", "shared"),
    [
        ([], 0, ((1, 1),), 10, 0),  # an empty log
        ([(1, 1)], 10, ((1, 1),), 20, 10),  # behind
        ([(1, 1)], 20, ((1, 1),), 10, 10),  # ahead: a tail nobody else has
        ([(1, 1)], 20, ((1, 1), (2, 15)), 30, 14),  # they went another way at 15
        ([(1, 1), (2, 21)], 25, ((1, 1), (3, 18)), 30, 17),  # both did
        ([(1, 1), (2, 21)], 25, ((1, 1), (2, 21), (3, 24)), 40, 23),
        ([(1, 1), (2, 21)], 25, ((1, 1), (2, 22)), 40, 20),  # the same epoch number, another history
        ([(7, 1)], 5, ((8, 1),), 5, 0),
    ],
)
def test_shared_last(
    ours: list[tuple[int, int]],
    our_last: int,
    theirs: tuple[tuple[int, int], ...],
    their_last: int,
    shared: int,
) -> None:
    assert shared_last(ours, our_last, theirs, their_last) == shared


History = tuple[int, ...]  # the epoch of each record, from number 1 on


def table_of(history: History) -> list[tuple[int, int]]:
    return [(e, i + 1) for i, e in enumerate(history) if i == 0 or history[i - 1] != e]


@given(
    st.lists(st.integers(1, 3), max_size=6),
    st.lists(st.integers(1, 3), max_size=5),
    st.lists(st.integers(1, 3), max_size=5),
)
def test_shared_last_is_the_common_prefix(common: list[int], left: list[int], right: list[int]) -> None:
    """Histories that fork get different epochs from there on, as promises make sure of."""
    base = sorted(common)
    top = base[-1] if base else 0
    ours = tuple(base + sorted(top + 2 * n for n in left))
    theirs = tuple(base + sorted(top + 2 * n + 1 for n in right))
    shared = shared_last(table_of(ours), len(ours), tuple(table_of(theirs)), len(theirs))
    assert shared == len(base)
