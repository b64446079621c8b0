"""Replicated state machines: equal at equal numbers, whenever they were stopped and started."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_stream import END, SESSION, Entry, PreparedReceiver, data, epoch, fragments

from rewinder.record import Stamp
from seqcast.batch import Message
from seqcast.checkpoint import Checkpoint, Saved
from seqcast.errors import CheckpointFailed, NotConnected, TimedOut
from seqcast.replica import Replica, StateMachine


class Digest(StateMachine):
    """Its snapshot shows every message it ever took, in order."""

    def __init__(self) -> None:
        self.state = b"nothing"
        self.numbers: list[int] = []
        self.fails_at: int | None = None

    def apply(self, message: Message) -> None:
        if message.number == self.fails_at:
            raise ArithmeticError(message.number)
        self.state = hashlib.sha256(self.state + repr(message).encode()).hexdigest().encode()
        self.numbers.append(message.number)

    def snapshot(self) -> bytes:
        return self.state

    def restore(self, snapshot: bytes) -> None:
        self.state = snapshot


def stream() -> list[Entry]:
    """Whole and fragmented messages of three senders, and control records among them."""
    a, b = fragments(b"abcdefgh", 3, 2), fragments(b"12345", 1, 1, b"BETA  ")
    return [
        epoch(1),  # 1
        data(b"one", 1),
        data(b"two", 2),
        a[0],  # 4
        b[0],
        data(b"other", 1, sender=b"GAMMA "),  # 6
        a[1],
        b[1],
        b[2],
        epoch(2),  # 10
        a[2],
        b[3],
        a[3],  # 13: a message
        data(b"three", 7),
        b[4],  # 15: a message
        data(b"", 8),
        data(b"four", 9),
        *(data(b"more %d" % n, 2 + n, sender=b"GAMMA ") for n in range(8)),  # 18 to 25
        END,
    ]


NUMBERS = [2, 3, 6, 13, 14, 15, 16, 17, *range(18, 26)]
"""The messages of `stream`."""


def replica(saved: Saved | None = None, **options: Any) -> Replica:
    """A replica of `stream`, from its beginning or from what was saved."""
    sizes = options.pop("sizes", (7,))
    entries = options.pop("entries", None)
    receiver = PreparedReceiver(stream() if entries is None else entries, sizes, saved)
    return Replica(Digest(), receiver, **options)


def machine_of(replica: Replica) -> Digest:
    assert isinstance(replica.machine, Digest)
    return replica.machine


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return Checkpoint(tmp_path / "app.checkpoint", durable=False)


FINAL = Digest()
_whole = Replica(FINAL, PreparedReceiver(stream(), (100,)))
_whole.run()


def test_the_whole_stream_is_applied_in_order() -> None:
    assert FINAL.numbers == NUMBERS
    assert (_whole.applied, _whole.position, _whole.ended, _whole.last_number) == (len(NUMBERS), 27, True, 25)


def test_a_turn_applies_at_most_its_limit() -> None:
    one = replica(sizes=(100,))
    assert [one.advance(limit=3) for _ in range(8)] == [2, 1, 1, 1, 1, 3, 3, 3]
    assert machine_of(one).numbers == NUMBERS[:15]
    assert one.advance() == 1
    assert one.advance() == 0
    assert one.ended
    assert one.machine.snapshot() == FINAL.snapshot()


def test_two_replicas_are_equal_at_equal_numbers() -> None:
    one, two = replica(sizes=(1, 5, 2)), replica(sizes=(100,))
    seen = set()
    for number in range(27):
        snapshot = one.snapshot_at(number)
        assert snapshot == two.snapshot_at(number) == replica(sizes=(3,)).snapshot_at(number)
        assert machine_of(two).numbers == [n for n in NUMBERS if n <= number]
        seen.add(snapshot)
    assert len(seen) == len(NUMBERS) + 1


def test_what_a_batch_has_beyond_the_number_is_kept_for_later() -> None:
    one = replica(sizes=(100,))
    assert one.advance_to(20) == 11
    polls = one.receiver.polls  # type: ignore[attr-defined]
    assert (one.position, one.last_number, one.applied, one.ended) == (21, 20, 11, False)
    assert (one.advance_to(20), one.advance(limit=2), one.advance_to(24)) == (0, 2, 2)
    assert one.receiver.polls == polls  # type: ignore[attr-defined]
    assert one.run() == 1
    assert one.machine.snapshot() == FINAL.snapshot()


def test_run_stops_before_the_number_it_was_given() -> None:
    one = replica(sizes=(100,))
    assert (one.run(until=18), one.position) == (8, 18)
    assert (one.run(until=18), one.run(until=5)) == (0, 0)
    assert (one.run(until=1000), one.ended) == (8, True)


def test_a_state_cannot_go_back() -> None:
    one = replica(sizes=(100,))
    one.advance_to(6)
    at_six = one.snapshot_at(6)
    assert one.position == 7
    assert one.snapshot_at(12) == one.snapshot_at(6) == at_six  # records 7 to 12 hold no message
    assert one.position == 13
    with pytest.raises(ValueError, match="up to record 6, and cannot go back to 5"):
        one.snapshot_at(5)
    one.advance_to(13)
    with pytest.raises(ValueError, match="cannot go back"):
        one.advance_to(12)


def test_a_record_that_does_not_come_in_time() -> None:
    one = replica(entries=stream()[:14])
    with pytest.raises(TimedOut, match="record 15 has not come"):
        one.advance_to(15, timeout=0.0)
    assert (one.applied, one.position) == (5, 15)


@pytest.mark.parametrize("limit", [0, -3])
def test_a_turn_has_room_for_a_message(limit: int) -> None:
    with pytest.raises(ValueError, match="at most"):
        replica().advance(limit=limit)
    with pytest.raises(ValueError, match="every"):
        replica(every=limit)


# exceptions


def test_a_message_that_fails_is_not_applied_and_comes_again(checkpoint: Checkpoint) -> None:
    one = replica(sizes=(100,), checkpoint=checkpoint)
    machine_of(one).fails_at = 20
    with pytest.raises(ArithmeticError):
        one.run()
    assert (one.position, one.applied, one.last_number) == (20, 10, 19)
    with pytest.raises(ArithmeticError):
        one.advance()
    one.save()
    machine_of(one).fails_at = None
    one.run()
    assert machine_of(one).numbers == NUMBERS
    again = replica(checkpoint.load())
    assert again.position == 20
    again.run()
    assert again.machine.snapshot() == one.machine.snapshot() == FINAL.snapshot()


def test_a_joined_message_that_fails_is_not_lost(checkpoint: Checkpoint) -> None:
    one = replica(sizes=(100,), checkpoint=checkpoint)
    machine_of(one).fails_at = 13
    with pytest.raises(ArithmeticError):
        one.run()
    one.save()
    saved = checkpoint.load()
    assert saved is not None
    assert saved.position == one.position == 13
    again = replica(saved)
    again.run()
    assert again.machine.snapshot() == FINAL.snapshot()


# checkpoints


def test_a_checkpoint_comes_after_every_so_many_messages(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = replica(sizes=(100,), checkpoint=checkpoint, every=3)
    saved: list[tuple[int, int]] = []
    save = Checkpoint.save

    def noted(self: Checkpoint, **values: Any) -> None:
        save(self, **values)
        saved.append((values["position"], one.applied))

    monkeypatch.setattr(Checkpoint, "save", noted)
    one.run()
    assert saved == [(7, 3), (16, 6), (19, 9), (22, 12), (25, 15)]
    last = checkpoint.load()
    assert last is not None
    again = replica(last)
    assert (again.applied, again.position, again.last_number) == (0, 25, 24)
    again.run()
    assert again.machine.snapshot() == FINAL.snapshot()
    one.advance()
    one.save()
    assert saved[-1] == (27, 16)


def test_an_old_snapshot_catches_up_to_the_same_bytes(checkpoint: Checkpoint) -> None:
    one = replica(checkpoint=checkpoint)
    one.advance_to(8)  # within two messages in fragments
    one.save()
    two = replica(checkpoint.load(), sizes=(100,))
    one.run()
    with pytest.raises(ValueError, match="cannot go back"):
        two.snapshot_at(7)
    two.run()
    assert one.machine.snapshot() == two.machine.snapshot() == FINAL.snapshot()
    assert machine_of(two).numbers == [n for n in NUMBERS if n > 8]


def test_a_checkpoint_at_the_end_of_the_session_is_at_the_end(checkpoint: Checkpoint) -> None:
    one = replica(checkpoint=checkpoint)
    one.run()
    one.save()
    again = replica(checkpoint.load())
    assert (again.ended, again.run(), again.machine.snapshot()) == (True, 0, FINAL.snapshot())


def test_a_save_that_fails_is_tried_again_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    checkpoint = Checkpoint(tmp_path / "run" / "app", durable=False)
    one = replica(sizes=(100,), checkpoint=checkpoint, every=4)
    (tmp_path / "run").rmdir()
    for _ in range(2):
        with pytest.raises(CheckpointFailed):
            one.run()
        assert (one.applied, one.position) == (4, 14)
    (tmp_path / "run").mkdir()
    one.run()
    assert one.machine.snapshot() == FINAL.snapshot()
    assert machine_of(one).numbers == NUMBERS
    assert checkpoint.load() is not None


def test_a_save_that_failed_is_tried_again_on_a_quiet_stream(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    checkpoint = Checkpoint(tmp_path / "run" / "app", durable=False)
    one = replica(sizes=(100,), checkpoint=checkpoint, every=len(NUMBERS))
    (tmp_path / "run").rmdir()
    with pytest.raises(CheckpointFailed):
        one.run()
    (tmp_path / "run").mkdir()
    assert one.advance() == 0
    saved = checkpoint.load()
    assert saved is not None
    assert saved.snapshot == FINAL.snapshot()


def test_saving_needs_a_checkpoint_and_a_session(checkpoint: Checkpoint) -> None:
    with pytest.raises(ValueError, match="without a checkpoint"):
        replica().save()
    one = replica(checkpoint=checkpoint)
    one.receiver.session_name = None  # type: ignore[misc]
    with pytest.raises(NotConnected, match="nothing to save"):
        one.save()


def test_a_checkpoint_names_the_session(checkpoint: Checkpoint) -> None:
    one = replica(checkpoint=checkpoint)
    one.save()
    saved = checkpoint.load()
    assert saved is not None
    assert (saved.session_name, saved.position, saved.snapshot) == (SESSION, 1, b"nothing")


# any stream, any cut


@st.composite
def streams(draw: st.DrawFn) -> list[Entry]:
    """Messages of three senders in fragments of one to four bytes, interleaved with each other and with epochs."""
    queues: list[list[Entry]] = []
    for sender in (b"A     ", b"B     ", b"C     "):
        queue: list[Entry] = []
        for payload in draw(st.lists(st.binary(max_size=9), max_size=5)):
            whole = fragments(payload, len(queue) + 1, draw(st.integers(1, 9)), sender)
            # Now and then a sender dies within a message, and goes on with the next one.
            dies = draw(st.integers(0, 9)) == 0 and len(whole) > 1
            queue += whole[: draw(st.integers(1, len(whole) - 1))] if dies else whole
        queues.append(queue)
    merged: list[Entry] = []
    while any(queues):
        turn = draw(st.integers(0, 8))
        if turn == 8:
            merged.append(epoch(len(merged) + 1))
        else:
            queue = [queue for queue in queues if queue][turn % sum(map(bool, queues))]
            merged.append(queue.pop(0))
    return [*merged, (b"", Stamp(1, 0, b"SEQ1  ", 9)), END]


sizes = st.lists(st.integers(1, 9), min_size=1, max_size=4)


@given(
    streams(), st.lists(st.tuples(sizes, st.integers(1, 5), st.integers(0, 30)), max_size=4), st.booleans()
)
def test_any_stream_stopped_and_started_anywhere_ends_in_the_same_state(
    tmp_path_factory: pytest.TempPathFactory,
    entries: list[Entry],
    lives: list[tuple[list[int], int, int]],
    exactly: bool,
) -> None:
    wanted = replica(entries=entries, sizes=(100,))
    wanted.run()
    checkpoint = Checkpoint(tmp_path_factory.getbasetemp() / "any.checkpoint", durable=False)
    checkpoint.path.unlink(missing_ok=True)
    applied: list[int] = []
    for pieces, limit, amount in lives:
        life = replica(checkpoint.load(), entries=entries, sizes=pieces, checkpoint=checkpoint)
        if exactly:
            number = max(amount, life.last_number)
            twin = replica(entries=entries)
            assert life.snapshot_at(number) == twin.snapshot_at(number)
        else:
            for _ in range(amount):
                life.advance(limit=limit)
        life.save()
        applied += machine_of(life).numbers
    last = replica(checkpoint.load(), entries=entries, sizes=(2, 5))
    last.run()
    assert last.machine.snapshot() == wanted.machine.snapshot()
    assert applied + machine_of(last).numbers == machine_of(wanted).numbers
