"""Messages in at the sequencer, out at receivers: the whole bus in real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

import moldudp
from seqcast.itch import binaryfile
from seqcast.receiver import LIVE

if TYPE_CHECKING:
    from bus import Bus

    from seqcast.receiver import Receiver


def collect(receiver: Receiver, count: int, seconds: float = 20.0) -> list[tuple[int, bytes]]:
    """The next `count` messages as (number, payload)."""
    got: list[tuple[int, bytes]] = []
    turns = int(seconds / 0.05)
    while len(got) < count and turns:
        batch = receiver.poll(count - len(got), 0.05)
        got += zip(batch.payloads.numbers, batch.payloads.payloads(), strict=True)
        turns -= not len(batch)
    assert len(got) == count, f"{len(got)} of {count}; {receiver.trouble}"
    return got


def test_a_message_arrives_with_its_stamp(bus: Bus) -> None:
    with bus.receiver() as receiver, bus.sender("ALPHA") as sender:
        ticket = sender.send(b"hello")
        number = sender.flush(10)
        message = next(iter(receiver))
    assert (message.payload, message.sender, message.sender_sequence) == (b"hello", "ALPHA", 1)
    assert message.number == number == ticket.number == 2  # number 1 is the epoch start
    assert message.time_ns > 1_700_000_000 * 10**9


def test_all_receivers_get_the_same(bus: Bus) -> None:
    """Two from before, one that joins late and reads history, one under loss, one live: one stream."""
    messages = [f"message {n}".encode() * (n % 7) for n in range(20_000)]

    def lossy(mold: moldudp.Receiver) -> moldudp.Faults:
        return moldudp.Faults(mold, Random(5), loss=0.2, duplicate=0.1, reorder=0.1)

    with bus.receiver() as clean, bus.receiver(faults=lossy) as bad, bus.sender() as sender:
        for message in messages[:10_000]:
            sender.send(message)
        sender.flush(20)
        with bus.receiver() as late, bus.receiver(start=LIVE) as live:
            live.poll(timeout=0)
            for message in messages[10_000:]:
                sender.send(message)
            sender.flush(20)
            expected = [(number, message) for number, message in enumerate(messages, 2)]
            assert collect(clean, 20_000) == expected
            assert collect(late, 20_000) == expected
            assert collect(bad, 20_000) == expected
            tail = collect(live, 1)
            assert tail[0] in expected
    assert bad.injected is not None
    assert bad.injected.counters.lost > 0
    assert bad.gaps_filled > 0


def test_a_large_message_comes_whole(bus: Bus) -> None:
    large = os.urandom(300_000)
    with bus.receiver() as receiver, bus.sender("A") as one, bus.sender("B") as two:
        one.send(b"before")
        one.send(large)
        two.send(large[::-1])
        one.send(b"after")
        one.flush(20)
        two.flush(20)
        got = {payload for _, payload in collect(receiver, 4)}
    assert got == {b"before", large, large[::-1], b"after"}


def test_the_real_file_comes_out_as_it_went_in(quiet_bus: Bus, tmp_path: Path, shared_data: Path) -> None:
    """The sequence of the README, with two listeners from before and one from the middle."""
    bus = quiet_bus
    real = shared_data / "nasdaq_itch50_head_35581.itch"
    outputs = [tmp_path / f"{name}.itch" for name in "abcde"]

    def start(command: str, output: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [
                sys.executable, "-m", "seqcast.cli", command, "--from", "begin", "--count", "35581",
                "--format", "binaryfile", "--output", str(output), "--json", "--config", str(bus.config_path),
            ],
            stdout=subprocess.PIPE,
        )  # fmt: skip

    early = [start("listen", output) for output in outputs[:2]]
    bus.start_all()
    sent = bus.run("send", "--user", "ITCH01", "--format", "binaryfile", "--json", real)
    middle = start("listen", outputs[2])
    assert sent.returncode == 0, sent.stderr
    summary = json.loads(sent.stdout)
    assert summary["submitted"] == summary["committed"] == 35_581
    assert (summary["first"], summary["last"]) == (2, 35_582)
    late = [start("listen", outputs[3]), start("replay", outputs[4])]
    for process in [*early, middle, *late]:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert json.loads(out)["delivered"] == 35_581
    for output in outputs:
        assert output.read_bytes() == real.read_bytes()


def test_it_goes_on_after_a_restart(bus: Bus) -> None:
    with bus.sender() as sender:
        sender.send(b"one")
        first = sender.flush(10)
    assert [node.stop() for node in bus.nodes.values()] == [0, 0]
    bus.start_all()
    with bus.receiver() as receiver, bus.sender() as sender:
        assert sender.resumed_at == 1
        sender.send(b"two")
        second = sender.flush(10)
        assert [payload for _, payload in collect(receiver, 2)] == [b"one", b"two"]
    assert second == first + 2  # between them, the new epoch's start


def test_the_end_of_the_session_reaches_everybody(bus: Bus, tmp_path: Path) -> None:
    feed = tmp_path / "in.itch"
    feed.write_bytes(binaryfile(2_000, seed=3))
    listeners = [
        subprocess.Popen(
            [
                sys.executable, "-m", "seqcast.cli", command, "--until-end", "--format", "binaryfile",
                "--output", str(tmp_path / f"{command}.out"), "--config", str(bus.config_path),
            ]
        )
        for command in ("listen", "replay")
    ]  # fmt: skip
    assert bus.run("send", "--user", "ITCH01", "--format", "binaryfile", feed).returncode == 0
    ended = bus.run("end-session", "--json")
    assert ended.returncode == 0, ended.stderr
    for listener in listeners:
        assert listener.wait(timeout=30) == 0
    for command in ("listen", "replay"):
        assert (tmp_path / f"{command}.out").read_bytes() + b"\0\0" == feed.read_bytes()
    refused = bus.run("send", "--user", "ITCH02", "--format", "binaryfile", "--timeout", "1", feed)
    assert refused.returncode == 1
    assert "ended" in refused.stderr or "refused" in refused.stderr


@pytest.mark.parametrize("command", ["listen", "replay", "send"])
def test_a_stream_that_is_not_there_is_said_so(quiet_bus: Bus, command: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("x\n")
    extra = ["--user", "A", str(tmp_path / "in")] if command == "send" else []
    result = quiet_bus.run(command, "--timeout", "0.3", *extra)
    assert result.returncode == 1
    assert "0.3 s" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_sender_that_is_told_to_stop_says_what_is_committed(
    bus: Bus, tmp_path: Path, number: signal.Signals
) -> None:
    feed = tmp_path / "feed"
    feed.write_text("".join(f"{n}\n" for n in range(20_000)))
    command = [sys.executable, "-m", "seqcast.cli", "send", "--user", "ALPHA", "--json",
               "--config", str(bus.config_path), str(feed)]  # fmt: skip
    sender = subprocess.Popen(
        [*command, "--rate", "2000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with bus.receiver() as receiver:
        collect(receiver, 100)
        sender.send_signal(number)
        out, errors = sender.communicate(timeout=20)
        assert sender.returncode == 1
        assert "the same command goes on" in errors
        summary = json.loads(out)
        assert 0 < summary["committed"] <= summary["submitted"] < 20_000
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert json.loads(done.stdout)["resumed"] >= summary["committed"]
        rest = collect(receiver, 19_900)
    assert rest[-1][1] == b"19999"


def test_wrong_usage_is_said_in_a_sentence(bus: Bus, tmp_path: Path) -> None:
    for arguments in (
        ["send", "--user", "TOOLONGNAME", str(tmp_path)],
        ["listen", "--from", "nowhere"],
        ["listen", "--count", "0"],
        ["send", "--user", "A", "--rate", "0", "x"],
    ):
        result = bus.run(*arguments)
        assert result.returncode == 2
        assert "Error" in result.stderr
        assert "Traceback" not in result.stderr
