"""The far end of a connection that a node makes, and a pump that a test runs itself."""

from __future__ import annotations

from typing import Any

from attrs import define, field

from rewinder.pump import READABLE, Timers
from souptcp import ServerSession


@define(eq=False)
class FakeSocket:
    """The client's end of a connection to `server`."""

    server: ServerSession
    now_ns: int = 0
    closed: bool = False
    heard: list[object] = field(factory=list)

    def setblocking(self, _flag: bool) -> None:
        """It never blocks."""

    def fileno(self) -> int:
        return -1 if self.closed else 5

    def send(self, data: memoryview, _flags: int = 0) -> int:
        self.heard += list(self.server.receive(bytes(data), self.now_ns))
        return len(data)

    def recv_into(self, space: memoryview) -> int:
        data = self.server.take_output(self.now_ns)
        if not data:
            raise BlockingIOError
        space[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self.closed = True


@define(eq=False)
class FakePump:
    """Descriptors and timers that a test runs itself."""

    timers: Timers = field(factory=Timers)
    handler: Any = None

    def watch(self, _fileno: int, handler: Any, _events: int = READABLE) -> None:
        self.handler = handler

    def change(self, _fileno: int, _events: int) -> None:
        """All events are run."""

    def forget(self, _fileno: int) -> None:
        self.handler = None
