"""The file of a promise: all of it or nothing, and durable before anything follows from it."""

from __future__ import annotations

import struct
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewinder._native import crc32c
from rewinder.errors import StorageFull
from rewinder.memory import MemoryStorage
from rewinder.promise import PROMISE_FILE, Promise, load_promise

SESSION = b"TEST      "
U64 = st.integers(0, 2**64 - 1)
PROMISE = Promise(0x1122334455667788, 5, "SEQ2", votes=True, adopted=4)


def saved(promise: Promise = PROMISE) -> MemoryStorage:
    storage = MemoryStorage()
    promise.save(storage, SESSION)
    return storage


def test_bytes_of_the_file() -> None:
    fields = b"SEQPROM1" + SESSION + b"\x01" + b"SEQ2  " + bytes(7)
    numbers = struct.pack(">QQQ", 5, 0x1122334455667788, 4)
    data = fields + numbers
    assert len(data) == 56
    assert saved().read(PROMISE_FILE) == data + struct.pack(">I", crc32c(data))


@given(st.builds(Promise, U64, U64, st.text("ABCXYZ0189", max_size=6), st.booleans(), U64))
def test_every_field_comes_back(promise: Promise) -> None:
    assert load_promise(saved(promise), SESSION) == promise


def test_where_there_is_no_file_there_is_no_promise() -> None:
    assert load_promise(MemoryStorage(), SESSION) is None


def test_every_flipped_bit_is_refused() -> None:
    good = saved()
    for offset in range(good.size(PROMISE_FILE)):
        for bit in range(8):
            storage = good.killed()
            storage.damage(PROMISE_FILE, offset, 1 << bit)
            assert load_promise(storage, SESSION) is None


def test_every_other_length_is_refused() -> None:
    data = saved().read(PROMISE_FILE)
    for other in (*(data[:length] for length in range(len(data))), data + b"\0", data + data):
        storage = MemoryStorage()
        storage.write_atomically(PROMISE_FILE, other, durable=True)
        assert load_promise(storage, SESSION) is None


def test_the_promise_of_another_session_is_refused() -> None:
    assert load_promise(saved(), b"OTHER     ") is None


def test_a_promise_survives_the_process_and_the_machine() -> None:
    first, second = Promise(1), Promise(1, 7, "SEQ1", votes=True)
    for seed in range(20):
        storage = saved(first)
        second.save(storage, SESSION)
        assert load_promise(storage.killed(), SESSION) == second
        assert load_promise(storage.lost(Random(seed)), SESSION) == second


def test_a_disk_without_room_keeps_the_promise_that_was_there() -> None:
    storage = saved()
    storage.capacity = storage.used - 1
    with pytest.raises(StorageFull):
        Promise(1, 9, "SEQ1").save(storage, SESSION)
    assert load_promise(storage, SESSION) == PROMISE


@pytest.mark.parametrize(
    ("epoch", "owner", "allowed"),
    [
        (4, "SEQ2", False),
        (4, "SEQ1", False),
        (5, "SEQ1", False),
        (5, "", False),
        (5, "SEQ2", True),
        (6, "SEQ1", True),
    ],
)
def test_a_promise_allows_its_owner_and_higher_epochs(epoch: int, owner: str, allowed: bool) -> None:
    assert PROMISE.allows(epoch, owner) is allowed
