"""What a sender has in flight, and how it gets through reconnections: each message once, in order."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from native.messages import MessageTable
from seqcast._native import Outbox
from seqcast.errors import StreamLost
from seqcast.submission import Answer, Submission


def put(submission: Submission, payload: bytes, fragment_bytes: int = 100) -> None:
    table = MessageTable(1)
    table.set(0, 0, 0, len(payload))
    assert submission.outbox.put(table.view(memoryview(payload), 1), 0, fragment_bytes) == 1


def answer(sequence: int, number: int, count: int = 0) -> bytes:
    return struct.pack(">QQI", sequence, number, count)


def frames(data: bytes | memoryview) -> list[tuple[int, int, bytes]]:
    """(sender sequence, flags, payload) of each whole frame."""
    data = bytes(data)
    found, at = [], 0
    while at + 2 <= len(data):
        length = int.from_bytes(data[at : at + 2], "big")
        body = data[at + 3 : at + 2 + length]
        if len(body) < length - 1:
            break
        found.append((int.from_bytes(body[:8], "big"), body[8], body[9:]))
        at += 2 + length
    return found


def fresh(first_answer: int = 0) -> Submission:
    submission = Submission(Outbox(10_000))
    submission.connected()
    submission.answer(answer(first_answer, first_answer))
    return submission


def sent(frame_count: int, stands: int = 1) -> Submission:
    """A sender that has sent so many frames, on a connection on which the stream stood at `stands`."""
    submission = Submission(Outbox(10_000))
    submission.connected()
    submission.accepted(stands)
    submission.answer(answer(0, 0))
    for _ in range(frame_count):
        put(submission, b"x")
    submission.outbox.left(len(submission.outbox.unsent))
    return submission


def again(submission: Submission, stands: int, first_answer: bytes) -> None:
    """A new connection."""
    submission.connected()
    submission.accepted(stands)
    submission.answer(first_answer)


def test_a_fresh_sender_begins_after_what_is_in_the_stream() -> None:
    submission = fresh(41)
    put(submission, b"x")
    assert frames(submission.outbox.unsent) == [(42, 3, b"x")]
    assert (submission.resumed_at, submission.in_flight) == (41, 1)


def test_an_answer_acknowledges_what_was_sent() -> None:
    submission = fresh()
    for payload in (b"a", b"b", b"c"):
        put(submission, payload)
    submission.outbox.left(len(submission.outbox.unsent))
    assert submission.answer(answer(2, 77, 2)) == Answer(2, 77, 2)
    assert (submission.committed_sequence, submission.committed_number, submission.in_flight) == (2, 77, 1)


def test_a_first_answer_without_a_number_acknowledges_nothing() -> None:
    submission = Submission(Outbox(1000))
    submission.connected()
    submission.answer(answer(7, 0))
    assert (submission.resumed_at, submission.committed_sequence) == (7, 0)


def test_after_a_reconnection_only_what_is_missing_is_sent_again() -> None:
    submission = fresh()
    for payload in (b"a", b"b", b"c"):
        put(submission, payload)
    submission.outbox.left(len(submission.outbox.unsent))
    submission.connected()
    submission.answer(answer(1, 10))
    assert frames(submission.outbox.unsent) == [(2, 3, b"b"), (3, 3, b"c")]
    assert submission.in_flight == 2


def test_a_frame_that_left_in_part_is_sent_again_whole() -> None:
    submission = fresh()
    put(submission, b"abcdef")
    submission.outbox.left(5)
    assert submission.outbox.mid_frame
    submission.connected()
    submission.answer(answer(0, 0))
    assert not submission.outbox.mid_frame
    assert frames(submission.outbox.unsent) == [(1, 3, b"abcdef")]


def test_a_stream_that_forgot_what_it_acknowledged_is_noticed() -> None:
    submission = fresh()
    put(submission, b"a")
    submission.outbox.left(len(submission.outbox.unsent))
    submission.answer(answer(1, 5, 1))
    submission.connected()
    with pytest.raises(StreamLost, match="acknowledged 1"):
        submission.answer(answer(0, 0))


def test_a_name_that_somebody_else_uses_is_noticed() -> None:
    submission = fresh()
    submission.connected()
    with pytest.raises(StreamLost, match="used twice"):
        submission.answer(answer(3, 9))


@pytest.mark.parametrize("length", [0, 1, 16, 19, 21])
def test_an_answer_of_another_length_is_refused(length: int) -> None:
    submission = Submission(Outbox(1000))
    submission.connected()
    with pytest.raises(StreamLost, match=f"{length} bytes"):
        submission.answer(bytes(length))


# which number each frame has


def test_a_sender_that_was_never_answered_wants_nothing() -> None:
    submission = Submission(Outbox(1000))
    assert submission.wanted == 0
    submission.connected()
    submission.accepted(50)
    assert submission.wanted == 0
    submission.answer(answer(7, 40))
    assert (submission.wanted, submission.told_sequence) == (50, 7)  # 8 and later come after the login


def test_a_first_answer_above_the_login_says_where_the_next_frame_is_at_least() -> None:
    """Records of this user were in the log, and not committed, when it logged in."""
    submission = Submission(Outbox(1000))
    submission.connected()
    submission.accepted(50)
    submission.answer(answer(7, 60))
    assert submission.wanted == 61


def test_it_wants_what_comes_after_the_last_frame_it_was_told_of() -> None:
    submission = sent(5, stands=10)
    assert submission.wanted == 10
    submission.answer(answer(2, 12, 2))
    assert submission.wanted == 13
    submission.answer(answer(3, 20, 1))
    assert (submission.wanted, submission.told_sequence, submission.in_flight) == (21, 3, 2)


def test_what_was_in_the_log_at_the_next_login_may_lie_below_its_number() -> None:
    submission = sent(5, stands=10)
    submission.answer(answer(2, 12, 2))
    again(submission, 40, answer(4, 35))
    assert (submission.wanted, submission.told_sequence, submission.committed_sequence) == (13, 2, 4)
    submission.answer(answer(3, 20, 1))
    assert submission.wanted == 21
    again(submission, 50, answer(4, 35))  # the rest of it was lost once more
    assert submission.wanted == 21
    submission.answer(answer(4, 35, 1))
    assert (submission.wanted, submission.told_sequence) == (36, 4)
    assert frames(submission.outbox.unsent) == [(5, 3, b"x")]


def test_a_login_with_nothing_to_be_told_of_says_that_the_next_frame_is_not_below() -> None:
    submission = sent(2, stands=10)
    submission.answer(answer(2, 12, 2))
    again(submission, 4000, answer(2, 12))
    assert submission.wanted == 4000
    again(submission, 300, answer(2, 12))  # at a primary that knows less
    assert submission.wanted == 4000


def test_who_asks_for_nothing_is_told_of_what_comes_after_the_first_answer() -> None:
    submission = fresh()
    for _ in range(3):
        put(submission, b"x")
    submission.outbox.left(len(submission.outbox.unsent))
    submission.connected()
    submission.answer(answer(2, 20))
    submission.outbox.left(len(submission.outbox.unsent))
    submission.answer(answer(3, 30, 1))
    assert (submission.told_sequence, submission.in_flight) == (3, 0)


def test_an_answer_about_nothing_new_tells_of_no_number() -> None:
    submission = sent(3)
    submission.answer(answer(2, 12, 2))
    assert submission.answer(answer(2, 12)) == Answer(2, 12, 0)
    assert (submission.told_sequence, submission.wanted) == (2, 13)


WRONG = {
    "more frames than sequences": (answer(3, 20, 4), "4 frames up to 3"),
    "more frames than numbers": (answer(3, 2, 3), "3 frames up to 3, at numbers up to 2"),
    "a number that no login could say": (answer(3, (1 << 63) - 1, 1), "numbers up to 9223372036854775807"),
    "a frame left out": (answer(4, 20, 1), "frames 4 to 4, where frame 3 is next"),
    "a frame told twice": (answer(3, 13, 2), "frames 2 to 3, where frame 3 is next"),
    "a number below the last": (answer(4, 12, 2), "frame 4 of this user at number 12"),
    "numbers that overlap": (answer(4, 13, 2), "frame 4 of this user at number 13"),
    "another number for the same frame": (answer(2, 13, 0), "had frame 2 at 12"),
    "a frame that was not sent": (answer(6, 30, 4), "up to 6, but no more than 5"),
    "nothing new of a frame that was not sent": (answer(6, 30, 0), "up to 6, but no more than 5"),
    "a frame that was not queued": (answer(9, 30, 7), "up to 9, but no more than 5"),
    "a lower number for an earlier frame": (answer(1, 12, 0), "frame 1 of this user at number 12"),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_answer_that_cannot_be_is_noticed(what: str) -> None:
    """Frames 1 and 2 are known to be 11 and 12; 3 to 5 were sent, and 6 waits."""
    payload, sentence = WRONG[what]
    submission = sent(5, stands=10)
    submission.answer(answer(2, 12, 2))
    put(submission, b"x")
    with pytest.raises(StreamLost, match=sentence):
        submission.answer(payload)


def test_a_number_below_the_login_is_noticed() -> None:
    submission = sent(5, stands=10)
    with pytest.raises(StreamLost, match="frame 1 at number 9, which is below 10"):
        submission.answer(answer(1, 9, 1))


def test_frames_before_the_first_answer_are_noticed() -> None:
    submission = sent(5)
    submission.connected()
    submission.accepted(20)
    with pytest.raises(StreamLost, match="tells of 2 frames before"):
        submission.answer(answer(2, 12, 2))


TRACES = {
    "it begins too late": (answer(4, 14, 1), "frames 4 to 4, where frame 3 is next"),
    "it was left out": (answer(6, 41, 1), "frames 6 to 6, where frame 3 is next"),
    "it ends elsewhere": (answer(5, 34, 3), "frame 5 of this user at number 34"),
    "it leaves no room": (answer(3, 34, 1), "frame 3 of this user at number 34"),
    "it runs on with other numbers": (answer(6, 37, 4), "frame 6 of this user at number 37"),
}


@pytest.mark.parametrize("what", TRACES)
def test_what_does_not_fit_the_first_answer_is_noticed(what: str) -> None:
    """Frames 3 to 5 are in the stream, the last of them at 35; 6 was sent since."""
    payload, sentence = TRACES[what]
    submission = sent(5, stands=10)
    submission.answer(answer(2, 12, 2))
    again(submission, 40, answer(5, 35))
    put(submission, b"x")
    submission.outbox.left(len(submission.outbox.unsent))
    with pytest.raises(StreamLost, match=sentence):
        submission.answer(payload)


@given(st.data())
def test_each_message_enters_once_whatever_breaks(data: st.DataObject) -> None:
    """Against a model sequencer that takes whole frames, drops duplicates, and loses connections at any byte."""
    messages = data.draw(st.lists(st.binary(max_size=40), max_size=12))
    submission = Submission(Outbox(400))
    stream: list[tuple[int, int, bytes]] = []
    arrived = b""
    queued = 0
    told = 0
    submission.connected()
    submission.answer(answer(0, 0))
    for _ in range(200):
        if queued == len(messages) and not submission.in_flight:
            break
        if queued < len(messages):
            table = MessageTable(1)
            table.set(0, 0, 0, len(messages[queued]))
            view = table.view(memoryview(messages[queued] or b"\0")[: len(messages[queued])], 1)
            queued += submission.outbox.put(view, 0, 16)
        unsent = submission.outbox.unsent
        sent = data.draw(st.integers(0, len(unsent)))
        arrived += bytes(unsent[:sent])
        submission.outbox.left(sent)
        for frame in frames(arrived):
            if frame[0] == len(stream) + 1:
                stream.append(frame)
            assert frame[0] <= len(stream)
        action = data.draw(st.sampled_from(["answer", "break", "nothing"]))
        if action == "answer" and len(stream) > told:
            submission.answer(answer(len(stream), 1000 + len(stream), len(stream) - told))
            told = len(stream)
        elif action == "break":
            arrived, told = b"", len(stream)
            submission.connected()
            submission.answer(answer(len(stream), 1000 + len(stream) if stream else 0))
    else:
        submission.connected()
        submission.answer(answer(len(stream), 1000 + len(stream) if stream else 0))
        return
    joined, message = [], b""
    for _, flags, payload in stream:
        message = payload if flags & 1 else message + payload
        if flags & 2:
            joined.append(message)
    assert joined == messages
