"""A bus of real processes on loopback, for tests: its own directory, ports and multicast group."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field

from seqcast.config import read_configuration
from seqcast.control import ControlClient
from seqcast.endpoints import receiver_of, sender_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seqcast.receiver import Receiver
    from seqcast.sender import Sender
    from seqcast.settings import Configuration

READY_SECONDS = 30
COMMAND_SECONDS = 60


def seqcast(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "seqcast.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
        **options,
    )


@define
class NodeProcess:
    """One node; `log` is what it wrote to standard error."""

    name: str
    process: subprocess.Popen[bytes]
    log_path: Path

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=READY_SECONDS)


@define
class Bus:
    """The nodes that run, by name."""

    directory: Path
    configuration: Configuration
    nodes: dict[str, NodeProcess] = field(factory=dict)

    @property
    def config_path(self) -> Path:
        return self.configuration.path

    def start(self, name: str, *options: str) -> NodeProcess:
        """Start one node and wait until it says that it is ready."""
        role = self.configuration.node(name).role.value
        log_path = self.directory / f"{name}.{uuid.uuid4().hex[:6]}.log"
        address = f"@seqcast-test-{uuid.uuid4().hex}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready, log_path.open("wb") as log:
            ready.bind("\0" + address[1:])
            ready.settimeout(READY_SECONDS)
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "seqcast.cli",
                    role,
                    name,
                    "--config",
                    str(self.config_path),
                    *options,
                ],
                stderr=log,
                stdout=log,
                env={**os.environ, "NOTIFY_SOCKET": address},
            )
            node = NodeProcess(name, process, log_path)
            self.nodes[name] = node
            ready.settimeout(0.2)
            for _ in range(READY_SECONDS * 5):
                try:
                    if b"READY=1" in ready.recv(4096):
                        return node
                except TimeoutError:
                    assert process.poll() is None, f"{name} died: {node.log}"
        raise AssertionError(f"{name} did not become ready: {node.log}")

    def start_all(self) -> None:
        for node in self.configuration.nodes:
            self.start(node.name)

    def stop(self) -> None:
        for node in reversed(self.nodes.values()):
            if node.process.poll() is None:
                node.process.terminate()
        for node in reversed(self.nodes.values()):
            try:
                node.process.wait(timeout=READY_SECONDS)
            except subprocess.TimeoutExpired:
                node.kill()
                raise

    def sender(self, user: str = "ALPHA", **settings: Any) -> Sender:
        return sender_of(self.configuration, user, **settings)

    def receiver(self, **settings: Any) -> Receiver:
        return receiver_of(self.configuration, **settings)

    def ask(self, name: str, command: str, **arguments: Any) -> dict[str, Any]:
        return ControlClient(self.configuration.control_path(name)).request(command, **arguments)

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return seqcast(*arguments, "--config", self.config_path)


@contextmanager
def new_bus(directory: Path, *options: str) -> Iterator[Bus]:
    """Make a directory with `seqcast init`; stop whatever was started in it at the end."""
    made = seqcast("init", "--nodes", "1", "--dir", directory, *options)
    assert made.returncode == 0, made.stderr
    bus = Bus(directory, read_configuration(directory / "seqcast.toml"))
    try:
        yield bus
    finally:
        bus.stop()
