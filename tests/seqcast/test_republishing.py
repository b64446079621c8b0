"""The machines that multicast a stream again: packets, timetables, numbers, and what can be requested."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moldudp import MOLDUDP64, RequestServer
from native.messages import Messages, MessageTable, table_of
from rewinder.record import Kind, Stamp, stamp_record
from seqcast.packing import Packer
from seqcast.plain_feed import MESSAGE_BYTES_MOST, PlainFeed
from seqcast.recent import RecentPackets
from seqcast.retransmission import MAX_SPEED, Retransmission, Timetable

SESSION = b"SESSION   "
SECOND = 1_000_000_000


def records(times: list[int], first: int = 1, sizes: list[int] | None = None) -> Messages:
    """Records with these times, numbered from `first` on."""
    made = [
        stamp_record(
            bytes(10 if sizes is None else sizes[index]), first + index, Stamp(time_ns, 1, b"ALPHA ")
        )
        for index, time_ns in enumerate(times)
    ]
    table = MessageTable(max(1, len(made)))
    offset = 0
    for row, record in enumerate(made):
        table.set(row, first + row, offset, len(record))
        offset += len(record)
    return table.view(memoryview(b"".join(made)), len(made))


def opened(packets: list[tuple[int, bytes, int]]) -> list[tuple[int, int, tuple[bytes, ...]]]:
    """(time, number, messages) of each packet."""
    found = []
    for time_ns, data, count in packets:
        packet = MOLDUDP64.decode(data)
        assert (packet.header.session, len(packet.messages)) == (SESSION, count)
        found.append((time_ns, packet.header.sequence_number, packet.messages))
    return found


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 600)), max_size=40),
    st.lists(st.integers(1, 9), max_size=10),
    st.integers(100, 1500),
)
def test_packets_follow_from_the_records_however_they_come(
    rows: list[tuple[int, int]], cuts: list[int], capacity: int
) -> None:
    times = sorted(time for time, _ in rows)
    sizes = [size for _, size in rows]
    whole = records(times, 7, sizes)
    packer = Packer(SESSION, capacity)
    at_once = opened([*packer.take(whole), *packer.rest()])
    packer = Packer(SESSION, capacity)
    packets: list[tuple[int, bytes, int]] = []
    left = whole
    for cut in [*cuts, len(rows)]:
        packets += packer.take(left.before(cut))
        left = left.after(cut)
    assert opened([*packets, *packer.rest()]) == at_once
    number = 7
    for time_ns, first, messages in at_once:
        assert first == number
        assert {times[first - 7 + index] for index in range(len(messages))} == {time_ns}
        assert len(messages) == 1 or 20 + sum(2 + len(each) for each in messages) <= capacity
        number += len(messages)
    assert number == 7 + len(rows)
    for (time_ns, _, messages), (following_ns, _, more) in pairwise(at_once):
        full = 20 + sum(2 + len(each) for each in (*messages, more[0])) > capacity
        assert time_ns < following_ns or full, "as few packets as there can be"
    packer = Packer(SESSION, capacity, timed=False)
    untimed = opened(list(packer.take(whole)))
    assert [each for _, _, messages in untimed for each in messages] == whole.payloads()
    assert list(packer.rest()) == []


class TestTimetable:
    def due(self, timetable: Timetable, times: list[int]) -> list[int]:
        return [timetable.due_ns(time, 1000) for time in times]

    def test_it_keeps_the_distances(self) -> None:
        assert self.due(Timetable(1.0), [50, 50, 60, 150]) == [1000, 1000, 1010, 1100]
        assert self.due(Timetable(10.0), [50, 60, 150]) == [1000, 1001, 1010]
        assert self.due(Timetable(0.5), [50, 60]) == [1000, 1020]

    def test_as_fast_as_it_goes(self) -> None:
        assert self.due(Timetable(MAX_SPEED), [50, 10**18]) == [0, 0]

    def test_a_long_pause_is_cut(self) -> None:
        hour = 3600 * SECOND
        assert self.due(Timetable(1.0, SECOND), [0, hour, hour + 5, 3 * hour]) == [
            1000,
            1000 + SECOND,
            1005 + SECOND,
            1005 + 2 * SECOND,
        ]
        assert self.due(Timetable(10.0, SECOND), [0, 5 * SECOND, hour])[1:] == [
            1000 + SECOND // 2,
            1000 + 3 * SECOND // 2,
        ]


class TestRetransmission:
    def machine(self, batches: Iterator[Messages], speed: float = 1.0) -> Retransmission:
        return Retransmission(SESSION, batches, Timetable(speed), 1472, end_ns=3 * SECOND)

    def run(self, machine: Retransmission, begun_ns: int = 10 * SECOND) -> list[tuple[int, bytes]]:
        """All that is sent, with the time, by somebody who is there exactly when he should be."""
        sent, now_ns = [], begun_ns
        while not machine.over(now_ns):
            sent += [(now_ns - begun_ns, packet) for packet, _ in machine.take(now_ns, 8)]
            assert len(sent) < 100
            now_ns = max(now_ns, machine.deadline_ns())
        return sent

    def test_packets_heartbeats_and_the_end(self) -> None:
        times = [5 * SECOND, 5 * SECOND, 8 * SECOND]
        sent = self.run(self.machine(iter([records(times)])))
        packets = [(time_ns, MOLDUDP64.decode(packet)) for time_ns, packet in sent]
        data = [
            (time_ns, each.header.sequence_number, len(each.messages))
            for time_ns, each in packets
            if each.messages
        ]
        assert data == [(0, 1, 2), (3 * SECOND, 3, 1)]
        beats = [
            (time_ns, each.header.sequence_number) for time_ns, each in packets if each.header.count == 0
        ]
        assert {number for _, number in beats} == {3}
        moments = sorted([0, *(time_ns for time_ns, _ in beats), 3 * SECOND])
        assert max(later - earlier for earlier, later in pairwise(moments)) <= SECOND
        ends = [(time_ns, each.header.sequence_number) for time_ns, each in packets if each.end_of_session]
        assert ends[0] == (3 * SECOND, 4)
        assert {number for _, number in ends} == {4}
        assert ends[-1][0] >= 5 * SECOND

    def test_what_leaves_late_is_measured(self) -> None:
        machine = self.machine(iter([records([0, 100, 200])]))
        now_ns = SECOND
        assert len(list(machine.take(now_ns, 8))) == 1
        assert len(list(machine.take(now_ns + 150, 8))) == 1
        assert (machine.sent, machine.lateness.count, machine.lateness.max_ns) == (2, 2, 50)

    def test_a_source_that_has_nothing_now(self) -> None:
        nothing = MessageTable(1).view(memoryview(b""), 0)
        machine = self.machine(iter([records([0]), nothing, records([10], 2)]), MAX_SPEED)
        assert [count for _, count in machine.take(1, 8)] == [1]
        assert not machine.ended
        assert [count for _, count in machine.take(2, 8)] == [1, 0]
        assert (machine.ended, machine.sent, machine.next_number) == (True, 2, 3)

    def test_a_turn_is_bounded(self) -> None:
        machine = self.machine(iter([records(list(range(100)))]))
        list(machine.take(SECOND, 8))
        assert len(list(machine.take(2 * SECOND, 8))) == 8


class TestPlainFeed:
    def numbers(self, feed: PlainFeed, payloads: list[bytes]) -> list[tuple[int, tuple[bytes, ...]]]:
        return [
            (number, MOLDUDP64.decode(packet).messages)
            for number, packet, _ in feed.take(table_of(payloads), 0)
        ]

    @given(st.lists(st.binary(max_size=300), max_size=60), st.integers(1, 60))
    def test_numbers_do_not_depend_on_the_batches(self, payloads: list[bytes], size: int) -> None:
        feed = PlainFeed(SESSION, 400)
        found: dict[int, bytes] = {}
        for start in range(0, len(payloads), size):
            for number, messages in self.numbers(feed, payloads[start : start + size]):
                found |= dict(enumerate(messages, number))
        assert found == dict(enumerate(payloads, 1))
        assert feed.next_number == len(payloads) + 1

    def test_a_message_that_no_datagram_carries_takes_no_number(self) -> None:
        feed = PlainFeed(SESSION, 1472)
        long, longest = b"l" * 5000, b"x" * MESSAGE_BYTES_MOST
        found = self.numbers(feed, [b"a", longest + b"x", long, bytes(1 << 17), longest, b"b"])
        assert found == [(1, (b"a",)), (2, (long,)), (3, (longest,)), (4, (b"b",))]
        assert (feed.oversized, feed.next_number) == (2, 5)

    def test_heartbeats_and_the_end(self) -> None:
        feed = PlainFeed(SESSION, 1472)
        assert feed.due(0) == MOLDUDP64.heartbeat(SESSION, 1)
        list(feed.take(table_of([b"a"]), SECOND))
        assert feed.due(SECOND) is None
        assert feed.due(feed.deadline_ns()) == MOLDUDP64.heartbeat(SESSION, 2)
        assert feed.end(3 * SECOND) == MOLDUDP64.end_of_session(SESSION, 2)
        assert feed.due(feed.deadline_ns()) == MOLDUDP64.end_of_session(SESSION, 2)


class TestRecentPackets:
    def store(self, limit: int, rows: list[list[bytes]], first: int = 1) -> RecentPackets:
        store = RecentPackets(SESSION, limit)
        for messages in rows:
            store.add(first, MOLDUDP64.pack(SESSION, first, messages, 1472)[0], len(messages))
            first += len(messages)
        return store

    def test_any_message_can_be_requested(self) -> None:
        chance = random.Random(1)
        messages = [b"%d" % number * chance.randint(0, 50) for number in range(1, 201)]
        rows, left = [], list(messages)
        while left:
            cut = chance.randint(1, 9)
            rows.append(left[:cut])
            left = left[cut:]
        server = RequestServer(MOLDUDP64, self.store(1 << 20, rows))
        for first in range(1, 201):
            reply = server.respond(MOLDUDP64.request(SESSION, first, 7))
            assert reply is not None
            packet = MOLDUDP64.decode(reply)
            assert packet.header.sequence_number == first
            assert list(packet.messages) == messages[first - 1 : first + 6]
        assert server.respond(MOLDUDP64.request(SESSION, 201, 1)) is None
        assert server.respond(MOLDUDP64.request(b"OTHER     ", 1, 1)) is None

    def test_a_reply_fits_a_packet(self) -> None:
        store = self.store(1 << 20, [[bytes(100)] * 10, [bytes(100)] * 10])
        body, count = store.pack(SESSION, 3, 100, 1000)
        assert (len(body), count) == (918, 9)
        assert store.pack(SESSION, 3, 100, 50) == (b"", 0)

    def test_the_oldest_go(self) -> None:
        store = self.store(300, [[bytes(70)]] * 10)
        assert (store.size, store.first, store.last(SESSION)) == (276, 8, 10)
        assert store.pack(SESSION, 7, 1, 1000) == (b"", 0)
        assert store.pack(SESSION, 8, 9, 1000)[1] == 3

    def test_one_that_begins_later(self) -> None:
        store = self.store(1 << 20, [[b"a", b"b"], [b"c"]], first=1000)
        assert (store.first, store.last(SESSION)) == (1000, 1002)
        assert store.pack(SESSION, 999, 1, 1000) == (b"", 0)
        assert store.pack(SESSION, 1001, 5, 1000) == (
            struct.pack(">H", 1) + b"b" + struct.pack(">H", 1) + b"c",
            2,
        )

    def test_before_there_is_any(self) -> None:
        store = RecentPackets(SESSION)
        assert (store.first, store.last(SESSION)) == (1, 0)
        assert store.pack(SESSION, 1, 1, 1000) == (b"", 0)


@pytest.mark.parametrize("kind", [Kind.EPOCH, Kind.END])
def test_control_records_are_records(kind: Kind) -> None:
    record = stamp_record(b"", 1, Stamp(5, 1, b"SEQ1  ", kind))
    table = MessageTable(1)
    table.set(0, 1, 0, len(record))
    packer = Packer(SESSION, 1472)
    assert list(packer.take(table.view(memoryview(record), 1))) == []
    ((time_ns, packet, count),) = packer.rest()
    assert (time_ns, MOLDUDP64.decode(packet).messages, count) == (5, (record,), 1)
