"""Senders and receivers in event loops, beside real nodes: asyncio, and uvloop where it is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from seqcast import LIVE, Receiver, Sender

if TYPE_CHECKING:
    from collections.abc import Callable

    from bus import Bus

MESSAGES = 500


def uvloop_new() -> asyncio.AbstractEventLoop:
    return pytest.importorskip("uvloop").new_event_loop()


@pytest.fixture(params=[asyncio.new_event_loop, uvloop_new], ids=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Callable:
    def run(coroutine):
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(asyncio.wait_for(coroutine, 60))

    return run


def test_messages_round_trip_while_other_coroutines_go_on(bus: Bus, runner: Callable) -> None:
    """One loop, no thread: a sender, a receiver of its own messages, one that reads history, and a ticking clock."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    async def collect(receiver: Receiver) -> list[tuple[int, bytes]]:
        got = []
        async with receiver:
            async for message in receiver:
                got.append((message.number, message.payload))
                if len(got) == MESSAGES:
                    return got
        return got

    async def main():
        clock = asyncio.ensure_future(tick())
        first = asyncio.ensure_future(collect(Receiver(bus.configuration)))
        async with Sender(bus.configuration, "ALPHA") as sender:
            tickets = [sender.send(b"%d" % n) for n in range(MESSAGES)]
            numbers = await asyncio.gather(*tickets)
        got = await first
        late = await collect(Receiver(bus.configuration, lines=()))
        clock.cancel()
        return numbers, got, late

    numbers, got, late = runner(main())
    assert got == late == [(number, b"%d" % n) for n, number in enumerate(numbers)]
    assert ticks > 0


def test_round_trips_one_after_the_other(bus: Bus, runner: Callable) -> None:
    async def main() -> None:
        async with (
            Receiver(bus.configuration, LIVE) as receiver,
            Sender(bus.configuration, "ALPHA") as sender,
        ):
            while not receiver.appeared:
                await receiver.next_batch(timeout=0.5)
            for n in range(200):
                ticket = sender.send(b"%d" % n)
                batch = await receiver.next_batch()
                assert batch[0].number == await ticket

    runner(main())


def test_a_primary_that_is_killed_is_no_matter(bus: Bus, runner: Callable) -> None:
    async def main() -> list[int]:
        async with Sender(bus.configuration, "ALPHA") as sender:
            first = await sender.send(b"before")
            bus.nodes["SEQ1"].kill()
            ticket = sender.send(b"after")
            await asyncio.sleep(0)
            bus.start("SEQ1")
            return [first, await ticket]

    numbers = runner(main())
    with bus.receiver() as receiver:
        assert [(m.number, m.payload) for m in receiver.take(2)] == list(
            zip(numbers, [b"before", b"after"], strict=True)
        )
