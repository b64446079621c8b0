"""Reception with two lines: what one of them lost costs nothing, and what is wrong with lines and session is said."""

from __future__ import annotations

from random import Random

import pytest
from reception_world import MS, SESSION, World

import moldudp
from seqcast.events import LineBack, LineSilent, NewSession
from seqcast.line_watch import LineWatch
from seqcast.lookout import Lookout
from seqcast.reception import Repair

SMALL_GAP = 100


def two_lines(**settings: object) -> World:
    """Both lines are known to be well."""
    world = World(eager=False, **settings)  # type: ignore[arg-type]
    for line in (0, 1):
        world.live(1, 2, line)
    world.pass_time(20 * MS)
    return world


@pytest.mark.parametrize("small_gap", [0, SMALL_GAP])
def test_a_loss_on_one_line_costs_no_request_and_no_login(small_gap: int) -> None:
    world = two_lines(small_gap=small_gap, history=100)
    for first in range(3, 303, 3):
        if first % 9:
            world.live(first, 3)
        world.pass_time(8 * MS)
        if first > 3:
            world.live(first - 3, 3, 1)
    world.live(300, 3, 1)
    world.pass_time(100 * MS)
    world.check(302)
    assert (world.requests, world.opened) == ([], [])
    assert world.reception.gaps_filled > 20


def test_a_loss_on_both_lines_is_asked_for_when_the_slower_one_has_passed_it() -> None:
    world = two_lines(small_gap=SMALL_GAP)
    world.live(6, 2)
    world.pass_time(10 * MS)
    assert world.requests == []
    world.live(6, 2, 1)
    world.pass_time(MS)
    assert [(r.sequence_number, r.count) for r in world.requests] == [(3, 3)]
    world.reply(world.requests[0])
    world.check(7)


def test_a_rewinder_is_asked_when_the_slower_line_has_passed_the_hole() -> None:
    world = two_lines(history=7)
    world.live(6, 2)
    world.pass_time(10 * MS)
    assert world.opened == []
    world.live(6, 2, 1)
    world.pass_time(5 * MS)
    assert len(world.opened) == 1
    world.check(7)


def test_a_hole_that_is_passed_in_part_is_no_reason_for_a_login() -> None:
    """What is left of it the slower line is about to bring."""
    world = two_lines(history=9)
    world.live(8, 2)
    world.beat(6, 1)
    world.pass_time(10 * MS)
    assert world.opened == []
    world.live(6, 2, 1)
    world.pass_time(5 * MS)
    assert len(world.opened) == 1
    world.check(9)


def test_a_small_hole_is_requested_while_a_large_one_may_still_be_brought() -> None:
    world = two_lines(small_gap=10, history=101)
    world.live(5, 5)
    world.live(100, 2)
    world.live(5, 3, 1)
    world.pass_time(5 * MS)
    assert [(r.sequence_number, r.count) for r in world.requests] == [(3, 2)]
    assert world.opened == []
    world.reply(world.requests[0])
    world.pass_time(30 * MS)
    assert len(world.opened) == 1  # nobody brought the large one
    world.check(101)


@pytest.mark.parametrize("small_gap", [0, SMALL_GAP])
def test_a_line_that_died_just_now_is_waited_for_until_the_patience_is_over(small_gap: int) -> None:
    world = two_lines(small_gap=small_gap, history=7)
    world.live(6, 2)
    world.pass_time(19 * MS)
    assert (world.requests, world.opened) == ([], [])
    world.pass_time(5 * MS)
    assert len(world.requests) + len(world.opened) == 1


def test_the_patience_is_a_setting() -> None:
    world = two_lines(small_gap=SMALL_GAP, repair=Repair(line_patience_ns=5 * MS))
    world.live(6, 2)
    world.pass_time(4 * MS)
    assert world.requests == []
    world.pass_time(2 * MS)
    assert len(world.requests) == 1


def test_a_silent_line_is_not_waited_for() -> None:
    world = two_lines(small_gap=SMALL_GAP)
    for first in range(3, 10):
        world.live(first, 1)
        world.pass_time(600 * MS)
    world.live(12, 1)
    world.pass_time(3 * MS)
    assert [(r.sequence_number, r.count) for r in world.requests] == [(10, 2)]
    said = world.reception.lookout.take_events()
    assert [type(event) for event in said] == [LineSilent]
    world.live(10, 2, 1)
    world.pass_time(20 * MS)
    assert world.reception.lookout.take_events() == [LineBack("b")]


def test_the_lines_that_were_joined_are_missed_from_the_beginning() -> None:
    world = World(eager=False)
    world.reception.lookout = Lookout(LineWatch(("a", "b")))
    for second in range(6):
        world.beat(1, 1)
        world.pass_time(1000 * MS)
        assert world.reception.deadline_ns() is not None
        assert second < 5 or world.reception.lookout.take_events() == [LineSilent("a", MS)]


@pytest.mark.parametrize("seed", range(10))
def test_two_lines_that_lose_apart_ask_nobody(seed: int) -> None:
    """One in three datagrams is lost on one line or the other, never on both; the lines are up to 15 ms apart."""
    random = Random(seed)
    world = two_lines(small_gap=random.choice([0, SMALL_GAP]), history=2000, held_datagrams=256)
    late: list[tuple[int, int, int]] = []  # when, first, count
    first, come_ns = 3, 0
    while first < 1500:
        count = random.randint(1, 6)
        lost = random.choice([None, None, None, 0, 1])
        if lost != 0:
            world.live(first, count)
        if lost != 1:
            come_ns = max(come_ns, world.now_ns + random.choice([0, 5, 15]) * MS)
            late.append((come_ns, first, count))
        for item in sorted(late):
            if item[0] <= world.now_ns:
                world.live(item[1], item[2], 1)
                late.remove(item)
        first += count
        world.pass_time(MS)
    for _, number, count in sorted(late):
        world.live(number, count, 1)
    world.pass_time(2 * MS)
    world.check(first - 1)
    assert (world.requests, world.opened) == ([], [])


# sessions


def test_strangers_do_not_keep_a_dead_session_alive() -> None:
    """Silence is about our session: what else is on the group says nothing about it."""
    world = World(eager=False, history=8)
    world.live(1, 5)
    for second in range(4):
        world.beat(1, session=b"OTHER     ")
        world.hear(b"noise")
        world.pass_time(1000 * MS)
        assert second < 3 or len(world.opened) == 1
    world.check(8)


def test_a_new_session_is_said_once() -> None:
    world = World(eager=False, history=5)
    world.live(1, 5)
    world.beat(6)
    for _ in range(8):
        world.beat(1, session=b"NEXT      ")
        world.pass_time(500 * MS)
    assert world.reception.lookout.take_events() == [NewSession("NEXT", "TEST")]
    assert world.reception.lookout.take_events() == []


def test_a_new_session_after_the_end_of_ours() -> None:
    world = World(eager=False, session=None)
    world.live(1, 5)
    world.hear(moldudp.MOLDUDP64.end_of_session(SESSION, 6))
    for _ in range(3):
        world.beat(1, session=b"NEXT      ")
    world.pass_time(20 * MS)
    assert world.reception.lookout.take_events() == [NewSession("NEXT", "TEST")]
    world.pass_time(5000 * MS)
    assert world.opened == []  # there is nothing to ask for any more
    assert world.reception.deadline_ns() is None


def test_a_stranger_that_sprays_sessions_is_not_believed() -> None:
    random = Random(1)
    world = World(eager=False, history=5)
    world.live(1, 5)
    for _ in range(100):
        world.beat(1, session=bytes(random.randrange(0x21, 0x7F) for _ in range(10)))
        world.pass_time(50 * MS)
    assert world.reception.lookout.take_events() == []


def test_events_that_nobody_takes_give_way_and_are_counted() -> None:
    lookout = World(eager=False).reception.lookout
    for number in range(300):
        lookout._note(LineBack(str(number)))
    assert lookout.events_dropped == 300 - 256
    assert lookout.take_events()[0] == LineBack("44")
