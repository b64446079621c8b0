"""The sender on a bus of virtual time: tickets, back-pressure, and what a failover does to them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from seqcast.errors import MessageTooLarge, NotConnected, SeqcastError, TimedOut, WouldBlock
from seqcast.testing import Bus, Troubles

if TYPE_CHECKING:
    from seqcast.testing import App

LIMIT_BYTES = 16 << 20


def isolate_primary(bus: Bus) -> str:
    """Cut the primary off from every other node: it can commit nothing."""
    primary = bus.wait_for_primary()
    for name in bus.nodes:
        if name != primary:
            bus.cut(primary, name)
    return primary


def rejoin(bus: Bus, name: str) -> None:
    for other in bus.nodes:
        if other != name:
            bus.mend(name, other)


def delivered(bus: Bus, count: int, **settings) -> list:
    """The first `count` messages of the stream, read from its beginning."""
    return bus.receiver(**settings).take(count, timeout=60)


@pytest.mark.bus(seeds=15, loss=0.02)
def test_every_ticket_has_the_number_of_its_message(bus: Bus) -> None:
    """With several senders, messages in fragments, and failovers: the number is exact, not an upper bound."""
    tickets: dict[tuple[str, int], object] = {}
    troubles = Troubles(bus, 2.0, count=4, kinds=("failover", "crash", "burst", "cut", "pause"))
    payloads: dict[tuple[str, int], bytes] = {}

    async def main(app: App) -> None:
        async with app.sender(app.name) as sender:
            for index in range(60):
                payload = bus.random.randbytes(bus.random.choice((0, 10, 200, 200, 5000)))
                ticket = sender.send(payload)
                tickets[app.name, ticket.sequence], payloads[app.name, ticket.sequence] = ticket, payload
                if index % 7 == 0:
                    await asyncio.sleep(bus.random.random() * 0.1)

    apps = [bus.spawn(main, name) for name in ("ALPHA", "BETA", "GAMMA")]
    bus.run_until(lambda: not any(app.running for app in apps))
    messages = delivered(bus, len(tickets))
    assert {(m.sender, m.sender_sequence): m.payload for m in messages} == payloads
    assert {(m.sender, m.sender_sequence): m.number for m in messages} == {
        key: ticket.number for key, ticket in tickets.items()
    }, troubles.done


def test_a_timeout_is_no_failure(bus: Bus) -> None:
    sender = bus.sender()
    sender.open()
    primary = isolate_primary(bus)
    ticket = sender.send(b"patience")
    with pytest.raises(TimedOut, match="safe to wait on"):
        ticket.wait(timeout=0.2)
    assert not ticket.done
    assert ticket.number is None
    rejoin(bus, primary)
    number = ticket.wait()
    message = delivered(bus, 1)[0]
    assert (message.number, message.payload) == (number, b"patience")


def test_what_a_cut_off_primary_has_taken_is_no_success(bus: Bus) -> None:
    """It is acknowledged by the successor, once, and only then is the ticket done."""
    sender = bus.sender()
    sender.open()
    primary = isolate_primary(bus)
    tickets = [sender.send(b"%d" % n) for n in range(10)]
    with pytest.raises(TimedOut):
        sender.flush(0.3)
    assert not any(ticket.done for ticket in tickets)
    bus.power_off(primary)
    assert sender.flush(30) == tickets[-1].number
    messages = delivered(bus, 10)
    assert [(m.number, m.payload) for m in messages] == [(t.number, b"%d" % n) for n, t in enumerate(tickets)]
    assert sender.reconnections >= 1


def test_a_full_outbox_says_so_and_loses_nothing(bus: Bus) -> None:
    sender = bus.sender(outbox_bytes=64 * 1024)
    sender.open()
    primary = isolate_primary(bus)
    sent = []
    with suppress(WouldBlock):
        for index in range(1000):
            sender.send(b"%d" % index + bytes(1000), timeout=0)
            sent.append(b"%d" % index + bytes(1000))
    assert 50 < len(sent) < 70
    with pytest.raises(WouldBlock, match="the outbox of 'ALPHA' is full"):
        sender.send(bytes(1000), timeout=0)
    with pytest.raises(WouldBlock) as full:
        sender.send_batch([bytes(1000)] * 5, timeout=0.1)
    assert full.value.taken == 0
    rejoin(bus, primary)
    sender.send(b"last")  # waits for room by itself
    sender.flush(30)
    assert [m.payload for m in delivered(bus, len(sent) + 1)] == [*sent, b"last"]


def test_a_batch_goes_on_where_it_would_have_blocked(bus: Bus) -> None:
    sender = bus.sender(outbox_bytes=16 * 1024)
    sender.open()
    batch, taken, refusals = [b"%d" % n + bytes(500) for n in range(200)], 0, 0
    while taken < len(batch):
        try:
            ticket = sender.send_batch(batch, taken, timeout=0)
            break
        except WouldBlock as full:
            taken, refusals = full.taken, refusals + 1
            sender.poll(0.01)
    assert refusals
    messages = delivered(bus, len(batch))
    assert [m.payload for m in messages] == batch
    assert ticket.wait() == messages[-1].number


def test_an_empty_batch_is_done_when_what_came_before_it_is(bus: Bus) -> None:
    sender = bus.sender()
    sender.open()
    assert sender.send_batch([]).wait() == 0
    first = sender.send(b"one")
    assert sender.send_batch([]).wait() == first.number
    assert sender.send_batch([]).wait(timeout=0) == first.number


def test_done_looks_at_the_network(bus: Bus) -> None:
    """A program that asks in a loop of its own, and calls nothing else, sees its ticket done."""
    sender = bus.sender()
    sender.open()
    ticket = sender.send(b"x")
    for _ in range(100_000):
        if ticket.done:
            break
    assert ticket.number == delivered(bus, 1)[0].number


def test_a_closed_sender_says_that_nothing_is_known(bus: Bus) -> None:
    sender = bus.sender()
    sender.open()
    isolate_primary(bus)
    ticket = sender.send(b"x")
    sender.close()
    sender.close()
    with pytest.raises(NotConnected, match="may be in the stream"):
        ticket.wait()
    with pytest.raises(NotConnected, match="was closed"):
        sender.send(b"y")


def test_no_sequencer_is_an_error_that_says_what_failed() -> None:
    with Bus(start=False) as bus, pytest.raises(NotConnected, match="no sequencer let 'ALPHA' in within 2 s"):
        bus.sender(connect_seconds=2.0).open()


def test_a_sender_goes_on_where_its_user_stopped(bus: Bus) -> None:
    first = bus.sender()
    first.open()
    for n in range(5):
        first.send(b"%d" % n)
    first.flush()
    first.close()
    second = bus.sender()
    second.open()
    assert second.resumed_at == 5
    assert second.send(b"5").wait() == 7
    assert [m.sender_sequence for m in delivered(bus, 6)] == [1, 2, 3, 4, 5, 6]


class TestLargeMessages:
    def test_sixteen_mib_pass_and_a_byte_more_does_not(self, bus: Bus) -> None:
        sender, receiver = bus.sender(), bus.receiver()
        with pytest.raises(MessageTooLarge, match="16777217 bytes: the limit is 16777216"):
            sender.send(bytes(LIMIT_BYTES + 1))
        payload = bus.random.randbytes(LIMIT_BYTES)
        ticket = sender.send(payload)
        after = sender.send(b"after")
        sender.flush()
        message, last = receiver.take(2, timeout=60)
        assert message.payload == payload
        assert (message.number, last.number, last.payload) == (ticket.wait(), after.wait(), b"after")

    @pytest.mark.bus(seeds=5, loss=0.01)
    def test_across_failover_and_replay(self, bus: Bus) -> None:
        sender, live = bus.sender(outbox_bytes=64 * 1024), bus.receiver()
        payloads = [bus.random.randbytes(300_000), b"small", bus.random.randbytes(100_000)]
        troubles = Troubles(bus, 0.2, count=4, kinds=("failover", "crash", "burst"))
        numbers = [sender.send(payload).wait() for payload in payloads]
        for receiver in (live, bus.receiver(), bus.receiver(lines=())):
            got = [(m.number, m.payload) for m in receiver.take(3, timeout=60)]
            assert got == list(zip(numbers, payloads, strict=True)), troubles.done

    def test_nothing_comes_between_the_fragments_of_a_message(self, bus: Bus) -> None:
        """A message that has begun is taken, however large: the next waits, and is no part of it."""
        sender = bus.sender(outbox_bytes=32 * 1024)
        sender.open()
        large = bus.random.randbytes(200_000)
        ticket = sender.send(large, timeout=0)
        with pytest.raises(WouldBlock):
            sender.send(b"too early", timeout=0)
        sender.send(b"next")
        messages = delivered(bus, 2)
        assert [m.payload for m in messages] == [large, b"next"]
        assert messages[0].number == ticket.wait()

    def test_half_a_message_is_never_delivered(self, bus: Bus) -> None:
        """The sender dies in the middle; whoever comes after it under its name begins anew."""
        receiver = bus.receiver()

        async def dies(app: App) -> None:
            async with app.sender("ALPHA", outbox_bytes=16 * 1024) as sender:
                await sender.send(b"first")
                sender.send(bytes(5_000_000))
                await asyncio.sleep(1000)

        app = bus.spawn(dies)
        bus.run_until(lambda: bus.last > 20)
        app.crash()
        bus.run(0.1)
        assert bus.last < 3000, "it must die in the middle"
        bus.sender("BETA").send(b"of another").wait()
        again, large = bus.sender("ALPHA"), bus.random.randbytes(10_000)
        again.send(b"second").wait()
        again.send(large).wait()
        expected = [b"first", b"of another", b"second", large]
        assert [m.payload for m in receiver.take(4)] == expected
        assert receiver.assembly.broken == 1
        assert [m.payload for m in delivered(bus, 4)] == expected


class TestEventLoop:
    def test_tickets_are_awaited_and_sends_travel_together(self, bus: Bus) -> None:
        async def main() -> None:
            app = bus.spawn(nothing)
            async with app.sender("ALPHA") as sender:
                tickets = [sender.send(b"%d" % n) for n in range(100)]
                numbers = await asyncio.gather(*tickets)
                assert numbers == list(range(numbers[0], numbers[0] + 100))
                assert await tickets[0] == numbers[0]
                with pytest.raises(SeqcastError, match="await"):
                    sender.send(b"x").wait()
                assert await sender.flushed() == numbers[-1] + 1

        bus.execute(main())

    def test_a_full_outbox_never_stops_the_loop(self, bus: Bus) -> None:
        async def main() -> int:
            app = bus.spawn(nothing)
            refused = 0
            async with app.sender("ALPHA", outbox_bytes=16 * 1024) as sender:
                for index in range(200):
                    while True:
                        try:
                            sender.send(b"%d" % index + bytes(500))
                            break
                        except WouldBlock:
                            refused += 1
                            await sender.room()
            return refused

        assert bus.execute(main()) > 0
        assert [m.payload[:3].rstrip(b"\0") for m in delivered(bus, 200)] == [b"%d" % n for n in range(200)]

    def test_no_sequencer_is_an_error(self) -> None:
        async def main(bus: Bus) -> None:
            app = bus.spawn(nothing)
            async with app.sender("ALPHA", connect_seconds=2.0):
                pass

        with (
            Bus(start=False) as bus,
            pytest.raises(NotConnected, match="no sequencer let 'ALPHA' in within 2 s"),
        ):
            bus.execute(main(bus))

    def test_a_waiting_ticket_that_is_cancelled_hurts_nobody(self, bus: Bus) -> None:
        async def main() -> int:
            app = bus.spawn(nothing)
            async with app.sender("ALPHA") as sender:
                ticket = sender.send(b"x")
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(_of(ticket), 0)
                return await ticket

        assert bus.execute(main()) == 2


async def _of(ticket) -> int:
    return await ticket


async def nothing(_app: App) -> None:
    """An app that is used from outside."""
