"""The publisher: every committed record once on every line, and no heartbeat ahead of what was sent."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from moldudp import MOLDUDP64
from rewinder.counters import Counters
from rewinder.log import MessageLog
from rewinder.memory import MemoryStorage
from rewinder.record import Kind, Stamp
from sequencer.publisher import BATCH_DATAGRAMS, TURN_BATCHES, Line, Publisher

if TYPE_CHECKING:
    from collections.abc import Iterator

SESSION = b"TEST      "
MS = 1_000_000
SO_NO_CHECK = 11  # asm-generic/socket.h; without checksums the kernel cuts nothing into datagrams


class Wire:
    """A line that ends in a socket of this process."""

    def __init__(self, name: str, *, udp: bool = False) -> None:
        if udp:
            ours, theirs = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
            theirs.bind(("127.0.0.1", 0))
            ours.connect(theirs.getsockname())
        else:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        ours.setblocking(False)
        theirs.setblocking(False)
        self.line = Line(name, ours)
        self.receiver = theirs
        self.following = 1
        self.heartbeats: list[int] = []
        self.ends: list[int] = []

    def read(self, most: int = 1 << 30) -> int:
        """Take up to `most` packets, and check that records come in order; returns how many packets."""
        for count in range(most):
            try:
                packet = MOLDUDP64.decode(self.receiver.recv(2048))
            except BlockingIOError:
                return count
            number = packet.header.sequence_number
            if packet.end_of_session:
                self.ends.append(number)
            elif not packet.messages:
                self.heartbeats.append(number)
                assert number == self.following, "a heartbeat announced what was not sent"
            else:
                assert number == self.following
                self.following += len(packet.messages)
        return most

    def close(self) -> None:
        self.line.socket.close()
        self.receiver.close()


@pytest.fixture
def wires() -> Iterator[list[Wire]]:
    made = [Wire("a"), Wire("b")]
    yield made
    for wire in made:
        wire.close()


def filled_log(count: int, payload: bytes = bytes(200)) -> MessageLog:
    log = MessageLog.create(MemoryStorage(), SESSION, durability="memory", segment_bytes=1 << 20)
    for n in range(count):
        log.append(payload, Stamp(n, n + 1, b"ALPHA "))
    return log


def publisher_of(log: MessageLog, wires: list[Wire]) -> Publisher:
    return Publisher(log, [wire.line for wire in wires], Counters(), 1472, 1)


def turns(publisher: Publisher, commit: int, wires: list[Wire], now_ns: int = 0, limit: int = 10_000) -> int:
    """Turns of a process, with timers and with readers that keep up; returns the time after them."""
    for _ in range(limit):
        now_ns += MS
        deadline_ns = publisher.deadline_ns()
        if deadline_ns is not None and deadline_ns <= now_ns:
            publisher.handle_timer(now_ns)
        publisher.publish(commit, now_ns)
        for wire in wires:
            wire.read()
        if publisher.next_number > commit and not publisher.behind:
            return now_ns
    raise AssertionError("it never got there")


def test_everything_goes_out_once_on_both_lines(wires: list[Wire]) -> None:
    log = filled_log(20_000)
    turns(publisher_of(log, wires), 20_000, wires)
    assert [wire.following for wire in wires] == [20_001, 20_001]


def test_nothing_beyond_the_commit_number_goes_out(wires: list[Wire]) -> None:
    log = filled_log(100)
    publisher = publisher_of(log, wires)
    now_ns = turns(publisher, 37, wires)
    assert [wire.following for wire in wires] == [38, 38]
    turns(publisher, 100, wires, now_ns)
    assert [wire.following for wire in wires] == [101, 101]


def test_a_turn_sends_what_it_packs(wires: list[Wire]) -> None:
    """What was packed and left for later would be announced by the next heartbeat, and asked for by everybody."""
    log = filled_log(3 * BATCH_DATAGRAMS)
    publisher = publisher_of(log, wires[:1])
    publisher.publish(log.last, MS)
    while publisher.behind:  # the socket of this test is small
        wires[0].read()
        publisher.publish(log.last, publisher.deadline_ns() or 0)
    wires[0].read()
    assert wires[0].following == publisher.next_number


def test_a_long_backlog_takes_several_turns_that_follow_at_once(wires: list[Wire]) -> None:
    log = filled_log(0)
    for n in range(TURN_BATCHES * BATCH_DATAGRAMS + 10):
        log.append(bytes(1400), Stamp(n, n + 1, b"ALPHA "))
    publisher = publisher_of(log, [])  # no line is ever full
    publisher.publish(log.last, MS)
    assert 1 < publisher.next_number <= TURN_BATCHES * BATCH_DATAGRAMS + 1
    while publisher.next_number <= log.last:
        assert publisher.deadline_ns() == 0
        publisher.publish(log.last, MS)
    assert publisher.next_number == log.next_number


def test_no_heartbeat_while_a_socket_is_full(wires: list[Wire]) -> None:
    log = filled_log(5000)
    publisher = publisher_of(log, wires[:1])
    publisher.publish(5000, MS)
    assert publisher.behind
    assert publisher.counters["publish.a.full"] == 1
    for now_ns in range(2 * MS, 3000 * MS, 100 * MS):
        publisher.handle_timer(now_ns)
    turns(publisher, 5000, wires[:1], 3000 * MS)
    assert wires[0].following == 5001


def test_heartbeats_in_quiet_times_and_ends_after_the_end(wires: list[Wire]) -> None:
    log = filled_log(3)
    publisher = publisher_of(log, wires)
    now_ns = turns(publisher, 3, wires)
    for _ in range(8):
        now_ns = publisher.deadline_ns() or 0
        publisher.handle_timer(now_ns)
    wires[0].read()
    assert wires[0].heartbeats[-8:] == [4] * 8
    quiet = len(wires[0].heartbeats)
    log.append(b"", Stamp(9, 0, b"SEQ1  ", Kind.END))
    now_ns = turns(publisher, 4, wires, now_ns)
    for _ in range(5):
        publisher.handle_timer(publisher.deadline_ns() or 0)
    wires[0].read()
    assert wires[0].ends == [5] * 5
    assert len(wires[0].heartbeats) == quiet


def test_a_record_that_fits_no_packet_is_counted_and_passed_over(wires: list[Wire]) -> None:
    log = filled_log(2)
    log.append(bytes(5000), Stamp(5, 3, b"ALPHA "))
    publisher = publisher_of(log, [])
    turns(publisher, 3, [])
    assert publisher.next_number == 4
    assert publisher.counters["publish.oversized"] == 1


@pytest.fixture
def udp_wires() -> Iterator[list[Wire]]:
    made = [Wire("a", udp=True), Wire("b", udp=True)]
    yield made
    for wire in made:
        wire.close()


def test_equal_datagrams_leave_in_one_piece_and_arrive_one_by_one(udp_wires: list[Wire]) -> None:
    log = filled_log(100)
    for n in range(100, 200):
        log.append(bytes(n), Stamp(n, n + 1, b"ALPHA "))
    publisher = publisher_of(log, udp_wires)
    publisher.publish(200, MS)
    assert [wire.line.segmented for wire in udp_wires] == [True, True]
    datagrams = [wire.read() for wire in udp_wires]
    assert datagrams == [wire.line.datagrams for wire in udp_wires]
    assert [wire.following for wire in udp_wires] == [201, 201]


def test_a_line_that_refuses_segments_gets_one_datagram_after_the_other(udp_wires: list[Wire]) -> None:
    log = filled_log(100)
    udp_wires[0].line.socket.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    publisher = publisher_of(log, udp_wires)
    for commit in (60, 100):
        publisher.publish(commit, MS)
    assert [wire.line.segmented for wire in udp_wires] == [False, True]
    assert publisher.counters["publish.a.unsegmented"] == 1
    for wire in udp_wires:
        wire.read()
    assert [wire.following for wire in udp_wires] == [101, 101]


def test_a_line_that_is_not_udp_gets_one_datagram_after_the_other(wires: list[Wire]) -> None:
    assert [wire.line.segmented for wire in wires] == [False, False]
