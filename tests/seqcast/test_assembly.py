"""From records to messages: runs, fragments, and the records that are no messages."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_stream import END, Entry, data, epoch, fragments, records

from native.messages import Messages
from rewinder.record import Flags, Stamp
from seqcast import assembly as module
from seqcast.assembly import Assembly
from seqcast.errors import StateDamaged


def opened(assembly: Assembly, batch: Messages, limit: int = 4096) -> list[tuple[int, bytes, str]]:
    """Everything the batch gives."""
    found = []
    start = 0
    while start < len(batch):
        part, taken = assembly.open(batch.after(start), limit)
        assert taken > 0
        start += taken
        if part is not None:
            assert 0 < len(part) <= limit
            found += [(message.number, message.payload, message.sender) for message in part]
    return found


def test_whole_messages_come_in_one_batch() -> None:
    batch = records(*(data(b"m%d" % n, n) for n in range(1, 6)))
    part, taken = Assembly(16).open(batch, 4096)
    assert part is not None
    assert (len(part), taken) == (5, 5)
    message = part[2]
    assert (message.number, message.payload, message.sender) == (3, b"m3", "ALPHA")
    assert (message.sender_sequence, message.time_ns) == (3, 1003)
    assert part[-1].payload == b"m5"
    assert [m.payload for m in part[1:3]] == [b"m2", b"m3"]
    assert (part.first_number, part.last_number) == (1, 5)
    assert part.arrays().times.tolist() == [1001, 1002, 1003, 1004, 1005]


def test_a_limit_cuts_the_batch_and_loses_nothing() -> None:
    batch = records(*(data(b"m%d" % n, n) for n in range(1, 8)))
    assert [payload for _, payload, _ in opened(Assembly(16), batch, limit=3)] == [
        b"m%d" % n for n in range(1, 8)
    ]


def test_control_records_are_not_messages() -> None:
    assembly = Assembly(16)
    reserved = (b"later", Stamp(1, 0, b"SEQ1  ", 9))
    assert opened(assembly, records(epoch(4), data(b"x", 1), reserved, END)) == [(2, b"x", "ALPHA")]
    assert (assembly.epoch, assembly.ended) == (4, 4)


def test_fragments_of_two_senders_are_joined() -> None:
    assembly = Assembly(16)
    batch = records(
        data(b"ab", 1, Flags.FIRST),
        data(b"12", 1, Flags.FIRST, b"BETA  "),
        data(b"cd", 2, 0),
        data(b"34", 2, Flags.LAST, b"BETA  "),
        data(b"ef", 3, Flags.LAST),
    )
    assert opened(assembly, batch) == [(4, b"1234", "BETA"), (5, b"abcdef", "ALPHA")]
    assert (assembly.joined, assembly.broken) == (2, 0)


def test_half_a_message_is_never_delivered() -> None:
    assembly = Assembly(16)
    batch = records(
        data(b"tail", 5, Flags.LAST),  # we came in in the middle
        data(b"ab", 6, Flags.FIRST),
        data(b"xy", 8, 0),  # 7 is not there
        data(b"zz", 9, Flags.LAST),
        data(b"ab", 10, Flags.FIRST),
        data(b"cd", 11, Flags.FIRST),  # a restart of the sender's application
        data(b"ef", 12, Flags.LAST),
        data(b"whole", 13),
    )
    assert opened(assembly, batch) == [(7, b"cdef", "ALPHA"), (8, b"whole", "ALPHA")]
    assert (assembly.broken, assembly.stray, assembly.held, assembly.held_bytes) == (2, 3, 0, 0)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_batch_has_room_for_a_message(limit: int) -> None:
    with pytest.raises(ValueError, match="at most"):
        Assembly(16).open(records(data(b"x", 1)), limit)


def test_a_sender_who_went_on_to_the_next_message_is_not_waited_for() -> None:
    assembly = Assembly(16)
    batch = records(
        data(b"ab", 1, Flags.FIRST),
        data(b"12", 1, Flags.FIRST, b"BETA  "),
        data(b"whole", 2),
        data(b"34", 2, Flags.LAST, b"BETA  "),
    )
    assert opened(assembly, batch) == [(3, b"whole", "ALPHA"), (4, b"1234", "BETA")]
    assert (assembly.broken, assembly.joined, assembly.held, assembly.held_bytes) == (1, 1, 0, 0)


def test_fragments_across_batches() -> None:
    assembly = Assembly(16)
    assert opened(assembly, records(data(b"ab", 1, Flags.FIRST), first=10)) == []
    assert opened(assembly, records(data(b"cd", 2, Flags.LAST), first=11)) == [(11, b"abcd", "ALPHA")]


def test_a_message_that_never_ends_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MESSAGE_LIMIT_BYTES", 5)
    assembly = Assembly(16)
    batch = records(
        data(b"abc", 1, Flags.FIRST), data(b"def", 2, 0), data(b"g", 3, Flags.LAST), data(b"ok", 4)
    )
    assert opened(assembly, batch) == [(4, b"ok", "ALPHA")]
    assert (assembly.overlong, assembly.stray, assembly.broken, assembly.held_bytes) == (1, 1, 0, 0)


LARGEST = 16 << 20


def joined(payload: bytes) -> tuple[Assembly, list[tuple[int, bytes, str]]]:
    """An assembly that got this message in fragments of 60,000 bytes, and what it gave."""
    assembly = Assembly(512)
    return assembly, opened(assembly, records(*fragments(payload, 1, 60_000)))


def test_the_largest_message_passes() -> None:
    payload = bytes(range(256)) * (LARGEST // 256)
    assembly, got = joined(payload)
    assert got == [(-(-LARGEST // 60_000), payload, "ALPHA")]
    assert (assembly.overlong, assembly.held_bytes) == (0, 0)


def test_one_byte_more_is_dropped_and_counted_once() -> None:
    assembly, got = joined(bytes(LARGEST + 1))
    assert got == []
    assert (assembly.overlong, assembly.joined, assembly.held, assembly.held_bytes) == (1, 0, 0, 0)


def test_joining_costs_the_same_for_each_fragment() -> None:
    times = []
    for size in (LARGEST // 16, LARGEST):
        batch = records(*fragments(bytes(size), 1, 1400))
        best = float("inf")
        for _ in range(3):
            started = time.perf_counter()
            part, _ = Assembly(16).open(batch, 16)
            best = min(best, time.perf_counter() - started)
            assert part is not None
        times.append(best)
    assert times[1] < 70 * times[0]  # 16 when it is linear, 256 when it is quadratic


def test_senders_with_a_message_in_hand_are_bounded() -> None:
    assembly = Assembly(16)
    for n in range(module.PARTIAL_LIMIT + 10):
        opened(assembly, records(data(b"x", 1, Flags.FIRST, b"%06d" % n), first=n + 1))
    assert (assembly.evicted, assembly.held) == (10, module.PARTIAL_LIMIT)
    assert assembly.held_bytes == module.PARTIAL_LIMIT


def test_the_message_continued_longest_ago_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD_LIMIT_BYTES", 10)
    assembly = Assembly(16)
    batch = records(
        data(b"1111", 1, Flags.FIRST, b"A     "),
        data(b"2222", 1, Flags.FIRST, b"DEAD  "),
        data(b"11", 2, 0, b"A     "),  # ten bytes: there is room for them
        data(b"3", 1, Flags.FIRST, b"B     "),  # and not for an eleventh
        data(b"1", 3, Flags.LAST, b"A     "),
        data(b"2", 2, Flags.LAST, b"DEAD  "),
        data(b"3", 2, Flags.LAST, b"B     "),
    )
    assert opened(assembly, batch) == [(5, b"1111111", "A"), (7, b"33", "B")]
    assert (assembly.evicted, assembly.stray, assembly.held, assembly.held_bytes) == (1, 1, 0, 0)


def test_a_message_is_not_dropped_for_its_own_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD_LIMIT_BYTES", 4)
    monkeypatch.setattr(module, "MESSAGE_LIMIT_BYTES", 4)
    assembly = Assembly(16)
    assert opened(assembly, records(*fragments(b"abcd", 1, 1))) == [(4, b"abcd", "ALPHA")]
    assert assembly.evicted == 0


# state


def in_hand() -> Assembly:
    """An assembly between the fragments of two senders, in epoch 5."""
    assembly = Assembly(16)
    batch = records(epoch(5), *fragments(b"abcdef", 1, 2)[:2], *fragments(b"", 1, 1, b"B     "))
    assert opened(assembly, batch) == [(4, b"", "B")]
    assert opened(assembly, records(data(b"", 2, Flags.FIRST, b"B     "), first=5)) == []
    return assembly


def restored(state: bytes) -> Assembly:
    assembly = Assembly(16)
    assembly.restore(state)
    return assembly


def test_a_restored_assembly_goes_on_within_a_message() -> None:
    assembly = restored(in_hand().state())
    assert (assembly.epoch, assembly.ended, assembly.held, assembly.held_bytes) == (5, None, 2, 4)
    rest = records(data(b"xy", 3, Flags.LAST, b"B     "), data(b"ef", 3, Flags.LAST), END, first=6)
    assert opened(assembly, rest) == [(6, b"xy", "B"), (7, b"abcdef", "ALPHA")]
    assert restored(assembly.state()).ended == 8


def test_a_state_is_a_copy() -> None:
    first = in_hand()
    state = first.state()
    opened(first, records(data(b"ef", 3, Flags.LAST), first=6))
    again = restored(state)
    assert again.state() == state
    assert opened(again, records(data(b"EF", 3, Flags.LAST), first=6)) == [(6, b"abcdEF", "ALPHA")]


def test_restoring_replaces_what_was_in_hand() -> None:
    assembly = in_hand()
    assembly.restore(Assembly(16).state())
    assert (assembly.epoch, assembly.held, assembly.held_bytes) == (0, 0, 0)


def test_the_state_before_a_message_was_complete() -> None:
    assembly = Assembly(16)
    part, taken = assembly.open(records(*fragments(b"abcdef", 1, 2), data(b"x", 4)), 8)
    assert (part is not None, taken) == (True, 3)
    before, after = restored(assembly.state(3)), restored(assembly.state())
    assert (before.held_bytes, after.held_bytes) == (4, 0)
    last = records(fragments(b"abcdef", 1, 2)[2], first=3)
    assert opened(before, last) == [(3, b"abcdef", "ALPHA")]
    assert opened(after, last) == []
    assembly.open(records(data(b"x", 4), first=4), 8)
    assert restored(assembly.state(4)).held == 0


def test_every_damage_of_a_state_is_found() -> None:
    state = in_hand().state()
    for length in range(len(state)):
        with pytest.raises(StateDamaged):
            restored(state[:length])
    for position in range(len(state)):
        damaged = bytearray(state)
        damaged[position] ^= 1
        with pytest.raises(StateDamaged):
            restored(bytes(damaged))
    with pytest.raises(StateDamaged):
        restored(state + b"\0")


@given(st.binary(max_size=200))
def test_garbage_is_no_state(garbage: bytes) -> None:
    assembly = in_hand()
    before = assembly.state()
    with pytest.raises(StateDamaged):
        assembly.restore(garbage)
    assert assembly.state() == before


def signed(*, version: int = 1, count: int, rows: bytes) -> bytes:
    """A state with a good checksum over what is said here."""
    body = b"SEQASSEM" + version.to_bytes(4, "big") + count.to_bytes(4, "big") + bytes(16) + rows
    return body + module.crc32c(body).to_bytes(4, "big")


ROW = b"ALPHA \0\0" + (9).to_bytes(8, "big")


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (signed(version=2, count=0, rows=b""), "version 2"),
        (signed(count=1, rows=b""), "as long as it says"),
        (signed(count=0, rows=b"x"), "as long as it says"),
        (signed(count=2**32 - 1, rows=b""), "as long as it says"),
        (signed(count=1, rows=ROW + b"\xff\xff\xff\xff"), "as long as it says"),
        (signed(count=2, rows=(ROW + bytes(4)) * 2), "as long as it says"),  # one sender twice
        (
            signed(count=1025, rows=b"".join(b"%06d" % n + ROW[6:] + bytes(4) for n in range(1025))),
            "more than allowed",
        ),
    ],
)
def test_a_state_that_says_nonsense_is_refused(state: bytes, reason: str) -> None:
    with pytest.raises(StateDamaged, match=reason):
        restored(state)


def test_a_state_beyond_the_limit_of_bytes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    state = in_hand().state()
    monkeypatch.setattr(module, "HELD_LIMIT_BYTES", 3)
    with pytest.raises(StateDamaged, match="more than allowed"):
        restored(state)


@given(
    st.lists(st.tuples(st.sampled_from([b"A     ", b"B     "]), st.binary(max_size=30)), max_size=12),
    st.data(),
)
def test_any_interleaving_gives_each_senders_messages_in_order(
    sent: list[tuple[bytes, bytes]], source: st.DataObject
) -> None:
    queues: dict[bytes, list[Entry]] = {b"A     ": [], b"B     ": []}
    for sender, payload in sent:
        parts = [payload[i : i + 8] for i in range(0, len(payload), 8)] or [b""]
        for position, part in enumerate(parts):
            flags = (position == 0) * Flags.FIRST | (position == len(parts) - 1) * Flags.LAST
            queues[sender].append(data(part, len(queues[sender]) + 1, flags, sender))
    merged = []
    while any(queues.values()):
        sender = source.draw(st.sampled_from([key for key, queue in queues.items() if queue]))
        merged.append(queues[sender].pop(0))
    got = opened(Assembly(16), records(*merged)) if merged else []
    for sender in queues:
        name = sender.decode().strip()
        assert [payload for _, payload, who in got if who == name] == [p for s, p in sent if s == sender]
