"""The directory a log lies in: locks, full disks, killed writers; and the storage in memory beside it."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from oracle_log import SESSION, Oracle, check_log, messages_of, some_records

from rewinder.errors import LogLocked, LogMissing, StorageFull
from rewinder.log import MessageLog
from rewinder.memory import MemoryStorage
from rewinder.segment import SEGMENT_BYTES_MINIMUM as SMALL
from rewinder.segment import segment_name
from rewinder.storage import FileStorage, machine_boot_id

STORAGES = ["file", "memory"]


@pytest.fixture(params=STORAGES)
def storage(request, tmp_path):
    made = FileStorage(tmp_path / "log") if request.param == "file" else MemoryStorage()
    yield made
    made.close()


def test_blobs(storage):
    blob = storage.create("a", 5000, b"head")
    assert bytes(blob.view) == b"head".ljust(5000, b"\0")
    blob.view[4999] = 7
    storage.sync(blob)
    storage.sync_directory()
    assert storage.open("a").view[4999] == 7
    assert (storage.size("a"), storage.open("a").name) == (5000, "a")
    with pytest.raises(FileExistsError):
        storage.create("a", 10, b"")
    assert bytes(storage.create("a", 10, b"new", replace=True).view) == b"new".ljust(10, b"\0")
    assert blob.view[4999] == 7  # who has the old one keeps it
    storage.remove("a")
    storage.remove("a")
    for miss in (storage.open, storage.size, storage.read):
        with pytest.raises(FileNotFoundError):
            miss("a")


@pytest.mark.parametrize("durable", [True, False])
def test_small_files(storage, durable):
    storage.write_atomically("b", b"one", durable=durable)
    storage.write_atomically("b", b"three", durable=durable)
    assert storage.read("b") == b"three"
    assert "b" in storage.names()
    assert "b.new" not in storage.names()
    assert storage.describe("b").endswith("b")


def test_an_empty_file_can_be_opened(tmp_path):
    (tmp_path / "x").touch()
    assert bytes(FileStorage(tmp_path).open("x").view) == b""


def test_half_made_files_are_removed(tmp_path):
    (tmp_path / "00000000000000000001.seg.new").write_bytes(b"half")
    FileStorage(tmp_path, writable=False)
    assert list(tmp_path.iterdir())
    storage = FileStorage(tmp_path)
    assert storage.names() == ["owner"]
    storage.close()


def test_a_reader_needs_a_directory(tmp_path):
    with pytest.raises(LogMissing, match="nowhere"):
        FileStorage(tmp_path / "nowhere", writable=False)


def test_the_boot_id_is_the_machine_s():
    assert machine_boot_id() == machine_boot_id()
    assert len(machine_boot_id()) in (0, 36)


def test_descriptors_are_given_back(tmp_path):
    def descriptors():
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    log = MessageLog.create(FileStorage(tmp_path), SESSION, durability="memory", segment_bytes=SMALL)
    log.append_records(messages_of(some_records(60_000, size=100)))
    log.close()
    log = MessageLog.open(
        FileStorage(tmp_path), SESSION, durability="memory", segment_bytes=SMALL, verify_bytes=0
    )
    assert len(log.segments) > 100
    check_log(log, Oracle(some_records(60_000, size=100)))
    assert descriptors() < before + 2 * 70  # at most 64 sealed segments are kept open
    log.close()
    del log
    assert descriptors() == before


# one process at a time


def test_a_second_process_is_told_who_has_the_log(tmp_path):
    storage = FileStorage(tmp_path)
    script = (
        "import sys; from pathlib import Path; from rewinder.storage import FileStorage\n"
        "FileStorage(Path(sys.argv[1]))"
    )
    second = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert second.returncode == 1
    assert f"LogLocked: {tmp_path}: process {os.getpid()} has this log open" in second.stderr
    with pytest.raises(LogLocked):  # nor may the same process twice
        FileStorage(tmp_path)
    FileStorage(tmp_path, writable=False).close()
    storage.close()
    third = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (third.returncode, third.stderr) == (0, "")


def test_a_reader_beside_a_writer(tmp_path):
    records = some_records(3000, size=100)
    log = MessageLog.create(FileStorage(tmp_path), SESSION, durability="memory", segment_bytes=SMALL)
    log.append_records(messages_of(records[:1000]))
    log.commit = 900
    reader = MessageLog.open_readonly(FileStorage(tmp_path, writable=False))
    log.append_records(messages_of(records[1000:]))
    check_log(reader, Oracle(records[:1000]))
    assert reader.commit == 900
    reader.close()
    check_log(MessageLog.open_readonly(FileStorage(tmp_path, writable=False)), Oracle(records))
    log.close()


# full disks


@pytest.fixture
def small_disk(tmp_path):
    mount = tmp_path / "disk"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(mount)], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip("no right to mount a small tmpfs")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


def test_a_disk_that_is_really_full(small_disk):
    log = MessageLog.create(FileStorage(small_disk / "log"), SESSION, durability="group", segment_bytes=SMALL)
    records = some_records(5000, size=100)
    with pytest.raises(StorageFull, match=str(small_disk)) as raised:
        log.append_records(messages_of(records))
    assert (raised.value.wanted, raised.value.file) == (
        SMALL,
        str(small_disk / "log" / segment_name(log.next_number)),
    )
    held = log.last
    assert held > 1500
    log.sync()
    assert not [name for name in log.storage.names() if name.endswith(".new")]
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    log.append_records(messages_of(records[held:]))
    log.close()
    again = MessageLog.open(FileStorage(small_disk / "log"), SESSION, durability="group")
    check_log(again, Oracle(records))
    assert again.recovery is None
    again.close()


# killed writers


def record_of(number):
    return some_records(1, first=number, size=20 + number % 7 * 60)[0]


def write_until_killed(directory, ready):
    log = MessageLog.open_or_create(FileStorage(directory), SESSION, durability="memory", segment_bytes=SMALL)
    ready.set()
    while True:
        first = log.next_number
        log.append_records(messages_of([record_of(number) for number in range(first, first + 20)]))
        log.commit = log.last


def test_a_killed_writer_leaves_a_good_log(tmp_path):
    """Ten kills at random moments: what was committed is there, and nothing has to be repaired."""
    context = multiprocessing.get_context("spawn")
    chance = random.Random(7)
    committed = 0
    for _ in range(10):
        ready = context.Event()
        writer = context.Process(target=write_until_killed, args=(tmp_path, ready))
        writer.start()
        assert ready.wait(30)
        writer.join(chance.uniform(0, 0.05))  # the moment of the kill
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        log = MessageLog.open(FileStorage(tmp_path), SESSION, durability="memory", segment_bytes=SMALL)
        assert log.last >= log.commit >= committed
        assert log.lost_commit == 0
        assert log.recovery is None or log.recovery.number > log.commit
        committed = (
            log.commit
        )  # what lies above may have been appended by one who was killed before he said so
        check_log(log, Oracle([record_of(number) for number in range(1, log.last + 1)]))
        log.close()
    assert committed > 0


def test_what_was_never_written_is_not_looked_at(tmp_path):
    size = 8 << 20
    blob = FileStorage(tmp_path).create("a", size, b"head")
    assert 4 <= blob.data_end(0) < size // 2
    blob.view[3 << 20] = 1
    end = blob.data_end(0)
    assert 3 << 20 < end <= size
    assert not any(blob.view[end:])
    assert blob.data_end(end) >= end
    assert blob.data_end(size) == size
