"""Opening a log that was not closed well: torn tails, damage, lost machines, and sidecars that are wrong."""

from __future__ import annotations

import random

import oracle_log as oracle
import pytest
from oracle_log import SESSION, Oracle, check_log, messages_of, some_records

from rewinder.errors import BadHeader, CorruptRecord, ForeignSession, LogError, MissingSegment, ShortSegment
from rewinder.log import MessageLog
from rewinder.memory import MemoryBlob, MemoryStorage
from rewinder.record import Kind, Stamp, epoch_payload
from rewinder.segment import SEGMENT_BYTES_MINIMUM as SMALL
from rewinder.segment import segment_name

FIRST = segment_name(1)


def create(durability="memory", records=(), **settings):
    storage = MemoryStorage(**settings)
    log = MessageLog.create(storage, SESSION, durability=durability, segment_bytes=SMALL)
    log.append_records(messages_of(list(records)))
    return log


def open_log(storage, durability="memory", **settings):
    return MessageLog.open(storage, SESSION, durability=durability, segment_bytes=SMALL, **settings)


def rolled(count, segments, durability="memory"):
    """A log of `count` records in each of `segments` segments."""
    log = create(durability)
    for _ in range(segments):
        if log.last:
            log.roll()
        log.append_records(messages_of(some_records(count, first=log.next_number)))
    return log


def shortened(storage, name, size):
    """The storage after a file lost its end."""
    storage = storage.killed()
    data = storage.read(name)[:size]
    storage._put(name, MemoryBlob(name, memoryview(bytearray(data)), data))
    return storage


def attempt(storage):
    """(log, None) or (None, the error that refused it)."""
    try:
        return open_log(storage), None
    except (CorruptRecord, BadHeader) as error:
        return None, error


# torn tails


def test_every_truncation_of_the_last_record():
    records = some_records(70)
    log = create(records=records)
    offset, end = log.locate(70)[1], log.tail.end
    for kept in range(offset, end):
        storage = log.storage.killed()
        view = storage.open(FIRST).view
        if not any(view[kept:end]):
            continue
        view[kept:end] = bytes(end - kept)
        again = open_log(storage)
        check_log(again, Oracle(records[:69]))
        if kept > offset + 1:
            found = again.recovery
            assert (found.file, found.offset, found.number) == (f"memory:{FIRST}", offset, 70)
            assert found.bytes_cut == len(bytes(view[:kept]).rstrip(b"\0")) - offset or found.bytes_cut > 0
            assert (found.below_commit, found.lost_machine, found.marks_rebuilt) == (False, False, False)
            assert "record 70" in str(found)
        assert open_log(storage.killed()).recovery is None
        again.append_records(messages_of(records[69:]))
        check_log(open_log(storage.killed()), Oracle(records))


def test_an_append_that_was_not_finished():
    """The length goes last, so what a killed process leaves is bytes behind a length of zero."""
    log = create(records=some_records(5))
    storage = log.storage.killed()
    storage.open(FIRST).view[log.tail.end + 3 : log.tail.end + 23] = b"half of what was said"[:20]
    storage.sync(storage.open(FIRST))  # and then the system wrote it back
    again = open_log(storage)
    assert again.recovery.bytes_cut == 23
    assert storage.open(FIRST).synced == bytes(storage.open(FIRST).view)  # it cannot come back
    assert "not finished" in str(again.recovery)
    check_log(again, Oracle(some_records(5)))


def test_a_torn_tail_below_the_commit_mark_is_said_loudly():
    log = create(records=some_records(5))
    log.commit = 5
    storage = log.storage.killed()
    storage.damage(FIRST, log.tail.end - 1)
    again = open_log(storage)
    assert again.recovery.below_commit
    assert "COMMITTED" in str(again.recovery)
    assert (again.last, again.commit, again.lost_commit) == (4, 4, 5)
    storage = storage.killed()
    again = open_log(storage)  # it is not forgotten
    assert again.recovery.below_commit
    again.append_records(messages_of(some_records(3, first=5)))
    again.commit = 4
    assert again.lost_commit == 0
    assert open_log(storage.killed()).commit == 5


@pytest.mark.parametrize("durability", ["group", "always"])
def test_a_bad_record_up_to_the_sync_mark_is_damage(durability):
    log = create(durability, some_records(5))
    log.sync()
    log.append_records(messages_of(some_records(1, first=6)))
    for number, wrong in [(5, True), (6, False)]:
        storage = log.storage.killed()
        if number == 5:
            begin, end = log.locate(5)[1], log.tail.end
            storage.open(FIRST).view[begin:end] = bytes(end - begin)  # gone without a trace
        else:
            storage.damage(FIRST, log.tail.end - 1)
        if wrong:
            with pytest.raises(CorruptRecord, match="synced") as raised:
                open_log(storage, durability)
            assert (raised.value.number, raised.value.offset) == (5, log.locate(5)[1])
        else:
            assert open_log(storage, durability).last == 5


# damage


def test_a_flipped_bit_anywhere_is_refused_or_is_the_torn_tail():
    log = rolled(6, 2)
    records = some_records(12)
    last_offset = log.locate(12)[1]
    frame_bytes = len(oracle.frame(records[0]))
    refused = torn = 0
    for segment, end in [(FIRST, log.locate(6)[0].end), (segment_name(7), log.tail.end)]:
        for offset in range(end + 40):
            storage = log.storage.killed()
            storage.damage(segment, offset, 1 << offset % 8)
            again, error = attempt(storage)
            if error is not None:
                refused += 1
                assert segment in str(error)
                if offset < 64:
                    assert isinstance(error, BadHeader)
                    continue
                assert error.file == f"memory:{segment}"
                place = error.number - (1 if segment == FIRST else 7)
                assert error.offset == 64 + place * frame_bytes <= offset < error.offset + frame_bytes
                assert f"record {error.number} at offset {error.offset}" in str(error)
                continue
            if segment == FIRST:
                assert offset >= end  # behind the last record of a sealed segment: nobody's bytes
                assert again.last == 12
            elif offset >= last_offset:
                torn += 1
                assert again.recovery.offset <= offset
                assert again.last == (11 if offset < end else 12)
            check_log(again, Oracle(records[: again.last]))
    assert refused == 64 + 6 * frame_bytes + 64 + 5 * frame_bytes
    assert torn == frame_bytes + 40


def test_damage_in_the_middle_of_the_tail_names_what_lies_behind():
    log = create(records=some_records(100))
    storage = log.storage.killed()
    storage.damage(FIRST, log.locate(50)[1] + 10)
    with pytest.raises(CorruptRecord, match="record 51 lies whole behind it"):
        open_log(storage)


def test_a_hole_of_zeros_is_damage():
    log = create(records=some_records(500))
    storage = log.storage.killed()
    storage.open(FIRST).view[4096:8192] = bytes(4096)
    with pytest.raises(CorruptRecord, match="lies whole behind it"):
        open_log(storage)


def test_time_that_goes_back_is_damage():
    log = create(records=some_records(3))
    storage = log.storage.killed()
    wrong = oracle.frame(oracle.record(4, b"", time=5))
    storage.open(FIRST).view[log.tail.end : log.tail.end + len(wrong)] = wrong
    with pytest.raises(CorruptRecord, match="time"):
        open_log(storage)


def test_payloads_that_look_like_records_do_not_deceive():
    """A torn record may carry records of another stream; only one that fits the numbers counts."""
    inner = b"".join(oracle.frame(entry) for entry in some_records(40, first=3000))
    records = [*some_records(3), oracle.record(4, inner, time=5000, sequence=2)]
    log = create(records=records)
    storage = log.storage.killed()
    storage.damage(FIRST, log.tail.end - 1)
    again = open_log(storage)
    assert again.last == 3
    assert again.recovery.number == 4


def test_sealed_segments_are_checked_before_they_are_served():
    log = rolled(50, 6)
    storage = log.storage.killed()
    storage.damage(segment_name(101), 500)
    storage.opened.clear()
    again = open_log(storage, verify_bytes=2 * SMALL)
    assert storage.opened.get(segment_name(101)) is None
    for good in (60, 160):
        assert again.segment_of(good).verified
    for _ in range(2):
        with pytest.raises(CorruptRecord) as raised:
            again.locate(150)
        assert raised.value.file == f"memory:{segment_name(101)}"
        assert 101 <= raised.value.number < 120
    with pytest.raises(CorruptRecord):
        again.messages(110, 1)
    again.append_records(messages_of(some_records(5, first=301)))  # it goes on at the end
    with pytest.raises(CorruptRecord):
        open_log(storage.killed())  # within the bound


def test_a_sealed_segment_that_ends_early():
    log = rolled(50, 3)
    storage = log.storage.killed()
    begin, end = log.locate(50)[1], log.locate(50)[0].end
    storage.open(FIRST).view[begin:end] = bytes(end - begin)
    with pytest.raises(CorruptRecord, match="nothing where it belongs") as raised:
        open_log(storage)
    assert raised.value.number == 50


# files


def test_a_missing_segment_in_the_middle():
    log = rolled(5, 40)
    for gone in (1, 2, 20, 38):
        storage = log.storage.killed()
        storage.remove(segment_name(5 * gone + 1))
        with pytest.raises(MissingSegment) as raised:
            open_log(storage)
        assert segment_name(5 * (gone - 1) + 1) in str(raised.value)
        assert segment_name(5 * (gone + 1) + 1) in str(raised.value) or gone == 38


def test_a_missing_first_segment():
    log = rolled(5, 4)
    storage = log.storage.killed()
    storage.remove(FIRST)
    again = open_log(storage)  # its checkpoint tells what came before: as when old segments are let go
    assert (again.first, again.last) == (6, 20)
    assert {name: row for name, *row in again.senders.items()}[b"BOB   "] == [7, 19]
    for name in storage.names():
        if name.endswith(".ckpt"):
            storage.remove(name)
    with pytest.raises(MissingSegment, match="begins with record 6"):
        open_log(storage.killed())


def test_a_foreign_segment():
    log = rolled(5, 3)
    data = oracle.header(6, 1, 1005, 0, b"OTHER00001")
    storage = log.storage.killed()
    storage.open(segment_name(6)).view[:64] = data
    with pytest.raises(ForeignSession, match="OTHER00001") as raised:
        open_log(storage)
    assert segment_name(6) in str(raised.value)
    storage.open(FIRST).view[:64] = oracle.header(1, 0, 0, 0, b"OTHER00001")
    with pytest.raises(ForeignSession):
        open_log(storage)


def test_a_segment_under_the_wrong_name():
    log = rolled(5, 3)
    storage = log.storage.killed()
    storage.open(segment_name(6)).view[:64] = oracle.header(7, 1, 1005, 0)
    with pytest.raises(BadHeader, match="begins with record 7"):
        open_log(storage)
    storage.open(segment_name(6)).view[:64] = oracle.header(6, 5, 1005, 0)
    with pytest.raises(BadHeader, match="ordinal"):
        open_log(storage)


@pytest.mark.parametrize("size", [0, 1, 63])
@pytest.mark.parametrize("first", [1, 6, 11])
def test_a_file_too_short_for_its_header(first, size):
    log = rolled(5, 3)
    with pytest.raises(ShortSegment) as raised:
        open_log(shortened(log.storage, segment_name(first), size))
    assert segment_name(first) in str(raised.value)


def test_a_short_sealed_segment_lacks_records():
    log = rolled(5, 3)
    end = log.locate(10)[0].end
    assert open_log(shortened(log.storage, segment_name(6), end)).last == 15
    for size in range(64, end):
        with pytest.raises(CorruptRecord) as raised:
            open_log(shortened(log.storage, segment_name(6), size))
        assert raised.value.file == f"memory:{segment_name(6)}"


def test_a_short_tail_is_torn():
    log = rolled(5, 3)
    for size in range(64, log.tail.end):
        again = open_log(shortened(log.storage, segment_name(11), size))
        assert again.last == 10 + (size - 64) // len(oracle.frame(some_records(1)[0]))
        check_log(again, Oracle(some_records(again.last)))
        again.append_records(
            messages_of(some_records(3, first=again.next_number))
        )  # a new file, or a new segment
        check_log(open_log(again.storage.killed()), Oracle(some_records(again.last)))


# sidecars


def with_everything():
    log = create()
    for epoch in range(1, 5):
        log.append(epoch_payload(epoch, "SEQ1"), Stamp(log.last_time_ns, epoch, b"SEQ1  ", Kind.EPOCH))
        log.append_records(messages_of(some_records(100, first=log.next_number)))
        log.roll()
    log.append(b"", Stamp(log.last_time_ns, 0, b"SEQ1  ", Kind.END))
    return log, Oracle([bytes(entry) for first in log.segments for entry in log.messages(first, 1000)])


@pytest.mark.parametrize("suffix", [".idx", ".ckpt", (".idx", ".ckpt")])
def test_sidecars_that_are_missing_are_rebuilt(suffix):
    log, twin = with_everything()
    storage = log.storage.killed()
    for name in storage.names():
        if name.endswith(suffix):
            storage.remove(name)
    again = open_log(storage)
    check_log(again, twin)
    if ".idx" in suffix:
        assert sorted(name for name in storage.names() if name.endswith(".idx")) == [
            segment_name(first, ".idx") for first in log.segments[:-1]
        ]
    newest = segment_name(log.tail.first, ".ckpt")
    assert storage.read(newest) == log.storage.read(newest)


def test_sidecars_are_caches_at_every_byte():
    log, twin = with_everything()
    for name in (segment_name(102, ".idx"), segment_name(log.tail.first, ".ckpt")):
        good = log.storage.read(name)
        for offset in range(len(good)):
            storage = log.storage.killed()
            storage.damage(name, offset, 1 << offset % 8)
            check_log(open_log(storage), twin)
            assert storage.read(name) == good
        for size in (0, 1, 40, len(good) - 1):
            storage = shortened(log.storage, name, size)
            check_log(open_log(storage), twin)
            assert storage.read(name) == good
    storage = log.storage.killed()
    storage.write_atomically(segment_name(102, ".idx"), storage.read(segment_name(1, ".idx")), durable=True)
    storage.write_atomically(
        segment_name(log.tail.first, ".ckpt"), storage.read(segment_name(102, ".ckpt")), durable=True
    )
    check_log(open_log(storage), twin)


def test_opening_reads_only_behind_the_newest_checkpoint():
    log = rolled(50, 20)
    storage = log.storage.killed()
    open_log(storage, verify_bytes=0)
    assert set(storage.opened) == {FIRST, segment_name(951), "marks"}
    storage = log.storage.killed()
    storage.remove(segment_name(951, ".ckpt"))
    storage.remove(segment_name(901, ".ckpt"))
    open_log(storage, verify_bytes=0)
    assert set(storage.opened) == {FIRST, segment_name(851), segment_name(901), segment_name(951), "marks"}


# a lost machine


def test_a_hole_in_what_was_not_synced_is_cut():
    log = create(records=some_records(500))
    log.commit = 400
    storage = log.storage.lost(random.Random(1))
    full = bytes(log.storage.open(FIRST).view)
    storage.open(FIRST).view[:] = full
    storage.open(FIRST).view[4096:8192] = bytes(4096)
    again = open_log(storage)
    found = again.recovery
    assert found.lost_machine
    assert 64 < found.number < 200
    assert found.number == again.next_number
    assert found.below_commit == (found.number <= again._marks.commit)
    check_log(again, Oracle(some_records(again.last)))
    assert open_log(storage.killed()).last == again.last


def test_a_hole_in_a_sealed_segment_drops_what_follows():
    log = rolled(200, 4)
    for damaged in (1, 201, 401):
        storage = log.storage.lost(random.Random(2))
        for name in log.storage.names():
            if name.endswith((".seg", ".idx", ".ckpt")):
                data = log.storage.read(name)
                storage._put(name, MemoryBlob(name, memoryview(bytearray(data)), data))
        storage.open(segment_name(damaged)).view[4096:4608] = bytes(512)
        again = open_log(storage)
        assert damaged < again.last < damaged + 199
        assert again.recovery.segments_dropped == 3 - damaged // 200
        assert again.recovery.lost_machine
        check_log(again, Oracle(some_records(again.last)))
        again.append_records(messages_of(some_records(5000, first=again.next_number)))
        check_log(open_log(storage.killed()), Oracle(some_records(again.last)))


def test_a_header_that_was_never_written_back():
    log = rolled(20, 3)
    storage = log.storage.killed()
    storage.boot_id = "boot-2"
    storage.open(segment_name(41)).view[:] = bytes(SMALL)
    again = open_log(storage)
    assert (again.last, again.recovery.segments_dropped) == (40, 1)
    storage = log.storage.killed()
    storage.boot_id = "boot-2"
    storage.open(segment_name(21)).view[:] = bytes(SMALL)
    again = open_log(storage)
    assert (again.last, again.recovery.segments_dropped) == (20, 2)
    storage = log.storage.killed()
    storage.boot_id = "boot-2"
    storage.open(FIRST).view[:64] = bytes(64)
    with pytest.raises(BadHeader):
        open_log(storage)


def test_damage_up_to_the_sync_mark_is_refused_also_then():
    log = rolled(200, 3, "group")
    log.sync()
    for damaged in (1, 201, 401):
        storage = log.storage.killed()
        storage.boot_id = "boot-2"
        storage.open(segment_name(damaged)).view[4096:4608] = bytes(512)
        before = sorted(storage.names())
        with pytest.raises(CorruptRecord) as raised:
            open_log(storage, "group")
        assert raised.value.file == f"memory:{segment_name(damaged)}"
        assert sorted(storage.names()) == before


def test_a_reader_after_a_restart_changes_nothing():
    log = rolled(20, 3)
    log.commit = 50
    storage = log.storage.killed()
    storage.boot_id, storage.writable = "boot-2", False
    storage.open("marks").view = storage.open("marks").view.toreadonly()
    reader = MessageLog.open_readonly(storage)
    assert reader.commit == 50
    check_log(reader, Oracle(some_records(60)))


def test_the_new_boot_is_remembered():
    log = rolled(20, 3)
    storage = log.storage.killed()
    storage.boot_id = "boot-2"
    assert open_log(storage).recovery is None
    storage.damage(FIRST, 500)
    with pytest.raises(CorruptRecord):  # no machine was lost since
        open_log(storage.killed())


def test_a_sync_mark_inside_a_sealed_segment():
    log = create("group", some_records(100))
    log.sync()
    log = open_log(log.storage.killed(), "memory")
    log.append_records(messages_of(some_records(100, first=101)))
    log.roll()
    log.append_records(messages_of(some_records(100, first=201)))
    for damaged, refused in [(50, True), (150, False)]:
        storage = log.storage.killed()
        storage.boot_id = "boot-2"
        storage.damage(FIRST, log.locate(damaged)[1] + 9)
        before = sorted(storage.names())
        if refused:
            with pytest.raises(CorruptRecord, match="record 50 "):
                open_log(storage)
            assert sorted(storage.names()) == before
        else:
            assert open_log(storage).last == 149


@pytest.mark.parametrize("durability", ["memory", "group"])
def test_lost_machines_at_random(durability):
    """Whatever is lost, the log opens, is a prefix of what was written, and has what was synced."""
    for seed in range(60):
        chance = random.Random(seed)
        log = create(durability, boot_id="boot-1")
        twin = Oracle()
        for _life in range(3):
            for _ in range(chance.randint(1, 8)):
                records = some_records(
                    chance.randint(1, 400), first=log.next_number, size=chance.choice((20, 100, 400))
                )
                log.append_records(messages_of(records))
                twin.records += records
                if chance.random() < 0.5:
                    log.sync()
                if chance.random() < 0.3 and log.last > log.commit:
                    log.commit = chance.randint(log.commit, log.synced if durability == "group" else log.last)
                if chance.random() < 0.2 and log.last > log.commit:
                    log.cut(chance.randint(log.commit, log.last))
                    del twin.records[log.last :]
            synced = log.synced
            log = open_log(log.storage.lost(chance), durability)
            assert log.last >= synced, seed
            del twin.records[log.last :]
            check_log(log, twin)
            if durability == "group":
                assert log.lost_commit == 0
            assert open_log(log.storage.killed(), durability).last == log.last


def test_a_damaged_log_names_the_sender_limit(monkeypatch):
    senders = __import__("rewinder.senders").senders.SenderTable
    log = create(records=some_records(10))
    monkeypatch.setattr("rewinder.state.SenderTable", lambda: senders(2))
    with pytest.raises(LogError, match="sender table"):
        open_log(log.storage.killed())
