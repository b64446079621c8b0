"""The log's format in plain Python, from docs/LOG.md and the table in rewinder/record.py: the tests' oracle.

Nothing here uses the package, except `messages_of`, which makes the input of `append_records`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from native.messages import Messages, MessageTable

SESSION = b"TEST000001"
DATA, EPOCH, END = 0, 1, 2
HEADER_BYTES = 64
STAMP = struct.Struct(">BB6sQQ")

_TABLE = []
for _byte in range(256):
    _value = _byte
    for _ in range(8):
        _value = _value >> 1 ^ (0x82F63B78 if _value & 1 else 0)
    _TABLE.append(_value)


def crc32c(data: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 255]
    return value ^ 0xFFFFFFFF


def record(number: int, payload: bytes, *, time=0, sender=b"ALICE ", sequence=1, kind=DATA, flags=3) -> bytes:
    covered = payload + STAMP.pack(kind, flags, sender, sequence, time)
    return covered + crc32c(struct.pack(">Q", number) + covered).to_bytes(4, "big")


def frame(entry: bytes) -> bytes:
    return struct.pack(">Hc", len(entry) + 1, b"S") + entry


def header(first: int, ordinal: int, time_before: int, created: int, session: bytes = SESSION) -> bytes:
    data = struct.pack(">8s10s2xIQQQ12x", b"SEQSEGM1", session, ordinal, first, time_before, created)
    return data + crc32c(data).to_bytes(4, "big")


def parse(data: bytes, first: int) -> list[bytes]:
    """The records of a segment file; AssertionError when it is not exactly as it should be."""
    magic, _session, _ordinal, named, _before, _created = struct.unpack_from(">8s10s2xIQQQ", data)
    assert (magic, named) == (b"SEQSEGM1", first)
    assert data[60:64] == crc32c(data[:60]).to_bytes(4, "big")
    records, position = [], HEADER_BYTES
    while position + 3 <= len(data):
        (length,) = struct.unpack_from(">H", data, position)
        if length == 0:
            break
        assert data[position + 2 : position + 3] == b"S"
        entry = data[position + 3 : position + 2 + length]
        number = struct.pack(">Q", first + len(records))
        assert entry[-4:] == crc32c(number + entry[:-4]).to_bytes(4, "big")
        records.append(entry)
        position += 2 + length
    assert not any(data[position:])
    return records


@dataclass
class Oracle:
    """What a log must know, kept in lists."""

    records: list[bytes] = field(default_factory=list)

    @property
    def last(self) -> int:
        return len(self.records)

    def stamps(self):
        """(kind, flags, sender, sequence, time) of every record."""
        return [STAMP.unpack(entry[-28:-4]) for entry in self.records]

    @property
    def time(self) -> int:
        return self.stamps()[-1][4] if self.records else 0

    @property
    def epochs(self) -> list[tuple[int, int]]:
        stamps = enumerate(self.stamps(), start=1)
        return [(stamp[3], number) for number, stamp in stamps if stamp[0] == EPOCH]

    @property
    def ended(self) -> int | None:
        return next((number for number, stamp in enumerate(self.stamps(), start=1) if stamp[0] == END), None)

    @property
    def senders(self) -> dict[bytes, tuple[int, int]]:
        found = {}
        for number, (kind, _flags, sender, sequence, _time) in enumerate(self.stamps(), start=1):
            if kind == DATA:
                found[sender] = (sequence, number)
        return found


def messages_of(records: list[bytes]) -> Messages:
    """Records as the framing layer gives them: rows into one buffer, without numbers."""
    buffer = memoryview(b"".join(records) or b"\0")
    table = MessageTable(max(1, len(records)))
    offset = 0
    for row, entry in enumerate(records):
        table.set(row, 0, offset, len(entry))
        offset += len(entry)
    return table.view(buffer, len(records))


def some_records(count: int, *, first: int = 1, size: int = 20, time: int = 1000) -> list[bytes]:
    """Plausible records: three senders in turn, growing times, payloads that differ."""
    names = (b"ALICE ", b"BOB   ", b"CAROL ")
    return [
        record(
            number,
            bytes([number & 255, number >> 8 & 255]) * (size // 2),
            time=time + number,
            sender=names[number % 3],
            sequence=number // 3 + 1,
        )
        for number in range(first, first + count)
    ]


def check_log(log, oracle: Oracle) -> None:
    """Everything that can be asked of a log, against the oracle."""
    assert (log.last, log.next_number, log.last_time_ns) == (oracle.last, oracle.last + 1, oracle.time)
    assert log.epochs == oracle.epochs
    assert log.ended == oracle.ended
    assert {name: (sequence, number) for name, sequence, number in log.senders.items()} == oracle.senders
    number = 1
    while number <= oracle.last:
        messages = log.messages(number, 1000)
        assert messages.numbers == list(range(number, number + len(messages)))
        assert messages.payloads() == oracle.records[number - 1 : number - 1 + len(messages)]
        number += len(messages)
    assert log.locate(log.next_number) == (log.tail, log.tail.end)
