"""What a sender has in flight, and how it gets through reconnections: each message once, in order."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from native.messages import MessageTable
from seqcast._native import Outbox
from seqcast.errors import StreamLost
from seqcast.submission import Submission


def put(submission: Submission, payload: bytes, fragment_bytes: int = 100) -> None:
    table = MessageTable(1)
    table.set(0, 0, 0, len(payload))
    assert submission.outbox.put(table.view(memoryview(payload), 1), 0, fragment_bytes) == 1


def answer(sequence: int, number: int) -> bytes:
    return struct.pack(">QQ", sequence, number)


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
    submission.answer(answer(2, 77))
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
    submission.answer(answer(1, 5))
    submission.connected()
    with pytest.raises(StreamLost, match="acknowledged 1"):
        submission.answer(answer(0, 0))


def test_a_name_that_somebody_else_uses_is_noticed() -> None:
    submission = fresh()
    submission.connected()
    with pytest.raises(StreamLost, match="used twice"):
        submission.answer(answer(3, 9))


@pytest.mark.parametrize("length", [0, 1, 15, 17])
def test_an_answer_of_another_length_is_refused(length: int) -> None:
    submission = Submission(Outbox(1000))
    submission.connected()
    with pytest.raises(StreamLost, match=f"{length} bytes"):
        submission.answer(bytes(length))


@given(st.data())
def test_each_message_enters_once_whatever_breaks(data: st.DataObject) -> None:
    """Against a model sequencer that takes whole frames, drops duplicates, and loses connections at any byte."""
    messages = data.draw(st.lists(st.binary(max_size=40), max_size=12))
    submission = Submission(Outbox(400))
    stream: list[tuple[int, int, bytes]] = []
    arrived = b""
    queued = 0
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
        if action == "answer" and stream:
            submission.answer(answer(len(stream), 1000 + len(stream)))
        elif action == "break":
            arrived = b""
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
