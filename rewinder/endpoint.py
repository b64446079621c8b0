"""Unix sockets by path, as libzmq takes them: also where the path is longer than the kernel allows."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from pathlib import Path

SOCKET_PATH_BYTES = 100
"""Longest path that is bound as it is; the kernel takes 108 bytes at most."""


@define(eq=False)
class Endpoint:
    """The libzmq address of the Unix socket at `path`, which may be longer than the kernel allows.

    A long path is reached through a descriptor of its directory, so the endpoint must stay open as long as
    the socket is. Raises OSError when the directory is not there.
    """

    path: Path
    file: str = field(init=False)
    _directory: int | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        absolute = self.path.absolute()
        self.file = str(absolute)
        if len(os.fsencode(self.file)) > SOCKET_PATH_BYTES:
            self._directory = os.open(absolute.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self.file = f"/proc/self/fd/{self._directory}/{absolute.name}"

    @property
    def address(self) -> str:
        """What `bind` and `connect` of libzmq take."""
        return f"ipc://{self.file}"

    def listening(self) -> bool:
        """Whether a process listens there now."""
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
            probe.setblocking(False)
            try:
                probe.connect(self.file)
            except BlockingIOError:  # its backlog is full: somebody is there
                return True
            except OSError:
                return False
            return True

    def close(self) -> None:
        """Let go of the directory."""
        if self._directory is not None:
            os.close(self._directory)
            self._directory = None


def counters_path(control_path: Path) -> Path:
    """Return the socket of the live counters that belongs to a control socket."""
    return control_path.with_name("counters.sock")
