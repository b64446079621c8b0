"""`seqcast replay --to` and `seqcast feed`, without a bus: what they send, when, and what they refuse."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import threading
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from old_logs import make_log, records_of
from stand_in import run

import moldudp
from moldudp import MOLDUDP64
from moldudp.sockets import multicast_receiver, read_datagrams
from seqcast import Receiver
from seqcast.config import read_configuration
from seqcast.endpoints import Endpoints
from seqcast.settings import Line

RECORDS = 40
STEP_NS = 20_000_000


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEQCAST_CONFIG", raising=False)
    return tmp_path


@pytest.fixture
def line() -> Line:
    """A group and a port that nobody else uses."""
    token = uuid.uuid4().bytes
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return Line(f"239.{token[0]}.{token[1]}.{token[2] % 254 + 1}", port)


def paced_log(directory: Path) -> Path:
    """A log whose records are `STEP_NS` apart."""
    return make_log(directory, "OLD", RECORDS, begin_ns=0, step_ns=STEP_NS)


def replay(path: Path, line: Line, *options: str) -> dict[str, Any]:
    result = run("replay", "--log", str(path), "--to", f"{line.group}:{line.port}", "--json", *options)
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def taken(receiver: socket.socket) -> list[bytes]:
    found: list[bytes] = []
    while True:
        try:
            found += read_datagrams(receiver.fileno())
        except BlockingIOError:
            return found


@pytest.mark.parametrize("speed", ["20", "max"])
def test_what_is_multicast_is_the_session(directory: Path, line: Line, speed: str) -> None:
    path = paced_log(directory)
    with closing(multicast_receiver(line.group, line.port, "127.0.0.1")) as receiver:
        told = replay(path, line, "--speed", speed, "--linger", "0")
        datagrams = taken(receiver)
    assert (told["session"], told["records"], told["ended"], told["lost"]) == ("OLD", RECORDS, True, 0)
    stream = moldudp.Receiver(session=b"OLD       ", random=random.Random(1))
    heard: list[bytes] = []
    for datagram in datagrams:
        stream.receive_datagram(datagram, 0)
        heard += stream.messages().payloads()
    assert heard == records_of(path)
    assert stream.ended
    assert told["datagrams"] == len(datagrams)
    if speed == "max":
        assert told["late_ns"] == {"max": None}
        assert len(datagrams) < RECORDS / 5, "as many records in a packet as fit"
    else:
        assert told["seconds"] >= (RECORDS - 1) * STEP_NS / 20 / 1e9
        assert told["late_ns"]["max"] >= told["late_ns"]["p99"] >= told["late_ns"]["p50"] >= 0


def test_a_receiver_of_the_bus_takes_it_for_the_session(directory: Path, line: Line) -> None:
    """It comes late, and asks for what it has missed where the replay answers."""
    path = paced_log(directory)
    endpoints = Endpoints(session=b"OLD       ", lines=(line,), request_servers=(("127.0.0.1", line.port),))
    told: list[dict[str, Any]] = []
    options = ("--speed", "4", "--linger", "20", "--request-port", str(line.port))
    command = ["replay", "--log", str(path), "--to", f"{line.group}:{line.port}", "--json", *options]

    def listen() -> None:
        with Receiver(endpoints) as receiver:
            messages = [(message.number, message.payload) for message in receiver.take(RECORDS, 20)]
            told.append({"messages": messages, "gaps": receiver.gaps_filled, "replies": receiver.replies})
        os.kill(os.getpid(), signal.SIGTERM)  # nobody else is to hear the end of it

    listener = threading.Thread(target=listen, daemon=True)
    starter = threading.Timer(0.08, listener.start)
    starter.start()
    result = run(*command)
    starter.join(20)
    listener.join(20)
    assert result.exit_code == 0, result.output
    (heard,) = told
    assert [payload for _, payload in heard["messages"]] == [record[:-28] for record in records_of(path)[:-1]]
    assert json.loads(result.stdout)["requests"]["replies"] == heard["replies"]


def test_a_part_and_pauses_that_are_cut(directory: Path, line: Line) -> None:
    path = make_log(directory, "OLD", 5, begin_ns=0, step_ns=3600 * 10**9)
    with closing(multicast_receiver(line.group, line.port, "127.0.0.1")) as receiver:
        told = replay(path, line, "--from", "2", "--count", "3", "--longest-pause", "0.01", "--linger", "0")
        packets = [MOLDUDP64.decode(datagram) for datagram in taken(receiver)]
    assert (told["records"], told["datagrams"]) == (3, 4)
    assert [each.header.sequence_number for each in packets] == [2, 3, 4, 5]
    assert [each.end_of_session for each in packets] == [False, False, False, True]
    assert told["seconds"] < 5


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--speed", "10"), "--speed goes with --to GROUP:PORT"),
        (("--log", "."), "--log goes with --to GROUP:PORT"),
        (("--to", "239.1.2.3"), "'239.1.2.3' is not GROUP:PORT"),
        (("--to", "10.1.2.3:5", "--log", "."), "'10.1.2.3:5' is not GROUP:PORT, such as 239.1.2.3:20000"),
        (("--to", "239.1.2.3:99999", "--log", "."), "is not GROUP:PORT"),
        (("--to", "239.1.2.3:5", "--log", ".", "--speed", "fast"), "'fast' is neither max nor a number"),
        (("--to", "239.1.2.3:5", "--log", ".", "--speed", "0"), "'0' is neither max nor a number"),
        (("--to", "239.1.2.3:5", "--log", ".", "--from", "live"), "--from live and --to exclude each other"),
        (("--to", "239.1.2.3:5", "--output", "x"), "--output and --to exclude each other"),
    ],
)
def test_what_makes_no_sense(arguments: tuple[str, ...], sentence: str) -> None:
    if "--log" not in arguments:
        assert run("init", "--session", "NOW").exit_code == 0
    result = run("replay", *arguments)
    assert result.exit_code == 2, result.output
    assert sentence in " ".join(result.output.split())


def test_a_directory_without_a_log(directory: Path) -> None:
    result = run("replay", "--log", ".", "--to", "239.1.2.3:5")
    assert result.exit_code == 1
    assert "there is no log" in result.output


def test_a_feed_of_no_stream(line: Line) -> None:
    assert run("init", "--session", "NOW").exit_code == 0
    result = run("feed", "--to", f"{line.group}:{line.port}", "--timeout", "0.1")
    assert result.exit_code == 1
    assert "no stream within 0.1 s" in result.output
    assert "is not GROUP:PORT" in run("feed", "--to", "nowhere").output


@pytest.mark.parametrize("command", [["feed"], ["replay", "--log", "."], ["replay"]])
def test_nothing_is_published_on_a_line_of_the_bus(directory: Path, command: list[str]) -> None:
    assert run("init", "--session", "NOW").exit_code == 0
    own = read_configuration(directory / "seqcast.toml").multicast.lines[0]
    result = run(*command, "--to", f"{own.group}:{own.port}")
    assert result.exit_code == 2
    assert "is a line of the bus itself" in result.output
