"""Examples across a failover of real processes: two matching engines and a plain listener see one stream."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
from attrs import frozen
from bus import new_bus
from programs import running

from seqcast import Message

if TYPE_CHECKING:
    from collections.abc import Iterator

sys.path.append(str(Path(__file__).resolve().parents[1] / "examples"))

from oracle_matching import trades_of

ORDERS = 1200
AT_ONCE = 20
LONG_MS = 10_000
"""Time of silence where nobody is silent: who is killed is missed by his connection."""


@frozen
class Seen:
    """What each process printed, and the stream as a receiver reads it from rewinders."""

    engines: list[list[str]]
    plain: list[str]
    messages: list[Message]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """Orders, and the primary killed in their middle."""
    random, directory = Random(1), tmp_path_factory.mktemp("failover")
    with new_bus(directory / "run", nodes=3, suspect_ms=LONG_MS) as bus, running() as start:
        bus.start_all()
        multicast = bus.configuration.multicast
        plain = start("listen_plain.py", multicast.group, str(multicast.port))
        engines = [start("matching_engine.py", bus.config_path, directory / name) for name in ("one", "two")]
        assert plain.line() == "listening"
        assert [engine.line() for engine in engines] == ["begins at record 1"] * 2
        bus.wait_voters()
        former = bus.primary()
        with bus.sender() as sender:
            for first in range(0, ORDERS, AT_ONCE):
                sender.send_batch(
                    [
                        b"%s %d %d"
                        % (random.choice((b"buy", b"sell")), random.randint(1, 90), random.randint(95, 105))
                        for _ in range(AT_ONCE)
                    ]
                )
                if first == ORDERS // 2:
                    bus.nodes[former].kill()
                sender.poll()
            sender.flush(timeout=30)
        assert bus.primary(former) != former
        assert bus.run("end-session").returncode == 0
        with bus.receiver(lines=()) as receiver:
            messages = receiver.take(ORDERS)
        yield Seen([engine.rest() for engine in engines], plain.rest(), messages)


def test_the_stream_holds_each_order_once_and_two_epochs(seen: Seen) -> None:
    assert [message.sender_sequence for message in seen.messages] == list(range(1, ORDERS + 1))
    assert seen.messages[-1].number == ORDERS + 2  # the starts of two epochs besides


def test_both_engines_make_the_trades_of_the_oracle(seen: Seen) -> None:
    expected = [
        f"{number} trades {shares} at {price} with {resting}"
        for number, resting, shares, price, _ in trades_of(seen.messages)
    ]
    assert len(expected) > ORDERS // 2
    for engine in seen.engines:
        assert engine[:-1] == expected
        assert re.fullmatch(rf"{len(expected)} trades, \d+ orders left, 0 messages refused", engine[-1])
    assert seen.engines[0] == seen.engines[1]


def test_a_plain_listener_reads_what_a_receiver_reads(seen: Seen) -> None:
    assert seen.plain == [f"{message.number} {message.payload.decode()}" for message in seen.messages]
