"""Whoever has a key asks, watches and commands nodes from another machine, and strangers are not noticed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from bus import DEPOSED, READY_SECONDS, Bus, new_bus, wait_for
from click.testing import CliRunner

from seqcast.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator

MESSAGES = 700


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Bus]:
    """Two voters and a rewinder, reached over TCP too; some messages are in the stream."""
    with new_bus(tmp_path / "run", nodes=2) as bus:
        assert CliRunner().invoke(main, ["keys", "make", "--config", str(bus.config_path)]).exit_code == 0
        bus.start_all()
        bus.primary()
        with bus.sender() as sender:
            sender.send_batch([b"message %d" % number for number in range(MESSAGES)])
            sender.flush(timeout=READY_SECONDS)
        bus.wait_level()
        yield bus


class Elsewhere:
    """Another machine: it has the configuration, the public keys, and a secret of its own; no node runs there."""

    def __init__(self, bus: Bus, directory: Path) -> None:
        self.config = directory / "seqcast.toml"
        shutil.copytree(
            bus.config_path.parent / "keys",
            directory / "keys",
            ignore=shutil.ignore_patterns("[A-Z]*.secret"),
        )
        shutil.copy(bus.config_path, self.config)

    def run(self, *arguments: str, status: int = 0) -> str:
        done = CliRunner().invoke(main, [*arguments, "--config", str(self.config)])
        assert done.exit_code == status, (done.output, done.exception)
        return done.output

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))

    @contextmanager
    def running(self, *arguments: str, stop: signal.Signals) -> Iterator[Iterator[str]]:
        """The lines of a command that goes on until it is told to stop, which it does in order."""
        process = subprocess.Popen(
            [sys.executable, "-m", "seqcast.cli", *arguments, "--config", str(self.config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert process.stdout is not None
        try:
            yield iter(process.stdout.readline, "")
        finally:
            process.send_signal(stop)
            _, errors = process.communicate(timeout=READY_SECONDS)
        assert (process.returncode, errors) == (0, "")


def test_from_another_machine(bus: Bus, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    elsewhere = Elsewhere(bus, tmp_path / "elsewhere")
    primary = bus.primary()
    (standby,) = {"SEQ1", "SEQ2"} - {primary}
    status = bus.status(primary)
    assert status is not None
    last = status["last"]

    # look
    nodes = elsewhere.json("status")["nodes"]
    assert {name: node["role"] for name, node in nodes.items()} == {
        primary: "primary",
        standby: "standby",
        "REW1": "rewinder",
    }
    assert nodes[primary]["ports"]["control"] > 0
    assert elsewhere.run("why").startswith(f"nothing is wrong: {primary} is primary")
    assert f"segments: 1\nfirst  last  records\n    1{last:6}{last:9}\n" in elsewhere.run(
        "log", "ls", "--node", "REW1"
    )
    records = [
        json.loads(line) for line in elsewhere.run("log", "dump", "--node", "REW1", "--json").splitlines()
    ]
    assert [record["number"] for record in records] == list(range(1, last + 1))
    assert bytes.fromhex(records[-1]["payload"]) == b"message %d" % (MESSAGES - 1)
    assert f"no problems; records: {last}, 1 to {last}" in elsewhere.run("log", "verify", "--node", primary)
    assert elsewhere.json("log", "sessions", "--node", "REW1")["sessions"][0]["shown"] == last

    # watch
    with elsewhere.running("status", "--watch", "--json", stop=signal.SIGINT) as lines:
        picture = wait_for(
            lambda: all((seen := json.loads(next(lines)))["nodes"][name]["ready"] for name in nodes) and seen,
            "all nodes are seen",
        )
    assert (picture["primary"], picture["commit"]) == (primary, last)
    assert picture["nodes"]["REW1"]["lag"] == 0
    with elsewhere.running("exporter", "--listen", "127.0.0.1:0", stop=signal.SIGTERM) as lines:
        base = next(lines).split()[-1].removesuffix("/metrics")
        wait_for(lambda: answers(f"{base}/readyz"), "every node is ready")
        text = urllib.request.urlopen(f"{base}/metrics/{primary}").read().decode()
    assert f'seqcast_commit_number{{node="{primary}"}} {last}.0' in text
    assert f'seqcast_ingress_to_commit_seconds_count{{node="{primary}"}} {MESSAGES}.0' in text

    # command
    with ThreadPoolExecutor() as pool:
        promoted = pool.submit(elsewhere.json, "promote", standby)
        assert bus.nodes[primary].process.wait(timeout=READY_SECONDS) == DEPOSED
        bus.start_missing()  # both votes are needed
        done = promoted.result()
    assert (done["old"], done["new"]) == (primary, standby)
    assert bus.primary() == standby
    assert elsewhere.json("end-session", "--yes")["number"] == last + 2

    # without a key, and with one that the nodes do not know
    (elsewhere.config.parent / "keys" / "clients" / "admin.secret").unlink()
    assert "is not running" in elsewhere.run("status", "REW1", status=1)
    elsewhere.run("keys", "add", "stranger", "--admin")
    assert "does not take our key" in elsewhere.run("status", "REW1", status=1)
    asked = bus.status("REW1")
    assert asked is not None
    assert asked["counters"]["control.refused_key"] >= 1
    assert "an unknown key was refused" in bus.nodes["REW1"].log


def answers(url: str) -> bool:
    try:
        return bool(urllib.request.urlopen(url).status == 200)
    except OSError:
        return False
