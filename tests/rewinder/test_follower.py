"""A follower: it compares before it appends, cuts what is not shared, and shows only what is committed."""

from __future__ import annotations

import pytest

from rewinder.counters import Counters
from rewinder.errors import ForkedLog, RefusedRecord
from rewinder.follower import Follower
from rewinder.log import MessageLog
from rewinder.memory import MemoryStorage
from rewinder.record import Kind, Stamp, epoch_payload
from rewinder.replication import Committed, Epochs, Held, decode

SESSION = b"TEST      "


def new_log() -> MessageLog:
    return MessageLog.create(MemoryStorage(), SESSION, durability="memory", segment_bytes=1 << 17)


def primary_log(*epochs: tuple[int, int]) -> MessageLog:
    """A log with `count` messages in each (epoch, count)."""
    log = new_log()
    for epoch, count in epochs:
        log.append(epoch_payload(epoch, "SEQ1"), Stamp(0, epoch, b"SEQ1  ", Kind.EPOCH))
        for n in range(count):
            log.append(b"%d/%d" % (epoch, n), Stamp(0, log.next_number, b"ALPHA "))
    return log


def epochs_of(log: MessageLog) -> bytes:
    return Epochs(log.epochs[-1][0], tuple(log.epochs)).encode()


def follow(follower: Follower, primary: MessageLog, commit: int) -> None:
    """One connection, to the end of the primary's log."""
    while True:
        number = min(follower.login_number, primary.next_number)
        follower.accepted(number)
        if follower.unsequenced(epochs_of(primary)):
            break
    if number <= primary.last:
        follower.sequenced(number, primary.messages(number, primary.last - number + 1))
    follower.unsequenced(Committed(primary.epochs[-1][0], commit).encode())


def test_a_new_follower_copies_the_log() -> None:
    primary = primary_log((1, 5), (2, 3))
    follower = Follower(new_log(), Counters())
    follow(follower, primary, commit=6)
    assert (follower.log.last, follower.log.commit, follower.log.epochs) == (10, 6, [(1, 1), (2, 7)])
    held = follower.held(0)
    assert held is not None
    assert decode(held) == Held(2, 10)
    assert follower.held(0) is None


def test_a_voter_says_at_once_what_it_holds_and_others_now_and_then() -> None:
    for voter, expected in ((True, [4, 5, 6]), (False, [4, 6])):
        primary = primary_log((1, 3))
        follower = Follower(new_log(), Counters(), voter=voter)
        follow(follower, primary, commit=0)
        said = []
        for now_ns in (0, 1_000_000, 300_000_000):
            held = follower.held(now_ns)
            if held is not None:
                said.append(decode(held).number)  # type: ignore[union-attr]
            primary.append(b"x", Stamp(99, primary.next_number, b"ALPHA "))
            follower.sequenced(primary.last, primary.messages(primary.last, 1))
        assert said == expected


def test_a_commit_number_that_runs_ahead_of_the_records_is_kept() -> None:
    """It is told once: a follower that forgot it would show its last records never."""
    primary = primary_log((1, 5))
    follower = Follower(new_log(), Counters())
    follower.accepted(1)
    follower.unsequenced(epochs_of(primary))
    follower.unsequenced(Committed(1, 6).encode())
    assert follower.log.commit == 0
    follower.sequenced(1, primary.messages(1, 4))
    assert follower.log.commit == 4
    follower.sequenced(5, primary.messages(5, 2))
    assert follower.log.commit == 6


def test_an_unshared_tail_is_cut() -> None:
    follower = Follower(primary_log((1, 5), (2, 4)), Counters())
    follower.log.commit = 6
    primary = primary_log((1, 5), (3, 2))
    follow(follower, primary, commit=9)
    assert follower.log.last == primary.last == 9
    assert follower.log.epochs == [(1, 1), (3, 7)]
    assert follower.counters["follower.cut"] == 5


def test_a_committed_record_is_never_cut() -> None:
    follower = Follower(primary_log((1, 5), (2, 4)), Counters())
    follower.log.commit = 8
    primary = primary_log((1, 5), (3, 2))
    follower.accepted(primary.next_number)
    with pytest.raises(ForkedLog, match="committed"):
        follower.unsequenced(epochs_of(primary))
    assert follower.log.last == 11


def test_records_before_the_epoch_table_are_refused() -> None:
    primary = primary_log((1, 5))
    follower = Follower(new_log(), Counters())
    follower.accepted(1)
    with pytest.raises(ForkedLog):
        follower.sequenced(1, primary.messages(1, 2))
    assert follower.log.last == 0


def test_a_record_out_of_place_is_refused() -> None:
    primary = primary_log((1, 5))
    follower = Follower(new_log(), Counters())
    follower.accepted(1)
    follower.unsequenced(epochs_of(primary))
    with pytest.raises(ForkedLog):
        follower.sequenced(3, primary.messages(3, 1))
    with pytest.raises(RefusedRecord):
        follower.sequenced(1, primary.messages(3, 1))


def test_strange_packets_are_counted() -> None:
    follower = Follower(primary_log((1, 1)), Counters())
    follower.accepted(3)
    assert follower.unsequenced(b"?")
    assert follower.unsequenced(Committed(9, 2).encode())
    assert follower.counters == {"follower.unknown": 1, "follower.stale_commit": 1}
    assert follower.log.commit == 0
