"""Exactly once from the sender: whoever is killed, wherever, the stream holds each message once and in order."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from seqcast.receiver import BEGIN

if TYPE_CHECKING:
    from bus import Bus

KILLS = int(os.environ.get("SEQCAST_KILLS", "8"))
MESSAGES = 60_000


@pytest.fixture
def feed(tmp_path: Path) -> Path:
    path = tmp_path / "feed.txt"
    path.write_text("".join(f"message number {n}\n" for n in range(MESSAGES)))
    return path


def start_send(bus: Bus, feed: Path, *options: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "seqcast.cli", "send", "--user", "ALPHA", *options, str(feed),
         "--config", str(bus.config_path)],
        stderr=subprocess.PIPE,
    )  # fmt: skip


def committed(bus: Bus) -> int:
    return int(bus.ask("SEQ1", "status")["commit"])


def wait_for_commit(bus: Bus, number: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until the stream has grown to `number`, or the sender is done."""
    while process.poll() is None and committed(bus) < number:
        time.sleep(0.001)  # the event is another process's progress, which can only be asked for


def stream_of(bus: Bus) -> list[bytes]:
    """Every message in the stream, in order."""
    last = committed(bus)
    with bus.receiver(start=BEGIN, lines=()) as receiver:
        got: list[bytes] = []
        while receiver.position <= last:
            got += receiver.poll(timeout=1.0).payloads.payloads()
        return got


def test_a_sender_that_is_killed_anywhere(bus: Bus, feed: Path) -> None:
    random = Random(11)
    for _ in range(KILLS):
        process = start_send(bus, feed, "--rate", "40000")
        wait_for_commit(bus, committed(bus) + random.randrange(1, MESSAGES // KILLS), process)
        process.kill()
        process.communicate()
    process = start_send(bus, feed)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert stream_of(bus) == feed.read_bytes().splitlines()


def test_a_sequencer_that_is_killed_anywhere(bus: Bus, feed: Path) -> None:
    random = Random(12)
    process = start_send(bus, feed, "--rate", "40000")
    for _ in range(KILLS):
        wait_for_commit(bus, committed(bus) + random.randrange(1, MESSAGES // KILLS), process)
        bus.nodes["SEQ1"].kill()
        bus.start("SEQ1")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert stream_of(bus) == feed.read_bytes().splitlines()
    epochs = bus.ask("SEQ1", "status")["epoch"]
    assert epochs == KILLS + 1


def test_a_rewinder_that_is_killed_catches_up(bus: Bus, feed: Path) -> None:
    process = start_send(bus, feed)
    wait_for_commit(bus, MESSAGES // 4, process)
    bus.nodes["REW1"].kill()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    bus.start("REW1")
    assert stream_of(bus) == feed.read_bytes().splitlines()


def test_what_a_receiver_saw_before_the_kill_stays(bus: Bus) -> None:
    """A receiver that lives through a restart of the sequencer sees one history."""
    with bus.receiver() as receiver, bus.sender() as sender:
        seen: list[tuple[int, bytes]] = []
        for round_number in range(4):
            for n in range(2000):
                sender.send(b"%d/%d" % (round_number, n))
            if round_number < 3:
                while not sender.connected:  # what nobody was connected to is not missed
                    sender.poll(0.1)
                bus.nodes["SEQ1"].kill()
                bus.start("SEQ1")
            sender.flush(20)
            while len(seen) < 2000 * (round_number + 1):
                batch = receiver.poll(timeout=1.0)
                seen += zip(batch.payloads.numbers, batch.payloads.payloads(), strict=True)
        assert [payload for _, payload in seen] == [b"%d/%d" % (r, n) for r in range(4) for n in range(2000)]
        assert sender.reconnections >= 3
    with bus.receiver(lines=()) as replay:
        again: list[tuple[int, bytes]] = []
        while len(again) < len(seen):
            batch = replay.poll(timeout=1.0)
            again += zip(batch.payloads.numbers, batch.payloads.payloads(), strict=True)
    assert again == seen


def test_sending_twice_on_purpose_sends_twice(bus: Bus, tmp_path: Path) -> None:
    feed = tmp_path / "small.txt"
    feed.write_text("a\nb\n")
    for _ in range(2):
        assert bus.run("send", "--user", "ALPHA", feed).returncode == 0
    assert stream_of(bus) == [b"a", b"b"] * 2
    assert bus.run("send", "--user", "ALPHA", "--resume", feed).returncode == 0
    assert stream_of(bus) == [b"a", b"b"] * 2
