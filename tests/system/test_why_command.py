"""`seqcast why` and `seqcast status` on real processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from bus import Bus, new_bus, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Bus]:
    with new_bus(tmp_path / "run", nodes=3) as bus:
        yield bus


def why(bus: Bus) -> tuple[int, str]:
    done = bus.run("why")
    assert done.stderr == ""
    return done.returncode, done.stdout.strip()


def wait_why(bus: Bus, sentence: str) -> None:
    """Wait until that is what it says: nodes take a moment to miss each other."""
    wait_for(lambda: why(bus)[1] == sentence, f"why says: {sentence}; it says: {why(bus)[1]}")
    assert why(bus)[0] == 1


def test_a_primary_whose_two_voters_have_stopped(three: Bus) -> None:
    for name in ("SEQ1", "REW2", "REW1", "SEQ2"):  # the first to have all voters there is SEQ1
        three.start(name)
    three.wait_voters()
    wait_for(lambda: why(three)[0] == 0, "everybody follows")
    assert why(three)[1] == (
        "nothing is wrong: SEQ1 is primary of epoch 1, 1 record is committed, "
        "3 of 3 voters take part (durability: memory), 1 more node follows"
    )
    three.nodes["SEQ2"].stop()
    wait_why(
        three,
        "SEQ1 is primary of epoch 1 and commits, but SEQ2 is not connected; "
        "with one voter less nothing is committed any more",
    )
    three.nodes["REW1"].stop()
    wait_why(
        three,
        "SEQ1 is primary of epoch 1 and commits nothing new without 2 of 3 voters: "
        "REW1 is not connected, SEQ2 is not connected",
    )
    with three.sender() as sender:
        sender.send(b"one")
        sender.send(b"two")
        sender.poll(0.1)
        wait_why(
            three,
            "SEQ1 is primary of epoch 1 and waits for a second copy of records 2 to 3: "
            "REW1 is not connected, SEQ2 is not connected",
        )
        table = three.run("status").stdout.splitlines()
        rows = {line.split()[0]: line.split()[1:] for line in table}
        assert rows["SEQ1"] == ["primary", "1", "3", "1", "3", "0"]
        assert rows["SEQ2"] == ["sequencer", "1", "2", "is", "not", "running"]
        three.start("REW1")
        assert sender.flush(20) == 3
    assert max(map(len, table)) <= 100


def test_a_standby_that_is_alone_asks_the_voters_in_vain(three: Bus) -> None:
    three.start("SEQ2")
    three.start("REW1")
    wait_why(three, "no primary: the first epoch opens when all 3 voters are there; SEQ1 is missing")
    three.start("SEQ1")
    three.wait_voters()
    for name in ("REW1", three.primary()):
        three.nodes[name].kill()
    left = "SEQ2" if three.nodes["SEQ2"].runs else "SEQ1"
    gone = "SEQ1" if left == "SEQ2" else "SEQ2"
    wait_why(
        three,
        f"no primary: {left} asks the voters; 2 of 3 must answer and vote, REW1, {gone} did not answer",
    )


def test_the_end_of_the_session(three: Bus) -> None:
    three.start_all()
    three.wait_voters()
    assert three.run("end-session", "--yes").returncode == 0
    assert why(three) == (1, "the session ended at 2")


def test_a_bus_that_does_not_run(three: Bus) -> None:
    assert why(three) == (1, "no primary: SEQ1 is not running, SEQ2 is not running")
