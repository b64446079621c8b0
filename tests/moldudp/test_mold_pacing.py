"""When requests go out: rule by rule, in virtual time; then against a request server over a bad wire."""

from __future__ import annotations

import itertools
import random

import pytest

from moldudp import (
    MOLDUDP,
    MOLDUDP64,
    Codec,
    Downstream,
    Faults,
    Gap,
    ListStore,
    Pacing,
    Receiver,
    RequestServer,
)
from moldudp.pacing import Lines, Pacer

SESSION = b"SESS000001"
MS = 1_000_000
EXACT = Pacing(jitter=0.0, request_messages=10, outstanding=4)


def pacer_of(pacing: Pacing = EXACT, seed: int = 1) -> Pacer:
    return Pacer(pacing, random.Random(seed))


def test_first_request_waits_for_the_reorder_delay() -> None:
    pacer = pacer_of()
    assert pacer.deadline_ns() is None
    pacer.look([Gap(5, 3)], 100)
    assert pacer.deadline_ns() == 100 + MS
    assert pacer.due(100 + MS - 1) == []
    assert pacer.due(100 + MS) == [Gap(5, 3)]
    assert pacer.outstanding == 1


def test_gap_that_closes_in_time_is_never_requested() -> None:
    pacer = pacer_of()
    pacer.look([Gap(5, 3)], 0)
    pacer.look([], MS // 2)
    assert pacer.due(10 * MS) == []
    assert pacer.deadline_ns() is None


def test_growing_gap_keeps_its_age() -> None:
    pacer = pacer_of()
    pacer.look([Gap(5, 3)], 0)
    pacer.look([Gap(5, 4)], MS // 2)
    assert pacer.due(MS) == [Gap(5, 4)]


def test_gap_split_by_a_late_packet_keeps_its_age() -> None:
    pacer = pacer_of()
    pacer.look([Gap(5, 5)], 0)
    pacer.look([Gap(5, 2), Gap(8, 2)], MS // 2)
    pacer.look([Gap(5, 2), Gap(8, 2), Gap(20, 1)], MS // 2)
    assert pacer.due(MS) == [Gap(5, 2), Gap(8, 2)]
    assert pacer.due(MS + MS // 2) == [Gap(20, 1)]


def test_back_off_doubles_up_to_the_limit() -> None:
    pacer = pacer_of()
    pacer.look([Gap(1, 1)], 0)
    times = []
    for _ in range(10):
        now_ns = pacer.deadline_ns()
        assert now_ns is not None
        assert pacer.due(now_ns - 1) == []
        assert pacer.due(now_ns) == [Gap(1, 1)]
        times.append(now_ns // MS)
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert pauses == [10, 20, 40, 80, 160, 320, 640, 1000, 1000]


def test_back_off_of_a_request_that_is_repeated_for_ever_stays_bounded() -> None:
    pacer = pacer_of()
    pacer.look([Gap(1, 1)], 0)
    now_ns = 0
    for _ in range(2000):
        now_ns = pacer.deadline_ns() or 0
        pacer.due(now_ns)
    assert pacer.deadline_ns() == now_ns + 1000 * MS


def test_jitter_spreads_receivers() -> None:
    firsts, pauses = set(), set()
    for seed in range(50):
        pacer = pacer_of(Pacing(), seed)
        pacer.look([Gap(1, 1)], 0)
        first = pacer.deadline_ns()
        assert first is not None
        pacer.due(first)
        firsts.add(first)
        pauses.add(pacer.deadline_ns() - first)
    assert len(firsts) > 40
    assert MS <= min(firsts) <= max(firsts) <= 1.25 * MS
    assert 7.5 * MS <= min(pauses) < 9 * MS < 11 * MS < max(pauses) <= 12.5 * MS


def test_long_gap_is_cut_and_bounded() -> None:
    pacer = pacer_of()
    pacer.look([Gap(1, 25), Gap(30, 100)], 0)
    assert pacer.due(MS) == [Gap(1, 10), Gap(11, 10), Gap(21, 5), Gap(30, 10)]
    assert pacer.outstanding == 4
    assert pacer.deadline_ns() == 11 * MS
    assert pacer.due(2 * MS) == []


def test_partial_reply_triggers_the_rest_at_once() -> None:
    pacer = pacer_of()
    pacer.look([Gap(1, 25)], 0)
    pacer.due(MS)
    pacer.look([Gap(5, 21)], 2 * MS)
    assert pacer.deadline_ns() <= 2 * MS
    assert pacer.due(2 * MS) == [Gap(5, 6)]


def test_reply_in_the_middle_triggers_both_rests() -> None:
    pacer = pacer_of()
    pacer.look([Gap(1, 10)], 0)
    pacer.due(MS)
    pacer.look([Gap(1, 3), Gap(6, 5)], 2 * MS)
    assert pacer.due(2 * MS) == [Gap(1, 3), Gap(6, 5)]


def test_full_reply_makes_room_for_the_next_at_once() -> None:
    pacer = pacer_of()
    pacer.look([Gap(1, 100)], 0)
    pacer.due(MS)
    pacer.look([Gap(11, 90)], 2 * MS)
    assert pacer.due(2 * MS) == [Gap(41, 10)]


def test_progress_elsewhere_does_not_hurry_a_request() -> None:
    pacer = pacer_of()
    pacer.look([Gap(1, 5), Gap(10, 5)], 0)
    pacer.due(MS)
    pacer.look([Gap(10, 5), Gap(50, 1)], 2 * MS)
    assert pacer.due(2 * MS) == []
    assert pacer.due(3 * MS) == [Gap(50, 1)]
    assert pacer.due(11 * MS) == [Gap(10, 5)]


def test_what_a_line_has_not_passed_is_not_requested() -> None:
    pacer = pacer_of()
    pacer.look([Gap(5, 10), Gap(20, 5)], 0, Lines(12, 20 * MS))
    assert pacer.deadline_ns() == MS
    assert pacer.due(MS) == [Gap(5, 7)]  # the part that the slower line has passed, too
    pacer.look([Gap(5, 10), Gap(20, 5)], 2 * MS, Lines(25, 20 * MS))
    assert pacer.deadline_ns() == MS
    assert pacer.due(2 * MS) == [Gap(12, 3), Gap(20, 5)]


def test_a_line_that_does_not_come_is_not_waited_for_long() -> None:
    pacer = pacer_of()
    pacer.look([Gap(5, 3)], 0, Lines(5, 20 * MS))
    assert pacer.deadline_ns() == 20 * MS
    assert pacer.due(20 * MS - 1) == []
    pacer.look([Gap(5, 3), Gap(10, 1)], 10 * MS, Lines(5, 20 * MS))
    assert pacer.due(20 * MS) == [Gap(5, 3)]
    pacer.look([Gap(10, 1)], 21 * MS, Lines(5, 20 * MS))
    assert pacer.deadline_ns() == 30 * MS
    assert pacer.due(30 * MS) == [Gap(10, 1)]


def test_no_line_to_wait_for_is_as_ever() -> None:
    pacer = pacer_of()
    pacer.look([Gap(5, 3)], 0, Lines(5, 20 * MS))
    pacer.look([Gap(5, 3)], MS // 2)
    assert pacer.deadline_ns() == MS
    assert pacer.due(MS) == [Gap(5, 3)]


def drain(pacer: Pacer, until_ns: int) -> list[tuple[int, Gap]]:
    """All requests up to a time, by the deadlines alone: each wake-up but the one for a refusal brings one."""
    sent: list[tuple[int, Gap]] = []
    empty = 0
    while (now_ns := pacer.deadline_ns()) is not None and now_ns <= until_ns:
        requests = pacer.due(now_ns)
        empty = 0 if requests else empty + 1
        assert empty <= 1, "a busy loop"
        sent += [(now_ns, request) for request in requests]
    return sent


def test_requests_are_held_to_a_rate_and_none_is_forgotten() -> None:
    pacing = Pacing(jitter=0.0, request_messages=10, outstanding=64, request_rate=1000, request_burst=50)
    pacer = pacer_of(pacing)
    gaps = [Gap(1 + 20 * n, 10) for n in range(20)]
    pacer.look(gaps, 0)
    sent: list[tuple[int, Gap]] = []
    while gaps:
        now_ns = pacer.deadline_ns()
        assert now_ns is not None
        requests = pacer.due(now_ns)
        sent += [(now_ns // MS, request) for request in requests]
        gaps = [gap for gap in gaps if gap not in requests]  # answered at once
        pacer.look(gaps, now_ns)
    assert [request.first for _, request in sent] == [1 + 20 * n for n in range(20)]
    times = [time for time, _ in sent]
    assert times[:5] == [1] * 5  # the burst
    assert times[5:] == [2 + 10 * n for n in range(15)]  # one token, and the request is a debt
    assert pacer.bucket.held_back == 15
    assert pacer.deadline_ns() is None


def test_repetitions_are_held_to_the_rate_too() -> None:
    pacing = Pacing(
        jitter=0.0, retry_ns=MS, retry_limit_ns=MS, request_messages=10, request_rate=1000, request_burst=10
    )
    pacer = pacer_of(pacing)
    pacer.look([Gap(1, 20)], 0)
    sent = drain(pacer, 1000 * MS)
    assert 95 <= len(sent) <= 105
    counts = [sum(request == gap for _, request in sent) for gap in (Gap(1, 10), Gap(11, 10))]
    assert sum(counts) == len(sent)
    assert abs(counts[0] - counts[1]) <= 1  # the lowest does not keep the other out


def test_every_hole_of_many_is_requested_once_when_replies_come() -> None:
    """Small and large holes in one window, far more than may be outstanding or looked at together."""
    chance = random.Random(3)
    receiver = Receiver(random=chance, pacing=Pacing(jitter=0.0))
    missing: set[int] = set()
    number = 1
    for _ in range(900):
        hole = chance.choice([1, 1, 2, 5, 70, 200])
        missing.update(range(number, number + hole))
        number += hole
        receiver.receive_datagram(MOLDUDP64.pack(SESSION, number, [b"x"], 1400)[0], 0)
        assert len(receiver.messages()) == 0
        number += 1
    requested: list[int] = []
    asked_at_first = 0
    now_ns = 0
    while receiver.gaps():
        deadline = receiver.deadline_ns()
        assert deadline is not None
        now_ns = max(now_ns, deadline)
        headers = [MOLDUDP64.decode_header(request) for request in receiver.requests(now_ns)]
        asked_at_first = asked_at_first or len(headers)
        for header in headers:
            numbers = range(header.sequence_number, header.sequence_number + header.count)
            requested += numbers
            reply = MOLDUDP64.pack(SESSION, header.sequence_number, [b"x"] * header.count, 1400)[0]
            receiver.receive_datagram(reply, now_ns, 3)
            while receiver.messages():
                pass
    assert receiver.next_number == number
    assert asked_at_first == 64
    assert sorted(requested) == sorted(missing)  # each once
    assert now_ns < 300 * MS


def test_a_receiver_waits_for_the_slower_of_two_lines() -> None:
    receiver = Receiver(random=random.Random(1), pacing=EXACT)
    receiver.wait_for((0, 1), 20 * MS)
    assert receiver.passed == 0
    for first, line in ((1, 0), (1, 1), (7, 0)):
        receiver.receive_datagram(MOLDUDP64.pack(SESSION, first, [b"x"] * 3, 1400)[0], 0, line)
        while receiver.messages():
            pass
    assert (receiver.passed, receiver.lines.highest) == (4, (10, 4, 0, 0))
    assert receiver.requests(0) == receiver.requests(19 * MS) == []
    assert receiver.deadline_ns() == 20 * MS
    receiver.receive_datagram(MOLDUDP64.pack(SESSION, 6, [b"x"], 1400)[0], 19 * MS, 1)
    assert len(receiver.messages()) == 0
    assert receiver.requests(19 * MS) == [MOLDUDP64.request(SESSION, 4, 2)]
    receiver.wait_for((0,), 20 * MS)  # it has passed what it shows
    assert receiver.passed is None


def test_a_gap_that_is_filled_otherwise_is_spared() -> None:
    receiver = Receiver(random=random.Random(1), pacing=EXACT)
    for first in (5, 8):
        receiver.receive_datagram(MOLDUDP64.pack(SESSION, first, [b"x"], 1400)[0], 0)
        assert len(receiver.messages()) == 0
    receiver.spare_front(True)
    receiver.requests(0)
    assert receiver.requests(MS) == [MOLDUDP64.request(SESSION, 6, 2)]
    receiver.spare_front(False)
    assert receiver.requests(2 * MS) == []
    assert receiver.requests(3 * MS) == [MOLDUDP64.request(SESSION, 1, 4)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"jitter": 1.0},
        {"jitter": -0.1},
        {"retry_ns": 0},
        {"retry_limit_ns": 0},
        {"reorder_delay_ns": -1},
        {"request_messages": 0},
        {"request_messages": 65534},
        {"outstanding": 0},
        {"request_rate": 0},
        {"request_burst": 0},
    ],
    ids=str,
)
def test_settings_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Pacing(**wrong)


def test_receiver_sends_requests(codec: Codec) -> None:
    receiver = Receiver(codec=codec, random=random.Random(1), pacing=EXACT)
    assert receiver.requests(0) == []
    receiver.receive_datagram(codec.heartbeat(SESSION, 13), 5 * MS)
    assert len(receiver.messages()) == 0
    assert receiver.deadline_ns() == 6 * MS
    assert receiver.requests(6 * MS - 1) == []
    assert receiver.requests(6 * MS) == [codec.request(SESSION, 1, 10), codec.request(SESSION, 11, 2)]
    receiver.receive_datagram(codec.pack(SESSION, 1, [b"x"] * 4, 1400)[0], 7 * MS)
    assert len(receiver.messages()) == 4
    assert receiver.requests(7 * MS) == [codec.request(SESSION, 5, 6)]
    receiver.advance(13)
    assert receiver.deadline_ns() is None
    assert receiver.requests(100 * MS) == []


def test_replay_by_another_way_does_not_speak_for_an_unknown_session(codec: Codec) -> None:
    receiver = Receiver(codec=codec, random=random.Random(1), pacing=EXACT)
    receiver.advance(10)
    assert (receiver.next_number, receiver.requests(0), receiver.deadline_ns()) == (10, [], None)


@pytest.mark.parametrize("seed", range(8))
def test_request_loop_over_a_bad_wire(codec: Codec, seed: int) -> None:
    """Sender, receiver and request server in virtual time: all is delivered in order, and the end is seen."""
    chance = random.Random(seed)
    store = ListStore(codec, SESSION)
    server = RequestServer(codec, store)
    sender = Downstream(codec, SESSION)
    receiver = Receiver(codec=codec, random=chance, held_datagrams=32 if seed % 2 else 4096)
    faults = Faults(receiver, chance, loss=0.2, duplicate=0.05, reorder=0.1)
    wire: list[tuple[int, int, bytes]] = []  # (arrival, line, datagram)
    delivered: list[bytes] = []
    sent: list[bytes] = []
    now_ns = requests = 0
    while not receiver.ended:
        assert now_ns < 300_000 * MS, f"seed {seed}: still at {receiver.next_number} of {len(sent)}"
        packets = sender.due(now_ns)
        if len(sent) < 3000 and chance.random() < 0.5:
            messages = [b"%d" % (len(sent) + i) for i in range(chance.randint(1, 200))]
            store.extend(messages)
            sent += messages
            packets += sender.send(messages, now_ns)
        elif len(sent) >= 3000 and not sender.ended:
            packets += sender.end(now_ns)
            store.end()
        wire += [(now_ns + chance.randint(0, MS), 0, packet) for packet in packets]
        for request in receiver.requests(now_ns):
            requests += 1
            reply = server.respond(request) if chance.random() > 0.2 else None
            if reply is not None:
                wire.append((now_ns + chance.randint(0, 2 * MS), 1, reply))
        now_ns += MS
        arrived = sorted(packet for packet in wire if packet[0] <= now_ns)
        wire = [packet for packet in wire if packet[0] > now_ns]
        for _, line, packet in arrived:
            faults.receive_datagram(packet, now_ns, line)
            while batch := receiver.messages():
                delivered += batch.payloads()
    assert delivered == sent
    assert requests > 0
    assert server.counters.replies > 0
    silent = server.counters.requests - server.counters.replies
    assert silent == 0 or codec is MOLDUDP  # a marker that is not there yet can be asked for
