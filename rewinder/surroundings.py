"""What a node gets from outside: its pump, its network, its disk, its control socket, and chance.

`Machine` is the real thing. A simulator gives its nodes other surroundings, and nothing else: the nodes, and all
that is in them, are the same.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, field

from rewinder.control import ControlServer
from rewinder.errors import LogMissing
from rewinder.network import Network, SocketNetwork
from rewinder.policy import is_session_name
from rewinder.pump import EpollPump
from rewinder.storage import FileStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rewinder.counters import Counters
    from rewinder.node_settings import NodeSettings
    from rewinder.pump import Pump
    from rewinder.storage import Storage

logger = logging.getLogger("seqcast")

ASIDE_LIMIT = 100
"""Damaged logs of one session that are kept."""


class Control(Protocol):
    """The control socket of a node; see `rewinder.control.ControlServer`."""

    def fileno(self) -> int:
        """The descriptor to wait on."""

    def turn(self) -> int:
        """Answer what has arrived."""

    def publish(self, counters: Mapping[str, Any]) -> None:
        """Send live counters to whoever listens."""

    def close(self) -> None:
        """Let go of it."""


class Surroundings(Protocol):
    """Where a node lives."""

    network: Network
    random: Random

    def pump(self, settings: NodeSettings, finish: Callable[[int], int]) -> Pump:
        """A pump that ends its turns with `finish`."""

    def storage(self, settings: NodeSettings) -> Storage:
        """Where the log of the session is kept. Raises LogError, OSError."""

    def old_sessions(self, settings: NodeSettings) -> list[str]:
        """Names of the other sessions whose logs are kept there, the newest first. Raises OSError."""

    def old_storage(self, settings: NodeSettings, session: str) -> Storage | None:
        """The log of one of them, to be read only; None when there is none.

        `session` is a name that a session can have, and not the present one. Raises LogLocked when somebody writes
        that log, OSError when it cannot be used.
        """

    def claim_old(self, settings: NodeSettings, session: str) -> Storage | None:
        """The log of one of them, to be removed: nobody reads or writes it. Raises LogError, OSError."""

    def clear_old(self, settings: NodeSettings, session: str) -> None:
        """Nothing is left of one of them: it is no session any more. Raises OSError when something is."""

    def set_aside(self, settings: NodeSettings) -> str:
        """Put a log that cannot be trusted out of the way; returns where it is now. Raises OSError."""

    def control(self, settings: NodeSettings, handlers: Mapping[str, Any], counters: Counters) -> Control:
        """A control socket, which counts in `counters`. Raises OSError, AccessError."""

    def draw(self) -> int:
        """64 random bits that nobody else draws."""


@define(eq=False)
class Machine:
    """The machine that this process runs on."""

    network: Network = field(factory=SocketNetwork)
    random: Random = field(factory=Random)

    def pump(self, settings: NodeSettings, finish: Callable[[int], int]) -> Pump:
        """A pump on epoll, which stops on SIGTERM and ctrl-C.

        Raises OSError when the node may not run where it is to.
        """
        settings.placement.take()
        pump = EpollPump(settings.idle, finish)
        pump.stop_on_signals()
        return pump

    def storage(self, settings: NodeSettings) -> Storage:
        """A directory named after the session, in that of the node."""
        return FileStorage(settings.directory / settings.session_name)

    def old_sessions(self, settings: NodeSettings) -> list[str]:
        """The other directories that have the name of a session: one that was put aside has none."""
        found = []
        with os.scandir(settings.directory) as entries:
            for entry in entries:
                if is_session_name(entry.name) and entry.name != settings.session_name and entry.is_dir():
                    with contextlib.suppress(FileNotFoundError):  # it has just gone
                        found.append((entry.stat().st_mtime_ns, entry.name))
        return [name for _, name in sorted(found, reverse=True)]

    def old_storage(self, settings: NodeSettings, session: str) -> FileStorage | None:
        """The directory of that name, which nobody may write while it is open here."""
        try:
            storage = FileStorage(settings.directory / session, writable=False)
        except (LogMissing, NotADirectoryError):
            return None
        try:
            storage.keep_writers_out()
        except BaseException:
            storage.close()
            raise
        return storage

    def claim_old(self, settings: NodeSettings, session: str) -> FileStorage | None:
        """The directory of that name, which nobody else may have while it is open here."""
        directory = settings.directory / session
        return FileStorage(directory) if directory.is_dir() else None

    def clear_old(self, settings: NodeSettings, session: str) -> None:
        """Remove the directory."""
        (settings.directory / session).rmdir()

    def set_aside(self, settings: NodeSettings) -> str:
        """Rename the directory."""
        directory = settings.directory / settings.session_name
        for number in range(1, ASIDE_LIMIT + 1):
            target = directory.with_name(f"{settings.session_name}.damaged-{number}")
            if not target.exists():
                directory.rename(target)
                return str(target)
        raise OSError(f"{directory}: {ASIDE_LIMIT} damaged logs lie beside it: remove some")

    def control(self, settings: NodeSettings, handlers: Mapping[str, Any], counters: Counters) -> Control:
        """A pyzmq server on a Unix socket, and on TCP where there are keys."""

        def report(command: str, error: Exception) -> None:
            logger.error(
                "a command failed",
                extra={"node": settings.name, "values": {"command": command}},
                exc_info=error,
            )

        return ControlServer(settings.control_path, handlers, report, settings.remote, counters)

    def draw(self) -> int:
        """64 bits from the system."""
        return secrets.randbits(64)
