"""Batches of messages: one at a time, by index, as columns, as arrays, and copied."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_stream import Entry, data, fragments, records

from native.messages import Messages
from seqcast import batch as module
from seqcast.assembly import Assembly
from seqcast.batch import Batch, Message

SENDERS = [b"ALPHA ", b"B     ", b"GAMMA1"]


def opened(messages: Messages) -> Batch:
    """The first batch of these records."""
    batch, _ = Assembly(64).open(messages, 64)
    assert batch is not None
    return batch


def some(count: int, first: int = 1) -> tuple[Batch, list[Message]]:
    """A batch, and the messages that must come out of it."""
    entries: list[Entry] = [
        data(b"%d" % n * (n % 5), n // 3 + 1, sender=SENDERS[n % 3]) for n in range(count)
    ]
    wanted = [
        Message(first + i, payload, stamp.sender.decode().rstrip(), stamp.sender_sequence, stamp.time_ns)
        for i, (payload, stamp) in enumerate(entries)
    ]
    return (opened(records(*entries, first=first)) if entries else Batch.empty()), wanted


@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_iterating_and_indexing_give_the_same_messages(count: int) -> None:
    batch, wanted = some(count, first=2**40)
    assert list(batch) == wanted
    assert [batch[i] for i in range(count)] == [batch[i - count] for i in range(count)] == wanted
    assert len(batch) == count
    assert batch.senders == [message.sender for message in wanted]
    assert [bytes(payload) for payload in batch.payloads] == [message.payload for message in wanted]
    for index in (count, -count - 1):
        with pytest.raises(IndexError):
            batch[index]


@given(st.slices(12))
def test_slices_are_those_of_a_list(cut: slice) -> None:
    batch, wanted = some(12)
    assert batch[cut] == wanted[cut]


def test_a_message_cannot_change_and_is_a_copy() -> None:
    table = records(data(b"one", 1), data(b"two", 2))
    one, two = opened(table)
    indexed = opened(table)[1]
    with pytest.raises(AttributeError):
        one.number = 5  # type: ignore[misc]
    table.buffer[:] = bytes(len(table.buffer))
    assert (one.payload, two.payload, indexed.payload) == (b"one", b"two", b"two")
    assert type(one.payload) is bytes
    assert one == (1, b"one", "ALPHA", 1, 1001)
    assert isinstance(one, Message)
    assert hash(one) == hash((1, b"one", "ALPHA", 1, 1001))


def test_payloads_are_views_without_a_copy() -> None:
    batch = opened(records(data(b"one", 1), data(b"two", 2)))
    batch.buffer[batch.payloads.offsets[1]] = ord("T")
    assert isinstance(batch.payloads[1], memoryview)
    assert bytes(batch.payloads[1]) == b"Two"
    assert batch[1].payload == b"Two"


def test_sender_names_are_decoded_once_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    names = module._Names()
    monkeypatch.setattr(module, "_names", names)
    monkeypatch.setattr(module, "SENDER_NAMES_KEPT", 3)
    first, second = opened(records(data(b"x", 1), data(b"y", 2)))
    assert first.sender is second.sender
    senders = [b"A%d    " % n for n in range(9)]
    batch = opened(records(*(data(b"x", 1, sender=sender) for sender in senders)))
    assert [message.sender for message in batch] == [f"A{n}" for n in range(9)]
    assert len(names) <= 3


def test_a_name_that_is_not_ascii_stops_nothing() -> None:
    batch = opened(records(data(b"x", 1, sender=b"\xff\x00B   "), data(b"y", 1)))
    assert [message.sender for message in batch] == [batch[0].sender, "ALPHA"]


def test_a_joined_message_has_the_sender_of_its_last_fragment() -> None:
    batch = opened(records(*fragments(b"abcdef", 5, 2, b"BETA  "), first=9))
    assert list(batch) == batch[:] == [Message(11, b"abcdef", "BETA", 7, 1007)]


# arrays


def test_arrays_are_views_of_the_columns() -> None:
    batch, wanted = some(20)
    arrays = batch.arrays()
    assert arrays.numbers.tolist() == [message.number for message in wanted]
    assert arrays.times.tolist() == [message.time_ns for message in wanted]
    assert arrays.sequences.tolist() == [message.sender_sequence for message in wanted]
    assert [bytes(name).decode().rstrip() for name in arrays.senders] == [m.sender for m in wanted]
    spans = zip(arrays.offsets.tolist(), arrays.lengths.tolist(), strict=True)
    assert [bytes(batch.buffer[at : at + size]) for at, size in spans] == [m.payload for m in wanted]
    assert [column.dtype.str[1:] for column in arrays] == ["u8", "u4", "u4", "u8", "u8", "S6"]
    assert arrays.numbers.base is not None
    assert not any(column.flags.owndata or column.flags.writeable for column in arrays)


def test_arrays_see_the_table_and_not_a_copy() -> None:
    assembly = Assembly(8)
    batch, _ = assembly.open(records(data(b"x", 1), first=4), 8)
    assert batch is not None
    arrays = batch.arrays()
    assembly.open(records(data(b"y", 2), first=5), 8)
    assert (arrays.numbers[0], arrays.sequences[0]) == (5, 2)


def test_arrays_of_no_messages() -> None:
    assert [len(column) for column in Batch.empty().arrays()] == [0] * 6


def test_arrays_without_numpy_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    batch, wanted = some(3)
    with pytest.raises(ImportError, match=r"needs NumPy.*pip install 'seqcast\[numpy\]'"):
        batch.arrays()
    assert list(batch) == wanted


# copies


@pytest.mark.parametrize("count", [0, 1, 30])
def test_a_copy_outlives_the_next_poll(count: int) -> None:
    assembly = Assembly(64)
    table = records(*(data(b"%d" % n * (n % 4), n) for n in range(1, count + 1)), first=7)
    batch, _ = assembly.open(table, 64) if count else (Batch.empty(), 0)
    assert batch is not None
    wanted = list(batch)
    copy = batch.copy()
    table.buffer[:] = bytes(len(table.buffer))
    assembly.open(records(*(data(b"other", n, sender=b"OTHER ") for n in range(50, 90))), 64)
    assert list(copy) == copy[:] == wanted
    assert copy.arrays().numbers.tolist() == [message.number for message in wanted]
    assert copy.copy()[:] == wanted
    assert len(copy.buffer) == sum(len(message.payload) for message in wanted)


def test_a_copy_of_a_joined_message() -> None:
    assembly = Assembly(8)
    batch, _ = assembly.open(records(*fragments(b"abcdef", 1, 2)), 8)
    assert batch is not None
    copy = batch.copy()
    assembly.open(records(*fragments(b"uvwxyz", 4, 2), first=4), 8)
    assert [(m.number, m.payload) for m in copy] == [(3, b"abcdef")]
