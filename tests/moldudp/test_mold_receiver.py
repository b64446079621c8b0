"""The receiver machine by whole lists of events; then at random against the oracle, on lossy lines."""

from __future__ import annotations

import random

import oracle_mold
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moldudp import FIRST_SEEN, MOLDUDP, MOLDUDP64, Codec, Faults, Foreign, Gap, LocalProtocolError, Receiver

SESSION = b"SESS000001"
CODECS = st.sampled_from([MOLDUDP64, MOLDUDP])


def message(number: int) -> bytes:
    return b"%d." % number * (number % 7 + 1)


def data(codec: Codec, first: int, count: int, session: bytes = SESSION) -> bytes:
    return oracle_mold.encode(codec.name, session, first, [message(first + i) for i in range(count)])


def receiver_of(codec: Codec, **settings: object) -> Receiver:
    return Receiver(codec=codec, random=random.Random(1), **settings)


def take(receiver: Receiver) -> list[int]:
    """All numbers that can be delivered now; each message must be the one of its number."""
    numbers = []
    while batch := receiver.messages():
        assert batch.payloads() == [message(number) for number in batch.numbers]
        numbers += batch.numbers
    return numbers


def play(receiver: Receiver, datagrams: list[bytes]) -> list[list[int]]:
    """What each datagram lets through."""
    delivered = []
    for datagram in datagrams:
        receiver.receive_datagram(datagram, 0)
        delivered.append(take(receiver))
    return delivered


def test_in_order(codec: Codec) -> None:
    receiver = receiver_of(codec)
    assert play(receiver, [data(codec, 1, 2), data(codec, 3, 1), codec.heartbeat(SESSION, 4)]) == [
        [1, 2],
        [3],
        [],
    ]
    assert (receiver.session, receiver.next_number, receiver.highest) == (SESSION, 4, 4)
    assert receiver.gaps() == []
    counters = receiver.counters
    assert (counters.datagrams, counters.messages, counters.heartbeats) == (3, 3, 1)


def test_reordered_duplicated_overlapping(codec: Codec) -> None:
    receiver = receiver_of(codec)
    datagrams = [data(codec, *packet) for packet in [(4, 2), (1, 2), (1, 2), (8, 1), (2, 3), (5, 3), (9, 1)]]
    assert play(receiver, datagrams) == [[], [1, 2], [], [], [3, 4, 5], [6, 7, 8], [9]]
    assert receiver.counters.duplicates == 2 + 1 + 1 + 1
    assert receiver.counters.held == 0


def test_gaps_are_told(codec: Codec) -> None:
    receiver = receiver_of(codec)
    play(receiver, [data(codec, 3, 1), data(codec, 6, 2), codec.heartbeat(SESSION, 12)])
    assert receiver.gaps() == [Gap(1, 2), Gap(4, 2), Gap(8, 4)]
    assert receiver.gaps(limit=2) == [Gap(1, 2), Gap(4, 2)]
    assert (receiver.next_number, receiver.highest, receiver.counters.held) == (1, 12, 2)


def test_first_packet_fixes_the_session(codec: Codec) -> None:
    receiver = receiver_of(codec)
    assert receiver.session is None
    play(receiver, [b"too short", codec.header(b"OTHER     ", 0, 1), codec.header(b"OTHER     ", 1, 1)])
    assert receiver.session is None
    assert play(receiver, [data(codec, 1, 1), data(codec, 2, 1, b"OTHER     ")]) == [[1], []]
    assert receiver.session == SESSION
    counters = receiver.counters
    assert (counters.malformed, counters.impossible, counters.foreign_session) == (2, 1, 1)


def test_heard(codec: Codec) -> None:
    """Bad datagrams, and what came by another way, are not the stream being heard."""
    receiver = receiver_of(codec, session=SESSION)
    play(receiver, [b"short", codec.heartbeat(b"OTHER     ", 5), codec.heartbeat(SESSION, 0)])
    receiver.advance(5)
    assert not receiver.heard
    play(receiver, [codec.heartbeat(SESSION, 5)])
    assert receiver.heard


def test_configured_session_is_padded(codec: Codec) -> None:
    receiver = receiver_of(codec, session="SESS1")
    assert play(receiver, [data(codec, 1, 1), data(codec, 1, 1, b"SESS1     ")]) == [[], [1]]
    assert receiver.counters.foreign_session == 1


def test_session_is_ten_raw_bytes(codec: Codec) -> None:
    receiver = receiver_of(codec)
    assert play(receiver, [data(codec, 1, 1, bytes(10)), data(codec, 2, 1, b" " * 10)]) == [[1], []]


def test_start_in_the_middle(codec: Codec) -> None:
    receiver = receiver_of(codec, start=5)
    assert play(receiver, [data(codec, 3, 3), data(codec, 1, 2)]) == [[5], []]


def test_first_seen(codec: Codec) -> None:
    receiver = receiver_of(codec, start=FIRST_SEEN)
    assert (receiver.next_number, receiver.gaps(), receiver.deadline_ns()) == (0, [], None)
    assert play(receiver, [data(codec, 70, 1), data(codec, 69, 1), data(codec, 71, 1)]) == [[70], [], [71]]
    receiver = receiver_of(codec, start=FIRST_SEEN)
    assert play(receiver, [codec.heartbeat(SESSION, 70), data(codec, 71, 1)]) == [[], []]
    assert receiver.gaps() == [Gap(70, 1)]


def test_end_of_session_waits_for_what_is_missing(codec: Codec) -> None:
    receiver = receiver_of(codec)
    play(receiver, [data(codec, 1, 1), codec.end_of_session(SESSION, 4)])
    assert (receiver.end_number, receiver.ended, receiver.gaps()) == (4, False, [Gap(2, 2)])
    play(receiver, [data(codec, 2, 2)])
    assert receiver.ended
    assert play(receiver, [data(codec, 4, 2), codec.heartbeat(SESSION, 6)]) == [[], []]
    assert (receiver.counters.after_end, receiver.highest, receiver.gaps()) == (3, 4, [])
    assert receiver.counters.ends == 1


def test_end_of_session_below_what_was_heard_is_ignored(codec: Codec) -> None:
    receiver = receiver_of(codec)
    datagrams = [data(codec, 1, 1), data(codec, 4, 2), codec.end_of_session(SESSION, 2), data(codec, 2, 2)]
    assert play(receiver, datagrams) == [[1], [], [], [2, 3, 4, 5]]
    assert (receiver.end_number, receiver.counters.early_ends) == (None, 1)


def test_marker_that_is_requested_again_ends_moldudp() -> None:
    """A MoldUDP peer that counts its marker beats with the number after it, which is then missing."""
    receiver = receiver_of(MOLDUDP)
    play(receiver, [data(MOLDUDP, 1, 2), MOLDUDP.heartbeat(SESSION, 4)])
    assert receiver.gaps() == [Gap(3, 1)]
    play(receiver, [MOLDUDP.end_of_session(SESSION, 3)])
    assert (receiver.ended, receiver.next_number, receiver.gaps()) == (True, 3, [])


def test_advance(codec: Codec) -> None:
    receiver = receiver_of(codec)
    play(receiver, [data(codec, 4, 2), data(codec, 10, 2), codec.heartbeat(SESSION, 15)])
    receiver.advance(7)
    assert (receiver.next_number, receiver.gaps(), receiver.counters.held) == (7, [Gap(7, 3), Gap(12, 3)], 1)
    receiver.advance(3)
    assert receiver.next_number == 7
    for number in (-1, codec.number_max + 2):
        with pytest.raises(LocalProtocolError, match="cannot number"):
            receiver.advance(number)
    receiver.advance(11)
    assert take(receiver) == [11]
    receiver.advance(20)
    assert (receiver.next_number, receiver.highest, receiver.gaps()) == (20, 20, [])


def test_advance_to_the_end(codec: Codec) -> None:
    receiver = receiver_of(codec)
    play(receiver, [codec.end_of_session(SESSION, 9)])
    receiver.advance(9)
    assert receiver.ended


def test_table_smaller_than_a_packet(codec: Codec) -> None:
    receiver = receiver_of(codec, table_rows=3)
    receiver.receive_datagram(data(codec, 1, 8), 0)
    assert receiver.messages().numbers == [1, 2, 3]
    assert receiver.gaps() == []
    receiver.receive_datagram(data(codec, 9, 1), 0)
    assert [receiver.messages().numbers for _ in range(4)] == [[4, 5, 6], [7, 8, 9], [], []]


def test_messages_outlive_their_receiver() -> None:
    """The memory of a message is owned by whoever still looks at it."""
    receiver = receiver_of(MOLDUDP64)
    receiver.receive_datagram(data(MOLDUDP64, 1, 1), 0)
    view = receiver.messages()[0]
    del receiver
    assert view == message(1)
    assert view.readonly


def test_pool_exhaustion_keeps_the_newest(codec: Codec) -> None:
    receiver = receiver_of(codec, held_datagrams=4, batch=2)
    play(receiver, [data(codec, number, 1) for number in (10, 12, 14, 16, 18, 20)])
    assert (receiver.counters.evicted, receiver.counters.held) == (2, 4)
    assert receiver.gaps() == [Gap(1, 13), Gap(15, 1), Gap(17, 1), Gap(19, 1)]
    filled = play(receiver, [data(codec, first, 1) for first in range(1, 20)])
    assert [number for numbers in filled for number in numbers] == list(range(1, 21))
    assert receiver.counters.held == 0


def test_pool_full_of_unread_datagrams_is_the_callers_fault(codec: Codec) -> None:
    receiver = receiver_of(codec, held_datagrams=4, batch=2)
    for number in range(1, 7):
        receiver.receive_datagram(data(codec, number, 1), 0)
    with pytest.raises(LocalProtocolError, match="messages"):
        receiver.receive_datagram(data(codec, 7, 1), 0)
    assert take(receiver) == [1, 2, 3, 4, 5, 6]
    assert play(receiver, [data(codec, 7, 1)]) == [[7]]


def test_impossible_numbers(codec: Codec) -> None:
    receiver = receiver_of(codec, max_jump=1000)
    lies = [codec.header(SESSION, 0, 0), codec.end_of_session(SESSION, 0), codec.heartbeat(SESSION, 1002)]
    lies += [data(codec, 1001, 1), codec.header(SESSION, codec.number_max + 1, 2) + bytes(4)]
    play(receiver, lies)
    assert receiver.counters.impossible == len(lies)
    assert (receiver.highest, receiver.session) == (1, None)
    play(receiver, [data(codec, 1000, 1)])
    assert receiver.highest == 1001


def test_lines_are_counted_apart(codec: Codec) -> None:
    receiver = receiver_of(codec)
    receiver.receive_datagram(data(codec, 1, 3), 0, line=0)
    receiver.receive_datagram(data(codec, 1, 2), 0, line=1)
    assert take(receiver) == [1, 2, 3]
    assert receiver.counters.line_datagrams == (1, 1, 0, 0)
    assert receiver.counters.line_highest == (4, 3, 0, 0)
    for line in (-1, 4):
        with pytest.raises(LocalProtocolError, match=f"line {line}"):
            receiver.receive_datagram(b"", 0, line=line)
        with pytest.raises(LocalProtocolError, match=f"line {line}"):
            receiver.receive_from(0, 0, line=line)


def test_overlong_datagram(codec: Codec) -> None:
    receiver = receiver_of(codec, datagram_bytes=100)
    assert play(receiver, [codec.pack(SESSION, 1, [bytes(100)], 200)[0], data(codec, 1, 1)]) == [[], [1]]
    assert receiver.counters.overlong == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"held_datagrams": 0},
        {"batch": 0},
        {"table_rows": 0},
        {"datagram_bytes": 15},
        {"datagram_bytes": 2**31},
        {"start": -1},
        {"start": 2**64},
        {"session": "ELEVEN CHAR"},
        {"max_jump": -1},
    ],
    ids=str,
)
def test_limits_out_of_range(codec: Codec, settings: dict[str, object]) -> None:
    with pytest.raises(LocalProtocolError):
        receiver_of(codec, **settings)


@settings(max_examples=200)
@given(CODECS, st.lists(st.binary(max_size=80), max_size=20), st.booleans())
def test_arbitrary_datagrams_never_raise(codec: Codec, datagrams: list[bytes], same_session: bool) -> None:
    receiver = receiver_of(codec, session=SESSION if same_session else None, held_datagrams=3, batch=1)
    expected = 1
    for datagram in datagrams:
        receiver.receive_datagram(SESSION + datagram if same_session else datagram, 0)
        while batch := receiver.messages():
            assert batch.numbers == list(range(expected, expected + len(batch)))
            expected += len(batch)
        assert all(gap.count > 0 for gap in receiver.gaps())
        assert receiver.next_number == expected


def test_lines_are_heard_by_what_is_good(codec: Codec) -> None:
    receiver = receiver_of(codec)
    good, heartbeat = data(codec, 1, 2), codec.heartbeat(SESSION, 3)
    for datagram, line in (
        (good, 0),
        (good, 1),
        (heartbeat, 1),
        (b"junk", 1),
        (data(codec, 3, 1, b"X" * 10), 0),
    ):
        receiver.receive_datagram(datagram, 0, line)
    assert take(receiver) == [1, 2]
    counters = receiver.counters
    assert counters.line_datagrams == (2, 3, 0, 0)
    assert counters.line_heard == receiver.lines.heard == (1, 2, 0, 0)
    assert counters.line_highest == receiver.lines.highest == (3, 3, 0, 0)


def test_the_other_session_is_kept_in_view(codec: Codec) -> None:
    receiver = receiver_of(codec, session=SESSION)
    assert receiver.foreign is None
    other = b"OTHER     "
    play(receiver, [data(codec, 7, 3, other), data(codec, 1, 1), codec.heartbeat(other, 9)])
    assert receiver.foreign == Foreign(other, 2, 10)
    play(receiver, [codec.heartbeat(b"\xff" * 10, 1)])
    assert receiver.foreign == Foreign(b"\xff" * 10, 1, 1)
    play(receiver, [codec.heartbeat(other, 9)])
    assert receiver.foreign == Foreign(other, 1, 9)
    play(receiver, [codec.end_of_session(other, 9)])
    assert receiver.foreign is None
    assert (receiver.counters.foreign_session, receiver.next_number) == (5, 2)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("data"), st.integers(1, 60), st.integers(1, 8)),
        st.tuples(st.just("heartbeat"), st.integers(1, 70), st.just(0)),
        st.tuples(st.just("advance"), st.integers(1, 40), st.just(0)),
        st.tuples(st.just("deliver"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=300)
@given(CODECS, STEPS, st.integers(1, 5))
def test_receiver_equals_the_oracle(codec: Codec, steps: list[tuple[str, int, int]], table_rows: int) -> None:
    receiver = receiver_of(codec, table_rows=table_rows)
    oracle = oracle_mold.Reception()

    def deliver() -> None:
        assert take(receiver) == [number for number, _ in oracle.deliver()]
        assert receiver.next_number == oracle.next_number
        assert receiver.highest == oracle.highest
        assert [(gap.first, gap.count) for gap in receiver.gaps()] == oracle.gaps()

    for action, first, count in steps:
        if action == "data":
            receiver.receive_datagram(data(codec, first, count), 0)
            oracle.take(first, [message(first + i) for i in range(count)])
        elif action == "heartbeat":
            receiver.receive_datagram(codec.heartbeat(SESSION, first), 0)
            oracle.take(first, [])
        elif action == "advance":
            deliver()
            receiver.advance(first)
            oracle.advance(first)
        if action in {"deliver", "advance"}:
            deliver()
    deliver()


def split(codec: Codec, last: int, chance: random.Random) -> list[bytes]:
    """Messages 1..last in packets of a random size."""
    packets, first = [], 1
    while first <= last:
        count = min(chance.randint(1, 9), last - first + 1)
        packets.append(data(codec, first, count))
        first += count
    return packets


@pytest.mark.parametrize("seed", range(10))
def test_two_bad_lines_make_one_good_stream(codec: Codec, seed: int) -> None:
    """Lines with different packets, loss, duplicates and reordering; what both lose is filled by hand."""
    last = 2000
    chance = random.Random(seed)
    receiver = receiver_of(codec, held_datagrams=64 if seed % 2 else 4096)
    faults = Faults(receiver, chance, loss=0.1, duplicate=0.1, reorder=0.2)
    lines = [split(codec, last, chance), split(codec, last, chance)]
    delivered: list[int] = []
    while any(lines):
        line = chance.choice([line for line in (0, 1) if lines[line]])
        faults.receive_datagram(lines[line].pop(0), 0, line)
        delivered += take(receiver)
        if chance.random() < 0.02:
            for gap in receiver.gaps():
                packet, _ = codec.pack(
                    SESSION, gap.first, [message(gap.first + i) for i in range(gap.count)], 1400
                )
                faults.receive_datagram(packet, 0, 2)
                delivered += take(receiver)
    faults.flush(0)
    delivered += take(receiver)
    receiver.receive_datagram(codec.end_of_session(SESSION, last + 1), 0)
    while not receiver.ended:
        delivered += take(receiver)
        for gap in receiver.gaps():
            count = min(gap.count, 20)
            receiver.receive_datagram(data(codec, gap.first, count), 0)
            delivered += take(receiver)
    assert delivered == list(range(1, last + 1))
    counters = receiver.counters
    assert (counters.messages, counters.held, counters.malformed, counters.impossible) == (last, 0, 0, 0)
    assert faults.counters.lost > 0
    assert faults.counters.lost_messages >= faults.counters.lost
