"""Receivers and the sessions that follow each other: the next day, a forced promotion, and old ones by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import moldudp
from seqcast.errors import NotConnected, SessionChanged, SessionEnded, TimedOut
from seqcast.events import NewSession
from seqcast.testing.fabric import SimNetwork
from seqcast.testing.machine import Machine

if TYPE_CHECKING:
    from seqcast.testing import App, Bus


def speak(bus: Bus, *payloads: bytes) -> list[int]:
    """Send with a sender of the present session; returns the numbers."""
    sender = bus.sender()
    tickets = [sender.send(payload) for payload in payloads]
    sender.flush()
    sender.close()
    return [ticket.number for ticket in tickets]


def test_the_next_day_follows_when_the_app_wants_it(bus: Bus) -> None:
    events: list[Any] = []
    receiver = bus.receiver(on_event=events.append)
    speak(bus, b"one", b"two")
    bus.end_session()
    assert [m.payload for m in receiver] == [b"one", b"two"]
    assert receiver.ended
    with pytest.raises(TimedOut, match="no session has followed 'SIMULATED' within 3 s"):
        receiver.next_session(timeout=3.0)
    bus.begin_session("TOMORROW")
    assert receiver.next_session() == receiver.session_name == "TOMORROW"
    assert not receiver.ended
    numbers = speak(bus, b"three")
    assert [(m.number, m.payload) for m in receiver.take(1)] == [(numbers[0], b"three")] == [(2, b"three")]
    assert events == [NewSession("TOMORROW", "SIMULATED")]


def test_a_session_that_was_left_is_delivered_as_far_as_it_is_kept_and_then_left(bus: Bus) -> None:
    """The receiver has missed the last messages of the old session: it gets them before it is told."""
    receiver = bus.receiver()
    speak(bus, *(b"%d" % n for n in range(10)))
    assert len(receiver.take(10)) == 10
    bus.loss = 1.0
    speak(bus, *(b"%d" % n for n in range(10, 20)))
    bus.run(1.5)
    bus.loss = 0.0
    bus.begin_session("FORCED")
    got: list[bytes] = []

    def read_on() -> None:
        for message in receiver:
            got.append(message.payload)

    with pytest.raises(
        SessionChanged, match="carry session 'FORCED' now, and 'SIMULATED' was read up to 21"
    ) as change:
        read_on()
    assert got == [b"%d" % n for n in range(10, 20)]
    assert (change.value.session, change.value.previous, change.value.position) == ("FORCED", "SIMULATED", 22)
    with pytest.raises(SessionChanged):
        receiver.poll()
    assert receiver.next_session() == "FORCED"
    speak(bus, b"new")
    assert [m.payload for m in receiver.take(1)] == [b"new"]


@pytest.mark.bus(readers=0, voters=1)
def test_without_anyone_who_keeps_it_the_successor_is_announced_all_the_same(bus: Bus) -> None:
    receiver = bus.receiver()
    speak(bus, b"one")
    assert len(receiver.take(1)) == 1
    bus.begin_session("FORCED")
    with pytest.raises(SessionChanged):
        receiver.take(1, timeout=60)


def test_old_sessions_are_read_by_name(bus: Bus) -> None:
    speak(bus, b"one")
    bus.end_session()
    bus.run(0.5)
    bus.begin_session("LEFT")
    speak(bus, b"two")
    bus.run(2)
    bus.begin_session("PRESENT")
    speak(bus, b"three")
    for lines in ((), ("a",)):
        for session, payload in (("SIMULATED", b"one"), ("LEFT", b"two")):
            receiver = bus.receiver(session=session, lines=lines)
            assert [m.payload for m in receiver] == [payload]
            assert receiver.ended
            assert receiver.session_name == session
    present = bus.receiver(session="PRESENT")
    assert [m.payload for m in present.take(1)] == [b"three"]
    assert not present.ended


def test_a_pinned_receiver_stays_with_its_session(bus: Bus) -> None:
    receiver = bus.receiver(session="SIMULATED")
    speak(bus, b"one")
    assert len(receiver.take(1)) == 1
    bus.run(2)
    bus.begin_session("FORCED")
    speak(bus, b"new")
    assert [m.payload for m in receiver] == []
    assert receiver.ended
    assert receiver.counters.foreign_session > 0


def test_strangers_on_the_group_are_no_session(bus: Bus) -> None:
    """Datagrams of other sessions, each different, and one that goes on: nobody believes them while ours lives."""
    events: list[Any] = []
    receiver = bus.receiver(on_event=events.append)
    machine = Machine(bus.fabric, "STRANGER")
    line = bus.endpoints.lines[0]
    out = SimNetwork(bus.fabric, machine).multicast(line.group, line.port, "", 1)
    sender = bus.sender()
    for n in range(200):
        out.send(moldudp.MOLDUDP64.heartbeat(bus.random.randbytes(10), 5))
        out.send(moldudp.MOLDUDP64.heartbeat(b"STRANGER  ", n + 1))
        sender.send(b"%d" % n)
        bus.run(0.02)
        receiver.poll()
    sender.flush()
    assert events == []
    assert receiver.position > 150
    assert receiver.counters.foreign_session >= 400


def test_in_an_event_loop(bus: Bus) -> None:
    got: list[tuple[str, bytes]] = []

    async def follow(app: App) -> None:
        async with app.receiver() as receiver:
            while True:
                async for message in receiver:
                    got.append((receiver.session_name, message.payload))
                await receiver.following_session()

    bus.spawn(follow)
    speak(bus, b"one")
    bus.end_session()
    bus.run(1)
    bus.begin_session("TUESDAY")
    speak(bus, b"two")
    bus.run_until(lambda: len(got) == 2)
    bus.end_session()
    bus.run(1)
    bus.begin_session("WEDNESDAY")
    speak(bus, b"three")
    bus.run_until(lambda: len(got) == 3)
    assert got == [("SIMULATED", b"one"), ("TUESDAY", b"two"), ("WEDNESDAY", b"three")]


class TestSendersThatFollow:
    """`Sender(after=...)`: it goes on in whatever session follows, though nobody has told it which that is."""

    def test_what_did_not_enter_one_session_is_sent_in_the_next(self, bus: Bus) -> None:
        sender = bus.sender()
        assert sender.session_name == "SIMULATED"
        sender.send(b"one").wait()
        bus.end_session()
        ticket = sender.send(b"two")
        with pytest.raises(SessionEnded, match="1 frame of 'ALPHA' did not enter it"):
            ticket.wait()
        before = bus.endpoints
        bus.begin_session("TOMORROW")
        bus.endpoints = before  # an app whose configuration is of yesterday
        following = bus.sender(after=sender.session_name)
        assert following.session_name == ""
        assert following.send(b"two").wait() == 2
        assert (following.session_name, following.resumed_at) == ("TOMORROW", 0)

    def test_the_session_that_has_ended_is_not_taken_for_its_successor(self, bus: Bus) -> None:
        bus.end_session()
        sender = bus.sender(after="SIMULATED", connect_seconds=1.0)
        with pytest.raises(NotConnected, match="no sequencer let 'ALPHA' in within 1 s"):
            sender.open()
        bus.begin_session("TOMORROW")
        assert sender.send(b"one").wait() == 2
        assert sender.session_name == "TOMORROW"

    def test_it_stays_in_the_one_that_it_has_found(self, bus: Bus) -> None:
        bus.end_session()
        bus.begin_session("TOMORROW")
        sender = bus.sender(after="SIMULATED")
        sender.send(b"one").wait()
        bus.fail_over()
        assert sender.send(b"two").wait() > 2
        bus.begin_session("FORCED")
        ticket = sender.send(b"three")
        with pytest.raises(TimedOut):
            ticket.wait(3.0)
        assert sender.session_name == "TOMORROW", "a session without an end is left by nobody but its app"
