"""The bus that users get for their own tests: what it can do to machines, and that a seed is a run."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from seqcast.errors import NotConnected, SeqcastError, TimedOut
from seqcast.testing import Bus, Troubles, hunt

if TYPE_CHECKING:
    from seqcast.testing import App

RUN = """
import sys
from seqcast.testing import Bus, Troubles
with Bus(int(sys.argv[1]), loss=0.05, lines=2) as bus:
    Troubles(bus, 1.0)
    sender, receiver = bus.sender("ALPHA"), bus.receiver()
    for index in range(200):
        sender.send(b"%d" % index)
        bus.run(0.005)
    sender.flush()
    numbers = [message.number for message in receiver.take(200)]
    print(bus.world.digest, bus.now, numbers[-1])
"""


def test_a_seed_is_a_run() -> None:
    def run(seed: int, hash_seed: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", RUN, str(seed)],
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    assert run(5, "1") == run(5, "2")
    assert run(5, "1") != run(6, "1")


@pytest.mark.parametrize("voters", [1, 2, 3, 5])
def test_buses_of_all_sizes(voters: int) -> None:
    with Bus(voters=voters, lines=2) as bus:
        number = bus.sender().send(b"hello").wait()
        assert bus.receiver().take(1)[0].number == number


def test_the_nodes_fail_over_and_come_back(bus: Bus) -> None:
    sender = bus.sender()
    former = bus.wait_for_primary()
    sender.send(b"one").wait()
    assert bus.fail_over() != former
    sender.send(b"two").wait()
    assert bus.epoch == 2
    bus.run_until(lambda: bus.nodes[former].process is not None)
    assert [m.payload for m in bus.receiver().take(2)] == [b"one", b"two"]


def test_a_node_that_is_down_stays_down_until_it_is_started(bus: Bus) -> None:
    bus.wait_for_primary()
    bus.crash("REW1", restart=False)
    bus.run(5)
    assert bus.nodes["REW1"].process is None
    bus.start("REW1")
    bus.run_until(lambda: bus.nodes["REW1"].process is not None)


def test_power_takes_what_was_not_synced_and_a_quorum_brings_it_back(bus: Bus) -> None:
    sender = bus.sender()
    sender.send_batch([b"%d" % n for n in range(100)]).wait()

    def whole(name: str) -> bool:
        process = bus.nodes[name].process
        return process is not None and process.voter.votes and process.log.commit == bus.last > 100

    bus.power_off("SEQ2")
    bus.start("SEQ2")
    bus.run_until(lambda: whole("SEQ2"))
    bus.lose_disk("REW1")
    bus.run_until(lambda: whole("REW1"))


def test_promotion_and_the_end_of_the_session(bus: Bus) -> None:
    receiver = bus.receiver()
    former = bus.wait_for_primary()
    bus.sender().send(b"x").wait()
    other = {"SEQ1": "SEQ2", "SEQ2": "SEQ1"}[former]
    bus.run_until(lambda: bus.nodes[former].process.status()["followers"].get(other, {}).get("votes"))
    bus.promote(other)
    bus.run_until(lambda: bus.primary == other)
    bus.end_session()
    assert [m.payload for m in receiver] == [b"x"]
    assert receiver.ended


def test_a_pause_is_no_more_than_a_pause(bus: Bus) -> None:
    sender = bus.sender()
    sender.open()
    primary = bus.wait_for_primary()
    bus.pause(primary, 0.4)
    started = bus.now
    sender.send(b"x").wait()
    assert 0.3 < bus.now - started < 0.6
    assert bus.epoch == 1


def test_what_does_not_exist_is_named(bus: Bus) -> None:
    with pytest.raises(ValueError, match="no node 'SEQ7'; the nodes are SEQ1, SEQ2, REW1, REW8"):
        bus.crash("SEQ7")
    with pytest.raises(SeqcastError, match="no primary now"):
        bus.crash(bus.primary)
    with pytest.raises(ValueError, match="no trouble 'flood'"):
        Troubles(bus, 1.0, kinds=("flood",))
    with pytest.raises(TimedOut, match="seed 0: what was waited for did not happen within 2 virtual seconds"):
        bus.run_until(lambda: False, timeout=2.0)


class TestApps:
    def test_an_app_that_crashes_loses_its_memory_and_its_connections(self, bus: Bus) -> None:
        got: list[tuple[int, bytes]] = []

        async def listen(app: App) -> None:
            async with app.receiver() as receiver:
                async for message in receiver:
                    got.append((app.starts, message.payload))

        app = bus.spawn(listen)
        sender = bus.sender()
        sender.send(b"one").wait()
        bus.run_until(lambda: len(got) == 1)
        app.crash()
        assert not app.running
        sender.send(b"two").wait()
        bus.run(1)
        assert len(got) == 1
        app.start()
        bus.run_until(lambda: len(got) == 3)
        assert got == [(1, b"one"), (2, b"one"), (2, b"two")]

    def test_an_app_that_is_started_by_chance_runs_at_once(self, bus: Bus) -> None:
        """Nothing else happens at that moment that could have the loop look."""
        began: list[float] = []

        async def begin(_app: App) -> None:
            began.append(bus.now)

        app = bus.spawn(begin)
        bus.run_until(lambda: began)
        bus.run(1)
        due = bus.now + 2
        bus.world.after(2_000_000_000, app.start)
        bus.run(10)
        assert began[1] == pytest.approx(due, abs=0.001)

    def test_what_an_app_raises_comes_out_of_the_test(self, bus: Bus) -> None:
        async def fails(_app: App) -> None:
            await asyncio.sleep(0.5)
            raise ZeroDivisionError

        bus.spawn(fails)
        with pytest.raises(ZeroDivisionError):
            bus.run(1)
        bus.run(1)

    def test_time_is_virtual_for_everything_in_asyncio(self, bus: Bus) -> None:
        async def main() -> float:
            loop = asyncio.get_running_loop()
            started = loop.time()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), 60)
            await asyncio.sleep(60)
            return loop.time() - started

        assert bus.execute(main(), timeout=1000) == pytest.approx(120, abs=0.1)

    def test_waiting_within_a_coroutine_or_a_callback_is_refused(self, bus: Bus) -> None:
        async def main() -> None:
            with pytest.raises(RuntimeError, match="from within a coroutine: await instead"):
                bus.run(1)

        bus.execute(main())

        def callback() -> None:
            with pytest.raises(RuntimeError, match="callbacks must not wait"):
                bus.world.run(bus.world.now_ns + 1)
            called.append(True)

        called: list[bool] = []
        bus.world.after(1000, callback)
        bus.run(1)
        assert called

    def test_a_paused_app_reads_nothing(self, bus: Bus) -> None:
        async def listen(app: App) -> None:
            async with app.receiver() as receiver:
                async for message in receiver:
                    got.append(message.payload)

        got: list[bytes] = []
        bus.spawn(listen, "SLOW")
        sender = bus.sender()
        sender.send(b"one").wait()
        bus.run_until(lambda: got)
        bus.pause("SLOW", 2.0)
        sender.send(b"two").wait()
        bus.run(1.5)
        assert got == [b"one"]
        bus.run_until(lambda: len(got) == 2)


class TestHunt:
    def test_it_finds_the_seed_and_the_seed_brings_the_failure_back(self) -> None:
        def scenario(bus: Bus) -> None:
            bus.wait_for_primary()
            assert bus.random.random() > 0.1, "by chance"

        found = hunt(scenario, seeds=range(200), voters=1)
        assert found is not None
        assert "by chance" in str(found.error)
        assert any("SEQ1" in line for line in found.trace)
        with Bus(found.seed, voters=1) as bus, pytest.raises(AssertionError, match="by chance"):
            scenario(bus)
        assert hunt(scenario, seeds=range(found.seed), voters=1) is None


class TestPlugin:
    TEST = """
    import pytest

    @pytest.mark.bus(seeds=4, voters=1)
    def test_marked(bus):
        assert len(bus.nodes) == 2
        bus.wait_for_primary()
        assert bus.seed != 2

    def test_plain(bus):
        assert bus.seed in (0, 2)
    """

    @pytest.fixture
    def outcome(self, pytester: pytest.Pytester):
        pytester.makepyfile(self.TEST)
        return lambda *arguments: pytester.runpytest_inprocess("-p", "no:cacheprovider", *arguments)

    def test_a_marked_test_runs_with_each_seed_and_a_failure_shows_the_bus(self, outcome) -> None:
        result = outcome()
        result.assert_outcomes(passed=4, failed=1)
        result.stdout.fnmatch_lines(
            ["*bus, seed 2: again with --bus-seed 2*", "*SEQ1*primary*", "FAILED*test_marked?seed=2?*"]
        )

    def test_one_seed_alone(self, outcome) -> None:
        outcome("--bus-seed", "2").assert_outcomes(passed=1, failed=1)
        outcome("--bus-seed", "3").assert_outcomes(passed=1, failed=1)


def test_coroutines_have_ended_when_the_bus_is_closed() -> None:
    async def main(app: App) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.1)
            ended.append(app.name)

    ended: list[str] = []
    with Bus() as bus:
        app = bus.spawn(main, "LATE")
        task = app.task
        bus.run(1)
    assert ended == ["LATE"]
    assert task is not None
    assert task.done()


def test_what_an_app_notes_is_in_the_trace(bus: Bus) -> None:
    async def main(app: App) -> None:
        await asyncio.sleep(0.25)
        app.note("has slept")

    bus.spawn(main, "APP")
    bus.run(1)
    assert any(line.endswith("APP    has slept") for line in bus.trace)


def test_a_bus_that_is_closed_leaves_nothing_behind() -> None:
    with Bus() as bus:
        sender = bus.sender()
        ticket = sender.send(b"x")
    with pytest.raises(NotConnected):
        ticket.wait()
    assert bus.loop.is_closed()
