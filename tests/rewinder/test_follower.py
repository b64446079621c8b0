"""A follower: it compares before it appends, cuts what is not shared, and shows only what is committed."""

from __future__ import annotations

import pytest

from rewinder.counters import Counters
from rewinder.errors import ForkedLog, NotPrimary, RefusedRecord
from rewinder.follower import Follower
from rewinder.log import MessageLog
from rewinder.memory import MemoryStorage
from rewinder.record import Kind, Stamp, admission_payload, epoch_payload
from rewinder.replication import Answer, Committed, Epochs, Go, Held, VoterState, decode
from rewinder.voter import Voter

SESSION = b"TEST      "
INCARNATION = 77


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


def follower_of(log: MessageLog, *, voter: bool = True) -> Follower:
    """A follower called REW1, which has not begun to vote."""
    voters = {"SEQ1", "SEQ2", "REW1"} if voter else {"SEQ1", "SEQ2", "REW2"}
    return Follower(Voter("REW1", frozenset(voters), log, lambda: INCARNATION), Counters())


def epochs_of(log: MessageLog, owner: str = "SEQ1") -> bytes:
    return Epochs(log.epochs[-1][0], owner, tuple(log.epochs)).encode()


def said(follower: Follower, now_ns: int = 0) -> list[object]:
    return [decode(packet) for packet in follower.outgoing(now_ns)]


def follow(follower: Follower, primary: MessageLog, commit: int) -> None:
    """One connection, to the end of the primary's log."""
    while True:
        number = min(follower.login_number, primary.next_number)
        follower.accepted(number, "SEQ1")
        if follower.unsequenced(epochs_of(primary)):
            break
    if number <= primary.last:
        follower.sequenced(number, primary.messages(number, primary.last - number + 1))
    follower.unsequenced(Committed(primary.epochs[-1][0], commit).encode())


def test_a_new_follower_copies_the_log() -> None:
    primary = primary_log((1, 5), (2, 3))
    log = new_log()
    follower = follower_of(log)
    follow(follower, primary, commit=6)
    assert (log.last, log.commit, log.epochs) == (10, 6, [(1, 1), (2, 7)])
    assert said(follower) == [VoterState(votes=False, incarnation=INCARNATION), Held(2, 10)]
    assert said(follower) == []
    assert follower.voter.promise.epoch == 2
    assert follower.voter.promise.owner == "SEQ1"


def test_every_connection_begins_with_whether_the_node_votes() -> None:
    log = new_log()
    follower = follower_of(log)
    assert follower.voter.seal(1, "SEQ1", INCARNATION)
    for _ in range(2):
        follower.accepted(1, "SEQ1")
        assert said(follower) == [VoterState(votes=True, incarnation=INCARNATION)]


def test_a_voter_says_at_once_what_it_holds_and_others_now_and_then() -> None:
    for voter, expected in ((True, [4, 5, 6]), (False, [4, 6])):
        primary = primary_log((1, 3))
        follower = follower_of(new_log(), voter=voter)
        follow(follower, primary, commit=0)
        held = []
        for now_ns in (0, 1_000_000, 300_000_000):
            held += [packet.number for packet in said(follower, now_ns) if isinstance(packet, Held)]
            primary.append(b"x", Stamp(99, primary.next_number, b"ALPHA "))
            follower.sequenced(primary.last, primary.messages(primary.last, 1))
        assert held == expected


def test_under_group_only_what_is_synced_is_held() -> None:
    primary = primary_log((1, 3))
    log = MessageLog.create(MemoryStorage(), SESSION, durability="group", segment_bytes=1 << 17)
    follower = follower_of(log)
    follow(follower, primary, commit=0)
    assert [packet for packet in said(follower) if isinstance(packet, Held)] == []
    log.sync()
    assert said(follower) == [Held(1, 4)]


def test_a_commit_number_that_runs_ahead_of_the_records_is_kept() -> None:
    """It is told once: a follower that forgot it would show its last records never."""
    primary = primary_log((1, 5))
    log = new_log()
    follower = follower_of(log)
    follower.accepted(1, "SEQ1")
    follower.unsequenced(epochs_of(primary))
    follower.unsequenced(Committed(1, 6).encode())
    assert log.commit == 0
    follower.sequenced(1, primary.messages(1, 4))
    assert log.commit == 4
    follower.sequenced(5, primary.messages(5, 2))
    assert log.commit == 6


def test_an_unshared_tail_is_cut() -> None:
    log = primary_log((1, 5), (2, 4))
    follower = follower_of(log)
    log.commit = 6
    primary = primary_log((1, 5), (3, 2))
    follow(follower, primary, commit=9)
    assert log.last == primary.last == 9
    assert log.epochs == [(1, 1), (3, 7)]
    assert follower.counters["follower.cut"] == 5


def test_a_committed_record_is_never_cut() -> None:
    log = primary_log((1, 5), (2, 4))
    follower = follower_of(log)
    log.commit = 8
    primary = primary_log((1, 5), (3, 2))
    follower.accepted(primary.next_number, "SEQ1")
    with pytest.raises(ForkedLog, match="committed"):
        follower.unsequenced(epochs_of(primary))
    assert log.last == 11


def test_records_before_the_epoch_table_are_refused() -> None:
    primary = primary_log((1, 5))
    log = new_log()
    follower = follower_of(log)
    follower.accepted(1, "SEQ1")
    with pytest.raises(RefusedRecord, match="epoch table"):
        follower.sequenced(1, primary.messages(1, 2))
    assert log.last == 0


def test_a_record_out_of_place_is_refused() -> None:
    primary = primary_log((1, 5))
    follower = follower_of(new_log())
    follower.accepted(1, "SEQ1")
    follower.unsequenced(epochs_of(primary))
    with pytest.raises(RefusedRecord, match="record 1 was expected"):
        follower.sequenced(3, primary.messages(3, 1))
    with pytest.raises(RefusedRecord):
        follower.sequenced(1, primary.messages(3, 1))


def test_strange_packets_are_counted() -> None:
    log = primary_log((1, 1))
    follower = follower_of(log)
    follower.accepted(3, "SEQ1")
    assert follower.unsequenced(b"?")
    assert follower.unsequenced(Committed(9, 2).encode())
    assert follower.counters == {"follower.unknown": 1, "follower.stale_commit": 1}
    assert log.commit == 0


# promises


def test_a_primary_of_a_lower_epoch_is_refused_and_told_why() -> None:
    primary = primary_log((1, 5))
    log = new_log()
    follower = follower_of(log)
    assert follower.voter.seal(3, "SEQ2")
    follower.accepted(1, "SEQ1")
    assert follower.unsequenced(epochs_of(primary))
    assert "epoch 3 is promised to SEQ2" in str(follower.refused)
    assert not follower.in_step
    follower.sequenced(1, primary.messages(1, 6))
    follower.unsequenced(Committed(1, 6).encode())
    assert (log.last, log.commit) == (0, 0)
    assert follower.counters["follower.fenced"] == 6
    state, answer = said(follower)
    assert state == VoterState(votes=False, incarnation=INCARNATION)
    assert isinstance(answer, Answer)
    assert (answer.epoch, answer.owner) == (3, "SEQ2")


def test_another_primary_of_the_promised_epoch_is_refused() -> None:
    primary = primary_log((3, 5))
    follower = follower_of(new_log())
    assert follower.voter.seal(3, "SEQ2")
    follower.accepted(1, "SEQ1")
    assert follower.unsequenced(epochs_of(primary))
    assert follower.refused is not None


def test_a_promise_of_a_higher_epoch_ends_the_following_at_once() -> None:
    primary = primary_log((1, 5))
    log = new_log()
    follower = follower_of(log)
    follow(follower, primary, commit=0)
    assert follower.voter.seal(2, "SEQ2")
    primary.append(b"late", Stamp(0, primary.next_number, b"ALPHA "))
    follower.sequenced(7, primary.messages(7, 1))
    assert log.last == 6
    assert [packet for packet in said(follower) if isinstance(packet, Held)] == []


def test_a_log_that_is_served_for_another_owner_is_not_followed_and_nothing_is_cut() -> None:
    """A node that has promised an epoch to us serves its log to us, and is no primary."""
    log = primary_log((1, 5))
    follower = follower_of(log)
    shorter = primary_log((1, 2))
    follower.accepted(4, "SEQ2")
    with pytest.raises(NotPrimary):
        follower.unsequenced(epochs_of(shorter, "REW1"))
    assert log.last == 6
    assert not follower.in_step


def test_who_is_no_voter_follows_whoever_is_primary_and_promises_nothing() -> None:
    log = new_log()
    follower = follower_of(log, voter=False)
    promise = follower.voter.promise
    for owner, primary in (("SEQ1", primary_log((1, 5))), ("SEQ2", primary_log((1, 5), (3, 2)))):
        follower.accepted(follower.login_number, owner)
        assert follower.unsequenced(epochs_of(primary, owner))
        assert follower.in_step
        number = follower.login_number
        follower.sequenced(number, primary.messages(number, primary.next_number - number))
        assert (follower.owner, log.epochs) == (owner, primary.epochs)
    assert follower.voter.promise == promise


@pytest.mark.parametrize("voter", [False, True])
def test_an_epoch_that_is_over_by_our_own_log_is_not_followed_and_nothing_is_cut(voter: bool) -> None:
    """Who is no voter, or has lost its promises, has nothing else to tell an old primary by."""
    log = primary_log((1, 5), (3, 2))
    follower = follower_of(log, voter=voter)
    promise = follower.voter.promise
    old = primary_log((1, 9))
    follower.accepted(10, "SEQ1")
    with pytest.raises(NotPrimary, match="its epoch, 1, is over"):
        follower.unsequenced(epochs_of(old))
    assert not follower.in_step
    assert (log.last, log.epochs) == (9, [(1, 1), (3, 7)])
    assert follower.voter.promise == promise
    follower.accepted(10, "SEQ1")
    assert follower.unsequenced(epochs_of(primary_log((1, 5), (3, 2))))  # the same one again may be followed
    assert follower.in_step


# what is cut


def test_whoever_reads_the_log_is_told_before_it_is_cut() -> None:
    log = primary_log((1, 5), (2, 4))
    follower = follower_of(log)
    seen: list[int] = []
    follower.before_cut = lambda: seen.append(log.last)
    follow(follower, primary_log((1, 5), (3, 2)), commit=0)
    assert seen == [11]
    assert log.last == 9


def test_nobody_is_told_where_nothing_is_cut() -> None:
    seen: list[int] = []
    log = primary_log((1, 5))
    follower = follower_of(log)
    follower.before_cut = lambda: seen.append(log.last)
    follow(follower, primary_log((1, 9)), commit=0)
    assert (log.last, seen) == (10, [])
    log.commit = 10
    follower.accepted(7, "SEQ1")
    with pytest.raises(ForkedLog):
        follower.unsequenced(epochs_of(primary_log((1, 5), (3, 2))))
    assert (log.last, seen) == (10, [])


# a log that is fetched


def answered(log: MessageLog) -> Answer:
    """What a voter with such a log has answered to the candidate REW1 of epoch 5."""
    return Answer(5, "REW1", True, 1, 0, log.last, 0, tuple(log.epochs))


def fetch(follower: Follower, log: MessageLog, wanted: Answer) -> bool:
    """One connection to a voter that has this log now."""
    number = min(follower.login_number, log.next_number)
    follower.accepted(number, "REW1", wanted)
    if not follower.unsequenced(Epochs(5, "REW1", tuple(log.epochs)).encode()):
        return False
    if number <= log.last:
        follower.sequenced(number, log.messages(number, log.next_number - number))
    return True


@pytest.mark.parametrize("records", [0, 4, 6, 8, 12])
def test_a_log_that_is_as_it_was_told_of_is_fetched(records: int) -> None:
    theirs = primary_log((1, 5), (3, 4))
    log = primary_log(*([(1, records - 1)] if records else []))
    follower = follower_of(log)
    assert follower.voter.seal(5, "REW1")
    wanted = answered(theirs)
    while not fetch(follower, theirs, wanted):
        pass
    assert (log.last, log.epochs) == (11, [(1, 1), (3, 7)])


@pytest.mark.parametrize("left", [0, 3, 6, 8, 10])
def test_a_voter_that_has_lost_records_since_it_answered_has_us_cut_nothing(left: int) -> None:
    theirs = primary_log((1, 5), (3, 5))
    wanted = answered(theirs)
    theirs.cut(left)
    log = primary_log((1, 5), (3, 4))
    follower = follower_of(log)
    assert follower.voter.seal(5, "REW1")
    seen: list[int] = []
    follower.before_cut = lambda: seen.append(log.last)
    with pytest.raises(NotPrimary, match="not the one that it answered with"):
        fetch(follower, theirs, wanted)
    assert (log.last, log.epochs, seen) == (11, [(1, 1), (3, 7)], [])
    assert not follower.in_step


def test_a_voter_that_has_another_log_since_it_answered_has_us_cut_nothing() -> None:
    log = primary_log((1, 5), (3, 4))
    follower = follower_of(log)
    assert follower.voter.seal(5, "REW1")
    with pytest.raises(NotPrimary):
        fetch(follower, primary_log((1, 5), (4, 9)), answered(primary_log((1, 5), (3, 5))))
    assert log.last == 11


def test_what_is_left_of_a_log_that_was_shortened_may_be_taken_where_nothing_is_cut() -> None:
    """The attempt is not won on it: what was told of is not there."""
    theirs = primary_log((1, 9))
    wanted = answered(theirs)
    theirs.cut(8)
    log = primary_log((1, 3))
    follower = follower_of(log)
    assert follower.voter.seal(5, "REW1")
    assert fetch(follower, theirs, wanted)
    assert log.last == 8
    assert follower.voter.answer().rank < wanted.rank


# the vote


def test_a_committed_admission_gives_the_vote_back_and_what_is_held_is_said_again() -> None:
    primary = primary_log((1, 3))
    log = new_log()
    follower = follower_of(log)
    follow(follower, primary, commit=4)
    assert said(follower) == [VoterState(votes=False, incarnation=INCARNATION), Held(1, 4)]
    primary.append(admission_payload("REW1", INCARNATION), Stamp(0, 0, b"SEQ1  ", Kind.ADMIT))
    follower.sequenced(5, primary.messages(5, 1))
    assert said(follower) == [Held(1, 5)]
    follower.unsequenced(Committed(1, 5).encode())
    assert follower.voter.votes
    assert said(follower) == [VoterState(votes=True, incarnation=INCARNATION), Held(1, 5)]


def test_the_admission_of_another_incarnation_gives_nothing_back() -> None:
    primary = primary_log((1, 3))
    primary.append(admission_payload("REW1", INCARNATION + 1), Stamp(0, 0, b"SEQ1  ", Kind.ADMIT))
    follower = follower_of(new_log())
    follow(follower, primary, commit=5)
    assert not follower.voter.votes


@pytest.mark.parametrize(("votes", "number", "taken"), [(True, 4, True), (True, 3, False), (False, 4, False)])
def test_go_is_for_a_voter_that_holds_everything(votes: bool, number: int, taken: bool) -> None:
    primary = primary_log((1, 3))
    follower = follower_of(new_log())
    if votes:
        assert follower.voter.seal(1, "SEQ1", INCARNATION)
    follow(follower, primary, commit=4)
    follower.unsequenced(Go(1, number).encode())
    assert follower.handed_over is taken


def test_the_end_of_the_session_under_a_later_primary_is_adopted_before_it_is_said_to_be_held() -> None:
    """No epoch start can follow the end; without a note of it, an older and longer log would rank higher."""
    primary = primary_log((1, 3))
    primary.append(b"", Stamp(0, 0, b"SEQ1  ", Kind.END))
    log = new_log()
    follower = follower_of(log)
    follower.accepted(1, "SEQ1")
    follower.unsequenced(Epochs(4, "SEQ1", tuple(primary.epochs)).encode())
    follower.sequenced(1, primary.messages(1, 4))
    said(follower)
    assert follower.voter.promise.adopted == 0
    follower.sequenced(5, primary.messages(5, 1))
    assert said(follower) == [Held(4, 5)]
    assert follower.voter.answer().rank == (4, 5)
