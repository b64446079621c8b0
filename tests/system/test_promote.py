"""`seqcast promote` on real processes: handing over under load, and going on in a new session without a quorum."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from bus import DEPOSED, Bus, new_bus, wait_for
from load import SOME, Load, Rates, loaded_bus

from seqcast.config import read_configuration

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    with loaded_bus(tmp_path / "run", Rates()) as load:
        load.advance(SOME)
        yield load


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Bus]:
    """A bus of three voters with SEQ1 as its primary, and everybody with it."""
    with new_bus(tmp_path / "run", nodes=3) as bus:
        start_with_first(bus)
        yield bus


def start_with_first(bus: Bus) -> None:
    """Start all nodes, the standby last: so SEQ1 is the first to have all voters there, and becomes the primary."""
    for name in ("SEQ1", "REW2", "REW1", "SEQ2"):
        bus.start(name)
    bus.wait_voters()
    assert bus.primary() == "SEQ1"


def promote(bus: Bus, *arguments: str) -> dict[str, Any]:
    """Run it, and return what it says to programs."""
    done = bus.run("promote", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def refusal(bus: Bus, *arguments: str) -> str:
    """Run it, and return why it fails."""
    done = bus.run("promote", *arguments)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    return done.stderr.strip().removeprefix("Error: ")


def test_a_handover_under_load_and_one_back_lose_nothing(load: Load) -> None:
    """No message is lost, none is in the stream twice, and no sender sees an error (its process would end)."""
    bus = load.bus
    bus.wait_voters()
    first = bus.primary()
    second = "SEQ2" if first == "SEQ1" else "SEQ1"
    for old, new, epoch in ((first, second, 2), (second, first, 3)):
        told = promote(bus, new)
        assert (told["old"], told["new"], told["epoch"]) == (old, new, epoch)
        assert bus.nodes[old].process.wait(timeout=30) == DEPOSED
        load.advance(SOME)
        bus.start(old)
        bus.wait_voters()
        status = bus.ask(old, "status")
        assert (status["role"], status["following"]) == ("standby", new)
        load.advance(SOME)
    verdict = load.finish()
    assert verdict.problems == []
    assert [(start.epoch, start.owner) for start in verdict.epochs] == [(1, first), (2, second), (3, first)]
    assert verdict.epochs[2].number == told["number"] + 1


def test_who_cannot_take_over_is_named_with_the_reason(three: Bus) -> None:
    assert refusal(three, "SEQ1") == "SEQ1 is the primary already, of epoch 1"
    three.nodes["SEQ2"].kill()
    wait_for(lambda: "SEQ2" not in three.ask("SEQ1", "status")["in_contact"], "SEQ2 is missed")
    assert refusal(three, "SEQ2").endswith("refused promote: SEQ2 cannot take over: it is not connected")
    assert three.ask("SEQ1", "status")["role"] == "primary"
    three.nodes["SEQ1"].kill()
    assert (
        refusal(three, "SEQ2") == "nobody can hand over: no primary: SEQ1 is not running, SEQ2 is not running"
    )


def test_a_handover_that_fails_leaves_everything_as_it_was(tmp_path: Path) -> None:
    """The standby sleeps when it is told to take over: senders wait, and then go on with the old primary."""
    with new_bus(tmp_path / "run", nodes=3) as bus:
        text = bus.config_path.read_text(encoding="ascii")
        assert "suspect_ms = 1000\n" in text
        bus.config_path.write_text(
            text.replace("suspect_ms = 1000\n", "suspect_ms = 30000\n"), encoding="ascii"
        )
        bus.configuration = read_configuration(bus.config_path)
        start_with_first(bus)
        with bus.sender() as sender:
            sender.send(b"before")
            sender.flush(20)
            bus.nodes["SEQ2"].pause()
            assert "SEQ2 did not take over within 5 s: it holds " in refusal(bus, "SEQ2")
            sender.send(b"after")
            assert sender.flush(20) == 3
            assert sender.reconnections == 0
        status = bus.ask("SEQ1", "status")
        assert (status["role"], status["epoch"], status["handover"]) == ("primary", 1, None)


@contextmanager
def up(bus: Bus, *names: str) -> Iterator[None]:
    """`seqcast up` for some of the nodes, until the end."""
    with (bus.directory / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "seqcast.cli", "up", *names, "--json", "--config", str(bus.config_path)],
            stdout=subprocess.PIPE,
            stderr=log,
        )
    assert process.stdout is not None
    try:
        assert any(json.loads(line)["event"] == "all-ready" for line in process.stdout), "it ended"
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0


def why(bus: Bus) -> tuple[int, str]:
    done = bus.run("why")
    return done.returncode, done.stdout.strip()


def test_a_quorum_that_is_gone_for_good_is_left_behind_with_its_session(tmp_path: Path) -> None:
    with ExitStack() as stack:
        bus = stack.enter_context(new_bus(tmp_path / "run", "--session", "OLD", nodes=2))
        bus.start("SEQ1")
        stack.enter_context(up(bus, "SEQ2", "REW1"))
        bus.wait_voters()
        with bus.sender() as sender:
            for n in range(100):
                sender.send(b"old %d" % n)
            committed = sender.flush(20)
        assert "a quorum of the voters is up (SEQ1, SEQ2) and SEQ1 commits" in refusal(bus, "--force", "SEQ2")
        bus.nodes["SEQ1"].kill()
        wait_for(lambda: (bus.status("SEQ2") or {}).get("role") == "primary", "SEQ2 takes over")
        wait_for(lambda: "waits for a second copy" in why(bus)[1], "SEQ2 notices that nobody follows")
        last = bus.ask("SEQ2", "status")["last"]
        assert last == committed + 1, "it has begun its epoch, alone"
        status, sentence = why(bus)
        assert status == 1
        assert sentence.endswith(f"waits for a second copy of record {last}: SEQ1 is not connected")

        refused = bus.run("promote", "--force", "SEQ2")
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "--yes is needed" in refused.stderr
        done = bus.run("promote", "--force", "SEQ2", "--session", "NEW", "--yes")
        assert done.returncode == 0, done.stderr
        assert done.stdout == (
            "session NEW is open: SEQ2 is primary of epoch 1; 1 of 1 voters must hold a record\n"
        )
        assert f"SEQ2 holds its records up to {last}" in done.stderr
        assert f"those up to {committed} to be committed" in done.stderr

        bus.configuration = read_configuration(bus.config_path)
        assert [node.name for node in bus.configuration.nodes] == ["SEQ2", "REW1"]
        with bus.receiver() as receiver, bus.sender() as sender:
            assert sender.resumed_at == 0
            sender.send(b"new")
            assert sender.flush(20) == 2
            assert next(iter(receiver)).payload == b"new"
        wait_for(lambda: why(bus)[0] == 0, "REW1 follows in the new session")
        with bus.receiver(lines=()) as replay:
            assert next(iter(replay)).payload == b"new"

        for name in ("SEQ2", "REW1"):
            dump = bus.run("log", "dump", bus.configuration.node_directory(name) / "OLD", "--json")
            assert dump.returncode == 0, dump.stderr
            records = [json.loads(line) for line in dump.stdout.splitlines()]
            payloads = [bytes.fromhex(each["payload"]) for each in records if each["kind"] == "data"]
            assert payloads == [b"old %d" % n for n in range(100)]


def test_a_voter_whose_control_socket_is_out_of_reach_is_not_taken_for_lost(three: Bus) -> None:
    """As on another machine: it answers its node port, and that makes a quorum."""
    three.nodes["REW1"].kill()
    three.configuration.control_path("SEQ1").unlink()
    sentence = refusal(three, "--force", "SEQ2", "--yes")
    assert "a quorum of the voters is up (SEQ1, SEQ2) and SEQ1 commits" in sentence
    assert refusal(three, "SEQ2") == (
        "SEQ2 follows SEQ1, which does not answer here: run this where SEQ1 runs"
    )
