"""A connection that a node makes: its timers, and what its owner is told when it is gone."""

from __future__ import annotations

from typing import Any

import pytest
from far_end import FakePump, FakeSocket

from rewinder.dial import Dial, Identity, Patience
from rewinder.pump import READABLE
from souptcp import SOUPBINTCP, Accepted, ServerSession

SESSION = b"TEST      "
PATIENCE = Patience(heartbeat_ns=100, silence_ns=1000)


class Line:
    """A dial and the server at its other end."""

    def __init__(self, *, error: OSError | None = None) -> None:
        self.server = ServerSession(SOUPBINTCP, now_ns=0, heartbeat_ns=100, timeout_ns=1000)
        self.socket = FakeSocket(self.server)
        self.pump = FakePump()
        self.error = error
        self.events: list[object] = []
        self.lost: list[str] = []
        pump: Any = self.pump
        network: Any = self
        self.dial = Dial(
            pump,
            network,
            Identity("SEQ2", "secret", SESSION),
            PATIENCE,
            lambda event, _now_ns: self.events.append(event),
            lambda reason, _now_ns: self.lost.append(reason),
        )

    def connect(self, _host: str, _port: int) -> FakeSocket:
        """The network's part."""
        if self.error is not None:
            raise self.error
        return self.socket

    def ready(self, now_ns: int) -> None:
        self.socket.now_ns = now_ns
        if self.pump.handler is not None:
            self.pump.handler(READABLE, now_ns)

    def log_in(self, now_ns: int = 0) -> None:
        self.dial.connect(("host", 1), 1, 0)
        self.ready(0)
        self.server.accept(SESSION, 1, now_ns)
        self.ready(now_ns)
        assert self.events == [Accepted(b"TEST", 1)]


def test_heartbeats_are_sent_from_the_login_on() -> None:
    """The timer of the login comes later than the first of them, and must not hold it up."""
    line = Line()
    line.log_in(50)
    sent = []
    for now_ns in range(60, 1000, 10):
        before = line.dial._session._sent_ns
        line.pump.timers.run(now_ns)
        if line.dial._session._sent_ns != before:
            sent.append(now_ns)
        line.server.sent(now_ns)
        line.dial._session._heard_ns = now_ns
    assert sent == list(range(150, 1000, 100))


def test_a_server_that_does_not_answer_the_login_is_silent() -> None:
    line = Line()
    line.dial.connect(("host", 1), 1, 0)
    line.pump.timers.run(999)
    assert line.lost == []
    line.pump.timers.run(1000)
    assert line.lost == ["no answer to the login"]
    assert line.dial.silent
    assert not line.dial.open
    assert line.socket.closed


def test_a_server_that_falls_silent_is_lost() -> None:
    line = Line()
    line.log_in()
    for now_ns in range(0, 1001, 50):
        line.pump.timers.run(now_ns)
    assert line.lost == ["nothing from the server for 1e-06 s"]
    assert line.dial.silent


def test_a_login_that_is_refused_is_told_and_is_no_silence() -> None:
    line = Line()
    line.dial.connect(("host", 1), 1, 0)
    line.ready(0)
    line.server.reject("S", 0)
    line.ready(10)
    assert line.lost == ["login refused (S)"]
    assert not line.dial.silent
    assert line.pump.handler is None


def test_who_cannot_be_reached_is_told_at_once() -> None:
    line = Line(error=OSError(111, "connection refused"))
    line.dial.connect(("host", 1), 1, 0)
    assert line.lost == ["[Errno 111] connection refused"]
    assert not line.dial.open
    assert line.dial.deadline_ns() is None


def test_who_hangs_up_itself_is_told_nothing() -> None:
    line = Line()
    line.log_in()
    line.dial.close()
    line.dial.close()
    assert line.lost == []
    assert not line.dial.logged_in
    line.pump.timers.run(5000)
    assert line.lost == []


@pytest.mark.parametrize("again", [False, True])
def test_an_owner_may_connect_again_when_told_of_the_loss(again: bool) -> None:
    line = Line()
    line.log_in()

    def lost(reason: str, now_ns: int) -> None:
        line.lost.append(reason)
        if again:
            line.server = ServerSession(SOUPBINTCP, now_ns=now_ns)
            line.socket = FakeSocket(line.server)
            line.dial.connect(("host", 1), 7, now_ns)

    line.dial.on_lost = lost
    list(line.server.disconnected("gone"))
    line.pump.timers.run(1000)
    assert len(line.lost) == 1
    assert line.dial.open is again
    assert not line.dial.logged_in
