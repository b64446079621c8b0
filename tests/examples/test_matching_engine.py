"""examples/matching_engine.py: replicas agree at every number, whatever happens to them and to the bus."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import astuple
from functools import partial
from pathlib import Path
from random import Random

import pytest
from matching_engine import MatchingEngine, Trade
from oracle_matching import trades_of

from seqcast import Checkpoint, Message, Replica
from seqcast.testing import App, Bus

ORDERS = 100
"""Of each client."""

CLIENTS = ("ALICE", "BOB")


def order(random: Random, last: int) -> bytes:
    """An order by chance; some cancel one that may be anybody's, or gone."""
    kind = random.random()
    if kind < 0.15:
        return b"cancel %d" % random.randint(1, max(last, 1))
    side = random.choice((b"buy", b"sell"))
    text = b"%s %d %d" % (side, random.randint(1, 50), random.randint(95, 105))
    return text + b" 1" if kind > 0.8 else text


async def client(app: App, bus: Bus) -> None:
    random = Random(f"{bus.seed} {app.name}")
    async with app.sender(app.name) as sender:
        number = 0
        for _ in range(ORDERS):
            ticket = sender.send(order(random, number))
            if random.random() < 0.5:
                number = await ticket
            await asyncio.sleep(random.random() * 0.04)


class Engines:
    """What the replicas did, by name."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.trades: dict[str, list[Trade]] = defaultdict(list)
        self.snapshots: dict[int, set[bytes]] = defaultdict(set)
        self.applied: dict[str, list[int]] = defaultdict(list)

    async def run(self, app: App) -> None:
        checkpoint = Checkpoint(self.directory / app.name, durable=False)
        async with app.receiver(checkpoint) as receiver:
            engine = MatchingEngine(self.trades[app.name].append)
            replica = Replica(engine, receiver, checkpoint, every=9)
            while True:
                while replica.advance(limit=1):
                    self.snapshots[replica.last_number].add(engine.snapshot())
                    self.applied[app.name].append(replica.last_number)
                await asyncio.sleep(0.002)


@pytest.mark.bus(seeds=5, loss=0.05)
def test_replicas_make_the_same_trades_through_a_failover_and_a_crash(bus: Bus, tmp_path: Path) -> None:
    engines = Engines(tmp_path)
    first, second = (bus.spawn(engines.run, name) for name in ("engine-1", "engine-2"))
    for name in CLIENTS:
        bus.spawn(partial(client, bus=bus), name)
    total = ORDERS * len(CLIENTS)
    applied = engines.applied[second.name]
    bus.run_until(lambda: len(applied) > total // 4)
    bus.fail_over()
    bus.run_until(lambda: len(applied) > total // 2)
    first.crash()
    before = len(engines.applied[first.name])
    bus.run_until(lambda: len(applied) > total * 3 // 4)
    first.start()
    bus.run_until(lambda: all(len(set(engines.applied[app.name])) == total for app in (first, second)))

    messages: list[Message] = bus.receiver().take(total)
    numbers = [message.number for message in messages]
    assert bus.epoch == 2
    assert applied == numbers
    again = engines.applied[first.name][before:]
    assert again == numbers[-len(again) :]
    assert total // 4 < len(again) < total - 9, "it went on at its checkpoint, not at the beginning"
    assert list(engines.snapshots) == numbers
    assert all(len(snapshots) == 1 for snapshots in engines.snapshots.values())
    expected = trades_of(messages)
    assert len(expected) > total // 4
    assert [astuple(trade) for trade in engines.trades[second.name]] == expected
    assert [astuple(trade) for trade in dict.fromkeys(engines.trades[first.name])] == expected


def message(number: int, payload: bytes, sender: str = "ALPHA", time_ns: int = 0) -> Message:
    return Message(number, payload, sender, number, time_ns)


def test_price_comes_before_time_and_time_before_the_rest() -> None:
    trades: list[Trade] = []
    engine = MatchingEngine(trades.append)
    for number, payload in enumerate((b"sell 5 101", b"sell 5 100", b"sell 5 100", b"buy 12 101"), start=1):
        engine.apply(message(number, payload))
    assert [(t.number, t.resting, t.shares, t.price) for t in trades] == [
        (4, 2, 5, 100), (4, 3, 5, 100), (4, 1, 2, 101)
    ]  # fmt: skip
    assert [(o.number, o.shares) for o in engine.book["sell"]] == [(1, 3)]


def test_an_order_is_good_until_its_time_is_over_on_the_stream() -> None:
    for time_ns, trades in ((2_999_999_999, 1), (3_000_000_000, 0)):
        engine = MatchingEngine()
        engine.apply(message(1, b"buy 5 100 2", time_ns=1_000_000_000))
        engine.apply(message(2, b"sell 5 100", time_ns=time_ns))
        assert engine.trades == trades


def test_only_the_owner_cancels() -> None:
    engine = MatchingEngine()
    engine.apply(message(1, b"buy 5 100"))
    engine.apply(message(2, b"cancel 1", "BETA"))
    assert (len(engine.book["buy"]), engine.refused) == (1, 1)
    engine.apply(message(3, b"cancel 1"))
    assert (engine.book["buy"], engine.refused) == ([], 1)


NO_ORDERS = [b"", b"buy", b"buy 1", b"buy 0 5", b"buy 1 -5", b"buy 1 2 3 4", b"sell x 5", b"cancel", b"cancel 7",
             b"\xff\x00", b"cancel " + b"9" * 5000, b"buy 1 " + b"9" * 5000, b"BUY 1 2"]  # fmt: skip


@pytest.mark.parametrize("payload", NO_ORDERS, ids=lambda payload: payload[:12].decode("latin-1"))
def test_what_is_no_order_is_counted(payload: bytes) -> None:
    engine = MatchingEngine()
    engine.apply(message(1, payload))
    assert (engine.refused, engine.book) == (1, {"buy": [], "sell": []})
