"""Failover of real processes under load: whoever dies, sleeps or is cut off, the stream goes on and stays one stream.

What must hold is in `verdict`; each test says what is done to the bus. The rate is small here, because everything
shares two cores with whatever else runs; the soak (`make soak`) does the same at the full one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bus import DEPOSED
from load import Load, Rates, loaded_bus
from namespaces import may_not, missing_tools

if TYPE_CHECKING:
    from collections.abc import Iterator

    from verdict import Verdict

RATE = int(os.environ.get("SEQCAST_FAILOVER_RATE", "5000"))
"""Messages a second, of both senders together."""

SOME = RATE // 2
"""Records that are enough to see that the stream moves."""

PAUSE_RECORDS = int(os.environ.get("SEQCAST_FAILOVER_PAUSE_RECORDS", str(RATE)))
"""How far the stream gets while a primary sleeps."""


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    with loaded_bus(tmp_path / "run", Rates(messages_per_second=RATE)) as load:
        load.advance(SOME)
        yield load


def judged(load: Load, *owners: str) -> Verdict:
    """The verdict, with nothing to blame; `owners` had an epoch each."""
    verdict = load.finish()
    assert verdict.problems == []
    assert [start.owner for start in verdict.epochs] == list(owners)
    assert verdict.wire_records >= verdict.messages > SOME
    assert verdict.acknowledgements > 0
    return verdict


def test_the_primary_is_killed(load: Load) -> None:
    bus = load.bus
    bus.nodes["SEQ1"].kill()
    assert bus.primary() == "SEQ2"
    load.advance(SOME)
    bus.start("SEQ1")
    bus.wait_voters()
    load.advance(SOME)
    judged(load, "SEQ1", "SEQ2")


@pytest.mark.parametrize("name", ["SEQ2", "REW1"])
def test_a_voter_that_is_killed_is_not_missed(load: Load, name: str) -> None:
    bus = load.bus
    bus.nodes[name].kill()
    load.advance(SOME)
    bus.start(name)
    bus.wait_voters()
    load.advance(SOME)
    judged(load, "SEQ1")


def test_the_primary_is_killed_and_then_its_successor(load: Load) -> None:
    bus = load.bus
    bus.nodes["SEQ1"].kill()
    assert bus.primary() == "SEQ2"
    bus.start("SEQ1")
    bus.wait_voters()
    load.advance(SOME)
    bus.nodes["SEQ2"].kill()
    assert bus.primary() == "SEQ1"
    load.advance(SOME)
    bus.start("SEQ2")
    judged(load, "SEQ1", "SEQ2", "SEQ1")


def test_a_primary_that_slept_wakes_up_and_can_do_no_harm(load: Load) -> None:
    bus = load.bus
    sleeper = bus.nodes["SEQ1"]
    sleeper.pause()
    assert bus.primary("SEQ1") == "SEQ2"
    load.advance(PAUSE_RECORDS)
    sleeper.go_on()
    assert sleeper.process.wait(timeout=30) == DEPOSED
    assert "deposed" in sleeper.log
    bus.start("SEQ1")
    bus.wait_voters()
    load.advance(SOME)
    judged(load, "SEQ1", "SEQ2")


@pytest.fixture
def networked(tmp_path: Path) -> Iterator[Load]:
    """The same with a network between the nodes that can be cut."""
    missing = missing_tools()
    if missing and os.environ.get("SEQCAST_REQUIRE_PEERS"):
        pytest.fail(f"not installed: {', '.join(missing)}")
    reason = f"not installed: {', '.join(missing)}" if missing else may_not()
    if reason is not None:
        pytest.skip(reason)
    with loaded_bus(tmp_path / "run", Rates(messages_per_second=RATE), namespaces=True) as load:
        load.advance(SOME)
        yield load


def test_a_primary_that_is_cut_off_from_the_voters_is_replaced(networked: Load) -> None:
    """Senders and receivers still hear it, and it them: what it stamps now is nobody's."""
    load, bus = networked, networked.bus
    assert bus.namespaces is not None
    bus.namespaces.cut("SEQ1", ["SEQ2", "REW1"])
    assert bus.primary("SEQ1") == "SEQ2"
    stands = bus.ask("SEQ1", "status")["commit"]
    load.advance(SOME, among=("receiver-live", "receiver-lossy"))
    assert bus.ask("SEQ1", "status")["commit"] == stands
    bus.namespaces.heal("SEQ1")
    assert bus.nodes["SEQ1"].process.wait(timeout=30) == DEPOSED
    bus.start("SEQ1")
    bus.wait_voters()
    load.advance(SOME)
    judged(load, "SEQ1", "SEQ2")
