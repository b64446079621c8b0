"""What every node process is made of: a log, a pump, a control socket, and a way to start and stop.

`RewinderProcess` and `SequencerProcess` add their ports. A node reports each event that a person would care
about as one log line, and counts everything else.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from rewinder import notify
from rewinder.control import ControlServer
from rewinder.counters import Counters
from rewinder.log import MessageLog
from rewinder.pump import Idle, Pump
from rewinder.storage import FileStorage

if TYPE_CHECKING:
    from pathlib import Path

    from rewinder.access import Authority
    from rewinder.service import Service

CLOSE_LIMIT_NS = 2_000_000_000
"""How long a stopping process lets its connections drain."""

COUNTERS_NS = 1_000_000_000
"""How often live counters are published on the control plane."""

logger = logging.getLogger("seqcast")


@frozen
class NodeSettings:
    """What every node needs to know.

    `directory` belongs to this node alone; the log of a session lies in a folder of that name inside it.
    `session` has ten bytes. `durability` is `memory`, `group` or `always`.
    """

    name: str
    session: bytes
    directory: Path
    segment_bytes: int
    durability: str
    host: str
    authority: Authority
    control_path: Path
    fingerprint: str = ""  # of the configuration that the nodes share
    idle: Idle = Idle.BLOCK


@define(eq=False)
class Node:
    """The frame of a node process: open, run turns, close."""

    settings: NodeSettings
    pump: Pump = field(init=False)
    counters: Counters = field(factory=Counters, init=False)
    log: MessageLog = field(init=False)
    control: ControlServer = field(init=False)
    services: list[Service] = field(factory=list, init=False)
    started_ns: int = field(factory=time.monotonic_ns, init=False)
    _counters_due_ns: int = field(default=0, init=False)

    role = "node"

    def open(self) -> None:
        """Open the log, then the ports.

        Raises LogError when the log cannot be trusted, OSError when a port or a file cannot be had; each names
        what is wrong.
        """
        settings = self.settings
        self.pump = Pump(settings.idle, self.finish)
        self.pump.stop_on_signals()
        session = settings.session.decode("ascii").strip()
        self.log = MessageLog.open_or_create(
            FileStorage(settings.directory / session),
            settings.session,
            segment_bytes=settings.segment_bytes,
            durability=settings.durability,
        )
        if self.log.recovery is not None:
            self.report("recovered", detail=str(self.log.recovery))
        self.open_ports()
        for service in self.services:
            service.open()
        self.control = ControlServer(settings.control_path, self.commands())
        self.pump.watch(self.control.fileno(), lambda _events, _now_ns: self.control.turn())

    def open_ports(self) -> None:
        """Open what this kind of node serves, and append to `services`."""
        raise NotImplementedError

    def commands(self) -> dict[str, Any]:
        """Handlers of the control plane, by command."""
        return {"status": lambda _arguments: self.status()}

    def run(self) -> None:
        """Turns until SIGTERM, ctrl-C or `stop`; then an orderly end."""
        try:
            self.open()
            self.report("ready", **self.ports())
            notify.ready()
            self.pump.run()
            notify.stopping()
            self._drain()
            self.report("stopped", last=self.log.last, commit=self.log.commit)
        finally:
            self.close()

    def finish(self, now_ns: int) -> int:
        """The end of a turn; returns work done."""
        if now_ns >= self._counters_due_ns:
            self._counters_due_ns = now_ns + COUNTERS_NS
            self.control.publish(self.status())
            notify.watchdog()
        return 0

    def status(self) -> dict[str, Any]:
        """What this node is doing, as plain values."""
        log = self.log
        return {
            "name": self.settings.name,
            "role": self.role,
            "fingerprint": self.settings.fingerprint,
            "session": self.settings.session.decode("ascii").strip(),
            "first": log.first,
            "last": log.last,
            "commit": log.commit,
            "synced": log.synced,
            "durability": log.durability,
            "ended": log.ended,
            "epoch": log.epochs[-1][0] if log.epochs else 0,
            "clients": {service.name: len(service.clients) for service in self.services},
            "ports": self.ports(),
            "uptime_seconds": (time.monotonic_ns() - self.started_ns) / 1e9,
            "turns": self.pump.turns,
            "access_problem": self.settings.authority.problem,
            "counters": dict(self.counters),
        }

    def ports(self) -> dict[str, int]:
        """The ports this node has open, by name."""
        return {service.name: service.listener.port for service in self.services}

    def report(self, event: str, **values: Any) -> None:
        """One line for people."""
        logger.info(event, extra={"node": self.settings.name, "values": values})

    def close(self) -> None:
        """Let go of everything; safe to call on a node that was opened in part."""
        for name in ("control", "log", "pump"):
            part = getattr(self, name, None)
            if part is not None:
                part.close()

    def _drain(self) -> None:
        """Close the connections in an orderly way, within a bound."""
        now_ns = time.monotonic_ns()
        for service in self.services:
            service.close(now_ns)
        limit_ns = now_ns + CLOSE_LIMIT_NS
        self.pump.finish = lambda _now_ns: 0
        while not all(service.drained for service in self.services) and now_ns < limit_ns:
            self.pump.turn(limit_ns - now_ns)
            now_ns = time.monotonic_ns()
