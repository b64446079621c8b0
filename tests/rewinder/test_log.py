"""The message log: appending, reading, rolling, cutting, marks, and opening again."""

from __future__ import annotations

import oracle_log as oracle
import pytest
from oracle_log import SESSION, Oracle, check_log, messages_of, some_records

from native.messages import MessageTable
from rewinder.errors import (
    ForeignSession,
    LocalProtocolError,
    LogExists,
    LogMissing,
    NotInLog,
    RefusedRecord,
    StorageFull,
    SyncFailed,
)
from rewinder.log import MessageLog
from rewinder.memory import MemoryStorage
from rewinder.record import Kind, Stamp, epoch_payload
from rewinder.segment import SEGMENT_BYTES_LIMIT, SEGMENT_BYTES_MINIMUM, segment_name

SMALL = SEGMENT_BYTES_MINIMUM


def create(storage=None, **settings):
    settings = {"durability": "memory", "segment_bytes": SMALL} | settings
    return MessageLog.create(storage or MemoryStorage(), SESSION, **settings)


def reopen(log, **settings):
    settings = {"durability": log.durability, "segment_bytes": log.segment_bytes} | settings
    return MessageLog.open(log.storage.killed(), SESSION, **settings)


def fill(log, count, size=20):
    log.append_records(messages_of(some_records(count, first=log.next_number, size=size)))


def test_a_new_log_is_empty():
    log = create()
    assert (log.first, log.last, log.next_number, log.commit, log.synced) == (1, 0, 1, 0, 0)
    assert (log.ended, log.epochs, log.last_time_ns, log.recovery) == (None, [], 0, None)
    check_log(log, Oracle())
    check_log(reopen(log), Oracle())


def test_records_come_back_as_they_were():
    log, twin = create(), Oracle(some_records(500))
    assert log.append_records(messages_of(twin.records)) == 500
    check_log(log, twin)
    check_log(reopen(log), twin)
    assert reopen(log).recovery is None


def test_the_file_is_the_oracle_s():
    log, twin = create(created_ns=77), Oracle(some_records(100))
    log.append_records(messages_of(twin.records))
    data = log.storage.read(segment_name(1))
    assert oracle.parse(data, 1) == twin.records
    expected = oracle.header(1, 0, 0, 77) + b"".join(map(oracle.frame, twin.records))
    assert data == expected.ljust(SMALL, b"\0")


def test_control_records():
    log = create()
    owner = b"SEQ1  "
    assert log.append(epoch_payload(1, "SEQ1"), Stamp(5, 1, owner, Kind.EPOCH)) == 1
    fill(log, 4)
    assert log.append(epoch_payload(3, "SEQ2"), Stamp(2000, 3, b"SEQ2  ", Kind.EPOCH)) == 6
    assert log.append(b"data", Stamp(2000, 9, b"DAVE  ")) == 7
    assert log.append(b"", Stamp(2001, 0, owner, Kind.END)) == 8
    for each in (log, reopen(log)):
        assert (each.epochs, each.ended, each.last_time_ns) == ([(1, 1), (3, 6)], 8, 2001)
        assert each.senders.last_of(b"DAVE  ") == (9, 7)
        assert each.senders.slot(owner) == -1
    assert log.messages(1, 1)[0][:14] == b"\0\0\0\0\0\0\0\1SEQ1  "


def test_control_records_from_a_primary():
    source, follower = create(), create()
    for step in range(3):
        source.append(
            epoch_payload(step + 1, "SEQ1"), Stamp(source.last_time_ns, step + 1, b"SEQ1  ", Kind.EPOCH)
        )
        fill(source, 70)
    source.append(b"", Stamp(source.last_time_ns, 0, b"SEQ1  ", Kind.END))
    assert follower.append_records(source.messages(1, 1000)) == 3 * 71 + 1
    assert follower.epochs == source.epochs == [(1, 1), (2, 72), (3, 143)]
    assert follower.ended == source.ended == 214
    with pytest.raises(RefusedRecord, match="ended"):
        follower.append_records(messages_of([oracle.record(215, b"", time=9999)]))
    with pytest.raises(LocalProtocolError, match="ended"):
        source.append(b"", Stamp(9999, 0, b"SEQ1  ", Kind.END))


def test_refused_records_name_their_number_and_stop_there():
    good = some_records(10)
    for wrong, reason in [
        (some_records(1, first=12)[0], "another number"),
        (good[3], "another number"),
        (oracle.record(11, b"", time=1), "time"),
        (oracle.record(11, b"", time=5000)[:27], "short"),
        (bytes(65486), "longer"),
    ]:
        log = create()
        with pytest.raises(RefusedRecord, match=reason) as raised:
            log.append_records(messages_of([*good, wrong, *good]))
        assert raised.value.number == 11
        check_log(log, Oracle(good))


def test_segments_roll_by_themselves():
    log, twin = create(), Oracle(some_records(4000, size=100))
    assert log.append_records(messages_of(twin.records)) == 4000
    assert len(log.segments) == 9
    check_log(log, twin)
    again = reopen(log)
    check_log(again, twin)
    assert again.segments == log.segments
    for first, following in zip(log.segments, log.segments[1:], strict=False):
        records = oracle.parse(log.storage.read(segment_name(first)), first)
        assert records == twin.records[first - 1 : following - 1]


def test_roll_of_an_empty_segment_does_nothing():
    log = create()
    log.roll()
    fill(log, 1)
    log.roll()
    log.roll()
    assert log.segments == [1, 2]
    fill(log, 1)
    check_log(reopen(log), Oracle(some_records(2)))


def test_the_longest_record_fits_the_smallest_segment():
    log = create()
    for _ in range(3):
        log.append(bytes(65457), Stamp(0, 1, b"ALICE "))
    assert log.segments == [1, 2, 3]
    with pytest.raises(LocalProtocolError, match="65457"):
        log.append(bytes(65458), Stamp(0, 1, b"ALICE "))


def test_locate_and_offsets():
    log = create()
    fill(log, 4000, size=100)
    for number in [1, 64, 65, 66, 500, log.segments[1] - 1, log.segments[1], 3999, 4000]:
        segment, offset = log.locate(number)
        assert segment.first <= number <= segment.last
        length = int.from_bytes(segment.view[offset : offset + 2], "big")
        assert log.end_offset(number) == offset + 2 + length == segment.offset_of(number + 1)
        assert segment.view[offset + 3 : offset + 2 + length] == some_records(1, first=number, size=100)[0]
    for number in (0, 4002, 1 << 63):
        with pytest.raises(NotInLog):
            log.locate(number)
    with pytest.raises(NotInLog):
        log.segment_of(4001)
    with pytest.raises(NotInLog):
        log.tail.offset_of(log.tail.first - 1)


def test_reading_is_bounded():
    log = create()
    fill(log, 3000, size=100)
    table = MessageTable(10)
    assert len(log.rows(1, 100, table)) == 10
    assert len(log.rows(1, 5, table)) == 5
    assert len(log.messages(1, 100, max_bytes=3 * 128)) == 3
    assert len(log.messages(1, 100, max_bytes=1)) == 1
    edge = log.segments[1]
    assert len(log.messages(edge - 2, 100)) == 2  # one segment at a time


def test_times_and_senders_are_the_caller_s_promise():
    log = create()
    log.append(b"", Stamp(10, 1, b"ALICE "))
    with pytest.raises(LocalProtocolError, match="before"):
        log.append(b"", Stamp(9, 2, b"ALICE "))
    log.roll()
    with pytest.raises(LocalProtocolError, match="before"):  # also across segments
        log.append(b"", Stamp(9, 2, b"ALICE "))
    with pytest.raises(RefusedRecord, match="time"):
        log.append_records(messages_of([oracle.record(2, b"", time=9)]))
    with pytest.raises(LocalProtocolError):
        log.senders.slot(b"ALICE")
    with pytest.raises(LocalProtocolError):
        log.senders.committed_of(1)


def test_sender_slots_stay():
    log = create()
    fill(log, 300)
    slots = {name: log.senders.slot(name) for name in (b"ALICE ", b"BOB   ", b"CAROL ")}
    assert sorted(slots.values()) == [0, 1, 2]
    log.cut(1)
    assert {name: log.senders.slot(name) for name in slots} == slots
    assert log.senders.last_of(b"ALICE ") == (0, 0)
    assert log.senders.last_of(b"BOB   ") == (1, 1)
    fill(log, 50)
    check_log(log, Oracle(some_records(51)))
    assert log.senders.last_of(b"NOBODY") == (0, 0)
    assert log.senders.name(slots[b"BOB   "]) == b"BOB   "


# commit and sync marks


def test_the_commit_mark_survives_a_killed_process():
    log = create()
    fill(log, 10)
    log.commit = 7
    again = reopen(log)
    assert again.commit == 7
    for wrong in (6, 11):
        with pytest.raises(LocalProtocolError):
            again.commit = wrong
    again.commit = 10
    assert reopen(again).commit == 10


def test_every_state_of_a_half_written_mark_is_safe():
    log = create()
    fill(log, 300)
    for before, after in [(0, 1), (7, 255), (255, 256), (256, 300)]:
        log._marks.commit = before
        words = log._marks._blob.view.cast("Q")
        words[16] = after  # killed between the two stores
        assert reopen(log).commit == min(before, after)


def test_damaged_marks_say_less_never_more():
    log = create()
    fill(log, 300)
    log.commit = 200
    for offset in range(256):
        for mask in (1, 128):
            storage = log.storage.killed()
            storage.damage("marks", offset, mask)
            again = MessageLog.open(storage, SESSION, durability="memory")
            assert again.commit <= 200
            if offset < 96:
                assert again.recovery.marks_rebuilt
                assert not again.recovery.lost_machine
            check_log(again, Oracle(some_records(300)))


def test_missing_marks_begin_at_zero():
    log = create()
    fill(log, 10)
    log.commit = 5
    log.storage.remove("marks")
    again = reopen(log)
    assert (again.commit, again.recovery.marks_rebuilt) == (0, True)
    assert "marks" in str(again.recovery)
    again.commit = 3
    assert reopen(again).commit == 3


def test_memory_never_claims_to_be_synced():
    log = create()
    syncs = log.storage.syncs
    fill(log, 10)
    log.sync()
    assert log.synced == 0
    assert log.storage.syncs == syncs


@pytest.mark.parametrize("durability", ["group", "always"])
def test_synced_follows_sync(durability):
    log = create(durability=durability)
    fill(log, 10)
    assert log.synced == 0
    log.sync()
    assert log.synced == 10
    syncs = log.storage.syncs
    log.sync()
    assert log.storage.syncs == syncs  # nothing to do
    assert reopen(log).synced == 10


def test_only_the_tail_is_ever_unsynced():
    log = create(durability="group")
    fill(log, 2000, size=100)
    assert log.synced == log.tail.first - 1 > 0
    log.sync()
    assert log.synced == 2000


def test_a_log_that_was_memory_becomes_durable_with_the_first_sync():
    log = create()
    fill(log, 2000, size=100)
    again = reopen(log, durability="group")
    assert again.synced == 0
    syncs = again.storage.syncs
    again.sync()
    assert again.synced == 2000
    assert again.storage.syncs - syncs == len(again.segments) + 1  # each segment, and the directory
    for name in map(segment_name, again.segments):
        blob = again.storage.open(name)
        assert blob.synced == bytes(blob.view)


def test_a_disk_that_failed_once_is_not_believed_again():
    log = create(durability="group")
    fill(log, 10)
    log.storage.fail_sync = True
    with pytest.raises(SyncFailed, match=segment_name(1)):
        log.sync()
    log.storage.fail_sync = False
    with pytest.raises(SyncFailed):
        log.sync()
    assert log.synced == 0
    log.close()
    assert reopen(log).synced == 0


def test_a_roll_that_cannot_be_synced():
    log = create(durability="group")
    fill(log, 10)
    log.storage.fail_sync = True
    with pytest.raises(SyncFailed):
        log.roll()
    assert log.segments == [1]
    check_log(reopen(log), Oracle(some_records(10)))


# cutting


@pytest.mark.parametrize("last", [0, 1, 63, 64, 65, 499, 522, 523, 1044, 1500, 1999, 2000])
def test_cut(last):
    log, twin = create(), Oracle(some_records(2000, size=100))
    log.append_records(messages_of(twin.records))
    assert log.segments[:3] == [1, 500, 999]
    log.cut(last)
    kept = Oracle(twin.records[:last])
    check_log(log, kept)
    sidecars = [name for name in log.storage.names() if name.endswith((".idx", ".ckpt"))]
    assert sorted(sidecars) == sorted(
        [segment_name(first, ".idx") for first in log.segments[:-1]]
        + [segment_name(first, ".ckpt") for first in log.segments[1:]]
    )
    again = reopen(log)
    assert again.recovery is None
    check_log(again, kept)
    again.append_records(messages_of(twin.records[last:]))
    check_log(again, twin)
    check_log(reopen(again), twin)


def test_cut_at_a_segment_s_edge():
    log = create()
    fill(log, 1200, size=100)
    edge = log.segments[1]
    log.cut(edge - 1)
    assert log.segments == [1, edge]  # an empty tail, as after a roll
    fill(log, 5, size=100)
    check_log(reopen(log), Oracle(some_records(edge + 4, size=100)))


def test_cut_takes_epochs_and_the_end_with_it():
    log = create()
    log.append(epoch_payload(1, "SEQ1"), Stamp(0, 1, b"SEQ1  ", Kind.EPOCH))
    fill(log, 3)
    log.append(epoch_payload(2, "SEQ1"), Stamp(2000, 2, b"SEQ1  ", Kind.EPOCH))
    log.append(b"", Stamp(2000, 0, b"SEQ1  ", Kind.END))
    log.cut(5)
    assert (log.ended, log.epochs) == (None, [(1, 1), (2, 5)])
    log.cut(4)
    assert log.epochs == [(1, 1)]
    log.append(epoch_payload(3, "SEQ2"), Stamp(2000, 3, b"SEQ2  ", Kind.EPOCH))
    assert reopen(log).epochs == [(1, 1), (3, 5)]


def test_never_cut_below_the_commit_number():
    log = create()
    fill(log, 10)
    log.commit = 5
    for wrong in (4, 11):
        with pytest.raises(LocalProtocolError):
            log.cut(wrong)
    log.cut(5)
    assert log.last == log.commit == 5


def test_cut_lowers_the_sync_mark_first():
    log = create(durability="group")
    fill(log, 10)
    log.sync()
    log.cut(4)
    assert log.synced == 4
    assert log._marks._blob.synced == bytes(log._marks._blob.view)
    assert reopen(log).recovery is None


def test_who_reads_a_segment_sees_a_cut():
    log = create()
    fill(log, 1200, size=100)
    held, _ = log.locate(5)
    log.cut(20)
    assert log.tail is held
    assert held.last == 20
    fill(log, 5, size=10)
    assert held.last == 25
    assert log.end_offset(25) == held.end


# settings and places


def test_create_and_open_where_it_is_wrong():
    storage = MemoryStorage()
    with pytest.raises(LogMissing):
        MessageLog.open(storage, SESSION, durability="memory")
    log = create(storage)
    with pytest.raises(LogExists):
        create(storage)
    with pytest.raises(ForeignSession, match="OTHER00001"):
        MessageLog.open(storage, b"OTHER00001", durability="memory")
    assert MessageLog.open(storage, durability="memory").session == log.session == SESSION
    assert MessageLog.open_or_create(storage, SESSION, durability="memory").first == 1


@pytest.mark.parametrize(
    ("session", "settings"),
    [
        (b"SHORT", {}),
        (SESSION, {"durability": "sometimes"}),
        (SESSION, {"segment_bytes": SMALL - 1}),
        (SESSION, {"segment_bytes": SEGMENT_BYTES_LIMIT + 1}),
    ],
)
def test_settings_that_cannot_be(session, settings):
    with pytest.raises(LocalProtocolError):
        MessageLog.create(MemoryStorage(), session, **({"durability": "memory"} | settings))


def test_a_reader_changes_nothing():
    log = create()
    fill(log, 2000, size=100)
    log.commit = 1500
    storage = log.storage.killed()
    storage.writable = False
    before = {name: storage.read(name) for name in storage.names()}
    reader = MessageLog.open_readonly(storage)
    check_log(reader, Oracle(some_records(2000, size=100)))
    assert reader.commit == 1500
    for change in (
        reader.roll,
        lambda: reader.cut(10),
        lambda: reader.append(b"", Stamp(10**6, 1, b"ALICE ")),
        lambda: reader.append_records(messages_of([])),
    ):
        with pytest.raises(LocalProtocolError, match="reading"):
            change()
    reader.close()
    assert {name: storage.read(name) for name in storage.names()} == before
    with pytest.raises(LocalProtocolError):
        MessageLog.open_readonly(log.storage)


def test_a_full_disk_loses_nothing():
    storage = MemoryStorage(capacity=3 * SMALL + 40_000)
    log = create(storage)
    records = some_records(5000, size=100)
    with pytest.raises(StorageFull, match=r"\.seg") as raised:
        log.append_records(messages_of(records))
    assert raised.value.wanted == SMALL
    held = log.last
    assert len(log.segments) == 3
    check_log(log, Oracle(records[:held]))
    with pytest.raises(StorageFull):
        log.roll()
    small = oracle.record(held + 1, b"", time=9000)  # what still fits the tail goes in
    log.append_records(messages_of([small]))
    check_log(reopen(log), Oracle([*records[:held], small]))
    storage.capacity = None
    log.roll()
    more = [oracle.record(number, b"x" * 100, time=9000) for number in range(log.next_number, 5001)]
    log.append_records(messages_of(more))
    check_log(reopen(log), Oracle([*records[:held], small, *more]))


def test_a_disk_without_room_for_sidecars_goes_on():
    storage = MemoryStorage(capacity=4096 + 2 * SMALL)
    log = create(storage)
    fill(log, 900, size=100)
    assert len(log.segments) == 2
    assert not [name for name in storage.names() if name.endswith((".idx", ".ckpt"))]
    check_log(reopen(log), Oracle(some_records(900, size=100)))


def test_the_sender_table_has_a_limit(monkeypatch):
    monkeypatch.setattr(
        "rewinder.state.SenderTable", lambda: __import__("rewinder.senders").senders.SenderTable(3)
    )
    log = create()
    fill(log, 10)
    with pytest.raises(RefusedRecord, match="sender table"):
        log.append_records(messages_of([oracle.record(11, b"", time=5000, sender=b"FOURTH")]))
    with pytest.raises(LocalProtocolError, match="sender table"):
        log.append(b"", Stamp(5000, 1, b"FOURTH"))
    assert log.senders.add(b"FOURTH") == -1
    assert log.last == 10
