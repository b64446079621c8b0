"""The receiver on a bus of virtual time: where it starts, what it repairs and from whom, and what it says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from seqcast import BEGIN, LIVE, Checkpoint
from seqcast.errors import SeqcastError, TimedOut, UnknownLine, WrongSession
from seqcast.events import LineBack, LineLagging, LineSilent
from seqcast.testing import Bus, Troubles

if TYPE_CHECKING:
    from pathlib import Path

    from seqcast import Receiver
    from seqcast.testing import App


def send(bus: Bus, first: int, count: int, sender: Any = None) -> Any:
    """Send messages `first`... one after the other, a millisecond apart; returns the sender."""
    sender = sender or bus.sender()
    for index in range(first, first + count):
        sender.send(b"%d" % index)
        bus.run(0.001)
    sender.flush()
    return sender


def payloads(receiver: Receiver, count: int) -> list[bytes]:
    return [message.payload for message in receiver.take(count, timeout=30)]


def numbered(first: int, count: int) -> list[bytes]:
    return [b"%d" % index for index in range(first, first + count)]


class TestStart:
    def test_from_the_beginning_a_number_and_live(self, bus: Bus) -> None:
        sender = send(bus, 0, 100)
        begin, number, live = bus.receiver(), bus.receiver(52), bus.receiver(LIVE)
        live.poll(timeout=2.0)
        send(bus, 100, 50, sender)
        assert payloads(begin, 150) == numbered(0, 150)
        assert number.take(1)[0].number == 52
        assert payloads(number, 99) == numbered(51, 99)
        assert payloads(live, 50) == numbered(100, 50)
        assert live.rewound == 0

    def test_history_merges_into_live_without_a_seam(self, bus: Bus) -> None:
        """The stream flows all the time, and the late receiver is a slow one at first."""
        sender = bus.sender()
        sender.send_batch([bytes(1000)] * 500).wait()
        late = bus.receiver()
        seen: list[int] = []
        sources: list[str] = []
        for index in range(400):
            sender.send(b"%d" % index)
            batch = late.poll(limit=7, timeout=0.001)
            if len(batch):
                seen += batch.payloads.numbers
                sources.append(late.source)
        sender.flush()
        while len(seen) < 900:
            batch = late.poll(timeout=1.0)
            seen += batch.payloads.numbers
            sources.append(late.source)
        assert seen == list(range(2, 902))
        assert sources[0] == "rewind"
        sender.send(b"now").wait()
        late.take(1)
        assert (late.source, late.lag, late.position) == ("live", 0, 903)

    def test_lag_says_how_much_is_known_and_not_delivered(self, bus: Bus) -> None:
        receiver = bus.receiver()
        sender = send(bus, 0, 10)
        assert payloads(receiver, 10) == numbered(0, 10)
        assert receiver.lag == 0
        sender.send_batch(numbered(10, 90)).wait()
        bus.run(0.1)
        receiver.poll(limit=1)
        assert receiver.lag > 50
        assert payloads(receiver, 89) == numbered(11, 89)

    def test_from_rewinders_alone(self, bus: Bus) -> None:
        send(bus, 0, 20)
        replay = bus.receiver(lines=())
        assert payloads(replay, 20) == numbered(0, 20)
        assert replay.counters.datagrams == 0

    def test_lines_that_do_not_exist_are_named(self, bus: Bus) -> None:
        with pytest.raises(UnknownLine, match="no line 'c': lines are called a and b"):
            bus.receiver(lines=("c",))
        with pytest.raises(UnknownLine, match="line 'b' is not configured"):
            bus.receiver(lines=("b",))

    def test_take_says_what_it_waited_for(self, bus: Bus) -> None:
        receiver = bus.receiver()
        send(bus, 0, 3)
        with pytest.raises(TimedOut, match="3 of 4 messages came within 1 s"):
            receiver.take(4, timeout=1.0)


class TestLines:
    @pytest.mark.bus(seeds=5, lines=2)
    def test_loss_on_one_line_alone_costs_no_request(self, bus: Bus) -> None:
        events: list[Any] = []
        bus.fabric.stalls = 0.0  # a packet that is late on the other line is not lost on one alone
        receiver = bus.receiver(on_event=events.append)
        sender = send(bus, 0, 1)
        payloads(receiver, 1)
        before = receiver.rewound, receiver._downlink.requests
        bus.lose_line("a", 0.5)
        got = []
        for index in range(1, 301):
            sender.send(b"%d" % index)
            got += [message.payload for message in receiver.poll(timeout=0.002)]
        sender.flush()
        got += payloads(receiver, 300 - len(got))
        assert got == numbered(1, 300)
        assert (receiver.rewound, receiver._downlink.requests) == before
        assert not events

    @pytest.mark.bus(lines=2)
    def test_a_line_that_dies_is_reported_and_its_return_too(self, bus: Bus) -> None:
        events: list[Any] = []
        receiver = bus.receiver(on_event=events.append)
        sender = bus.sender()
        sender.send(b"first").wait()
        receiver.take(1)

        def go_on(seconds: float) -> None:
            until = bus.now + seconds
            while bus.now < until:
                sender.send(b"x")
                receiver.poll()
                bus.run(0.05)

        go_on(1.0)
        assert events == []
        bus.lose_line("b")
        go_on(5.0)
        assert [type(event) for event in events] == [LineSilent]
        assert events[0].line == "b"
        bus.lose_line("b", 0.0)
        go_on(2.0)
        assert events[1:] == [LineBack("b")]

    @pytest.mark.bus(lines=2)
    def test_one_line_is_enough(self, bus: Bus) -> None:
        bus.lose_line("a")
        receiver = bus.receiver(LIVE)
        receiver.poll(timeout=2.0)
        send(bus, 0, 100)
        assert payloads(receiver, 100) == numbered(0, 100)
        assert receiver.gaps_filled == 0

    def test_names_of_events(self) -> None:
        assert LineLagging("b", 20_000).behind == 20_000


class TestRepair:
    @pytest.mark.bus(seeds=10, loss=0.2, readers=2)
    def test_everything_comes_under_loss(self, bus: Bus) -> None:
        receivers = [bus.receiver() for _ in range(3)]
        troubles = Troubles(bus, 0.5, count=3, kinds=("failover", "burst", "crash"))
        send(bus, 0, 200)
        for receiver in receivers:
            assert payloads(receiver, 200) == numbered(0, 200), troubles.done

    @pytest.mark.bus(readers=2)
    def test_a_rewinder_that_dies_in_the_middle_is_replaced_without_a_repeat(self, bus: Bus) -> None:
        sender = bus.sender()
        sender.send_batch([bytes(1000)] * 2000).wait()
        bus.run(1)
        replay = bus.receiver(lines=())
        seen, victims = [], []
        while len(seen) < 2000:
            batch = replay.poll(limit=50, timeout=0.05)
            seen += batch.payloads.numbers if len(batch) else []
            rewind = replay._downlink.reception.rewind
            if rewind is not None and len(victims) < 2 and len(seen) > 300 * (len(victims) + 1):
                victims.append(rewind.address[0])
                bus.crash(victims[-1], restart=False)
        assert seen == list(range(2, 2002))
        assert len(set(victims)) == 2

    @pytest.mark.bus(seeds=3, readers=2)
    def test_fifty_receivers_that_lose_one_packet_ask_no_more_than_they_must(self, bus: Bus) -> None:
        """One request each at most, spread over the rewinders, and what comes back is what was lost."""
        replies: list[tuple[str, int]] = []
        bus.fabric.on_datagram = lambda source, data: replies.append((source.machine.name, len(data)))
        live: list[list[bytes]] = [[] for _ in range(50)]

        async def listen(app: App) -> None:
            async with app.receiver() as receiver:
                async for message in receiver:
                    live[int(app.name)].append(message.payload)

        apps = [bus.spawn(listen, str(index)) for index in range(50)]
        sender = send(bus, 0, 10)
        bus.run_until(lambda: all(len(each) == 10 for each in live))
        bus.run(1)
        replies.clear()
        bus.loss = 1.0
        sender.send(b"10").wait()
        bus.run(0.001)
        bus.loss = 0.0
        send(bus, 11, 5, sender)
        bus.run_until(lambda: all(len(each) == 16 for each in live))
        assert all(each == numbered(0, 16) for each in live)
        requests = [(name, size) for name, size in replies if name.isdigit()]
        answers = [(name, size) for name, size in replies if not name.isdigit()]
        assert 50 <= len(requests) <= 60
        assert len(answers) <= len(requests)
        by_rewinder = {name: sum(1 for who, _ in answers if who == name) for name, _ in answers}
        assert len(by_rewinder) == 3
        assert max(by_rewinder.values()) < 30
        assert sum(size for _, size in answers) < 60 * 100
        assert all(app.running for app in apps)


class TestCheckpoint:
    def test_an_app_goes_on_exactly_where_it_was(self, bus: Bus, tmp_path: Path) -> None:
        checkpoint = Checkpoint(tmp_path / "app")
        sender = send(bus, 0, 50)
        first = bus.receiver(checkpoint)
        assert first.snapshot is None
        assert payloads(first, 30) == numbered(0, 30)
        first.save(checkpoint, b"thirty")
        payloads(first, 5)
        first.close()
        send(bus, 50, 10, sender)
        second = bus.receiver(Checkpoint(tmp_path / "app"))
        assert second.snapshot == b"thirty"
        assert payloads(second, 30) == numbered(30, 30)

    def test_in_the_middle_of_large_messages_of_others(self, bus: Bus, tmp_path: Path) -> None:
        """Wherever a checkpoint falls between two fragments, nothing is lost and nothing comes twice."""
        large = {name: bus.random.randbytes(60_000) for name in ("ALPHA", "BETA")}
        senders = {name: bus.sender(name, outbox_bytes=16 * 1024) for name in large}
        small = bus.sender("GAMMA")
        for name, sender in senders.items():
            sender.open()
            sender.send(large[name])
        for index in range(30):
            small.send(b"%d" % index)
            for sender in senders.values():
                sender.poll(0.0002)
        for sender in (*senders.values(), small):
            sender.flush()
        expected = [(m.number, m.payload) for m in bus.receiver().take(32)]
        saved, open_fragments = [], 0
        for count in range(33):
            path = tmp_path / str(count)
            receiver = bus.receiver()
            first = [(m.number, m.payload) for m in receiver.take(count)]
            receiver.save(Checkpoint(path))
            open_fragments += len(receiver.assembly.state()) > 5000
            receiver.close()
            again = bus.receiver(Checkpoint(path))
            saved.append(first + [(m.number, m.payload) for m in again.take(32 - count)])
            again.close()
        assert all(each == expected for each in saved)
        assert open_fragments > 3

    def test_of_another_session_is_refused(self, bus: Bus, tmp_path: Path) -> None:
        checkpoint = Checkpoint(tmp_path / "app")
        checkpoint.save(
            session="YESTERDAY", position=17, assembly=bus.receiver().assembly.state(), snapshot=b""
        )
        with pytest.raises(WrongSession, match="'YESTERDAY', and this receiver reads 'SIMULATED'"):
            bus.receiver(checkpoint)


class TestEventLoop:
    @pytest.mark.bus(seeds=5, loss=0.05)
    def test_messages_and_batches(self, bus: Bus) -> None:
        singles: list[bytes] = []
        batches: list[bytes] = []

        async def one_at_a_time(app: App) -> None:
            async with app.receiver() as receiver:
                async for message in receiver:
                    singles.append(message.payload)

        async def in_batches(app: App) -> None:
            async with app.receiver(BEGIN) as receiver:
                while not receiver.ended:
                    batch = await receiver.next_batch(limit=10)
                    assert len(batch) <= 10
                    batches.extend(batch.payloads.payloads())

        apps = [bus.spawn(one_at_a_time), bus.spawn(in_batches)]
        send(bus, 0, 100)
        bus.end_session()
        bus.run_until(lambda: not any(app.running for app in apps))
        assert singles == batches == numbered(0, 100)

    def test_a_batch_that_does_not_come_is_empty_in_time(self, bus: Bus) -> None:
        async def main() -> float:
            loop = asyncio.get_running_loop()
            async with bus.spawn(nothing).receiver() as receiver:
                started = loop.time()
                assert not len(await receiver.next_batch(timeout=0.5))
                return loop.time() - started

        bus.wait_for_primary()
        assert bus.execute(main()) == pytest.approx(0.5, abs=0.05)


def test_a_pinned_receiver_has_no_next_session(bus: Bus) -> None:
    receiver = bus.receiver(session="SIMULATED")
    with pytest.raises(SeqcastError, match="pinned to session 'SIMULATED'"):
        receiver.next_session()


async def nothing(_app: App) -> None:
    """An app that is used from outside."""
