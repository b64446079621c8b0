"""The packets beside the log, and the record that two logs share last."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewinder.replication import (
    EPOCH_LIMIT,
    Answer,
    Committed,
    Epochs,
    Go,
    Held,
    Opened,
    Packet,
    PromiseRequest,
    Query,
    VoterState,
    decode,
    shared_last,
)

U64 = st.integers(0, 2**64 - 1)
NAMES = st.text("ABCXYZ0189", max_size=6)
TABLES = st.lists(st.tuples(U64, U64), max_size=20).map(tuple)
PACKETS = st.one_of(
    st.builds(Epochs, U64, NAMES, TABLES),
    st.builds(Committed, U64, U64),
    st.builds(Go, U64, U64),
    st.builds(Held, U64, U64),
    st.builds(VoterState, st.booleans(), U64),
    st.builds(Query),
    st.builds(PromiseRequest, U64, NAMES, U64),
    st.builds(Answer, U64, NAMES, st.booleans(), U64, U64, U64, U64, TABLES, st.booleans()),
    st.builds(Opened, U64),
)
EXAMPLES: list[Packet] = [
    Epochs(5, "SEQ1", ((1, 1), (5, 8))),
    Epochs(5, "SEQ1", ()),
    Committed(1, 2),
    Go(1, 2),
    Held(1, 2),
    VoterState(votes=True, incarnation=7),
    Query(),
    PromiseRequest(3, "SEQ2", 9),
    Answer(3, "SEQ2", True, 9, 2, 8, 6, ((1, 1), (3, 7)), hears=True),
    Opened(4),
]


def test_bytes_of_each_packet() -> None:
    assert Committed(2, 7).encode() == b"C" + bytes(7) + b"\x02" + bytes(7) + b"\x07"
    assert Go(2, 7).encode() == b"G" + struct.pack(">QQ", 2, 7)
    assert Held(1, 258).encode() == b"H" + bytes(7) + b"\x01" + bytes(6) + b"\x01\x02"
    assert Epochs(3, "SEQ1", ((1, 1), (3, 9))).encode() == (
        b"E" + struct.pack(">Q6sH", 3, b"SEQ1  ", 2) + struct.pack(">QQQQ", 1, 1, 3, 9)
    )
    assert VoterState(votes=True, incarnation=5).encode() == b"V\x01" + struct.pack(">Q", 5)
    assert VoterState(votes=False, incarnation=5).encode() == b"V\x00" + struct.pack(">Q", 5)
    assert Query().encode() == b"Q"
    assert PromiseRequest(3, "ABCDEF", 5).encode() == b"P" + struct.pack(">Q6sQ", 3, b"ABCDEF", 5)
    assert Answer(3, "SEQ2", True, 9, 2, 8, 6, ((1, 4),), hears=True).encode() == (
        b"A\x03" + struct.pack(">Q6sQQQQHQQ", 3, b"SEQ2  ", 9, 2, 8, 6, 1, 1, 4)
    )
    assert Answer(0, "", False, 9, 0, 0, 0, ()).encode()[1] == 0
    assert Opened(4).encode() == b"O" + struct.pack(">Q", 4)


@given(PACKETS)
def test_round_trip(packet: Packet) -> None:
    assert decode(packet.encode()) == packet


@pytest.mark.parametrize("packet", EXAMPLES, ids=lambda packet: type(packet).__name__)
def test_every_truncation_and_a_byte_too_many_are_refused(packet: Packet) -> None:
    data = packet.encode()
    for length in range(len(data)):
        assert decode(data[:length]) is None
    assert decode(data + b"\0") is None


@given(PACKETS, st.integers(0, 60), st.binary(max_size=40))
def test_a_packet_with_another_end_never_raises(packet: Packet, kept: int, end: bytes) -> None:
    found = decode(packet.encode()[:kept] + end)
    assert found is None or isinstance(found, Packet)


@given(st.sampled_from(b"ACEGHOPQVXac\0\xff"), st.binary(max_size=80))
def test_garbage_never_raises(kind: int, rest: bytes) -> None:
    found = decode(bytes([kind]) + rest)
    assert found is None or isinstance(found, Packet)
    assert found is None or kind in b"ACEGHOPQV"


def test_a_name_that_is_not_ascii_is_refused() -> None:
    assert decode(b"P" + struct.pack(">Q6sQ", 3, b"S\xffQ1  ", 5)) is None
    assert decode(b"E" + struct.pack(">Q6sH", 3, b"\xe4     ", 0)) is None


def test_a_table_beyond_the_limit_is_refused() -> None:
    rows = b"".join(struct.pack(">QQ", n, n) for n in range(1, EPOCH_LIMIT + 2))
    head = struct.Struct(">cQ6sH")
    assert decode(head.pack(b"E", 1, b"SEQ1  ", EPOCH_LIMIT + 1) + rows) is None
    assert decode(head.pack(b"E", 1, b"SEQ1  ", EPOCH_LIMIT) + rows[16:]) is not None


def test_of_a_table_beyond_the_limit_the_latest_rows_are_told() -> None:
    rows = tuple((n, n) for n in range(1, EPOCH_LIMIT + 3))
    found = decode(Epochs(1, "SEQ1", rows).encode())
    assert isinstance(found, Epochs)
    assert found.table == rows[2:]
    answer = decode(Answer(1, "SEQ1", True, 1, 0, 5, 5, rows).encode())
    assert isinstance(answer, Answer)
    assert answer.table == rows[2:]
    assert len(answer.encode()) < 1 << 16


@pytest.mark.parametrize(
    ("adopted", "last", "table", "rank"),
    [
        (0, 0, (), (0, 0)),
        (0, 9, ((1, 1), (3, 7)), (3, 9)),
        (5, 9, ((1, 1), (3, 7)), (5, 9)),
        (2, 9, ((1, 1), (3, 7)), (3, 9)),
    ],
)
def test_a_log_ranks_by_its_last_epoch_and_then_by_its_length(
    adopted: int, last: int, table: tuple[tuple[int, int], ...], rank: tuple[int, int]
) -> None:
    assert Answer(9, "SEQ1", True, 1, adopted, last, 0, table).rank == rank


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
