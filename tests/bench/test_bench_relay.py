"""The baseline compiles without a warning, loses nothing, and refuses nonsense."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from bench import relay as relay_module
from bench.bus import Load
from bench.errors import BenchError, NoBaseline
from bench.relay import FLAGS, SOURCE, Relay

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Relay:
    return Relay.compile(tmp_path_factory.mktemp("relay"))


def test_it_compiles_without_a_warning(tmp_path: Path) -> None:
    strict = ("-Werror", "-Wconversion", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    subprocess.run(["cc", *FLAGS, *strict, "-o", tmp_path / "relay", SOURCE], check=True)
    checked = Relay(tmp_path / "relay")
    assert checked.throughput(Load(2_000), 6) > 0
    assert checked.latency(Load(100, 5_000)).count == 100


@pytest.mark.parametrize("per_datagram", [1, 6])
def test_throughput_is_of_all_messages(relay: Relay, per_datagram: int) -> None:
    assert relay.throughput(Load(5_003), per_datagram) > 0


def test_latency_is_of_all_messages(relay: Relay) -> None:
    latencies = relay.latency(Load(500, 5_000))
    assert latencies.count == 500
    assert latencies.min_ns is not None
    assert latencies.min_ns > 0


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["throughput", "10"],
        ["hurry", "10", "200", "1"],
        ["throughput", "0", "200", "1"],
        ["throughput", "10", "15", "1"],
        ["throughput", "10", "200", "0"],
        ["throughput", "10", "200", "1000"],
        ["throughput", "10", "200", str(2**63)],
        ["throughput", "10", "65508", "1"],
        ["throughput", "99999999999", "200", "1"],
        ["latency", "10", "200", "0"],
        ["latency", "10", "200", "1000000001"],
    ],
)
def test_nonsense_is_refused(relay: Relay, arguments: list[str]) -> None:
    ran = subprocess.run([relay.program, *arguments], capture_output=True, text=True, timeout=10, check=False)
    assert ran.returncode == 2
    assert "relay" in ran.stderr
    assert not ran.stdout


def test_no_compiler_is_no_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(NoBaseline, match=r"there is no C compiler \(no-such-compiler\)"):
        Relay.compile(tmp_path)


def test_no_source_is_no_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "SOURCE", tmp_path / "relay.c")
    with pytest.raises(NoBaseline, match="not installed"):
        Relay.compile(tmp_path)
    (tmp_path / "relay.c").write_text("no C")
    with pytest.raises(NoBaseline, match="does not compile"):
        Relay.compile(tmp_path)


def script(directory: Path, text: str) -> Relay:
    program = directory / "relay"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return Relay(program)


def test_a_relay_that_loses_fails_or_talks_nonsense_is_an_error(tmp_path: Path) -> None:
    lost = '{"received": 9, "wrong": 1, "first_batch": 1, "first_ns": 1, "last_ns": 2}'
    for text, sentence in (
        (f"echo '{lost}'", "9 of 10 came"),
        ("echo hello", "the relay wrote"),
        ("echo broken >&2; exit 2", "the relay failed: broken"),
    ):
        with pytest.raises(BenchError, match=sentence):
            script(tmp_path, text).throughput(Load(10), 1)
