"""Reception on virtual time: live lines that lose, rewinders that fail, one stream without a hole or a repeat."""

from __future__ import annotations

from random import Random

import pytest
from reception_world import MS, SESSION, World

import moldudp
from seqcast.errors import LoginRefused


def test_in_order_traffic_asks_nobody() -> None:
    world = World(eager=False)
    for first in range(1, 100, 3):
        world.live(first, 3)
    world.pass_time(100 * MS)
    world.check(99)
    assert (world.opened, world.requests) == ([], [])
    assert world.reception.source == "live"


def test_a_late_joiner_reads_history_and_merges_into_live() -> None:
    world = World(history=500)
    world.live(501, 5)
    world.pass_time(3 * MS)
    world.live(506, 5)
    world.pass_time(30 * MS)
    world.check(510)
    assert len(world.opened) == 1
    assert world.opened[0][1].closed
    world.live(511, 1)
    assert world.reception.source == "live"


def test_a_stream_without_live_lines_is_read_from_the_rewinder() -> None:
    world = World(history=300)
    world.pass_time(20 * MS)
    world.check(300)
    assert not world.opened[0][1].closed
    assert world.reception.source == "rewind"


def test_a_small_gap_is_requested_first() -> None:
    world = World(eager=False, small_gap=100)
    world.live(1, 2)
    world.live(5, 2)
    world.pass_time(5 * MS)
    assert [(r.sequence_number, r.count) for r in world.requests] == [(3, 2)]
    assert world.opened == []
    world.live(3, 2)
    world.pass_time(5 * MS)
    world.check(6)
    assert world.reception.gaps_filled == 1


def test_a_gap_that_requests_do_not_fill_goes_to_a_rewinder() -> None:
    world = World(eager=False, small_gap=100, history=6)
    world.live(1, 2)
    world.live(5, 2)
    world.pass_time(200 * MS)
    world.check(6)
    assert len(world.opened) == 1


def test_a_large_gap_goes_to_a_rewinder_at_once() -> None:
    world = World(eager=False, small_gap=10, history=1000)
    world.live(1, 2)
    world.live(1000, 1)
    world.pass_time(30 * MS)
    world.check(1000)
    assert world.requests == []


def test_a_heartbeat_reveals_a_lost_tail() -> None:
    world = World(eager=False, history=7)
    world.live(1, 5)
    world.reception.mold.receive_datagram(moldudp.MOLDUDP64.heartbeat(SESSION, 8), world.now_ns)
    world.drain()
    assert world.reception.lag == 2
    world.pass_time(20 * MS)
    world.check(7)


def test_lines_that_fall_silent_send_the_receiver_to_a_rewinder() -> None:
    """The last packets, the end of the session and the sequencer itself may be lost together."""
    world = World(eager=False, history=8)
    world.live(1, 5)
    world.pass_time(2900 * MS)
    assert world.opened == []
    world.pass_time(200 * MS)
    world.check(8)
    assert not world.opened[0][1].closed
    world.live(9, 1)
    world.pass_time(5 * MS)
    assert world.opened[0][1].closed
    world.check(9)


def test_a_rewinder_that_dies_is_replaced_without_a_repeat() -> None:
    world = World(
        rewinders=2, history=500, plans=[{"breaks_after": 120, "batch": 40}, {"error": "refused"}, {}]
    )
    world.live(501, 1)
    world.pass_time(400 * MS)
    world.check(501)
    assert len(world.opened) == 2
    assert world.opened[1][1].accepted == 121
    assert world.reception.rewinds_failed == 2


def test_a_corrupt_record_is_not_delivered_and_had_from_another() -> None:
    world = World(history=100, plans=[{"corrupt_at": 30}, {}])
    world.pass_time(200 * MS)
    world.check(100)
    assert world.reception.corrupt == 1


def test_a_rewinder_without_the_beginning_is_left_for_another() -> None:
    world = World(history=100, plans=[{"keeps_from": 50}, {}])
    world.pass_time(200 * MS)
    world.check(100)


def test_a_rewinder_that_has_not_got_what_the_lines_show_is_left_for_another() -> None:
    """It follows a primary that was cut off, or has lost its own: it answers, but with nothing."""
    world = World(rewinders=2, eager=False, history=100, plans=[{"stands_at": 40}, {}])
    world.live(1, 30)
    world.live(90, 11)
    world.pass_time(900 * MS)
    assert (world.got[-1], len(world.opened)) == (40, 1)
    world.pass_time(300 * MS)
    world.check(100)
    assert sorted(turn for turn, _ in world.opened) == [0, 1]


def test_a_rewinder_may_take_its_time_while_the_lines_show_no_more() -> None:
    world = World(history=40)
    world.pass_time(20_000 * MS)
    world.check(40)
    assert len(world.opened) == 1


def test_overlap_between_rewinder_and_live_is_dropped() -> None:
    world = World(history=20, plans=[{"batch": 7}])
    world.live(1, 10)
    world.pass_time(1 * MS)
    world.live(15, 3)
    world.pass_time(50 * MS)
    world.check(world.got[-1])
    assert world.got[-1] >= 17


def test_a_wrong_password_is_the_apps_problem() -> None:
    world = World(history=20, plans=[{"rejected": "A"}])
    with pytest.raises(LoginRefused):
        world.pass_time(5 * MS)


def test_a_session_that_is_not_there_yet_is_asked_for_again() -> None:
    world = World(history=20, plans=[{"rejected": "S"}] * 5)
    world.pass_time(3000 * MS)
    world.check(20)
    assert world.reception.rewinds_failed == 5


def test_failures_back_off() -> None:
    world = World(history=20, plans=[{"error": "refused"}] * 1000)
    world.pass_time(10_000 * MS)
    assert 8 <= world.reception.rewinds <= 25


@pytest.mark.parametrize("seed", range(20))
def test_random_loss_delivers_everything_once(seed: int) -> None:
    random = Random(seed)
    world = World(small_gap=random.choice([0, 20]), eager=random.random() < 0.5)
    packets, first = [], 1
    while first < 400:
        count = random.randint(1, 6)
        packets.append((first, count))
        first += count
    for position, (number, count) in enumerate(packets):
        world.history = number + count - 1
        for _, rewind in world.opened:
            rewind.last = world.history
        if random.random() < 0.7:
            world.live(number, count)
        if random.random() < 0.1:
            world.live(*random.choice(packets[: position + 1]))
        for request in world.requests:
            if random.random() < 0.5:
                world.live(request.sequence_number, 1)
        world.requests.clear()
        world.pass_time(random.choice([0, MS, 3 * MS]))
    world.reception.mold.receive_datagram(moldudp.MOLDUDP64.heartbeat(SESSION, first), world.now_ns)
    world.drain()
    world.pass_time(5000 * MS)
    world.check(first - 1)
