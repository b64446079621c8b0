"""From records to messages: runs, fragments, and the records that are no messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from native.messages import Messages, MessageTable
from rewinder.record import Flags, Kind, Stamp, epoch_payload, stamp_record
from seqcast import assembly as module
from seqcast.assembly import Assembly


def records(*entries: tuple[bytes, Stamp], first: int = 1) -> Messages:
    """A batch of records as a receiver gets it."""
    data = bytearray()
    table = MessageTable(max(1, len(entries)))
    for position, (payload, stamp) in enumerate(entries):
        record = stamp_record(payload, first + position, stamp)
        table.set(position, first + position, len(data), len(record))
        data += record
    return table.view(memoryview(data), len(entries))


def data(
    payload: bytes, sequence: int, flags: int = Flags.WHOLE, sender: bytes = b"ALPHA "
) -> tuple[bytes, Stamp]:
    return payload, Stamp(1000 + sequence, sequence, sender, Kind.DATA, flags)


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
    assert part.table()["time"].tolist() == [1001, 1002, 1003, 1004, 1005]


def test_a_limit_cuts_the_batch_and_loses_nothing() -> None:
    batch = records(*(data(b"m%d" % n, n) for n in range(1, 8)))
    assert [payload for _, payload, _ in opened(Assembly(16), batch, limit=3)] == [
        b"m%d" % n for n in range(1, 8)
    ]


def test_control_records_are_not_messages() -> None:
    assembly = Assembly(16)
    epoch = (epoch_payload(4, "SEQ1"), Stamp(1, 4, b"SEQ1  ", Kind.EPOCH))
    reserved = (b"later", Stamp(1, 0, b"SEQ1  ", 9))
    end = (b"", Stamp(9999, 0, b"SEQ1  ", Kind.END))
    assert opened(assembly, records(epoch, data(b"x", 1), reserved, end)) == [(2, b"x", "ALPHA")]
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
    assert assembly.broken == 4


def test_fragments_across_batches() -> None:
    assembly = Assembly(16)
    assert opened(assembly, records(data(b"ab", 1, Flags.FIRST), first=10)) == []
    assert opened(assembly, records(data(b"cd", 2, Flags.LAST), first=11)) == [(11, b"abcd", "ALPHA")]


def test_a_message_that_never_ends_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MESSAGE_LIMIT_BYTES", 5)
    batch = records(
        data(b"abc", 1, Flags.FIRST), data(b"def", 2, 0), data(b"g", 3, Flags.LAST), data(b"ok", 4)
    )
    assert opened(Assembly(16), batch) == [(4, b"ok", "ALPHA")]


def test_messages_in_hand_are_bounded() -> None:
    assembly = Assembly(16)
    for n in range(module.PARTIAL_LIMIT + 10):
        opened(assembly, records(data(b"x", 1, Flags.FIRST, b"%06d" % n), first=n + 1))
    assert assembly.broken == 10


@given(
    st.lists(st.tuples(st.sampled_from([b"A     ", b"B     "]), st.binary(max_size=30)), max_size=12),
    st.data(),
)
def test_any_interleaving_gives_each_senders_messages_in_order(
    sent: list[tuple[bytes, bytes]], source: st.DataObject
) -> None:
    queues: dict[bytes, list[tuple[bytes, Stamp]]] = {b"A     ": [], b"B     ": []}
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
