"""The pump of a process: how it waits, on real descriptors; what it hands on."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator

import pytest
from attrs import define, field

from rewinder.pump import SPIN_NS, SPIN_SLICE_NS, EpollPump, Idle

MILLISECOND = 1_000_000


@define(eq=False)
class Alarm:
    """A timer that notes when it ran."""

    due_ns: int
    ran_ns: list[int] = field(factory=list)

    def deadline_ns(self) -> int | None:
        return None if self.ran_ns else self.due_ns

    def handle_timer(self, now_ns: int) -> None:
        self.ran_ns.append(now_ns)


@pytest.fixture(params=list(Idle), ids=lambda idle: idle.value)
def pump(request: pytest.FixtureRequest) -> Iterator[EpollPump]:
    made = EpollPump(request.param)
    yield made
    made.close()


def lateness_ns(pump: EpollPump, after_ns: int) -> int:
    """How late a timer ran that was due `after_ns` from now; never too early."""
    alarm = Alarm(time.monotonic_ns() + after_ns)
    pump.timers.watch(alarm)
    while not alarm.ran_ns:
        pump.turn()
    assert alarm.ran_ns[0] >= alarm.due_ns
    return alarm.ran_ns[0] - alarm.due_ns


def test_timers_are_finer_than_a_millisecond(pump: EpollPump) -> None:
    """The best of many: what the machine does to one of them is no matter."""
    assert min(lateness_ns(pump, 300_000) for _ in range(100)) < MILLISECOND // 2


def test_a_look_does_not_wait(pump: EpollPump) -> None:
    pump.timers.watch(Alarm(time.monotonic_ns() + 1000 * MILLISECOND))
    assert min(_elapsed_ns(pump, 0) for _ in range(100)) < MILLISECOND // 2


def test_nobody_waits_beyond_the_limit(pump: EpollPump) -> None:
    assert min(_elapsed_ns(pump, MILLISECOND // 2) for _ in range(100)) < MILLISECOND


def _elapsed_ns(pump: EpollPump, limit_ns: int) -> int:
    begin_ns = time.monotonic_ns()
    pump.turn(limit_ns)
    return time.monotonic_ns() - begin_ns


def test_who_spins_uses_the_processor_and_who_blocks_does_not() -> None:
    used: dict[Idle, int] = {}
    for idle in Idle:
        pump = EpollPump(idle)
        begin_ns = time.thread_time_ns()
        for _ in range(20):
            pump.turn(SPIN_SLICE_NS)
        used[idle] = time.thread_time_ns() - begin_ns
        pump.close()
    assert used[Idle.BLOCK] < used[Idle.SPIN] // 2
    assert 10 * SPIN_NS < used[Idle.SPIN_THEN_BLOCK] < used[Idle.SPIN]


def test_what_is_ready_goes_to_its_handler(pump: EpollPump) -> None:
    pairs = [socket.socketpair() for _ in range(3)]
    got: list[int] = []
    for number, (near, _far) in enumerate(pairs):

        def read(_events: int, _now_ns: int, number: int = number, near: socket.socket = near) -> int:
            got.append(number)
            return len(near.recv(10))

        pump.watch(near.fileno(), read)
    pairs[1][1].send(b"x")
    assert pump.turn() == 1
    for _, far in pairs:
        far.send(b"xy")
    assert pump.turn() == 6
    assert sorted(got) == [0, 1, 1, 2]
    pump.forget(pairs[0][0].fileno())
    pairs[0][1].send(b"x")
    assert pump.turn(0) == 0
    for each in (end for pair in pairs for end in pair):
        each.close()


def test_more_are_ready_than_a_turn_takes(pump: EpollPump) -> None:
    """No turn grows without bound, and nobody is left out."""
    pipes = [os.pipe() for _ in range(300)]
    got: set[int] = set()
    for near, far in pipes:

        def read(_events: int, _now_ns: int, near: int = near) -> int:
            got.add(near)
            return len(os.read(near, 1))

        pump.watch(near, read)
        os.write(far, b"x")
    assert pump.turn(0) == 256
    assert pump.turn(0) == 44
    assert got == {near for near, _far in pipes}
    for near, far in pipes:
        pump.forget(near)
        os.close(near)
        os.close(far)
