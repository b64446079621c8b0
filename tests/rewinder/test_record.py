"""The record in plain Python and in C: one golden vector, every truncation, every bit, and the oracle."""

from __future__ import annotations

import oracle_log as oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from native import ffi, lib
from rewinder.errors import DamagedRecord, LocalProtocolError
from rewinder.record import (
    PAYLOAD_LIMIT_BYTES,
    RECORD_CHECK,
    Flags,
    Kind,
    Stamp,
    check_record,
    epoch_payload,
    read_epoch,
    read_stamp,
    stamp_record,
)

# From the table in the module's docstring, with a bitwise CRC; the C test has the same.
GOLDEN = bytes.fromhex("6869 0003 414c49434520 0000000000000007 1122334455667788 81a2d6fa")
STAMP = Stamp(time_ns=0x1122334455667788, sender_sequence=7, sender=b"ALICE ")

numbers = st.integers(0, 2**64 - 1)
stamps = st.builds(
    Stamp, numbers, numbers, st.binary(min_size=6, max_size=6), st.integers(0, 255), st.integers(0, 255)
)


def test_golden_vector():
    assert stamp_record(b"hi", 42, STAMP) == GOLDEN
    check_record(GOLDEN, 42)
    assert read_stamp(GOLDEN) == STAMP
    assert (STAMP.kind, STAMP.flags) == (Kind.DATA, Flags.FIRST | Flags.LAST)


@given(st.binary(max_size=300), numbers, stamps)
def test_is_the_oracle_s(payload, number, stamp):
    entry = stamp_record(payload, number, stamp)
    fields = {"time": stamp.time_ns, "sender": stamp.sender, "sequence": stamp.sender_sequence}
    assert entry == oracle.record(number, payload, kind=stamp.kind, flags=stamp.flags, **fields)
    assert read_stamp(memoryview(b"xx" + entry)) == stamp
    check_record(memoryview(entry), number)


@given(st.binary(max_size=300), numbers, stamps)
def test_is_the_kernel_s(payload, number, stamp):
    out = ffi.new("uint8_t[]", len(payload) + 28)
    ffi.buffer(out)[: len(payload)] = payload
    fields = {"time": stamp.time_ns, "sender_sequence": stamp.sender_sequence, "sender": list(stamp.sender)}
    fields |= {"kind": stamp.kind, "flags": stamp.flags}
    lib.sc_record_stamp(out, len(payload), number, ffi.new("sc_stamp *", fields))
    assert bytes(ffi.buffer(out)) == stamp_record(payload, number, stamp)
    assert RECORD_CHECK(out, len(out), number) == 0


def test_every_truncation_is_refused():
    for length in range(len(GOLDEN)):
        with pytest.raises(DamagedRecord) as raised:
            check_record(GOLDEN[:length], 42)
        assert raised.value.number == 42


def test_every_flipped_bit_is_refused():
    for bit in range(8 * len(GOLDEN)):
        damaged = bytearray(GOLDEN)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedRecord):
            check_record(damaged, 42)


def test_belongs_to_one_number_only():
    for number in [*range(100), 42 + 2**32, 42 + 2**63]:
        if number != 42:
            with pytest.raises(DamagedRecord):
                check_record(GOLDEN, number)


def test_trailing_bytes_are_refused():
    with pytest.raises(DamagedRecord):
        check_record(GOLDEN + b"\0", 42)


def test_too_short_for_a_stamp():
    with pytest.raises(DamagedRecord):
        read_stamp(GOLDEN[:27])


def test_a_reserved_kind_can_be_read():
    assert read_stamp(oracle.record(1, b"", kind=77)).kind == 77


@pytest.mark.parametrize(
    "fields",
    [
        {"time_ns": -1},
        {"time_ns": 1 << 64},
        {"sender_sequence": -1},
        {"sender": b"ALICE"},
        {"sender": b"ALICE  "},
        {"kind": 256},
        {"flags": -1},
    ],
)
def test_a_stamp_that_cannot_be(fields):
    good = {"time_ns": 0, "sender_sequence": 0, "sender": b"ALICE "}
    with pytest.raises(LocalProtocolError):
        Stamp(**(good | fields))


def test_longest_payload():
    entry = stamp_record(bytes(PAYLOAD_LIMIT_BYTES), 1, STAMP)
    assert len(entry) + 22 == 65507  # one UDP datagram over IPv4
    with pytest.raises(LocalProtocolError):
        stamp_record(bytes(PAYLOAD_LIMIT_BYTES + 1), 1, STAMP)


def test_epoch_payload():
    assert epoch_payload(3, "SEQ1") == b"\0\0\0\0\0\0\0\3SEQ1  "
    assert read_epoch(epoch_payload(3, "SEQ1")) == (3, "SEQ1")
    with pytest.raises(LocalProtocolError):
        epoch_payload(3, "SEQUENCER")
    with pytest.raises(DamagedRecord):
        read_epoch(b"\0" * 13)
