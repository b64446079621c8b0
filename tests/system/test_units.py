"""The systemd units: their syntax, their hardening, and that a node does what they expect of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from seqcast.cli import COMMANDS

if TYPE_CHECKING:
    from bus import Bus

UNITS = Path(__file__).resolve().parents[2] / "examples" / "systemd"
BINARY = "/opt/seqcast/bin/seqcast"
NODES = ("seqcast-sequencer@.service", "seqcast-rewinder@.service")
ALL = (*NODES, "seqcast-exporter.service")
EXPOSURE = "20"
"""Highest level of `systemd-analyze security` times ten; 50 is medium."""
SECONDS = 20


def settings_of(name: str) -> dict[str, list[str]]:
    """Every setting of a unit with its values; the section of each is right, or `verify` complains."""
    found: dict[str, list[str]] = {}
    sections = []
    for line in (UNITS / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            sections.append(line)
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals
            assert key.isalnum()
            found.setdefault(key, []).append(value)
    assert sections == ["[Unit]", "[Service]", "[Install]"]
    return found


def installed(name: str, directory: Path, instance: str = "SEQ1") -> Path:
    """The unit as it would be installed, with the command that is here."""
    path = directory / name.replace("@", f"@{instance}")
    text = (UNITS / name).read_text(encoding="utf-8")
    path.write_text(text.replace(BINARY, str(Path(sys.executable).with_name("seqcast"))), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ALL)
def test_settings(name: str) -> None:
    found = settings_of(name)
    (command,) = found["ExecStart"]
    assert command.split()[0] == BINARY
    assert command.split()[1] in COMMANDS
    assert found["Type"] == ["notify"]
    assert found["RestartPreventExitStatus"] == ["2"]
    assert found["CapabilityBoundingSet"] == found["AmbientCapabilities"] == [""], "none is needed"
    assert found["NoNewPrivileges"] == ["yes"]
    assert found["ProtectSystem"] == ["strict"]
    if name in NODES:
        assert int(found["WatchdogSec"][0]) >= 5, "a node says each second or two that it turns"
        assert {"LimitNOFILE", "LimitRTPRIO", "LimitMEMLOCK"} <= found.keys()
        assert "RestrictRealtime" not in found, "`priority` asks for it"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_syntax_and_hardening(tmp_path: Path) -> None:
    paths = [installed(name, tmp_path) for name in ALL]
    done = subprocess.run(
        ["systemd-analyze", "verify", *paths], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    security = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}"]
    done = subprocess.run([*security, *paths], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr


def test_a_node_does_what_its_unit_expects(quiet_bus: Bus, tmp_path: Path) -> None:
    """Ready when it serves, alive each second or two, stopping when it is told to; logs as JSON."""
    (command,) = settings_of(NODES[0])["ExecStart"]
    arguments = command.replace("%i", "SEQ1").split()[1:]
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as supervisor:
        path = tmp_path / "notify"
        supervisor.bind(str(path))
        supervisor.settimeout(SECONDS)
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": str(path),
            "WATCHDOG_USEC": "10000000",
            "SEQCAST_CONFIG": str(quiet_bus.config_path),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "seqcast.cli", *arguments],
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )
        try:
            told = []
            while sum(each.startswith("WATCHDOG=1") for each in told) < 2:
                told.append(supervisor.recv(4096).decode())
            process.send_signal(signal.SIGTERM)
            while told[-1] != "STOPPING=1":
                told.append(supervisor.recv(4096).decode())
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert told[0] == "READY=1"
    assert set(told) == {"READY=1", "WATCHDOG=1\nSTATUS=primary of epoch 1, 1 committed", "STOPPING=1"}
    lines = [json.loads(line) for line in errors.splitlines()]
    assert [line["event"] for line in lines if line["event"] in ("ready", "primary", "stopped")] == [
        "primary",
        "ready",
        "stopped",
    ]
    assert {line["node"] for line in lines} == {"SEQ1"}
