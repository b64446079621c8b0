"""One supervised child process: how it is started, how it says that it is ready, and how it is ended.

A child runs in a process group of its own, so that ctrl-C in the terminal reaches the supervisor alone, and
dies with the supervisor, however that dies. It says READY=1 on a socket of its own (sd_notify(3)); what it
writes to standard output and standard error comes through one pipe.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seqcast.config import Configuration

NOTIFICATION_BYTES = 4096
"""Longest notification that is read; ours are a line or two."""

NOTIFICATIONS_PER_READ = 16
"""Notifications taken at once from one child: a child that floods its supervisor waits for the next turn."""

OUTPUT_BYTES = 65_536
"""Most that is read from a child at once: what a pipe holds."""

STATUS_CHARACTERS = 200
"""How much of a child's status text is kept."""

_PR_SET_PDEATHSIG = 1
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
_libc = ctypes.CDLL(None, use_errno=True)


@frozen
class ChildCommand:
    """What to run: the arguments of a process, and what to call it. `ports` are for people."""

    name: str
    role: str
    arguments: tuple[str, ...]
    ports: Mapping[str, int] = field(factory=dict)


def node_commands(configuration: Configuration, *options: str) -> list[ChildCommand]:
    """Return the commands that run the nodes of a configuration, with `options`: sequencers first, then rewinders."""
    return [
        ChildCommand(
            name=node.name,
            role=node.role.value,
            # -P: a module in the working directory must not take the place of ours
            arguments=(
                *(sys.executable, "-P", "-m", "seqcast.cli"),
                *(node.role.value, node.name, "--config", str(configuration.path), *options),
            ),
            ports={key.removesuffix("_port"): port for key, port in node.ports.items()},
        )
        for node in (*configuration.sequencers, *configuration.rewinders)
    ]


@define(eq=False)
class Child:
    """A child process that runs from construction on. Raises OSError when it cannot be started."""

    command: ChildCommand
    process: subprocess.Popen[bytes] = field(init=False)
    pidfd: int = field(init=False)
    """Readable when the process has ended."""
    notifications: socket.socket = field(init=False)
    output: int = field(init=False)
    """Read end of the pipe that the child writes to."""
    ready: bool = field(default=False, init=False)
    status: str = field(default="", init=False)
    """What the child said last about what it is doing."""

    def __attrs_post_init__(self) -> None:
        self.notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.output, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            os.set_blocking(writing, True)
            self.notifications.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self.notifications.bind("")  # the kernel picks an abstract name that is free
            self.process = subprocess.Popen(  # noqa: S603  (the arguments are ours)
                self.command.arguments,
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                env=self._environment(),
                process_group=0,
                preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509  (the supervisor has one thread)
            )
            self.pidfd = os.pidfd_open(self.process.pid)
        except BaseException:
            self.notifications.close()
            os.close(self.output)
            raise
        finally:
            os.close(writing)

    def read_notifications(self) -> bool:
        """Take notifications; True when the child has become ready by one."""
        was_ready = self.ready
        for _ in range(NOTIFICATIONS_PER_READ):
            try:
                data, ancillary, _, _ = self.notifications.recvmsg(
                    NOTIFICATION_BYTES, socket.CMSG_SPACE(_CREDENTIALS.size)
                )
            except BlockingIOError:
                break
            if not any(_is_ours(*item) for item in ancillary):
                continue  # an abstract socket is open to every user of the machine
            for line in data.decode("utf-8", "replace").splitlines():
                if line == "READY=1":
                    self.ready = True
                elif line.startswith("STATUS="):
                    text = line.removeprefix("STATUS=")[:STATUS_CHARACTERS]
                    self.status = text if text.isprintable() else repr(text)
        return self.ready and not was_ready

    def read_output(self) -> bytes | None:
        """Return what the child wrote; nothing when there is no more now, None when there never will be."""
        try:
            return os.read(self.output, OUTPUT_BYTES) or None
        except BlockingIOError:
            return b""

    def signal(self, number: int) -> None:
        """Send a signal to this process, and surely to no other."""
        with contextlib.suppress(ProcessLookupError):  # it ended already, and will be noticed
            signal.pidfd_send_signal(self.pidfd, number)

    def close(self) -> int:
        """Reap the process, which has ended; returns its exit status, or its signal as a negative number."""
        returned = self.process.wait()
        self.notifications.close()
        os.close(self.output)
        os.close(self.pidfd)
        return returned

    def _environment(self) -> dict[str, str]:
        environment = dict(os.environ)
        name = self.notifications.getsockname()
        environment["NOTIFY_SOCKET"] = "@" + name[1:].decode("ascii")
        environment["PYTHONUNBUFFERED"] = "1"
        # The same seqcast as this one, even where it runs from a source tree that is not installed.
        paths = [environment.get("PYTHONPATH", ""), str(Path(__file__).resolve().parent.parent)]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):  # meant for the supervisor, not for its children
            environment.pop(name, None)
        return environment


def signal_name(number: int) -> str:
    """Return the name of a signal, or its number where it has none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _is_ours(level: int, kind: int, data: bytes) -> bool:
    """Whether ancillary data say that the sender runs as the same user as we do."""
    if (level, kind) != (socket.SOL_SOCKET, socket.SCM_CREDENTIALS) or len(data) < _CREDENTIALS.size:
        return False
    return bool(_CREDENTIALS.unpack_from(data)[1] == os.getuid())


class _die_with:  # noqa: N801  (reads as what it does)
    """Run in the child before exec: have the kernel kill it when its parent dies."""

    def __init__(self, parent: int) -> None:
        self.parent = parent

    def __call__(self) -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != self.parent:  # it died before it could be asked for
            os._exit(1)
