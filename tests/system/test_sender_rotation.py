"""How a sender finds the sequencer that is primary: whom it tries, when it waits, and when it leaves."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from attrs import define, field

import seqcast.uplink
from seqcast import Endpoints, Sender
from souptcp import (
    SOUPBINTCP,
    Connection,
    Listener,
    LoginRequested,
    ServerSession,
    Unsequenced,
)

SESSION = b"ROTATION  "
ANSWER = struct.Struct(">QQI")
NEVER_NS = 1 << 60
TURNS = 20_000
"""So many turns of at most a millisecond are patience enough for a busy machine."""


@define(eq=False)
class Sequencer:
    """A submit port that lets in (`primary`), or refuses; it acknowledges what it got, or keeps it to itself."""

    primary: bool = False
    acknowledges: bool = True
    logins: int = 0
    got: list[bytes] = field(factory=list)
    told: int = 0
    listener: Listener = field(factory=lambda: Listener("127.0.0.1", 0))
    connections: list[tuple[Connection, ServerSession]] = field(factory=list)

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.listener.port

    def turn(self) -> None:
        now_ns = time.monotonic_ns()
        for accepted in self.listener.accept():
            session = ServerSession(SOUPBINTCP, now_ns=now_ns)
            self.connections.append((Connection(accepted, session), session))
        for connection, session in self.connections:
            if connection.closed:
                continue
            for event in connection.read(now_ns):
                match event:
                    case LoginRequested() if self.primary:
                        self.logins += 1
                        session.accept(SESSION, 1, now_ns)
                        session.send_unsequenced(self.answer(0))
                    case LoginRequested():
                        self.logins += 1
                        session.reject(b"S", now_ns)
                    case Unsequenced(messages):
                        self.got += messages.payloads()
                        if self.acknowledges:
                            session.send_unsequenced(self.answer(len(self.got) - self.told))
                            self.told = len(self.got)
            connection.write(now_ns)

    def answer(self, count: int) -> bytes:
        last = struct.unpack_from(">Q", self.got[-1])[0] if self.got else 0
        return ANSWER.pack(last, last + 1 if self.acknowledges and last else 0, count)

    def close(self) -> None:
        self.listener.close()
        for connection, _ in self.connections:
            connection.abandon()


@define
class Scene:
    """Sequencers, one sender, and turns for all of them."""

    sequencers: list[Sequencer]
    sender: Sender

    def turn_until(self, condition) -> None:
        for _ in range(TURNS):
            if condition():
                return
            self.turn()
        raise AssertionError(f"it does not happen: {self.sender.trouble}")

    def turn(self) -> None:
        self.sender.poll(0.001)
        for sequencer in self.sequencers:
            sequencer.turn()

    def send(self, *payloads: bytes) -> None:
        for payload in payloads:
            self.sender.send(payload)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def new_scene(stack: ExitStack, *sequencers: Sequencer, **settings) -> Scene:
    endpoints = Endpoints(session=SESSION, sequencers=tuple(each.address for each in sequencers))
    sender = Sender(endpoints, "ALPHA", **settings)
    for each in sequencers:
        stack.callback(each.close)
    stack.callback(sender.close)
    return Scene(list(sequencers), sender)


def test_one_round_is_made_without_a_pause(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seqcast.uplink, "RETRY_NS", NEVER_NS)
    monkeypatch.setattr(seqcast.uplink, "RETRY_LIMIT_NS", NEVER_NS)
    gone = Sequencer()
    gone.listener.close()
    scene = new_scene(stack, Sequencer(), gone, Sequencer(), Sequencer(primary=True))
    scene.turn_until(lambda: scene.sender.connected)
    assert [each.logins for each in scene.sequencers] == [1, 0, 1, 1]


def test_between_rounds_there_is_a_pause(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seqcast.uplink, "RETRY_NS", NEVER_NS)
    monkeypatch.setattr(seqcast.uplink, "RETRY_LIMIT_NS", NEVER_NS)
    scene = new_scene(stack, Sequencer(), Sequencer())
    scene.turn_until(lambda: [each.logins for each in scene.sequencers] == [1, 1])
    for _ in range(50):
        scene.turn()
    assert [each.logins for each in scene.sequencers] == [1, 1]
    assert "refused the login" in (scene.sender.trouble or "")


def test_it_comes_back_when_the_standby_has_become_primary(stack: ExitStack) -> None:
    standby = Sequencer()
    scene = new_scene(stack, Sequencer(), standby)
    scene.turn_until(lambda: standby.logins >= 3)
    standby.primary = True
    scene.turn_until(lambda: scene.sender.connected)


def test_one_that_does_not_answer_the_login_is_left(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is stopped still gets connections, from its kernel."""
    monkeypatch.setattr(seqcast.uplink, "LOGIN_NS", 20_000_000)
    silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    primary = Sequencer(primary=True)
    endpoints = Endpoints(session=SESSION, sequencers=(silent.getsockname(), primary.address))
    scene = Scene([primary], Sender(endpoints, "ALPHA"))
    stack.callback(primary.close)
    stack.callback(scene.sender.close)
    scene.turn_until(lambda: scene.sender.connected)
    assert primary.logins == 1


def test_one_that_acknowledges_nothing_is_left_for_one_that_does(stack: ExitStack) -> None:
    cut_off, successor = Sequencer(primary=True, acknowledges=False), Sequencer(primary=False)
    scene = new_scene(stack, cut_off, successor, silence_ns=20_000_000)
    scene.turn_until(lambda: scene.sender.connected)
    scene.send(b"one", b"two")
    scene.turn_until(lambda: len(cut_off.got) == 2 and successor.logins > 0)
    successor.primary = True
    scene.turn_until(lambda: not scene.sender.in_flight)
    assert [each[9:] for each in successor.got] == [b"one", b"two"]
    assert [each[9:] for each in cut_off.got] == [b"one", b"two"]
    assert scene.sender.reconnections >= 1


def test_what_it_has_got_is_not_sent_again_when_there_is_no_other(stack: ExitStack) -> None:
    slow = Sequencer(primary=True, acknowledges=False)
    scene = new_scene(stack, slow, silence_ns=20_000_000)
    scene.turn_until(lambda: scene.sender.connected)
    scene.send(b"one", b"two")
    scene.turn_until(lambda: slow.logins >= 3)
    slow.acknowledges = True
    scene.send(b"three")
    scene.turn_until(lambda: not scene.sender.in_flight)
    assert [each[9:] for each in slow.got] == [b"one", b"two", b"three"]


def test_one_that_owes_nothing_may_be_silent(stack: ExitStack) -> None:
    scene = new_scene(stack, Sequencer(primary=True), silence_ns=10_000_000)
    scene.turn_until(lambda: scene.sender.connected)
    scene.send(b"one")
    scene.turn_until(lambda: not scene.sender.in_flight)
    deadline = time.monotonic_ns() + 50_000_000
    scene.turn_until(lambda: time.monotonic_ns() > deadline)
    assert scene.sequencers[0].logins == 1
