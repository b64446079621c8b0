"""Passing on what child processes log, line by line, without ever waiting for whoever reads it.

A terminal that is stopped, or a pipe that nobody empties, would otherwise stop the children as soon as their
own pipes are full, and a bus must not stand still because of its log lines. What does not fit is dropped, and
counted.
"""

from __future__ import annotations

import os
import select
from collections import deque

from attrs import define, field

LINE_BYTES = 8192
"""Longest line that is passed on; the rest of a longer one follows as a line of its own."""

WAITING_BYTES = 1 << 20
"""Lines that wait for the reader, all children together."""

WRITE_BYTES = 4096
"""Most that is written at once: what a pipe takes without waiting when it is ready at all (PIPE_BUF)."""


@define(eq=False)
class Relay:
    """Lines of many sources to one descriptor, each line with the name of its source in front."""

    fileno: int
    width: int = 0
    """Names are padded to this many characters."""
    lost: int = field(default=0, init=False)
    """Lines dropped since the reader last kept up."""
    _partial: dict[str, bytes] = field(factory=dict, init=False)
    _waiting: deque[bytes] = field(factory=deque, init=False)
    _bytes: int = field(default=0, init=False)
    _broken: bool = field(default=False, init=False)

    @property
    def waiting(self) -> bool:
        """True while lines wait for the reader."""
        return bool(self._waiting)

    def add(self, name: str, data: bytes) -> None:
        """Take what a source wrote; whole lines are passed on by `flush`."""
        *lines, rest = (self._partial.get(name, b"") + data).split(b"\n")
        for line in lines:
            self._add_line(name, line)
        while len(rest) > LINE_BYTES:
            self._add_line(name, rest[:LINE_BYTES])
            rest = rest[LINE_BYTES:]
        self._partial[name] = rest

    def end(self, name: str) -> None:
        """Take what is left of a source that is gone as its last line."""
        rest = self._partial.pop(name, b"")
        if rest:
            self._add_line(name, rest)

    def flush(self) -> None:
        """Write as much as can be written without waiting."""
        poll = select.poll()
        poll.register(self.fileno, select.POLLOUT)
        while self._waiting and poll.poll(0):
            chunk = self._waiting[0][:WRITE_BYTES]
            try:
                written = os.write(self.fileno, chunk)
            except BlockingIOError:
                return
            except OSError:  # nobody will ever read it
                self._broken = True
                self._waiting.clear()
                self._bytes = 0
                return
            self._bytes -= written
            if written == len(self._waiting[0]):
                self._waiting.popleft()
            else:
                self._waiting[0] = self._waiting[0][written:]
            if not self._waiting and self.lost:
                lost, self.lost = self.lost, 0
                self._add_line("", b"%d lines were lost because nobody read them" % lost)

    def _add_line(self, name: str, line: bytes) -> None:
        if self._broken:
            return
        text = name.ljust(self.width).encode("ascii") + b" | " + line + b"\n"
        if self._bytes + len(text) > WAITING_BYTES:
            self.lost += 1
            return
        self._waiting.append(text)
        self._bytes += len(text)
