"""Looking at a log from outside: listing, verifying and dumping good logs and damaged ones."""

from __future__ import annotations

import json

import oracle_log as oracle
import pytest
from oracle_log import SESSION, messages_of, some_records

from rewinder.errors import BadHeader, CorruptRecord, LogMissing
from rewinder.inspection import dump, list_segments, verify
from rewinder.log import MessageLog
from rewinder.memory import MemoryStorage
from rewinder.record import Kind, Stamp, epoch_payload
from rewinder.segment import SEGMENT_BYTES_MINIMUM as SMALL
from rewinder.segment import segment_name
from rewinder.storage import FileStorage


@pytest.fixture
def log():
    made = MessageLog.create(MemoryStorage(), SESSION, durability="memory", segment_bytes=SMALL)
    for epoch in (1, 2, 3):
        made.append(epoch_payload(epoch, "SEQ1"), Stamp(made.last_time_ns, epoch, b"SEQ1  ", Kind.EPOCH))
        made.append_records(messages_of(some_records(99, first=made.next_number)))
        if epoch < 3:
            made.roll()
    return made


def names(log):
    return [f"memory:{segment_name(first)}" for first in (1, 101, 201)]


@pytest.mark.parametrize("epochs", [True, False])
def test_list(log, epochs):
    listed = list_segments(log.storage, epochs=epochs)
    assert [summary.file for summary in listed] == names(log)
    assert [(summary.first, summary.last, summary.records) for summary in listed] == [
        (1, 100, 100),
        (101, 200, 100),
        (201, 300, 100),
    ]
    frame_bytes = len(oracle.frame(some_records(1)[0]))
    assert {summary.bytes for summary in listed} == {99 * frame_bytes + 3 + 14 + 28}
    assert {summary.file_bytes for summary in listed} == {SMALL}
    assert [(summary.first_time_ns, summary.last_time_ns) for summary in listed] == [
        (0, 1100),
        (1100, 1200),
        (1200, 1300),
    ]
    sealed_epochs = [((1, 1),), ((2, 101),)] if epochs else [None, None]
    assert [summary.epochs for summary in listed] == [*sealed_epochs, ((3, 201),)]
    assert [summary.sealed for summary in listed] == [True, True, False]
    assert [summary.problem for summary in listed] == [None] * 3


def test_an_empty_log():
    storage = MemoryStorage()
    for question in (list_segments, verify, lambda storage: list(dump(storage))):
        with pytest.raises(LogMissing):
            question(storage)
    MessageLog.create(storage, SESSION, durability="memory", segment_bytes=SMALL)
    (summary,) = list_segments(storage)
    assert (summary.first, summary.last, summary.records, summary.bytes) == (1, 0, 0, 0)
    assert (summary.first_time_ns, summary.last_time_ns, summary.problem) == (None, None, None)
    found = verify(storage)
    assert (found.records, found.first, found.last, found.problems) == (0, 1, 0, ())
    assert list(dump(storage)) == []


def test_verify_a_good_log(log):
    steps = []
    found = verify(log.storage, lambda done, total: steps.append((done, total)))
    assert (found.session, found.segments, found.first, found.last, found.records) == (
        SESSION,
        3,
        1,
        300,
        300,
    )
    assert found.bytes == sum(summary.bytes for summary in list_segments(log.storage))
    assert (found.epochs, found.ended, found.problems) == (((1, 1), (2, 101), (3, 201)), None, ())
    assert steps == sorted(steps)
    assert steps[-1] == (3 * SMALL, 3 * SMALL)
    log.append(b"", Stamp(5000, 0, b"SEQ1  ", Kind.END))
    assert verify(log.storage).ended == 301


def test_verify_lists_every_problem_and_goes_on(log):
    storage = log.storage.killed()
    for number in (20, 40, 41, 150):
        segment, offset = log.locate(number)
        storage.damage(segment.name, offset + 9)
    storage.damage(segment_name(201), log.tail.end - 1)
    found = verify(storage)
    assert [(problem.file, problem.number) for problem in found.problems] == [
        (names(log)[0], 20),
        (names(log)[0], 40),
        (names(log)[1], 150),
        (names(log)[2], 300),
    ]
    assert [problem.offset for problem in found.problems] == [
        log.locate(number)[1] for number in (20, 40, 150, 300)
    ]
    assert "1 record(s) are lost" in found.problems[0].reason
    assert "2 record(s) are lost" in found.problems[1].reason
    assert "record 150 at offset" in str(found.problems[2])
    assert found.records == 300 - 5
    assert found.epochs == ((1, 1), (2, 101), (3, 201))
    listed = list_segments(storage, epochs=True)
    assert [summary.last for summary in listed] == [19, 149, 299]
    assert [summary.problem.split(":")[0] for summary in listed] == [
        f"record {number} at offset {log.locate(number)[1]}" for number in (20, 150, 300)
    ]


def test_verify_with_a_segment_that_cannot_be_read(log):
    storage = log.storage.killed()
    storage.damage(segment_name(101), 20)
    found = verify(storage)
    assert [(problem.file, problem.number) for problem in found.problems] == [(names(log)[1], 0)]
    assert "checksum of the header" in str(found.problems[0])
    assert (found.records, found.last) == (200, 300)
    summary = list_segments(storage)[1]
    assert (summary.records, summary.last) == (0, 100)
    assert "checksum of the header" in summary.problem
    with pytest.raises(BadHeader):
        list(dump(storage, 90))
    storage.remove(segment_name(101))
    found = verify(storage)
    assert [problem.file for problem in found.problems] == [names(log)[0], names(log)[2]]
    assert "records 101 to 200 are lost" in str(found.problems[0])
    assert "1 segment file(s) before this one are missing" in str(found.problems[1])


def test_problems_are_bounded(log, monkeypatch):
    monkeypatch.setattr("rewinder.inspection.PROBLEM_LIMIT", 3)
    storage = log.storage.killed()
    for number in range(2, 90, 2):
        storage.damage(segment_name(1), log.locate(number)[1] + 9)
    assert len(verify(storage).problems) == 3


def test_dump(log):
    rows = list(dump(log.storage))
    assert [row["number"] for row in rows] == list(range(1, 301))
    assert rows[0] == {
        "number": 1,
        "time_ns": 0,
        "kind": "epoch",
        "flags": 3,
        "sender": "SEQ1",
        "sender_sequence": 1,
        "length": 14,
        "payload": "0000000000000001534551312020",
    }
    assert rows[1]["kind"] == "data"
    assert bytes.fromhex(rows[1]["payload"]) == some_records(1, first=2)[0][:-28]
    json.dumps(rows)
    assert list(dump(log.storage, 95, 20)) == rows[94:114]
    assert list(dump(log.storage, 300, 5)) == rows[299:]
    assert list(dump(log.storage, 301)) == []
    assert list(dump(log.storage, 5, 0)) == []


def test_dump_gives_nothing_that_fails_its_check(log):
    storage = log.storage.killed()
    storage.damage(segment_name(101), log.locate(150)[1] + 9)
    rows = dump(storage, 140)
    assert [next(rows)["number"] for _ in range(10)] == list(range(140, 150))
    with pytest.raises(CorruptRecord) as raised:
        next(rows)
    assert raised.value.number == 150


def test_a_reserved_kind_is_dumped_by_number():
    log = MessageLog.create(MemoryStorage(), SESSION, durability="memory", segment_bytes=SMALL)
    log.append_records(messages_of([oracle.record(1, b"?", kind=9)]))
    assert next(dump(log.storage))["kind"] == 9


def test_beside_a_writer(tmp_path):
    log = MessageLog.create(FileStorage(tmp_path), SESSION, durability="memory", segment_bytes=SMALL)
    log.append_records(messages_of(some_records(1500, size=100)))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    reader = FileStorage(tmp_path, writable=False)
    assert verify(reader).records == 1500
    assert list_segments(reader)[-1].last == 1500
    assert len(list(dump(reader))) == 1500
    reader.close()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    log.close()
