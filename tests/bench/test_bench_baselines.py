"""The baselines compile without a warning, lose nothing, and refuse nonsense."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from bench import baselines as baselines_module
from bench.baselines import (
    BLOCK,
    FLAGS,
    NOT_HERE,
    PROGRAMS,
    SEGMENTS,
    SOURCES,
    SPIN,
    Baselines,
    bytes_per_second,
)
from bench.errors import BenchError, NoBaseline
from bench.rounds import Load

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
PACKET = b"\x00\xe5S" + bytes(228)
WAITS = pytest.mark.parametrize("wait", [BLOCK, SPIN])


@pytest.fixture(scope="module")
def baselines(tmp_path_factory: pytest.TempPathFactory) -> Baselines:
    """With every check that the compiler has; they are correct if slow."""
    directory = tmp_path_factory.mktemp("baselines")
    strict = ("-Werror", "-Wconversion", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    for name in PROGRAMS:
        source = SOURCES / f"{name}.c"
        subprocess.run(["cc", *FLAGS, *strict, "-o", directory / name, source], check=True)
    return Baselines(directory)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "packets"
    path.write_bytes(PACKET * 700)
    return path


@WAITS
@pytest.mark.parametrize(("per_datagram", "datagrams"), [(1, 1), (6, 1), (6, SEGMENTS)])
def test_relay_throughput_is_of_all_messages(
    baselines: Baselines, per_datagram: int, datagrams: int, wait: str
) -> None:
    try:
        assert baselines.relay_throughput(Load(5_003), per_datagram, datagrams, wait) > 0
    except NoBaseline as error:
        pytest.skip(str(error))


@WAITS
def test_relay_latency_is_of_all_messages(baselines: Baselines, wait: str) -> None:
    latencies = baselines.relay_latency(Load(500, 5_000), wait)
    assert latencies.count == 500
    assert latencies.min_ns is not None
    assert latencies.min_ns > 0


@WAITS
def test_every_ping_has_its_pong(baselines: Baselines, wait: str) -> None:
    trips = baselines.pingpong(200, 200, wait)
    assert trips.count == 200
    assert trips.min_ns is not None
    assert trips.min_ns > 0


@pytest.mark.parametrize("how", ["write", "sendfile"])
def test_a_stream_is_counted_packet_by_packet(baselines: Baselines, file: Path, how: str) -> None:
    assert baselines.stream(how, file, 20_000) > 0
    ran = subprocess.run(
        [baselines.program("stream"), how, file, "20000"],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    result = json.loads(ran.stdout)
    assert result["packets"] >= 20_000
    assert result["others"] == 0
    # The last read may have brought one packet in part: it counts once its type is there.
    assert abs(result["bytes"] - result["packets"] * len(PACKET)) < len(PACKET)


def test_packets_of_other_types_are_no_records(baselines: Baselines, file: Path) -> None:
    file.write_bytes((PACKET + b"\x00\x01H" + b"\x00\x00") * 100)
    ran = subprocess.run(
        [baselines.program("stream"), "write", file, "1000"],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    result = json.loads(ran.stdout)
    assert result["packets"] >= 1000
    assert abs(result["others"] - 2 * result["packets"]) <= 2


def test_a_stream_that_ends_early_is_an_error() -> None:
    result = {"ended": True, "packets": 9, "bytes": 90, "first_bytes": 10, "first_ns": 1, "last_ns": 2}
    with pytest.raises(BenchError, match="ended after 9 of 10 packets"):
        bytes_per_second(result, 10)
    assert bytes_per_second({**result, "ended": False, "packets": 10}, 10) == 80e9


def test_memory_is_copied(baselines: Baselines) -> None:
    assert baselines.memory(10_000_000, 200_000, 200_000) > 0
    assert baselines.memory(10_000_000, 200_000, 200) > 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["relay"],
        ["relay", "throughput", "10"],
        ["relay", "hurry", "10", "200", "1", "1", "block"],
        ["relay", "throughput", "0", "200", "1", "1", "block"],
        ["relay", "throughput", "10", "15", "1", "1", "block"],
        ["relay", "throughput", "10", "200", "0", "1", "block"],
        ["relay", "throughput", "10", "200", "1000", "1", "block"],
        ["relay", "throughput", "10", "200", str(2**63), "1", "block"],
        ["relay", "throughput", "10", "200", "6", "0", "block"],
        ["relay", "throughput", "10", "200", "1", "65", "block"],
        ["relay", "throughput", "10", "1400", "1", "48", "block"],
        ["relay", "throughput", "10", "65508", "1", "1", "block"],
        ["relay", "throughput", "10", "200", "1", "1", "doze"],
        ["relay", "throughput", "99999999999", "200", "1", "1", "block"],
        ["relay", "latency", "10", "200", "0", "block"],
        ["relay", "latency", "10", "200", "1000000001", "block"],
        ["pingpong"],
        ["pingpong", "0", "200", "block"],
        ["pingpong", "10", "7", "block"],
        ["pingpong", "10", "1473", "block"],
        ["pingpong", "10", "200", "doze"],
        ["stream"],
        ["stream", "write", "/dev/null", "0"],
        ["stream", "write", "/dev/null", "1"],
        ["stream", "sendfile", "/no/such/file", "1"],
        ["stream", "drain", "0", "00", "1", "0"],
        ["stream", "drain", "70000", "00", "1", "0"],
        ["stream", "drain", "1", "0", "1", "0"],
        ["stream", "drain", "1", "zz", "1", "0"],
        ["stream", "drain", "1", "00" * 257, "1", "0"],
        ["memory", "10", "0", "1"],
        ["memory", "10", "10", "3"],
        ["memory", "10", "10", "11"],
        ["memory", "10", str(2**31), "1"],
    ],
)
def test_nonsense_is_refused(baselines: Baselines, arguments: list[str]) -> None:
    name, *rest = arguments
    ran = subprocess.run(
        [baselines.program(name), *rest], capture_output=True, text=True, timeout=10, check=False
    )
    assert ran.returncode == 2
    assert ran.stderr
    assert not ran.stdout


def test_no_compiler_is_no_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(NoBaseline, match=r"there is no C compiler \(no-such-compiler\)"):
        Baselines.compile(tmp_path)


def test_no_source_is_no_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines_module, "SOURCES", tmp_path)
    with pytest.raises(NoBaseline, match=r"not installed \(relay\.c\)"):
        Baselines.compile(tmp_path)
    (tmp_path / "relay.c").write_text("no C")
    with pytest.raises(NoBaseline, match=r"relay\.c does not compile"):
        Baselines.compile(tmp_path)


def script(directory: Path, text: str) -> Baselines:
    program = directory / "relay"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return Baselines(directory)


def test_a_relay_that_loses_fails_or_talks_nonsense_is_an_error(tmp_path: Path) -> None:
    lost = '{"received": 9, "wrong": 1, "first_batch": 1, "first_ns": 1, "last_ns": 2}'
    for text, kind, sentence in (
        (f"echo '{lost}'", BenchError, "9 of 10 came"),
        ("echo hello", BenchError, "the baseline relay wrote"),
        ("echo broken >&2; exit 2", BenchError, "the baseline relay failed: broken"),
        (f"echo none >&2; exit {NOT_HERE}", NoBaseline, "none"),
    ):
        with pytest.raises(kind, match=sentence):
            script(tmp_path, text).relay_throughput(Load(10), 1)
