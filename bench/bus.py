"""The bus of a benchmark: its nodes, each a process, on loopback.

It lives in a directory made by `seqcast init`, with its own ports, group and session, that is gone afterwards. With
one voter there are a sequencer, so that a record is committed when its own log holds it, and a rewinder. With three,
two sequencers and a rewinder vote, and another rewinder does not. There may be more that do not vote.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from random import SystemRandom
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field

from bench.baselines import BLOCK, SPIN
from bench.errors import BenchError
from bench.payload import MESSAGE_BYTES
from bench.processes import START_SECONDS, Process, Processes
from seqcast.child import node_commands
from seqcast.config import FILE_NAME, read_configuration
from seqcast.control import ControlClient
from seqcast.template import choose_base_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from seqcast.child import ChildCommand
    from seqcast.settings import Configuration, Durability

CATCH_UP_SECONDS = 30.0
"""How long the rewinder may take to hold all that is committed."""

FILL_RATE = 20_000
"""Messages a second; a history that is written more slowly than this is given up."""

FILLER_USER = "FILL"
"""Who writes the history."""

STORED_BYTES = 48
"""What a message takes in a log beside its payload, at most: stamp, framing, index, a spare segment."""

SPARE = """
[nodes.{name}]
role = "rewinder"
host = "127.0.0.1"
node_port = {0}
replay_port = {1}
request_port = {2}
"""
"""One more rewinder, which does not vote."""


@define(eq=False)
class Bus:
    """The nodes of one bus, and the directory that it lives in.

    With `idle` "spin" the first sequencer, who becomes primary when nothing goes wrong, and the receivers never sleep.
    """

    processes: Processes
    configuration: Configuration
    idle: str = BLOCK
    nodes: dict[str, Process] = field(factory=dict, init=False)

    def start(self) -> None:
        """Start the nodes and wait until they serve."""
        for command in node_commands(self.configuration):
            self.nodes[command.name] = self.processes.start(self._waiting(command))
        self.processes.wait_ready(*self.nodes.values())

    def stop(self) -> None:
        """End the nodes in order, those first that follow."""
        self.processes.stop(*reversed(self.nodes.values()))

    def _waiting(self, command: ChildCommand) -> ChildCommand:
        """A command with the idle strategy of this bus, which is for the path of a message: the others sleep."""
        if self.idle != SPIN or command.name != self.configuration.sequencers[0].name:
            return command
        return evolve(command, arguments=(*command.arguments, "--spin"))

    def worker_settings(self, messages: int | None, message_bytes: int = MESSAGE_BYTES) -> dict[str, Any]:
        """What every worker on this bus is told."""
        return {
            "config": str(self.configuration.path),
            "messages": messages,
            "message_bytes": message_bytes,
            "idle": self.idle,
        }

    def fill(self, messages: int, show: Callable[[int], None]) -> None:
        """Send a history that nobody receives; returns when every rewinder holds it. `show` is told at the end.

        Raises BenchError when the disk has no room for it.
        """
        self._need_room(messages)
        settings = {**self.worker_settings(messages), "rate": None, "user": FILLER_USER}
        filler = self.processes.start_module("filler", "bench.sender", settings)
        self.processes.wait(
            lambda: filler.status is not None,
            START_SECONDS + messages / FILL_RATE,
            "the history was not written",
        )
        self.catch_up()
        show(messages)

    def _need_room(self, messages: int) -> None:
        directory = self.configuration.path.parent
        needed = messages * (MESSAGE_BYTES + STORED_BYTES) * len(self.nodes)
        free = shutil.disk_usage(directory).free
        if needed > free:
            raise BenchError(
                f"{messages:,} messages in {len(self.nodes)} logs need {needed / 1e9:,.0f} GB, "
                f"{directory} has {free / 1e9:,.0f}: name a larger disk with TMPDIR"
            )

    def primary(self) -> str:
        """The name of the node that is primary. Raises BenchError when there is none."""
        for node in self.configuration.sequencers:
            if self.status(node.name)["role"] == "primary":
                return node.name
        raise BenchError("no sequencer is primary")

    def status(self, name: str) -> dict[str, Any]:
        """What a node says of itself."""
        return ControlClient(self.configuration.control_path(name)).request("status")

    def catch_up(self) -> None:
        """Wait until every rewinder holds what the sequencer has committed."""
        commit = self.status(self.primary())["commit"]
        for node in self.configuration.rewinders:
            deadline = time.monotonic() + CATCH_UP_SECONDS
            while (known := self.status(node.name)["commit"]) < commit:
                if time.monotonic() > deadline:
                    raise BenchError(
                        f"{node.name} has {known} of {commit} records after {CATCH_UP_SECONDS:g} s"
                    )
                time.sleep(0.02)


def make_configuration(
    directory: Path,
    durability: Durability,
    voters: int = 1,
    *,
    spares: tuple[str, ...] = (),
    segment_mib: int | None = None,
) -> Configuration:
    """Make a bus in an empty directory with `seqcast init`, and rewinders named `spares` that do not vote.

    Raises BenchError when that fails.
    """
    made = subprocess.run(  # noqa: S603  (the arguments are ours)
        [sys.executable, "-P", "-m", "seqcast.cli", "init", "--nodes", str(voters), "--dir", str(directory)],
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    if made.returncode != 0:
        raise BenchError(f"seqcast init failed: {made.stderr.strip()}")
    path = directory / FILE_NAME
    values: dict[str, str] = {"durability": f'"{durability.value}"'}
    if segment_mib is not None:
        values["segment_mib"] = str(segment_mib)
    text = path.read_text(encoding="ascii")
    for key, value in values.items():
        text, changed = re.subn(rf"^{key} = \S+$", f"{key} = {value}", text, flags=re.MULTILINE)
        if changed != 1:
            raise BenchError(f"{path} does not say {key} once")
    for name in spares:
        text += SPARE.format(*_more_ports(text), name=name)
    path.write_text(text, encoding="ascii")
    return read_configuration(path)


def _more_ports(text: str) -> tuple[int, int, int]:
    """Free ports in a row that the configuration does not have."""
    while str(base := choose_base_port(SystemRandom())) in text:
        pass
    return base, base + 1, base + 2
