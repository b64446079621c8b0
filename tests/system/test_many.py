"""Many senders, two lines, a supervisor that restarts what dies: the same promises."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from seqcast.config import read_configuration

if TYPE_CHECKING:
    from pathlib import Path

    from bus import Bus


def test_many_senders_keep_their_order_and_interleave(bus: Bus) -> None:
    users = [f"USER{n}" for n in range(6)]
    count = 3000
    with bus.receiver() as receiver:
        senders = [bus.sender(user) for user in users]
        for n in range(count):
            for sender in senders:
                sender.send(b"%d" % n)
                if n % 100 == 0:
                    sender.poll()
        for sender in senders:
            sender.flush(30)
            sender.close()
        got: dict[str, list[int]] = {user: [] for user in users}
        numbers: list[int] = []
        while len(numbers) < count * len(users):
            batch = receiver.poll(timeout=1.0)
            numbers += batch.payloads.numbers
            for user, payload in zip(batch.senders, batch.payloads, strict=True):
                got[user].append(int(bytes(payload)))
    assert all(sequence == list(range(count)) for sequence in got.values())
    assert numbers == list(range(2, 2 + count * len(users)))


def test_line_b_carries_the_same_and_either_is_enough(quiet_bus: Bus) -> None:
    bus = quiet_bus
    text = bus.config_path.read_text()
    bus.config_path.write_text(text.replace("# group_b", "group_b").replace("# port_b", "port_b"))
    bus.configuration = read_configuration(bus.config_path)
    bus.start_all()
    messages = [b"%d" % n for n in range(2000)]
    with (
        bus.receiver() as both,
        bus.receiver(lines=["a"]) as only_a,
        bus.receiver(lines=["b"]) as only_b,
        bus.sender() as sender,
    ):
        for message in messages:
            sender.send(message)
        sender.flush(20)
        for receiver in (both, only_a, only_b):
            got: list[bytes] = []
            while len(got) < len(messages):
                got += receiver.poll(timeout=1.0).payloads.payloads()
            assert got == messages
        lines = both.counters.line_datagrams
        assert min(lines[:2]) > 0


def test_up_restarts_what_is_killed_and_the_sender_notices_nothing(quiet_bus: Bus, tmp_path: Path) -> None:
    bus = quiet_bus
    feed = tmp_path / "feed"
    feed.write_text("".join(f"line {n}\n" for n in range(20_000)))
    supervisor = subprocess.Popen(
        [sys.executable, "-m", "seqcast.cli", "up", "--json", "--config", str(bus.config_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert supervisor.stdout is not None
    pids = {}
    try:
        for line in supervisor.stdout:
            event = json.loads(line)
            if event["event"] == "starting":
                pids[event["name"]] = event["pid"]
            if event["event"] == "all-ready":
                break
        sender = subprocess.Popen(
            [sys.executable, "-m", "seqcast.cli", "send", "--user", "A", "--rate", "10000", str(feed),
             "--config", str(bus.config_path)],
        )  # fmt: skip
        for name in ("SEQ1", "REW1"):
            before = bus.ask("SEQ1", "status")["commit"]
            while bus.ask("SEQ1", "status")["commit"] < before + 2000:
                pass
            os.kill(pids[name], signal.SIGKILL)
            for line in supervisor.stdout:
                event = json.loads(line)
                if event["event"] == "ready" and event["name"] == name:
                    break
        assert sender.wait(timeout=60) == 0
        with bus.receiver(lines=()) as receiver:
            got: list[bytes] = []
            while len(got) < 20_000:
                got += receiver.poll(timeout=1.0).payloads.payloads()
        assert got == feed.read_bytes().splitlines()
    finally:
        supervisor.terminate()
        assert supervisor.wait(timeout=30) == 0
        supervisor.stdout.close()
