"""The sending side: numbering, packing, the cadence of heartbeats and of the end of the session."""

from __future__ import annotations

import pytest

from moldudp import MOLDUDP, MOLDUDP64, Cadence, Codec, Downstream, LocalProtocolError
from native.messages import MessageTable

SESSION = b"SESS000001"
MS = 1_000_000


def times_until(cadence: Cadence, end_ns: int) -> list[int]:
    times = []
    while cadence.deadline_ns() <= end_ns:
        now_ns = cadence.deadline_ns()
        assert not cadence.due(now_ns - 1)
        assert cadence.due(now_ns)
        assert not cadence.due(now_ns)
        times.append(now_ns // MS)
    return times


def test_cadence_is_quick_after_traffic_and_steady_later() -> None:
    cadence = Cadence()
    cadence.sent(0)
    assert times_until(cadence, 3000 * MS) == [10, 50, 210, 850, 1850, 2850]


def test_cadence_starts_due() -> None:
    cadence = Cadence()
    assert cadence.deadline_ns() == 0
    assert cadence.due(500 * MS)
    assert times_until(cadence, 2500 * MS) == [510, 550, 710, 1350, 2350]


def test_cadence_begins_again_with_each_send() -> None:
    cadence = Cadence()
    for now_ns in range(0, 100 * MS, 5 * MS):
        cadence.sent(now_ns)
        assert not cadence.due(now_ns + 9 * MS)
    assert times_until(cadence, 200 * MS) == [105, 145]


def test_cadence_never_pauses_longer_than_its_steady_time() -> None:
    cadence = Cadence(steady_ns=100 * MS)
    cadence.sent(0)
    assert times_until(cadence, 400 * MS) == [10, 50, 150, 250, 350]


def test_late_timer_does_not_beat_twice() -> None:
    cadence = Cadence()
    cadence.sent(0)
    assert cadence.due(5000 * MS)
    assert not cadence.due(5000 * MS)
    assert cadence.deadline_ns() == 5040 * MS


def test_a_whole_session(codec: Codec) -> None:
    capacity = codec.header_bytes + 20
    sender = Downstream(codec, "SESS000001", capacity=capacity)
    assert sender.due(0) == [codec.heartbeat(SESSION, 1)]
    packets = sender.send([b"hello", b"bye", b"x" * 10], 5 * MS)
    assert packets == [
        codec.pack(SESSION, 1, [b"hello", b"bye"], capacity)[0],
        codec.pack(SESSION, 3, [b"x" * 10], capacity)[0],
    ]
    assert sender.due(14 * MS) == []
    assert sender.deadline_ns() == 15 * MS
    assert sender.due(15 * MS) == [codec.heartbeat(SESSION, 4)]
    assert sender.send([], 16 * MS) == []
    assert sender.end(20 * MS) == [codec.end_of_session(SESSION, 4)]
    assert sender.due(29 * MS) == []
    assert sender.due(30 * MS) == sender.due(70 * MS) == [codec.end_of_session(SESSION, 4)]
    with pytest.raises(LocalProtocolError, match="ended"):
        sender.send([b"x"], 71 * MS)
    with pytest.raises(LocalProtocolError, match="ended"):
        sender.end(71 * MS)


def test_batches_are_packed_like_lists(codec: Codec) -> None:
    messages = [b"%d" % number * (number % 9 + 1) for number in range(500)]
    table = MessageTable(len(messages))
    offset = 0
    for row, message in enumerate(messages):
        table.rows[row].offset, table.rows[row].length = offset, len(message)
        offset += len(message)
    batch = table.view(memoryview(b"".join(messages)), len(messages))
    packets = Downstream(codec, SESSION).send(messages, 0)
    assert Downstream(codec, SESSION).send(batch, 0) == packets
    decoded = [codec.decode(packet) for packet in packets]
    assert [message for packet in decoded for message in packet.messages] == messages
    assert max(map(len, packets)) <= codec.datagram_bytes


def test_refused_messages_take_no_numbers(codec: Codec) -> None:
    sender = Downstream(codec, SESSION, capacity=100)
    with pytest.raises(LocalProtocolError, match="above"):
        sender.send([b"a", bytes(100)], 0)
    assert sender.next_number == 1
    fits = 100 - codec.header_bytes - 2
    assert len(sender.send([bytes(fits)], 0)[0]) == 100


def test_empty_message() -> None:
    assert Downstream(MOLDUDP64, SESSION).send([b"a", b""], 0)
    sender = Downstream(MOLDUDP, SESSION)
    with pytest.raises(LocalProtocolError, match="end the session"):
        sender.send([b"a", b""], 0)
    assert sender.next_number == 1


def test_numbers_run_out(codec: Codec) -> None:
    sender = Downstream(codec, SESSION, next_number=codec.number_max)
    with pytest.raises(LocalProtocolError, match="cannot number"):
        sender.send([b"a", b"b"], 0)
    assert sender.send([b"a"], 0)
    with pytest.raises(LocalProtocolError, match="cannot number"):
        sender.send([b"b"], 0)
    assert sender.due(10 * MS) == [codec.heartbeat(SESSION, codec.number_max + 1)]
    assert sender.end(11 * MS) == [codec.end_of_session(SESSION, codec.number_max + 1)]


def test_settings_out_of_range(codec: Codec) -> None:
    with pytest.raises(LocalProtocolError):
        Downstream(codec, SESSION, capacity=codec.header_bytes + 2)
    with pytest.raises(LocalProtocolError):
        Downstream(codec, SESSION, next_number=0)
