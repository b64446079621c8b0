"""A voter: it keeps what it promised, and does not vote on what it cannot remember."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from random import Random

import pytest

from rewinder.errors import StorageFull
from rewinder.log import MessageLog
from rewinder.memory import MemoryStorage
from rewinder.promise import PROMISE_FILE, Promise, load_promise
from rewinder.record import Kind, Stamp, admission_payload, epoch_payload
from rewinder.segment import SEGMENT_BYTES_MINIMUM, segment_name
from rewinder.voter import EPOCH_JUMP, MISSING, NO_MARKS, RESTARTED, Voter, give_up_vote

SESSION = b"TEST      "
NAME = "SEQ2"
THREE = frozenset({"SEQ1", "SEQ2", "REW1"})
TWO = frozenset({"SEQ1", "SEQ2"})
DURABILITIES = ["memory", "group", "always"]


def new_log(durability: str = "memory") -> MessageLog:
    return MessageLog.create(
        MemoryStorage(), SESSION, durability=durability, segment_bytes=SEGMENT_BYTES_MINIMUM
    )


def open_log(storage: MemoryStorage, durability: str = "memory") -> MessageLog:
    return MessageLog.open_or_create(
        storage, SESSION, durability=durability, segment_bytes=SEGMENT_BYTES_MINIMUM
    )


def voter_of(log: MessageLog, voters: frozenset[str] = THREE, first_incarnation: int = 100) -> Voter:
    return Voter(NAME, voters, log, count(first_incarnation).__next__)


def voting(log: MessageLog, voters: frozenset[str] = THREE) -> Voter:
    """A voter that has begun to vote with the first epoch of the session."""
    voter = voter_of(log, voters)
    assert voter.seal(1, "SEQ1", voter.promise.incarnation)
    return voter


def start_epoch(log: MessageLog, epoch: int = 1, messages: int = 9) -> None:
    log.append(epoch_payload(epoch, "SEQ1"), Stamp(0, epoch, b"SEQ1  ", Kind.EPOCH))
    for _ in range(messages):
        log.append(b"message", Stamp(0, log.next_number, b"ALPHA "))


def admit(log: MessageLog, name: str, incarnation: int) -> int:
    return log.append(admission_payload(name, incarnation), Stamp(0, 0, b"SEQ1  ", Kind.ADMIT))


def rebooted(storage: MemoryStorage) -> MemoryStorage:
    """The storage after the machine was started again and happened to lose nothing."""
    storage = storage.killed()
    storage.boot_id = "boot-2"
    return storage


# promises


def test_a_new_node_does_not_vote_and_has_an_incarnation() -> None:
    voter = voter_of(new_log())
    assert voter.promise == Promise(100)
    assert not voter.votes
    assert voter.unfit is None
    assert load_promise(voter.log.storage, SESSION) == Promise(100)  # the same from now on
    assert voter_of(open_log(voter.log.storage.killed()), first_incarnation=200).promise == Promise(100)


def test_a_higher_epoch_is_promised_and_a_lower_one_refused() -> None:
    voter = voting(new_log())
    assert voter.seal(5, "SEQ1")
    assert not voter.seal(4, "SEQ1")
    assert not voter.seal(1, "SEQ2")
    assert voter.seal(6, "SEQ2")
    assert (voter.epoch, voter.promise.owner) == (6, "SEQ2")


def test_an_epoch_is_promised_to_one_owner_who_may_ask_again() -> None:
    voter = voting(new_log())
    assert voter.seal(5, "SEQ1")
    assert not voter.seal(5, "SEQ2")
    syncs = voter.log.storage.syncs
    assert voter.seal(5, "SEQ1")
    assert voter.log.storage.syncs == syncs  # nothing new, so nothing to write
    assert (voter.epoch, voter.promise.owner) == (5, "SEQ1")


def test_to_follow_is_to_promise() -> None:
    voter = voting(new_log())
    assert voter.follow(5, "SEQ1")
    assert (voter.epoch, voter.promise.owner) == (5, "SEQ1")
    assert not voter.follow(4, "SEQ2")
    assert not voter.follow(5, "REW1")
    assert voter.follow(6, "SEQ2")


def test_who_is_no_voter_follows_everybody_and_promises_nothing() -> None:
    voter = voter_of(new_log(), frozenset({"SEQ1", "SEQ3", "REW1"}))
    assert voter.follow(5, "SEQ1")
    assert voter.follow(4, "SEQ3")
    assert voter.promise == Promise(100)


def test_an_own_epoch_that_was_never_opened_may_be_another_ones() -> None:
    log = new_log()
    voter = voting(log)
    start_epoch(log)
    assert voter.seal(5, NAME)
    assert not voter.seal(5, "SEQ1")
    assert voter.follow(5, "SEQ1")
    assert load_promise(log.storage.lost(Random(1)), SESSION) == voter.promise
    assert voter.promise.owner == "SEQ1"
    assert not voter.seal(5, NAME)


def test_an_own_epoch_that_was_never_opened_is_not_given_to_who_is_no_voter() -> None:
    voter = voting(new_log())
    assert voter.seal(5, NAME)
    assert not voter.follow(5, "SEQ9")
    assert (voter.epoch, voter.promise.owner) == (5, NAME)


def test_an_own_epoch_that_was_opened_stays_ones_own() -> None:
    log = new_log()
    voter = voting(log)
    assert voter.seal(5, NAME)
    start_epoch(log, 5)
    assert not voter.follow(5, "SEQ1")
    assert voter.promise.owner == NAME


@pytest.mark.parametrize("promise", [Voter.seal, Voter.follow])
def test_no_promise_skips_more_epochs_than_there_can_be(promise: Callable[[Voter, int, str], bool]) -> None:
    """A number out of the blue must not be the last that there is."""
    voter = voting(new_log())
    before = voter.promise
    for epoch in (2 + EPOCH_JUMP, 2**64 - 1):
        assert not promise(voter, epoch, "SEQ1")
        assert voter.promise == before
    assert promise(voter, 1 + EPOCH_JUMP, "SEQ1")


@pytest.mark.parametrize("owner", ["SEQ9", "", "seq1"])
@pytest.mark.parametrize("promise", [Voter.seal, Voter.follow])
def test_nothing_is_promised_to_who_is_no_voter(
    promise: Callable[[Voter, int, str], bool], owner: str
) -> None:
    voter = voting(new_log())
    before = voter.promise
    assert not promise(voter, 5, owner)
    assert voter.promise == before == load_promise(voter.log.storage, SESSION)


def seal(voter: Voter) -> bool:
    return voter.seal(7, "SEQ2")


def follow(voter: Voter) -> bool:
    return voter.follow(7, "SEQ1")


def adopt(voter: Voter) -> bool:
    return voter.adopt(7)


def take_over_the_own_epoch(voter: Voter) -> bool:
    assert voter.seal(6, NAME)
    return voter.follow(6, "SEQ1")


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("change", [seal, follow, adopt, take_over_the_own_epoch])
def test_every_change_is_durable_before_it_returns(change: Callable[[Voter], bool], durability: str) -> None:
    for seed in range(8):
        voter = voting(new_log(durability))
        before = voter.promise
        assert change(voter)
        assert voter.promise != before
        assert load_promise(voter.log.storage.lost(Random(seed)), SESSION) == voter.promise


@pytest.mark.parametrize("change", [seal, follow, adopt])
def test_what_could_not_be_written_was_not_promised(change: Callable[[Voter], bool]) -> None:
    voter = voting(new_log())
    before, storage = voter.promise, voter.log.storage
    storage.capacity = storage.used - 1
    assert not change(voter)
    assert voter.promise == before == load_promise(storage, SESSION)


def test_a_vote_that_could_not_be_written_down_is_not_back() -> None:
    log = new_log()
    voter = voter_of(log)
    admit(log, NAME, voter.promise.incarnation)
    log.commit = log.last
    storage = log.storage
    storage.capacity = storage.used - 1
    assert not voter.look_for_admission()
    assert not voter.votes
    storage.capacity = None
    assert voter.look_for_admission()


def test_the_highest_epoch_counts_under_which_the_end_was_adopted() -> None:
    voter = voting(new_log())
    assert voter.adopt(4)
    assert voter.adopt(3)
    assert voter.promise.adopted == 4
    assert voter.answer().rank == (4, 0)


# the first epoch


def test_the_vote_begins_with_a_promise_to_who_knows_the_incarnation_of_an_empty_log() -> None:
    voter = voter_of(new_log())
    assert voter.seal(1, "SEQ1", voter.promise.incarnation)
    assert voter.votes
    assert load_promise(voter.log.storage.lost(Random(1)), SESSION) == voter.promise


@pytest.mark.parametrize("incarnation", [0, 99, 101])
def test_the_vote_does_not_begin_for_another_incarnation(incarnation: int) -> None:
    voter = voter_of(new_log())
    assert voter.seal(1, "SEQ1", incarnation)
    assert not voter.votes
    assert voter.epoch == 1


def test_the_vote_does_not_begin_with_a_log_that_holds_something() -> None:
    log = new_log()
    voter = voter_of(log)
    start_epoch(log)
    assert voter.seal(2, "SEQ1", voter.promise.incarnation)
    assert not voter.votes


def test_the_vote_does_not_begin_with_a_promise_that_is_refused() -> None:
    voter = voter_of(new_log())
    assert voter.seal(3, "SEQ1")
    assert not voter.seal(2, "SEQ1", voter.promise.incarnation)
    assert not voter.votes


def test_who_is_not_a_voter_never_votes() -> None:
    log = new_log()
    voter = voter_of(log, frozenset({"SEQ1", "SEQ3", "REW1"}))
    assert voter.seal(1, "SEQ1", voter.promise.incarnation)
    start_epoch(log)
    admit(log, NAME, voter.promise.incarnation)
    log.commit = log.last
    assert not voter.look_for_admission()
    assert not voter.votes
    assert not voter.state().votes
    assert not voter.answer().votes


# who cannot stand by what it held


def remembered(storage: MemoryStorage, durability: str = "memory", voters: frozenset[str] = THREE) -> Voter:
    """The voter of a node that is started again."""
    draw = count(200).__next__
    unfit = give_up_vote(storage, SESSION, durability, draw) if len(voters) > 1 else None
    return Voter(NAME, voters, open_log(storage, durability), draw, unfit)


def with_records(durability: str = "memory", voters: frozenset[str] = THREE) -> MessageLog:
    log = new_log(durability)
    voter = voting(log, voters)
    start_epoch(log)
    assert voter.seal(3, "SEQ1")
    log.sync()
    return log


@pytest.mark.parametrize("durability", DURABILITIES)
def test_who_was_killed_votes_on(durability: str) -> None:
    log = with_records(durability)
    voter = remembered(log.storage.killed(), durability)
    assert voter.votes
    assert voter.unfit is None
    assert voter.promise == Promise(100, 3, "SEQ1", votes=True)


@pytest.mark.parametrize(("durability", "votes"), [("memory", False), ("group", True), ("always", True)])
def test_who_lost_the_machine_votes_on_where_what_it_held_was_durable(durability: str, votes: bool) -> None:
    log = with_records(durability)
    voter = remembered(rebooted(log.storage), durability)
    assert voter.votes is votes
    assert (voter.epoch, voter.promise.owner) == (3, "SEQ1")
    assert (voter.promise.incarnation == 100) is votes
    assert voter.unfit == (None if votes else RESTARTED)


def test_who_lost_committed_records_does_not_vote() -> None:
    log = with_records()
    log.commit = 10
    storage = log.storage.killed()
    storage.damage(segment_name(1), log.locate(10)[1] + 8)
    voter = remembered(storage)
    assert voter.log.last == 9
    assert not voter.votes
    assert "records up to 10 were committed" in str(voter.unfit)


def test_who_lost_the_log_does_not_vote() -> None:
    log = with_records()
    storage = MemoryStorage()
    storage.write_atomically(PROMISE_FILE, log.storage.read(PROMISE_FILE), durable=True)
    voter = remembered(storage)
    assert not voter.votes
    assert voter.unfit == MISSING


def test_who_lost_the_marks_does_not_vote() -> None:
    storage = with_records().storage.killed()
    storage.remove("marks")
    voter = remembered(storage)
    assert not voter.votes
    assert voter.unfit == NO_MARKS


@pytest.mark.parametrize(("durability", "votes"), [("memory", False), ("group", True)])
def test_a_last_record_that_was_damaged_costs_the_vote_where_it_was_held(
    durability: str, votes: bool
) -> None:
    """Under `group` it was not synced, or it would be refused; so this node never said that it holds it."""
    log = with_records(durability)
    log.append(b"message", Stamp(0, 11, b"ALPHA "))
    storage = log.storage.killed()
    storage.damage(segment_name(1), log.locate(11)[1] + 8)
    voter = remembered(storage, durability)
    assert voter.log.last == 10
    assert voter.votes is votes
    assert voter.unfit == (None if votes else "record 11, the last one, was damaged")
    assert (voter.epoch, voter.promise.owner) == (3, "SEQ1")


def test_an_append_that_was_not_finished_costs_no_vote() -> None:
    """The length goes last: without it nobody was told that the record is held."""
    log = with_records()
    storage = log.storage.killed()
    end = log.tail.end
    storage.open(segment_name(1)).view[end + 3 : end + 23] = b"half of what was said"[:20]
    voter = remembered(storage)
    assert voter.log.recovery is not None
    assert (voter.log.last, voter.log.recovery.bytes_cut) == (10, 23)
    assert voter.votes
    assert voter.promise == Promise(100, 3, "SEQ1", votes=True)


def test_who_lost_its_promises_beside_a_log_with_records_does_not_vote() -> None:
    for damage in (True, False):
        storage = with_records().storage.killed()
        if damage:
            storage.damage(PROMISE_FILE, 33)
        else:
            storage.remove(PROMISE_FILE)
        voter = remembered(storage)
        assert voter.promise == Promise(200)
        assert "promises" in str(voter.unfit)


def test_who_does_not_vote_any_more_is_another_incarnation_and_keeps_what_it_promised() -> None:
    storage = rebooted(with_records().storage)
    voter = remembered(storage)
    promise = voter.promise
    assert (promise.epoch, promise.owner, promise.votes) == (3, "SEQ1", False)
    assert promise.incarnation != 100
    assert not voter.seal(2, "SEQ2")
    assert not voter.seal(3, "SEQ2")
    assert remembered(storage.killed()).promise == promise  # and it stays that one


def test_what_makes_unfit_is_said_until_the_vote_is_back() -> None:
    voter = remembered(rebooted(with_records().storage))
    log = voter.log
    assert "admitted again" in str(voter.missing)
    admit(log, NAME, voter.promise.incarnation)
    log.commit = log.last
    assert voter.look_for_admission()
    assert voter.unfit is None
    assert voter.missing is None


def test_a_learner_that_forgets_again_is_another_incarnation_again() -> None:
    """Of two voters the word of one that is being admitted counts before it votes: it must not forget either."""
    log = new_log()
    learner = voter_of(log, TWO)
    assert learner.follow(1, "SEQ1")
    start_epoch(log)
    admit(log, NAME, learner.promise.incarnation)
    following = remembered(rebooted(log.storage), voters=TWO)
    following.log.commit = following.log.last
    assert not following.look_for_admission()
    assert (following.epoch, following.promise.owner, following.votes) == (1, "SEQ1", False)
    assert following.promise.incarnation != 100


def test_a_node_that_never_followed_anybody_has_nothing_to_forget() -> None:
    log = new_log()
    assert voter_of(log).promise == Promise(100)
    again = remembered(rebooted(log.storage))
    assert (again.promise, again.unfit) == (Promise(100), None)


# before the log is opened


def lose(what: str) -> MemoryStorage:
    """The storage of a voter that has lost something."""
    storage = with_records().storage
    if what == "machine":
        return rebooted(storage)
    storage = storage.killed()
    for name in storage.names():
        if name != PROMISE_FILE and what in ("log", name):
            storage.remove(name)
    return storage


LOSSES = {"machine": RESTARTED, "log": MISSING, "marks": NO_MARKS}


def give_up(storage: MemoryStorage, durability: str = "memory") -> str | None:
    return give_up_vote(storage, SESSION, durability, lambda: 300)


@pytest.mark.parametrize("what", LOSSES)
def test_the_vote_is_given_up_for_good_before_anything_else_happens(what: str) -> None:
    for seed in range(8):
        storage = lose(what)
        assert give_up(storage) == LOSSES[what]
        assert load_promise(storage.lost(Random(seed)), SESSION) == Promise(300, 3, "SEQ1")


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("what", LOSSES)
def test_what_was_lost_is_not_forgotten_by_a_start_that_is_cut_short(what: str, opened: bool) -> None:
    """The process dies before it opens its log, or between that and the look at its promise."""
    storage = lose(what)
    give_up(storage)
    if opened:
        open_log(storage)
    voter = remembered(storage.killed())
    assert not voter.votes
    assert voter.promise.incarnation != 100
    assert (voter.epoch, voter.promise.owner) == (3, "SEQ1")
    assert voter.missing is not None


@pytest.mark.parametrize("durability", DURABILITIES)
def test_who_has_lost_nothing_gives_up_nothing(durability: str) -> None:
    storage = with_records(durability).storage.killed()
    assert give_up(storage, durability) is None
    assert load_promise(storage, SESSION) == Promise(100, 3, "SEQ1", votes=True)


def test_a_machine_that_does_not_tell_its_boots_apart_is_taken_for_the_same() -> None:
    storage = lose("machine")
    storage.boot_id = ""
    assert give_up(storage) is None


def test_who_has_promised_nothing_has_nothing_to_give_up() -> None:
    assert give_up(MemoryStorage()) is None
    storage = MemoryStorage()
    Promise(100).save(storage, SESSION)
    assert give_up(storage) is None
    assert load_promise(storage, SESSION) == Promise(100)


def test_who_does_not_vote_but_has_promised_gives_up_its_incarnation() -> None:
    """Of two voters its word counts as soon as it is admitted."""
    storage = MemoryStorage()
    Promise(100, 3, "SEQ1").save(storage, SESSION)
    assert give_up(storage) == MISSING
    assert load_promise(storage, SESSION) == Promise(300, 3, "SEQ1")


def test_a_vote_that_cannot_be_given_up_for_lack_of_room_ends_the_start_and_is_not_forgotten() -> None:
    storage = lose("machine")
    storage.capacity = storage.used - 1
    with pytest.raises(StorageFull):
        give_up(storage)
    storage.capacity = None
    assert give_up(storage) == RESTARTED


# alone


def test_who_votes_alone_always_votes() -> None:
    alone = frozenset({NAME})
    log = new_log()
    assert voter_of(log, alone).votes
    start_epoch(log)
    assert remembered(log.storage.killed(), voters=alone).votes
    assert remembered(rebooted(log.storage), voters=alone).votes
    storage = log.storage.killed()
    storage.remove(PROMISE_FILE)
    assert remembered(storage, voters=alone).votes
    storage = log.storage.killed()
    storage.remove("marks")
    assert remembered(storage, voters=alone).votes


def test_who_votes_alone_keeps_its_promise_too() -> None:
    log = new_log()
    voter = voter_of(log, frozenset({NAME}))
    assert voter.seal(4, NAME)
    again = remembered(log.storage.lost(Random(1)), voters=frozenset({NAME}))
    assert not again.seal(3, NAME)
    assert again.epoch == 4


# admission


def test_an_admission_gives_the_vote_back_when_it_is_committed() -> None:
    log = new_log()
    voter = voter_of(log)
    start_epoch(log)
    number = admit(log, NAME, voter.promise.incarnation)
    log.commit = number - 1
    assert not voter.look_for_admission()
    log.commit = number
    assert voter.look_for_admission()
    assert voter.votes
    assert not voter.look_for_admission()  # it is back already
    assert load_promise(log.storage.lost(Random(1)), SESSION) == voter.promise


def test_an_admission_of_another_incarnation_or_of_another_voter_gives_nothing() -> None:
    log = new_log()
    voter = voter_of(log)
    start_epoch(log)
    admit(log, NAME, voter.promise.incarnation + 1)
    admit(log, "REW1", voter.promise.incarnation)
    log.commit = log.last
    assert not voter.look_for_admission()
    assert not voter.votes


def test_the_latest_admission_of_a_name_counts() -> None:
    log = new_log()
    voter = voter_of(log)
    admit(log, NAME, voter.promise.incarnation)
    admit(log, NAME, 999)
    log.commit = log.last
    assert not voter.look_for_admission()


def test_admissions_survive_new_segments_and_opening_with_and_without_checkpoint() -> None:
    log = new_log()
    start_epoch(log)
    first = admit(log, NAME, 7)
    log.roll()
    second = admit(log, "REW1", 8)
    log.roll()
    start_epoch(log, 2)
    log.roll()
    expected = {NAME: (7, first), "REW1": (8, second)}
    assert log.admissions == expected
    assert open_log(log.storage.killed()).admissions == expected
    storage = log.storage.killed()
    for name in storage.names():
        if name.endswith(".ckpt"):
            storage.remove(name)
    assert open_log(storage).admissions == expected
    assert open_log(storage.killed()).admissions == expected  # from the checkpoint that was written anew


@pytest.mark.parametrize("payload", [b"", b"short", bytes(14) + b"long", b"\xff" * 14])
def test_an_admission_that_is_none_admits_nobody_and_stops_nothing(payload: bytes) -> None:
    log = with_records()
    log.append(payload, Stamp(log.last_time_ns, 0, b"SEQ1  ", Kind.ADMIT))
    log.roll()  # writes a checkpoint
    assert log.admissions == {}
    assert open_log(log.storage.killed()).admissions == {}


def test_a_cut_takes_the_admissions_above_it_and_no_other() -> None:
    log = new_log()
    start_epoch(log)
    first = admit(log, NAME, 7)
    log.roll()
    start_epoch(log, 2)
    second = admit(log, NAME, 8)
    log.roll()
    admit(log, "REW1", 9)
    assert log.admissions.keys() == {NAME, "REW1"}
    log.cut(second)
    assert log.admissions == {NAME: (8, second)}
    log.cut(second - 1)
    assert log.admissions == {NAME: (7, first)}
    assert open_log(log.storage.killed()).admissions == {NAME: (7, first)}
    log.cut(first - 1)
    assert log.admissions == {}


def test_the_record_of_an_admission_says_who_and_which() -> None:
    log = new_log()
    number = admit(log, NAME, 0x0102030405060708)
    payload = bytes(log.messages(number, 1)[0])[:14]
    assert payload == b"SEQ2  \x01\x02\x03\x04\x05\x06\x07\x08"


# what others are told


def test_the_answer_says_what_was_promised_and_what_is_held() -> None:
    log = new_log()
    voter = voting(log)
    start_epoch(log)
    log.commit = 4
    assert voter.seal(3, "SEQ1")
    answer = voter.answer(hears=True)
    assert (answer.epoch, answer.owner, answer.votes, answer.incarnation) == (3, "SEQ1", True, 100)
    assert (answer.last, answer.commit, answer.table, answer.hears) == (10, 4, ((1, 1),), True)
    assert answer.rank == (1, 10)
    assert not voter.answer().hears
