"""A bus of real processes, for tests: its own directory, ports and multicast group, on loopback or in namespaces."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field

from seqcast import Receiver, Sender
from seqcast.config import read_configuration
from seqcast.control import ControlClient, ControlError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from namespaces import Namespaces

    from seqcast.receiver import Receiver
    from seqcast.sender import Sender
    from seqcast.settings import Configuration

READY_SECONDS = 30
COMMAND_SECONDS = 60
STATUS_MS = 2000

DEPOSED = 3
"""Exit status of a primary that was deposed: `seqcast up` starts it again at once."""

RESTART = 4
"""Exit status of a node that asks to be started again."""


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


def wait_for(condition: Callable[[], Any], what: str, seconds: float = READY_SECONDS) -> Any:
    """Ask until the condition holds; returns what it said. For progress of other processes, which tell nobody."""
    deadline = time.monotonic() + seconds
    while not (held := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.002)
    return held


@define
class NodeProcess:
    """One node; `log` is what it wrote to standard error."""

    name: str
    process: subprocess.Popen[bytes]
    log_path: Path
    notifications: socket.socket

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8")

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def wait_ready(self) -> None:
        """Wait until it says that it is ready."""
        with self.notifications as ready:
            ready.settimeout(0.2)
            for _ in range(READY_SECONDS * 5):
                with suppress(TimeoutError):
                    if b"READY=1" in ready.recv(4096):
                        return
                assert self.runs, f"{self.name} died: {self.log}"
        raise AssertionError(f"{self.name} did not become ready: {self.log}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=READY_SECONDS)


@define
class Bus:
    """The nodes that run, by name; with `namespaces` each in its own network namespace."""

    directory: Path
    configuration: Configuration
    namespaces: Namespaces | None = None
    nodes: dict[str, NodeProcess] = field(factory=dict)
    started: list[NodeProcess] = field(factory=list)

    @property
    def config_path(self) -> Path:
        return self.configuration.path

    # nodes

    def spawn(self, name: str, *options: str) -> NodeProcess:
        """Start one node."""
        role = self.configuration.node(name).role.value
        log_path = self.directory / f"{name}.{uuid.uuid4().hex[:6]}.log"
        ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        if self.namespaces is None:
            address, config, prefix = f"@seqcast-test-{uuid.uuid4().hex}", self.config_path, []
            ready.bind("\0" + address[1:])
        else:  # abstract names end at the border of a network namespace
            address = str(self.namespaces.directory / uuid.uuid4().hex[:12])
            config, prefix = self.namespaces.config_path(name), self.namespaces.enter(name)
            ready.bind(address)
        command = [sys.executable, "-m", "seqcast.cli", role, name, "--config", str(config), *options]
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [*prefix, *command],
                stderr=log,
                stdout=log,
                env={**os.environ, "NOTIFY_SOCKET": address},
                process_group=0,
            )
        node = self.nodes[name] = NodeProcess(name, process, log_path, ready)
        self.started.append(node)
        return node

    def start(self, name: str, *options: str) -> NodeProcess:
        """Start one node and wait until it says that it is ready."""
        node = self.spawn(name, *options)
        node.wait_ready()
        return node

    def start_all(self) -> None:
        started = [self.spawn(node.name) for node in self.configuration.nodes]
        for node in started:
            node.wait_ready()

    def start_missing(self) -> list[str]:
        """Start the nodes that do not run, as `seqcast up` would have done by now; returns their names."""
        names = [name for name, node in self.nodes.items() if not node.runs]
        for node in [self.spawn(name) for name in names]:
            node.wait_ready()
        return names

    def casualties(self) -> list[str]:
        """Nodes that ended otherwise than they were told to, or may: one sentence each."""
        fine = (None, 0, DEPOSED, RESTART, -signal.SIGKILL)
        return [
            f"node: {node.name} ended with status {status}: {' | '.join(node.log.splitlines()[-5:])}"
            for node in self.started
            if (status := node.process.poll()) not in fine
        ]

    def stop(self) -> None:
        for node in reversed(self.nodes.values()):
            node.notifications.close()
            if node.runs:
                node.go_on()
                node.process.terminate()
        for node in reversed(self.nodes.values()):
            try:
                node.process.wait(timeout=READY_SECONDS)
            except subprocess.TimeoutExpired:
                node.kill()
                raise

    # what they say

    def ask(self, name: str, command: str, **arguments: Any) -> dict[str, Any]:
        return ControlClient(self.configuration.control_path(name)).request(command, **arguments)

    def status(self, name: str) -> dict[str, Any] | None:
        """What a node says; None when it says nothing."""
        client = ControlClient(self.configuration.control_path(name), timeout_ms=STATUS_MS)
        with suppress(ControlError):
            return client.request("status")
        return None

    def primary(self, *besides: str) -> str:
        """The node that is the established primary, none of `besides`; waits until there is one."""
        names = [node.name for node in self.configuration.sequencers if node.name not in besides]

        def look() -> str | None:
            for name in names:
                status = self.status(name)
                if status is not None and status["role"] == "primary" and status["refusing"] is None:
                    return name
            return None

        return str(wait_for(look, f"one of {', '.join(names)} is the primary"))

    def wait_level(self) -> int:
        """Wait until every voter votes, and all nodes know the same commit number, that of the last record.

        Nodes that do not run are started, one that was deposed in the last moment too.
        """

        def look() -> int | None:
            self.start_missing()
            statuses = [self.status(node.name) for node in self.configuration.nodes]
            numbers = {number for each in statuses if each for number in (each["last"], each["commit"])}
            voting = all(each["votes"] for each in statuses if each and each["voter"])
            return max(numbers) if all(statuses) and voting and len(numbers) == 1 else None

        return int(wait_for(look, "all nodes hold the same"))

    def wait_voters(self) -> None:
        """Wait until every voter follows the primary, votes, and holds all that there was when this began."""
        primary = self.primary()
        last = self.ask(primary, "status")["last"]
        names = {node.name for node in self.configuration.voters} - {primary}

        def look() -> bool:
            followers = (self.status(primary) or {}).get("followers", {})
            return all(
                name in followers and followers[name]["votes"] and followers[name]["held"] >= last
                for name in names
            )

        wait_for(look, f"all voters follow {primary} and hold {last}")

    # apps

    def sender(self, user: str = "ALPHA", **settings: Any) -> Sender:
        return Sender(self.configuration, user, **settings)

    def receiver(self, **settings: Any) -> Receiver:
        return Receiver(self.configuration, **settings)

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return seqcast(*arguments, "--config", self.config_path)


@contextmanager
def new_bus(directory: Path, *options: str, nodes: int = 1, **changes: int) -> Iterator[Bus]:
    """Make a directory with `seqcast init`; stop whatever was started in it at the end."""
    bus = Bus(directory, configure(directory, *options, nodes=nodes, **changes))
    try:
        yield bus
    finally:
        bus.stop()


def configure(directory: Path, *options: str, nodes: int, **changes: int) -> Configuration:
    """Write a configuration with `seqcast init`; `changes` are other values for some of its keys."""
    made = seqcast("init", "--nodes", str(nodes), "--dir", directory, *options)
    assert made.returncode == 0, made.stderr
    path = directory / "seqcast.toml"
    text = path.read_text(encoding="ascii")
    for key, value in changes.items():
        text, changed = re.subn(rf"^{key} = \d+$", f"{key} = {value}", text, flags=re.MULTILINE)
        assert changed == 1, f"{path} does not say {key} once"
    path.write_text(text, encoding="ascii")
    return read_configuration(path)
