"""The submit port: what a sender is told of its messages, on one connection and over several."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from native.messages import MessageTable
from rewinder.counters import Counters
from rewinder.log import MessageLog
from rewinder.memory import MemoryStorage
from rewinder.record import Kind, Stamp, epoch_payload
from rewinder.segment import segment_name
from rewinder.service import Client, Denied, Granted
from seqcast._native import Outbox
from seqcast.submission import Submission
from sequencer import submit, tracing
from sequencer.ordering import Ordering
from sequencer.submit import SubmitPort
from souptcp import SOUPBINTCP, LoginRequest, ServerSession

SESSION = b"TEST      "
PROTOCOL = (Path(__file__).parents[2] / "docs" / "PROTOCOL.md").read_text(encoding="utf-8")
HEAD = struct.Struct(">QB")
ANSWER = struct.Struct(">QQI")

Told = tuple[int, int, int]  # sequence, number, count


@define(eq=False)
class FakeConnection:
    """Takes what the session has to say, as long as `takes` is set."""

    session: ServerSession
    takes: bool = True
    sent: bytearray = field(factory=bytearray)

    def fileno(self) -> int:
        return 5

    def write(self, now_ns: int, *, more: bool = False) -> bool:
        if self.takes:
            self.sent += self.session.take_output(now_ns)
        return not self.session.output_bytes

    def send(self, packets: memoryview, now_ns: int) -> bool:
        self.session.send_framed(packets)
        return self.write(now_ns)

    def abandon(self) -> None:
        """Nothing is open."""


@define(eq=False)
class FakePump:
    """What is waited for: the pump's view of the one descriptor."""

    timers: Any = field(init=False)
    events: int = 1

    def __attrs_post_init__(self) -> None:
        self.timers = self

    def change(self, _fileno: int, events: int) -> None:
        self.events = events

    def watch(self, _timed: object) -> None:
        """No time passes."""


@define(eq=False)
class FakeService:
    application: SubmitPort
    counters: Counters = field(factory=Counters)
    pump: FakePump = field(factory=FakePump)
    name: str = "submit"

    def release(self, client: Client) -> None:
        client.gone = True
        self.application.ended(client)

    drop = release

    def linger(self, connection: Any, now_ns: int, _patience_ns: int) -> None:
        connection.write(now_ns)
        connection.session.close()


class FakeAdmission:
    def check(self, client: Client, request: LoginRequest) -> Denied | None:
        client.user = request.user
        return None


@define(eq=False)
class Peer:
    """One connection of a sender."""

    port: Port
    client: Any
    accepted: int  # the number in Login Accepted
    debug: str = ""

    def submit(self, first: int, count: int) -> None:
        """Frames `first` and following arrive in one read."""
        packets = [HEAD.pack(sequence, 3) + b"%d" % sequence for sequence in range(first, first + count)]
        table, offset = MessageTable(len(packets)), 0
        for row, packet in enumerate(packets):
            table.set(row, 0, offset, len(packet))
            offset += len(packet)
        messages = table.view(memoryview(b"".join(packets)), len(packets))
        self.port.submit.unsequenced(self.client, messages, 0)
        self.client.flush(0)

    def room(self) -> None:
        """The peer has taken what it was sent: what the pump does then."""
        if self.client.service.pump.events & 4 and not self.client.gone:
            self.client.on_ready(4, 0)

    def raw(self) -> list[bytes]:
        """The answers since the last call."""
        connection = self.client.connection
        data, at, answers = bytes(connection.sent), 0, []
        connection.sent.clear()
        while at < len(data):
            length = int.from_bytes(data[at : at + 2], "big")
            kind, payload = data[at + 2 : at + 3], data[at + 3 : at + 2 + length]
            if kind == b"U":
                answers.append(payload)
            elif kind == b"+":
                self.debug = payload.decode()
            at += 2 + length
        return answers

    def told(self) -> list[Told]:
        return [ANSWER.unpack(answer) for answer in self.raw()]

    @property
    def reading(self) -> bool:
        """Whether the port reads this connection."""
        return bool(self.client.service.pump.events & 1)


class Port:
    """The submit port of a primary, whose log has one record; `commit` stands in for the quorum."""

    def __init__(self, segment_bytes: int = 1 << 20) -> None:
        self.disk = MemoryStorage()
        self.log = MessageLog.create(self.disk, SESSION, durability="memory", segment_bytes=segment_bytes)
        self.log.append(epoch_payload(1, "SEQ1"), Stamp(0, 1, b"SEQ1  ", Kind.EPOCH))
        self.log.commit = 1
        self.counters = Counters()
        admission: Any = FakeAdmission()
        clock: Any = type("Clock", (), {"utc_ns": 1})
        self.submit = SubmitPort(
            self.log, Ordering(self.log, 1000), admission, self.counters, clock, lambda _error: None
        )
        self.submit.refuse = None
        self.submit.open()

    def log_in(self, user: str, number: int = 0) -> Peer:
        session = ServerSession(SOUPBINTCP, now_ns=0)
        service: Any = FakeService(self.submit)
        connection: Any = FakeConnection(session)
        client = Client(service, connection, session)
        request = LoginRequest(user, "", SESSION, number)
        list(session.receive(SOUPBINTCP.encode_login(request), 0))
        granted = self.submit.login(client, request, 0)
        assert isinstance(granted, Granted)
        client.logged_in = True
        session.accept(granted.session, granted.sequence_number, 0)
        session.take_output(0)
        self.submit.started(client, 0)
        client.flush(0)
        return Peer(self, client, granted.sequence_number)

    def commit(self, number: int | None = None) -> None:
        """Records up to `number` (all) are committed, and the turn ends."""
        first, last = self.log.commit + 1, self.log.last if number is None else number
        self.log.commit = max(last, self.log.commit)
        self.submit.committed(first, last, 0)
        self.submit.press(0)

    def fill(self, sender: str, count: int, *, first: int = 1) -> None:
        """Records of a sender that is not there any more."""
        for sequence in range(first, first + count):
            self.log.append(b"x" * 20, Stamp(self.log.last_time_ns, sequence, sender.encode().ljust(6)))


# the first answer


def test_the_first_answer_says_how_far_this_user_is() -> None:
    port = Port()
    assert port.log_in("ALPHA").told() == [(0, 0, 0)]
    port.fill("BETA", 2)
    port.commit()
    peer = port.log_in("BETA")
    assert peer.told() == [(2, 3, 0)]
    assert peer.accepted == 4


def test_the_first_answer_waits_for_the_commit_of_what_is_in_the_log() -> None:
    port = Port()
    port.fill("ALPHA", 3)
    peer = port.log_in("ALPHA")
    assert peer.accepted == 2  # records of this user lie there, and above
    port.commit(3)
    assert peer.told() == []
    port.commit(4)
    assert peer.told() == [(3, 4, 0)]


def test_who_sends_before_the_first_answer_is_told_of_that_in_it() -> None:
    port = Port()
    port.fill("ALPHA", 1)
    peer = port.log_in("ALPHA")
    peer.submit(1, 3)  # one of them a duplicate, which is not answered before the first answer
    assert peer.told() == []
    port.commit()
    assert peer.told() == [(3, 4, 0)]
    peer.submit(4, 1)
    port.commit()
    assert peer.told() == [(4, 5, 1)]


# runs


def test_what_was_stamped_together_is_told_in_one_answer() -> None:
    port = Port()
    peer = port.log_in("ALPHA")
    peer.submit(1, 3)
    peer.submit(4, 2)
    assert peer.told() == [(0, 0, 0)]
    port.commit()
    assert peer.told() == [(5, 6, 5)]


def test_what_lies_between_other_senders_is_told_run_by_run() -> None:
    port = Port()
    alpha, beta = port.log_in("ALPHA"), port.log_in("BETA")
    alpha.submit(1, 2)
    beta.submit(1, 3)
    alpha.submit(3, 1)
    port.fill("GAMMA", 1)
    alpha.submit(4, 4)
    port.commit()
    assert alpha.told() == [(0, 0, 0), (2, 3, 2), (3, 7, 1), (7, 12, 4)]
    assert beta.told() == [(0, 0, 0), (3, 6, 3)]


def test_a_run_that_is_committed_in_part_is_told_in_parts() -> None:
    port = Port()
    peer = port.log_in("ALPHA")
    peer.submit(1, 10)
    peer.told()
    for commit, told in ((1, []), (2, [(1, 2, 1)]), (3, [(2, 3, 1)]), (7, [(6, 7, 4)])):
        port.commit(commit)
        assert peer.told() == told
    peer.submit(11, 2)
    port.commit()
    assert peer.told() == [(12, 13, 6)]


def test_a_run_over_several_segments_is_told_in_parts() -> None:
    port = Port(1 << 17)
    peer = port.log_in("ALPHA")
    peer.submit(1, 4000)
    firsts = [*port.log.segments[1:], port.log.last + 1]
    assert len(firsts) > 1
    port.commit()
    before = [2, *firsts]
    parts = [(end - 2, end - 1, end - begin) for begin, end in zip(before, firsts, strict=False)]
    assert peer.told() == [(0, 0, 0), *parts]


def test_more_runs_than_are_told_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "ANSWERED_RUNS", 3)
    port = Port()
    alpha, beta = port.log_in("ALPHA"), port.log_in("BETA")
    port.fill("GAMMA", 1)
    for sequence in range(1, 6):
        alpha.submit(sequence, 1)
        beta.submit(sequence, 1)
    late = port.log_in("GAMMA")
    port.commit()
    assert alpha.told() == [(0, 0, 0), *((n, 2 * n + 1, 1) for n in range(1, 6))]
    assert beta.told() == [(0, 0, 0), *((n, 2 * n + 2, 1) for n in range(1, 6))]
    assert late.told() == [(1, 2, 0)]


def test_what_the_first_answer_covers_is_not_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it was given in the middle of going through what became committed with it."""
    monkeypatch.setattr(submit, "ANSWERED_RUNS", 1)
    port = Port()
    port.fill("ALPHA", 1)
    port.fill("BETA", 1)
    port.fill("ALPHA", 1, first=2)
    alpha = port.log_in("ALPHA", 1)
    port.commit()
    assert alpha.told() == [(2, 4, 0), (1, 2, 1), (2, 4, 1)]


def test_a_duplicate_is_answered_with_nothing_new() -> None:
    port = Port()
    peer = port.log_in("ALPHA")
    peer.submit(1, 3)
    port.commit(3)
    peer.told()
    peer.submit(2, 3)  # 4 is new
    assert peer.told() == [(2, 3, 0)]
    port.commit()
    assert peer.told() == [(4, 5, 2)]


# what a sender was not told on an earlier connection


def interleaved(port: Port) -> list[Told]:
    """Records 2 to 13, two in three of ALPHA; returns the runs of ALPHA."""
    for index in range(4):
        port.fill("ALPHA", 2, first=2 * index + 1)
        port.fill("BETA", 1, first=index + 1)
    port.commit()
    return [(2, 3, 2), (4, 6, 2), (6, 9, 2), (8, 12, 2)]


@pytest.mark.parametrize("number", range(15))
def test_a_login_at_a_number_is_told_what_lies_there_and_above(number: int) -> None:
    port = Port()
    runs = interleaved(port)
    expected = [
        (sequence, last, min(count, last - number + 1)) for sequence, last, count in runs if number <= last
    ]
    assert port.log_in("ALPHA", number).told() == [(8, 12, 0), *(expected if number else [])]


def test_the_trace_waits_for_the_first_answer() -> None:
    port = Port()
    port.fill("ALPHA", 4)
    peer = port.log_in("ALPHA", 3)
    port.commit(4)
    assert peer.told() == []
    port.commit()
    assert peer.told() == [(4, 5, 0), (4, 5, 3)]


def test_a_user_who_has_nothing_in_the_stream_is_told_of_nothing() -> None:
    port = Port()
    interleaved(port)
    assert port.log_in("GAMMA", 1).told() == [(0, 0, 0)]


def test_a_trace_begins_with_the_first_record_that_is_kept() -> None:
    log: Any = type("Log", (), {"first": 10})
    tracer = tracing.Tracer(log)
    trace = tracer.begin(b"ALPHA ", 3, 12)
    assert trace is not None
    assert (trace.next, trace.last) == (10, 12)
    assert tracer.begin(b"ALPHA ", 3, 9) is None


def test_a_trace_goes_on_from_turn_to_turn_and_what_comes_meanwhile_is_told_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracing, "TURN_RECORDS", 4)
    port = Port()
    runs = interleaved(port)
    port.submit.press(0)
    peer = port.log_in("ALPHA", 1)
    assert peer.told() == [(8, 12, 0), runs[0]]  # records 1 to 4
    assert not peer.reading
    peer.submit(9, 2)  # came in the same read as the login
    port.commit()
    assert peer.told() == []
    peer.room()
    assert peer.told() == [runs[1]]
    peer.room()
    assert peer.told() == []  # it is the same turn
    port.submit.held = True
    port.submit.press(0)
    port.submit.held = False
    port.submit.press(0)
    assert not peer.reading
    peer.room()
    assert peer.told() == [runs[2], runs[3]]
    assert not peer.reading  # what it sent meanwhile is committed, too, and is read in the next turn
    port.submit.press(0)
    peer.room()
    assert peer.told() == [(10, 15, 2)]
    assert peer.reading
    peer.submit(11, 1)
    port.commit()
    assert peer.told() == [(11, 16, 1)]


def test_senders_who_are_held_back_are_not_read_after_a_trace_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "TURN_RECORDS", 8)
    port = Port()
    interleaved(port)
    port.submit.held = True
    port.submit.press(0)
    peer = port.log_in("ALPHA", 1)
    port.submit.press(0)
    peer.room()
    assert peer.told()[-1] == (8, 12, 2)
    assert not peer.reading
    port.submit.held = False
    port.submit.press(0)
    assert peer.reading


def test_all_traces_of_a_turn_share_what_may_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "TURN_RECORDS", 12)
    port = Port()
    runs = interleaved(port)
    port.submit.press(0)
    alpha, beta = port.log_in("ALPHA", 1), port.log_in("BETA", 1)
    assert alpha.told() == [(8, 12, 0), *runs]
    assert beta.told() == [(4, 13, 0)]
    port.submit.press(0)
    beta.room()
    assert beta.told() == [(1, 4, 1), (2, 7, 1), (3, 10, 1)]
    port.submit.press(0)
    beta.room()
    assert beta.told() == [(4, 13, 1)]


def test_a_sender_that_does_not_take_its_answers_gets_no_more_of_them() -> None:
    port = Port()
    for sequence in range(1, 10_001):
        port.fill("ALPHA", 1, first=sequence)
        port.fill("BETA", 1, first=sequence)
    port.commit()
    port.submit.press(0)
    peer = port.log_in("ALPHA", 1)
    assert len(peer.told()) == 1 + tracing.SLICE_ANSWERS
    peer.client.connection.takes = False
    for _ in range(100):
        port.submit.press(0)
        peer.room()
    assert peer.client.session.output_bytes == tracing.SLICE_ANSWERS * (ANSWER.size + 3)
    peer.client.connection.takes = True
    told = []
    for _ in range(10):
        port.submit.press(0)
        peer.room()
        told += peer.told()
    assert len(told) == 10_000 - tracing.SLICE_ANSWERS
    assert told[-1] == (10_000, port.log.last - 1, 1)
    assert not peer.client.gone


def test_a_trace_reads_through_all_segments() -> None:
    port = Port(1 << 17)
    port.fill("ALPHA", 6000)
    assert len(port.log.segments) > 2
    port.commit()
    peer = port.log_in("ALPHA", 100)
    told = peer.told()
    while not peer.reading:
        port.submit.press(0)
        peer.room()
        told += peer.told()
    assert told == [(6000, 6001, 0), (6000, 6001, 5902)]


def test_a_log_that_cannot_be_read_ends_that_connection_alone() -> None:
    port = Port(1 << 17)
    port.fill("ALPHA", 6000)
    port.fill("BETA", 1)
    port.commit()
    port.log.close()
    disk = port.disk.killed()
    disk.damage(segment_name(1), 5000)
    log = MessageLog.open(disk, SESSION, durability="memory", verify_bytes=0)
    log.commit = log.last
    port.log = port.submit.log = port.submit.ordering.log = port.submit._tracer.log = log
    beta = port.log_in("BETA", log.last)
    assert beta.told() == [(1, log.last, 0), (1, log.last, 1)]
    alpha = port.log_in("ALPHA", 1)
    assert alpha.told() == [(6000, 6001, 0)]
    assert alpha.client.gone
    assert "cannot be read" in alpha.debug
    assert "offset" in alpha.debug
    assert port.counters["submit.unreadable"] == 1
    assert not beta.client.gone


def test_a_second_login_is_told_what_the_first_was_not() -> None:
    port = Port()
    first = port.log_in("ALPHA")
    first.submit(1, 2)
    port.commit()
    first.submit(3, 2)
    port.fill("BETA", 1)
    first.submit(5, 1)
    second = port.log_in("ALPHA", 4)
    assert first.client.gone
    port.commit()
    assert second.told() == [(5, 7, 0), (4, 5, 2), (5, 7, 1)]


def test_the_example_of_the_protocol_is_what_the_port_sends() -> None:
    port = Port()
    port.fill("ALPHA", 2)
    port.fill("BETA", 1)
    port.fill("ALPHA", 2, first=3)
    port.fill("BETA", 1, first=2)
    port.fill("ALPHA", 1, first=5)
    port.commit()
    peer = port.log_in("ALPHA", 3)
    example = PROTOCOL[PROTOCOL.index("ALPHA logs in at number 3") :].split("```")[1]
    assert bytes(peer.client.connection.sent) == bytes.fromhex(example)


# a sender and the port together


@given(st.data())
def test_every_frame_is_told_its_number_once_whatever_breaks(data: st.DataObject) -> None:
    """The sender's machine against the port: answers are lost with connections, commits come in any portion."""
    tracing_records = data.draw(st.sampled_from([1, 3, 1 << 14]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracing, "TURN_RECORDS", tracing_records)
        port = Port()
        submission = Submission(Outbox(1 << 16))
        numbers: dict[int, int] = {}
        others = 0
        peer: Peer | None = None

        def hear() -> None:
            assert peer is not None
            for payload in peer.raw():
                answer = submission.answer(payload)
                for back in range(answer.frames):
                    assert numbers.setdefault(answer.sequence - back, answer.number - back) == (
                        answer.number - back
                    )

        def connect() -> Peer:
            submission.connected()
            found = port.log_in("ALPHA", submission.wanted)
            submission.accepted(found.accepted)
            return found

        actions = st.sampled_from(["send", "other", "commit", "hear", "turn", "break"])
        for action in data.draw(st.lists(actions, max_size=60)):
            if peer is None:
                peer = connect()
            if action == "send" and submission.answered and peer.reading:
                outbox = submission.outbox
                count = data.draw(st.integers(1, 4))
                table = MessageTable(count)
                outbox.put(table.view(memoryview(b"\0"), count), 0, 100)
                unsent = bytes(outbox.unsent)
                first = int.from_bytes(unsent[3:11], "big")
                outbox.left(len(unsent))
                peer.submit(first, outbox.next_sequence - first)
            elif action == "other":
                others += 1
                port.fill("BETA", 1, first=others)
            elif action == "commit":
                port.commit(data.draw(st.integers(port.log.commit, port.log.last)))
            elif action == "hear":
                hear()
            elif action == "turn":
                port.submit.press(0)
                peer.room()
            elif action == "break":
                peer.client.close("broken", 0)
                peer = None
        peer = peer or connect()
        port.commit()
        for _ in range(port.log.last + 2):
            hear()
            port.submit.press(0)
            peer.room()
        hear()
        expected = {}
        for number in range(1, port.log.last + 1):
            record = port.log.messages(number, 1)[0]
            if bytes(record[-26:-20]) == b"ALPHA ":
                expected[int.from_bytes(record[-20:-12], "big")] = number
        assert numbers == expected
        assert submission.told_sequence == submission.committed_sequence == len(expected)
