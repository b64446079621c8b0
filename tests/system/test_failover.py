"""Failover of real processes under load: whoever dies, sleeps or is cut off, the stream goes on and stays one stream.

What must hold is in `verdict`; each test says what is done to the bus. The rate is small here, because everything
shares two cores with whatever else runs. With SEQCAST_FAILOVER_FULL set it is the full one, and who sleeps sleeps
for five seconds; `make soak` does the same at random.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bus import DEPOSED, wait_for
from load import FULL, RATE, SOME, Load, Rates, loaded_bus
from namespaces import may_not, missing_tools

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bus import Bus
    from verdict import Verdict

SLEEP_RECORDS = (4 if FULL else 1) * RATE
"""How far the stream gets while a primary sleeps; the second before it was missed comes on top."""


LONG_MS = 10_000
"""Time of silence where nobody is silent: who is killed is missed by his connection, and a busy machine is not
suspected."""


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    with loaded_bus(tmp_path / "run", Rates(), suspect_ms=LONG_MS) as load:
        load.advance(SOME)
        yield load


@pytest.fixture
def suspicious(tmp_path: Path) -> Iterator[Load]:
    """The same with the usual time of silence."""
    with loaded_bus(tmp_path / "run", Rates()) as load:
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


def roles(bus: Bus) -> tuple[str, str]:
    """Primary and standby: of two that start together either may be the first."""
    bus.wait_voters()
    primary = bus.primary()
    (standby,) = [node.name for node in bus.configuration.sequencers if node.name != primary]
    return primary, standby


def test_the_primary_is_killed(load: Load) -> None:
    bus = load.bus
    first, second = roles(bus)
    bus.nodes[first].kill()
    assert bus.primary() == second
    load.advance(SOME)
    bus.start(first)
    bus.wait_voters()
    load.advance(SOME)
    judged(load, first, second)


@pytest.mark.parametrize("role", ["standby", "rewinder"])
def test_a_voter_that_is_killed_is_not_missed(load: Load, role: str) -> None:
    bus = load.bus
    first, second = roles(bus)
    name = second if role == "standby" else "REW1"
    bus.nodes[name].kill()
    load.advance(SOME)
    bus.start(name)
    bus.wait_voters()
    load.advance(SOME)
    judged(load, first)


def test_the_primary_is_killed_and_then_its_successor(load: Load) -> None:
    bus = load.bus
    first, second = roles(bus)
    bus.nodes[first].kill()
    assert bus.primary() == second
    bus.start(first)
    bus.wait_voters()
    load.advance(SOME)
    bus.nodes[second].kill()
    assert bus.primary() == first
    load.advance(SOME)
    bus.start(second)
    judged(load, first, second, first)


def test_one_voter_of_three_makes_no_primary(load: Load) -> None:
    """Two are gone: what the third one holds may not be all, so it waits for one of them."""
    bus = load.bus
    first, second = roles(bus)
    bus.nodes["REW1"].kill()
    bus.nodes[first].kill()
    wait_for(lambda: (bus.status(second) or {}).get("role") == "candidate", "the standby misses its primary")
    stands = bus.ask(second, "status")["commit"]
    bus.start("REW1")
    assert bus.primary() == second
    load.advance(SOME)
    bus.start(first)
    verdict = judged(load, first, second)
    assert verdict.epochs[1].number > stands


def test_a_primary_that_slept_wakes_up_and_can_do_no_harm(suspicious: Load) -> None:
    load, bus = suspicious, suspicious.bus
    first, second = roles(bus)
    sleeper = bus.nodes[first]
    sleeper.pause()
    assert bus.primary(first) == second
    load.advance(SLEEP_RECORDS)
    sleeper.go_on()
    assert sleeper.process.wait(timeout=30) == DEPOSED
    assert "deposed" in sleeper.log
    bus.start(first)
    bus.wait_voters()
    load.advance(SOME)
    judged(load, first, second)


@pytest.fixture
def networked(tmp_path: Path) -> Iterator[Load]:
    """The same with a network between the nodes that can be cut."""
    missing = missing_tools()
    if missing and os.environ.get("SEQCAST_REQUIRE_PEERS"):
        pytest.fail(f"not installed: {', '.join(missing)}")
    reason = f"not installed: {', '.join(missing)}" if missing else may_not()
    if reason is not None:
        pytest.skip(reason)
    with loaded_bus(tmp_path / "run", Rates(), namespaces=True) as load:
        load.advance(SOME)
        yield load


def test_a_primary_that_is_cut_off_from_the_voters_is_replaced(networked: Load) -> None:
    """Senders, receivers and the other rewinder still hear it, and it them: what it stamps now is nobody's."""
    load, bus = networked, networked.bus
    first, second = roles(bus)
    assert bus.namespaces is not None
    bus.namespaces.cut(first, [second, "REW1"])
    assert bus.primary(first) == second
    stands = bus.ask(first, "status")["commit"]
    load.advance(SOME)
    assert bus.ask(first, "status")["commit"] == stands
    bus.namespaces.heal(first)
    assert bus.nodes[first].process.wait(timeout=30) == DEPOSED
    bus.start(first)
    bus.wait_voters()
    load.advance(SOME)
    judged(load, first, second)
