"""Opening a log and finding a number in it cost the same, however long the log is (docs/LOG.md)."""

from __future__ import annotations

import os

import oracle_log as oracle
import pytest
from oracle_log import SESSION, messages_of, some_records

from rewinder.checkpoint import Checkpoint
from rewinder.errors import MissingSegment
from rewinder.log import MessageLog
from rewinder.marks import MARKS_FILE
from rewinder.segment import SEGMENT_BYTES_MINIMUM as SMALL
from rewinder.segment import segment_name
from rewinder.senders import ROW_BYTES
from rewinder.storage import FileStorage

SEGMENTS = 4000
RECORDS_CLAIMED = 2_500_000  # by each of the segments that nobody looks into: ten billion in all
REAL = 100  # records in each of those that are real


class CountingStorage(FileStorage):
    """Lists the files that were opened or read."""

    def __init__(self, directory):
        super().__init__(directory)
        self.touched = []

    def open(self, name):
        self.touched.append(name)
        return super().open(name)

    def read(self, name):
        self.touched.append(name)
        return super().read(name)


def make(directory, segments, real):
    """A log of so many segments, of which those in `real` hold records and the others are holes.

    Returns the first number of each segment.
    """
    directory.mkdir()
    firsts, number = [], 1
    for position in range(segments):
        firsts.append(number)
        records = some_records(REAL, first=number, time=0) if position in real else []
        data = oracle.header(number, position, number - 1 if position else 0, 0)
        path = directory / segment_name(number)
        path.write_bytes(data + b"".join(map(oracle.frame, records)))
        os.truncate(path, SMALL)
        number += REAL if position in real else RECORDS_CLAIMED
    senders = b"BADGER\0\0" + (1).to_bytes(8, "big") + (1).to_bytes(8, "big")
    assert len(senders) == ROW_BYTES
    checkpoint = Checkpoint(SESSION, firsts[-1], 0, ((1, 1),), senders)
    (directory / checkpoint.name).write_bytes(checkpoint.encode())
    return firsts, number - 1


def use(directory, firsts, last, where):
    """Open, find numbers in the segments at `where`, append, close; returns the files touched."""
    storage = CountingStorage(directory)
    log = MessageLog.open(storage, SESSION, durability="memory", segment_bytes=SMALL, verify_bytes=SMALL)
    assert (log.first, log.last) == (1, last)
    for position in where:
        for offset in (0, 1, 64, 99):
            number = firsts[position] + offset
            segment, place = log.locate(number)
            assert segment.first == firsts[position]
            assert log.messages(number, 1).payloads() == some_records(1, first=number, time=0)
            assert place < log.end_offset(number)
    log.append_records(messages_of(some_records(10, first=last + 1, time=0)))
    log.close()
    return storage.touched


def test_ten_billion_records_cost_what_three_segments_do(tmp_path):
    middle = SEGMENTS // 2
    firsts, last = make(tmp_path / "long", SEGMENTS, {0, middle, SEGMENTS - 2, SEGMENTS - 1})
    assert last > 9_900_000_000
    few_firsts, few_last = make(tmp_path / "short", 3, {0, 1, 2})
    touched = use(tmp_path / "long", firsts, last, [0, middle, SEGMENTS - 1])
    few = use(tmp_path / "short", few_firsts, few_last, [0, 1, 2])
    assert MARKS_FILE in touched
    segments = {name for name in touched if name.endswith(".seg")}
    assert segments == {
        segment_name(firsts[position]) for position in (0, middle, SEGMENTS - 2, SEGMENTS - 1)
    }
    assert (
        len(touched) <= len(few) + 4
    )  # the newest sealed one, which is checked at opening, is another one here


def test_a_gap_among_thousands_is_found_by_bisection(tmp_path):
    firsts, _ = make(tmp_path / "log", 1000, {999})
    (tmp_path / "log" / segment_name(firsts[700])).unlink()
    storage = CountingStorage(tmp_path / "log")
    with pytest.raises(MissingSegment) as raised:
        MessageLog.open(storage, SESSION, durability="memory", segment_bytes=SMALL)
    assert segment_name(firsts[699]) in str(raised.value)
    assert segment_name(firsts[701]) in str(raised.value)
    assert len(storage.touched) < 20
    storage.close()
