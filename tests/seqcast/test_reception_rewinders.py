"""Reception and its rewinders: turns, rates, requests beside a replay, archived sessions, and deadlines that hold."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from reception_world import MS, SESSION, World

import moldudp
from seqcast.reception import Repair


def asked(world: World) -> list[tuple[int, int]]:
    return [(request.sequence_number, request.count) for request in world.requests]


# rotation


def test_receivers_spread_over_the_rewinders() -> None:
    firsts: Counter[int] = Counter()
    for seed in range(60):
        world = World(history=5, rewinders=3, seed=seed)
        world.pass_time(3 * MS)
        firsts[world.opened[0][0]] += 1
    assert set(firsts) == {0, 1, 2}


def test_a_rewinder_that_dies_in_a_replay_is_replaced_at_once() -> None:
    """Without a repeat and without a hole; and the one that died is not asked again for a while."""
    world = World(
        history=500, rewinders=3, plans=[{"breaks_after": 120, "batch": 40}, {"error": "refused"}, {}]
    )
    world.live(501, 1)
    world.pass_time(50 * MS)
    world.check(501)
    first, second = world.opened
    assert (first[1].given, second[1].accepted, second[1].given) == (120, 121, 380)
    assert world.reception.rewinds_failed == 2
    assert first[0] != second[0]
    world.live(550, 1)
    world.history = 550
    world.pass_time(100 * MS)
    assert world.opened[2][0] == second[0]
    world.check(550)


@pytest.mark.parametrize("reject", ["S", None])
def test_all_rewinders_are_tried_before_the_pause(reject: str | None) -> None:
    plan: dict[str, object] = {"rejected": reject} if reject else {"breaks_after": 0}
    world = World(history=20, rewinders=3, plans=[plan] * 3)
    world.pass_time(40 * MS)
    assert [turn for turn, _ in world.opened[:3]] != [world.opened[0][0]] * 3
    assert {turn for turn, _ in world.opened[:3]} == {0, 1, 2}
    world.pass_time(100 * MS)
    world.check(20)


def test_failures_of_all_back_off() -> None:
    world = World(history=20, rewinders=3, plans=[{"error": "refused"}] * 1000)
    world.pass_time(10_000 * MS)
    assert 3 * 8 <= world.reception.rewinds <= 3 * 20


# rates


def test_logins_are_held_to_a_rate_and_nothing_is_lost_by_it() -> None:
    """Each turn reveals another hole; one login fills all that there are by then."""
    world = World(eager=False, repair=Repair(rewind_rate=10, rewind_burst=2))
    for number in range(3, 2000, 4):
        world.history = number
        for _, rewind in world.opened:
            rewind.last = number
        world.live(number, 1)
        world.pass_time(4 * MS)
    world.pass_time(200 * MS)
    world.check(world.history)
    assert 10 <= len(world.opened) <= 2 + 10 * 2.2 + 1
    assert world.reception.rewinds_held >= 10


# requests


def test_every_small_hole_is_asked_for() -> None:
    world = World(eager=False, small_gap=200)
    for number in range(2, 100, 2):
        world.live(number, 1)
    world.pass_time(3 * MS)
    assert asked(world) == [(number, 1) for number in range(1, 99, 2)]


def test_holes_beyond_the_one_that_is_replayed_are_asked_for() -> None:
    """So the replay is over when it has filled the hole in front, and does not send again what is held."""
    world = World(eager=False, small_gap=50, history=2000, plans=[{"batch": 10}], held_datagrams=512)
    world.live(1, 2)
    for number in (1000, 1010, 1020):
        world.live(number, 9)
    world.live(1500, 1)
    world.pass_time(3 * MS)
    assert asked(world) == []  # 1500 - 1029 are too many: that is for the replay
    world = World(eager=False, small_gap=50, history=1028, plans=[{"batch": 10}], held_datagrams=512)
    world.live(1, 2)
    for number in (1000, 1010, 1020):
        world.live(number, 9)
    world.pass_time(5 * MS)
    assert asked(world) == [(1009, 1), (1019, 1)]  # and nothing of the hole in front
    for request in world.requests:
        world.reply(request)
    world.pass_time(200 * MS)
    world.check(1028)
    assert world.opened[0][1].closed
    assert world.opened[0][1].given <= 1010 - 2
    assert world.reception.repeated < 20
    assert world.reception.gaps_filled >= 1


def test_nothing_is_asked_for_beside_a_replay_that_the_window_cannot_wait_for() -> None:
    world = World(eager=False, small_gap=500, history=4000, plans=[{"batch": 1}])
    world.live(1, 2)
    for number in range(3000, 3200, 2):  # more than is held
        world.live(number, 1)
    world.pass_time(20 * MS)
    assert world.opened
    assert world.requests == []


def test_a_rewinder_that_does_not_answer_does_not_stop_requests() -> None:
    world = World(eager=False, small_gap=50, history=10, plans=[{"silent": True}])
    world.live(1, 2)
    world.live(5, 1)
    world.pass_time(65 * MS)
    assert len(world.opened) == 1
    before = len(world.requests)
    world.pass_time(500 * MS)
    assert len(world.requests) > before
    world.reply(world.requests[-1])
    world.check(5)


def test_requests_go_on_while_all_rewinders_fail() -> None:
    world = World(eager=False, small_gap=50, plans=[{"error": "refused"}] * 1000)
    world.live(1, 2)
    world.live(5, 1)
    world.pass_time(3000 * MS)
    late = len(world.requests)
    world.pass_time(3000 * MS)
    assert len(world.requests) > late
    world.reply(world.requests[-1])
    world.check(5)


# archived sessions


def test_an_archived_session_ends_where_the_rewinder_says() -> None:
    world = World(history=120, archive=True, rewinders=2, plans=[{"ends": True}] * 9)
    world.pass_time(100 * MS)
    world.check(120)
    assert world.reception.archived_end == 121
    assert len(world.opened) == 1
    assert world.opened[0][1].closed
    world.pass_time(60_000 * MS)
    assert (len(world.opened), world.reception.deadline_ns(), world.reception.trouble) == (1, None, None)


def test_a_rewinder_that_dies_before_it_says_the_end_is_replaced() -> None:
    world = World(
        history=120, archive=True, rewinders=2, plans=[{"breaks_after": 120, "batch": 60}, {"ends": True}]
    )
    world.pass_time(100 * MS)
    world.check(120)
    assert (world.reception.archived_end, len(world.opened)) == (121, 2)


def test_a_start_beyond_the_end_is_told_where_the_end_is() -> None:
    world = World(start=1000, history=120, archive=True, plans=[{"ends": True, "accepts": 121}])
    world.pass_time(100 * MS)
    assert (world.got, world.reception.archived_end) == ([], 121)


@pytest.mark.parametrize("bad", [{"corrupt_at": 30}, {"keeps_from": 50}])
def test_an_end_after_something_bad_is_not_believed(bad: dict[str, object]) -> None:
    world = World(
        history=120, archive=True, rewinders=2, plans=[{"ends": True, "batch": 200, **bad}, {"ends": True}]
    )
    world.pass_time(100 * MS)
    world.check(120)
    assert (world.reception.archived_end, len(world.opened)) == (121, 2)


@pytest.mark.parametrize(("archive", "session"), [(False, SESSION), (True, None)])
def test_without_flag_or_name_an_end_is_a_rewinder_that_went(archive: bool, session: bytes | None) -> None:
    world = World(history=120, archive=archive, session=session, plans=[{"ends": True}] * 1000)
    world.pass_time(3000 * MS)
    world.check(120)
    assert world.reception.archived_end is None
    assert len(world.opened) > 1


# deadlines


@pytest.mark.parametrize("seed", range(30))
def test_the_deadline_neither_spins_nor_sleeps_too_long(seed: int) -> None:
    """A pump that calls `due` at deadlines and when something came repairs everything, in few calls."""
    random = Random(seed)
    world = World(
        eager=random.random() < 0.5,
        small_gap=random.choice([0, 30]),
        rewinders=random.choice([1, 1, 3]),
        seed=seed,
        repair=Repair(rewind_rate=random.choice([2, 10]), rewind_burst=random.choice([1, 5])),
        plans=[
            random.choice([{"error": "no"}, {"breaks_after": 7, "batch": 5}, {}, {"rejected": "S"}])
            for _ in range(9)
        ],
    )
    packets = []
    first, when = 1, 0
    while first < 300:
        count = random.randint(1, 5)
        when += random.choice([0, 1, 5, 100]) * MS
        packets += [
            (when + random.randint(0, 9) * MS, line, first, count) for line in (0, 1) if random.random() < 0.8
        ]
        first += count
    packets += [(when + beat * 1000 * MS, 0, first, 0) for beat in range(1, 12)]
    packets.sort()
    world.history = first - 1
    calls = 0
    reception = world.reception
    while True:
        deadline = reception.deadline_ns()
        come = packets[0][0] if packets else None
        readable = world.now_ns + MS if world.has_data() else None
        wake = min((at for at in (deadline, come, readable) if at is not None), default=None)
        if wake is None or world.now_ns > when + 11_000 * MS:
            break
        assert calls < 4000, f"{calls} calls until {world.now_ns / MS} ms"
        calls += 1
        world.now_ns = max(world.now_ns, wake)
        while packets and packets[0][0] <= world.now_ns:
            _, line, number, count = packets.pop(0)
            world.live(number, count, line) if count else world.beat(number, line)
        if world.has_data():
            reception.rewind_readable(world.now_ns)
        world.drain()
        requests = [moldudp.MOLDUDP64.decode_header(request) for request in reception.due(world.now_ns)]
        for request in requests:
            if random.random() < 0.7:
                world.reply(request)
    world.check(first - 1)
