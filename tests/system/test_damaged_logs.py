"""Logs that were damaged between two runs: what was committed is had again, or refused; never made up."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from rewinder.record import STAMP_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from bus import Bus

MESSAGES = [b"message %d" % n for n in range(500)]


@pytest.fixture
def stopped_bus(bus: Bus) -> Bus:
    """A bus that has carried MESSAGES and was stopped; the rewinder has all of them."""
    with bus.sender() as sender:
        for message in MESSAGES:
            sender.send(message)
        number = sender.flush(10)
    while bus.ask("REW1", "status")["commit"] < number:
        pass
    bus.stop()
    bus.nodes.clear()
    return bus


def segment_of(bus: Bus, name: str) -> Path:
    (path,) = bus.configuration.node_directory(name).glob("*/*.seg")
    return path


def end_of(path: Path) -> int:
    """Offset behind the last byte that was written."""
    return len(path.read_bytes().rstrip(b"\0"))


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(data)


def stream_of(bus: Bus) -> list[bytes]:
    got: list[bytes] = []
    with bus.receiver(lines=()) as receiver:
        while len(got) < len(MESSAGES) + 1:
            got += receiver.poll(timeout=1.0).payloads.payloads()
    return got


def test_a_torn_tail_is_cut_and_the_records_are_fetched_from_a_rewinder(stopped_bus: Bus) -> None:
    bus = stopped_bus
    path = segment_of(bus, "SEQ1")
    overwrite(path, end_of(path) - 20, bytes(20))
    bus.start("REW1")
    bus.start("SEQ1")
    with bus.sender() as sender:
        assert sender.resumed_at == len(MESSAGES)
        sender.send(b"after")
        assert sender.flush(10) == len(MESSAGES) + 3  # two epoch starts
    assert stream_of(bus) == [*MESSAGES, b"after"]
    assert "cut at offset" in bus.nodes["SEQ1"].log
    assert "fetched records" in bus.nodes["SEQ1"].log


def test_garbage_behind_the_last_record_is_cut(stopped_bus: Bus) -> None:
    bus = stopped_bus
    path = segment_of(bus, "SEQ1")
    overwrite(path, end_of(path), b"\x00\x30S" + bytes(range(1, 30)))
    bus.start_all()
    with bus.sender() as sender:
        sender.send(b"after")
    assert stream_of(bus) == [*MESSAGES, b"after"]
    assert "fetched records" not in bus.nodes["SEQ1"].log


def test_a_tail_that_nobody_has_is_refused(stopped_bus: Bus) -> None:
    """To go on would give other records the numbers that somebody may have seen."""
    bus = stopped_bus
    for name in ("SEQ1", "REW1"):
        path = segment_of(bus, name)
        overwrite(path, end_of(path) - 20, bytes(20))
    bus.start("REW1")
    refused = bus.run("sequencer", "SEQ1")
    assert refused.returncode == 1
    assert "records 501 to 501 were committed" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("name", ["SEQ1", "REW1"])
def test_a_flipped_bit_is_named_and_never_served(stopped_bus: Bus, name: str) -> None:
    bus = stopped_bus
    path = segment_of(bus, name)
    data = path.read_bytes()
    offset = data.index(b"message 250")
    overwrite(path, offset, bytes([data[offset] ^ 4]))
    role = bus.configuration.node(name).role.value
    refused = bus.run(role, name)
    assert refused.returncode == 1
    frame = offset - 3
    for part in (path.name, f"offset {frame}", "record 252"):
        assert part in refused.stderr
    verified = bus.run("log", "verify", str(path.parent))
    assert verified.returncode == 1
    assert "252" in verified.stdout + verified.stderr


def test_a_rewinder_that_lost_its_log_gets_it_again(stopped_bus: Bus) -> None:
    bus = stopped_bus
    directory = bus.configuration.node_directory("REW1")
    subprocess.run(["rm", "-r", str(directory)], check=True)
    bus.start_all()
    with bus.sender() as sender:
        sender.send(b"after")
    assert stream_of(bus) == [*MESSAGES, b"after"]


def test_records_are_as_long_as_their_messages_and_the_stamp(stopped_bus: Bus) -> None:
    """The test above counts on the frame's place: three bytes before the message."""
    data = segment_of(stopped_bus, "SEQ1").read_bytes()
    offset = data.index(b"message 250")
    length = len(b"message 250") + STAMP_BYTES + 1
    assert data[offset - 3 : offset] == length.to_bytes(2, "big") + b"S"
