"""The takeover machine among voters in memory: who wins, on which log, and who must not."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from rewinder.log import MessageLog
from rewinder.memory import MemoryStorage
from rewinder.record import Kind, Stamp, admission_payload, epoch_payload
from rewinder.replication import Answer, PromiseRequest, Query, decode, shared_last
from rewinder.voter import Voter
from sequencer.takeover import Phase, Takeover

SESSION = b"TEST      "
NAMES = ["SEQ1", "SEQ2", "REW1", "REW2", "REW3"]
WRITE_QUORUM = {1: 1, 2: 2, 3: 2, 4: 3, 5: 3}
SEAL_QUORUM = {1: 1, 2: 1, 3: 2, 4: 2, 5: 3}


class Bus:
    """`size` voters that have not begun; `hearing` are those that hear a primary."""

    def __init__(self, size: int, *, begun: bool = True) -> None:
        self.names = NAMES[:size]
        self.write_quorum = WRITE_QUORUM[size]
        self.hearing: set[str] = set()
        self.draws = count(1000)
        self.voters = {name: self.new_voter(name) for name in self.names}
        if begun:
            for voter in self.voters.values():
                assert voter.seal(1, "SEQ1", voter.promise.incarnation)

    def new_voter(self, name: str) -> Voter:
        """A voter with a new disk."""
        log = MessageLog.create(MemoryStorage(), SESSION, durability="memory", segment_bytes=1 << 17)
        return Voter(name, frozenset(self.names), log, self.draws.__next__)

    def candidate(self, name: str, *, insist: bool = False) -> Takeover:
        takeover = Takeover(self.voters[name], self.write_quorum, insist)
        takeover.begin()
        return takeover

    def answer(self, takeover: Takeover, name: str) -> Answer:
        """What the voter `name` answers to what it is asked."""
        voter = self.voters[name]
        match decode(takeover.request(name)):
            case PromiseRequest(epoch, owner, incarnation):
                assert owner == takeover.voter.name
                voter.seal(epoch, owner, incarnation)
            case other:
                assert other == Query()
        found = decode(voter.answer(hears=name in self.hearing).encode())
        assert isinstance(found, Answer)
        return found

    def ask(self, takeover: Takeover, *names: str) -> Phase:
        """One question to each of the voters."""
        for name in names:
            takeover.answered(name, self.answer(takeover, name))
        return takeover.phase

    def run(self, takeover: Takeover, *names: str) -> Phase:
        """All that is to be asked of the voters that are there."""
        self.ask(takeover, *names)
        self.ask(takeover, *names)
        return takeover.phase

    def write(self, *names: str, history: Iterable[tuple[int, int]]) -> None:
        """Give voters a log with `count` messages in each (epoch, count)."""
        for name in names:
            log = self.voters[name].log
            for epoch, messages in history:
                log.append(epoch_payload(epoch, "SEQ1"), Stamp(0, epoch, b"SEQ1  ", Kind.EPOCH))
                for _ in range(messages):
                    log.append(b"%d" % epoch, Stamp(0, log.next_number, b"ALPHA "))

    def fetch(self, takeover: Takeover, last: int | None = None) -> None:
        """What the follower of a candidate does."""
        ours, theirs = takeover.voter.log, self.voters[takeover.best].log
        shared = shared_last(ours.epochs, ours.last, tuple(theirs.epochs), theirs.last)
        if shared < ours.last:
            ours.cut(shared)
        missing = (theirs.last if last is None else last) - ours.last
        ours.append_records(theirs.messages(ours.next_number, missing))

    def replicate(self, takeover: Takeover) -> int:
        """Have every voter that may follow the winner; returns how many hold all, and count."""
        leader, count = takeover.voter, 1
        for voter in self.voters.values():
            if voter is not leader and voter.votes and voter.follow(takeover.epoch, leader.name):
                ours, theirs = voter.log, leader.log
                shared = shared_last(ours.epochs, ours.last, tuple(theirs.epochs), theirs.last)
                if shared < ours.last:
                    ours.cut(shared)
                ours.append_records(theirs.messages(ours.next_number, theirs.last - ours.last))
                count += 1
        return count


def admit(log: MessageLog, name: str, incarnation: int) -> None:
    log.append(admission_payload(name, incarnation), Stamp(0, 0, b"SEQ1  ", Kind.ADMIT))


# who wins


def test_who_votes_alone_wins_at_once() -> None:
    bus = Bus(1, begun=False)
    for epoch in (1, 2, 3):
        takeover = bus.candidate("SEQ1")
        assert (takeover.phase, takeover.epoch, takeover.best) == (Phase.WON, epoch, "SEQ1")
        assert takeover.others == []


@pytest.mark.parametrize("size", [2, 3, 5])
def test_the_first_epoch_is_opened_when_every_voter_is_there(size: int) -> None:
    bus = Bus(size, begun=False)
    *some, last = bus.names[1:]
    takeover = bus.candidate("SEQ1")
    assert bus.run(takeover, *some) is Phase.ASKING
    assert not any(voter.votes or voter.epoch for voter in bus.voters.values())
    assert takeover.nothing_yet
    assert takeover.absent == [last]
    assert bus.ask(takeover, last) is Phase.SEALING
    assert bus.ask(takeover, *some) is Phase.SEALING  # all of them have to promise it,
    assert not any(voter.votes for voter in bus.voters.values())
    assert bus.ask(takeover, last) is Phase.BEGINNING
    assert [name for name, voter in bus.voters.items() if voter.votes] == ["SEQ1"]
    assert bus.ask(takeover, *some) is Phase.BEGINNING  # and then to begin to vote
    assert bus.ask(takeover, last) is Phase.WON
    assert takeover.epoch == 1
    assert all(voter.votes for voter in bus.voters.values())
    assert {voter.promise.owner for voter in bus.voters.values()} == {"SEQ1"}


def test_nobody_begins_to_vote_where_a_log_holds_something() -> None:
    bus = Bus(3, begun=False)
    bus.write("REW1", history=[(1, 3)])
    takeover = bus.candidate("SEQ1")
    assert bus.run(takeover, "SEQ2", "REW1") is Phase.ASKING
    assert not any(voter.votes for voter in bus.voters.values())


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_later_a_seal_quorum_is_needed_and_enough(size: int) -> None:
    bus = Bus(size)
    bus.write(*bus.names, history=[(1, 4)])
    needed = SEAL_QUORUM[size] - 1
    takeover = bus.candidate("SEQ2")
    assert takeover.seal_quorum == SEAL_QUORUM[size]
    others = takeover.others[:needed]
    if needed:
        assert bus.ask(takeover, *others[:-1]) is Phase.ASKING
        assert bus.ask(takeover, others[-1]) is Phase.SEALING
        assert bus.ask(takeover, *others[:-1]) is Phase.SEALING
        assert bus.ask(takeover, others[-1]) is Phase.WON
    assert takeover.phase is Phase.WON
    assert takeover.best == "SEQ2"
    unasked = [bus.voters[name] for name in takeover.others[needed:]]
    assert all(voter.epoch == 1 for voter in unasked)


def test_one_voter_that_answers_often_is_one_voter() -> None:
    bus = Bus(5)
    bus.write(*bus.names, history=[(1, 4)])
    takeover = bus.candidate("SEQ1")
    assert bus.ask(takeover, "REW1", "REW1", "REW1") is Phase.ASKING
    bus.ask(takeover, "REW2")
    assert bus.ask(takeover, "REW1", "REW1", "REW1") is Phase.SEALING


def test_who_does_not_vote_is_not_counted() -> None:
    bus = Bus(3)
    bus.write(*bus.names, history=[(1, 4)])
    bus.voters["REW1"] = bus.new_voter("REW1")
    takeover = bus.candidate("SEQ1")
    assert bus.run(takeover, "REW1") is Phase.ASKING
    assert "REW1 may not vote yet" in takeover.missing()
    assert bus.ask(takeover, "SEQ2") is Phase.SEALING
    assert bus.ask(takeover, "REW1") is Phase.SEALING
    assert bus.ask(takeover, "SEQ2") is Phase.WON


def test_who_does_not_vote_itself_does_not_take_over() -> None:
    bus = Bus(3)
    bus.write(*bus.names, history=[(1, 4)])
    bus.voters["SEQ2"] = bus.new_voter("SEQ2")
    assert bus.run(bus.candidate("SEQ2"), "SEQ1", "REW1") is Phase.ASKING
    assert all(voter.epoch <= 1 for voter in bus.voters.values())


def test_an_answer_with_a_changed_incarnation_replaces_the_earlier_one() -> None:
    bus = Bus(3)
    bus.write(*bus.names, history=[(1, 4)])
    takeover = bus.candidate("SEQ1")
    answer = bus.answer(takeover, "REW1")
    takeover.answered("REW1", evolve(answer, votes=False, incarnation=77))
    assert takeover.phase is Phase.ASKING
    takeover.answered("REW1", answer)
    assert takeover.phase is Phase.SEALING


# who still hears a primary


def test_those_who_hear_a_primary_keep_it() -> None:
    bus = Bus(3)
    bus.write(*bus.names, history=[(1, 4)])
    bus.hearing = {"SEQ1", "REW1"}
    takeover = bus.candidate("SEQ2")
    assert bus.run(takeover, "SEQ1", "REW1") is Phase.ASKING
    assert "SEQ1, REW1 still hear a primary" in takeover.missing()
    assert all(voter.epoch == 1 for voter in bus.voters.values())
    bus.hearing = {"SEQ1"}
    assert bus.run(takeover, "REW1") is Phase.WON


def test_who_insists_does_not_mind_who_hears_a_primary() -> None:
    bus = Bus(3)
    bus.write(*bus.names, history=[(1, 4)])
    bus.hearing = {"SEQ1", "REW1"}
    assert bus.run(bus.candidate("SEQ2", insist=True), "SEQ1") is Phase.WON


def test_who_promised_counts_though_it_heard_a_primary() -> None:
    bus = Bus(3)
    bus.write(*bus.names, history=[(1, 4)])
    takeover = bus.candidate("SEQ2")
    bus.ask(takeover, "REW1")
    bus.hearing = {"REW1"}
    assert bus.ask(takeover, "REW1") is Phase.WON


# which epoch


def test_the_epoch_is_one_above_every_epoch_that_was_heard_of() -> None:
    bus = Bus(3)
    bus.write(*bus.names, history=[(1, 4)])
    assert bus.voters["REW1"].seal(6, "SEQ1")
    takeover = bus.candidate("SEQ2")
    bus.ask(takeover, "REW1")
    assert takeover.epoch == 7
    bus = Bus(3)
    bus.write("SEQ1", history=[(1, 4), (8, 1)])
    takeover = bus.candidate("SEQ1")
    bus.ask(takeover, "REW1")
    assert takeover.epoch == 9
    bus = Bus(3)
    bus.voters["REW1"].adopt(11)
    takeover = bus.candidate("SEQ1")
    bus.ask(takeover, "REW1")
    assert takeover.epoch == 12


@given(
    st.sampled_from([2, 4]),
    st.integers(0, 9),
    st.integers(0, 9),
    st.sampled_from([("SEQ1", "SEQ2"), ("SEQ2", "SEQ1")]),
)
def test_candidates_whose_quorums_do_not_meet_never_take_the_same_epoch(
    size: int, first: int, second: int, order: tuple[str, str]
) -> None:
    bus = Bus(size)
    bus.write(*bus.names, history=[(1, 4)])
    epochs = []
    for name, heard, other in zip(order, (first, second), ("REW1", "REW2"), strict=True):
        bus.voters[name].seal(2 + heard, name)
        takeover = bus.candidate(name)
        if size == 4:
            bus.run(takeover, other)
        assert takeover.phase is Phase.WON
        assert takeover.epoch > 2 + heard
        epochs.append(takeover.epoch)
    assert epochs[0] != epochs[1]


def test_each_attempt_takes_a_new_epoch() -> None:
    bus = Bus(3)
    bus.write(*bus.names, history=[(1, 4)])
    epochs = []
    for _ in range(3):
        takeover = bus.candidate("SEQ2")
        bus.ask(takeover, "REW1")
        epochs.append(takeover.epoch)
        takeover.lose("no time")
    assert epochs == [2, 3, 4]


# which log


def test_the_log_of_the_highest_epoch_is_adopted_and_not_the_longest() -> None:
    bus = Bus(5)
    bus.write("SEQ1", history=[(1, 4)])
    bus.write("REW1", history=[(1, 4), (2, 90)])
    bus.write("REW2", history=[(1, 3), (3, 2)])
    takeover = bus.candidate("SEQ1")
    assert bus.run(takeover, "REW1", "REW2") is Phase.FETCHING
    assert takeover.best == "REW2"
    assert takeover.wanted is not None
    assert takeover.wanted.rank == (3, 7)


def test_of_logs_of_one_epoch_the_longest_is_adopted() -> None:
    bus = Bus(3)
    bus.write("SEQ1", "REW1", history=[(1, 4)])
    bus.voters["REW1"].log.append(b"more", Stamp(0, 9, b"ALPHA "))
    takeover = bus.candidate("SEQ1")
    assert bus.run(takeover, "REW1") is Phase.FETCHING
    assert takeover.best == "REW1"


def test_an_own_log_that_ranks_highest_needs_no_fetching() -> None:
    bus = Bus(3)
    bus.write("REW1", history=[(1, 90)])
    bus.write("SEQ1", history=[(1, 4), (2, 0)])
    takeover = bus.candidate("SEQ1")
    assert bus.run(takeover, "REW1") is Phase.WON
    assert takeover.best == "SEQ1"


def test_the_epoch_under_which_the_end_was_adopted_ranks() -> None:
    bus = Bus(5)
    bus.write("SEQ1", history=[(1, 4)])
    bus.write("REW1", history=[(1, 4), (3, 90)])
    bus.write("REW2", history=[(1, 4)])
    bus.voters["REW2"].log.append(b"", Stamp(0, 0, b"SEQ1  ", Kind.END))
    bus.voters["REW2"].adopt(4)
    takeover = bus.candidate("SEQ1")
    assert bus.run(takeover, "REW1", "REW2") is Phase.FETCHING
    assert takeover.best == "REW2"
    bus.fetch(takeover)
    assert not takeover.fetched()  # the end is there, and it has to be known as adopted as well
    bus.voters["SEQ1"].adopt(takeover.epoch)
    assert takeover.fetched()


def test_who_has_not_promised_does_not_lend_its_log() -> None:
    bus = Bus(3)
    bus.write("SEQ1", "REW1", history=[(1, 4)])
    bus.write("SEQ2", history=[(1, 4), (2, 9)])
    takeover = bus.candidate("SEQ1")
    bus.ask(takeover, "REW1", "REW1")
    assert takeover.phase is Phase.WON
    assert bus.ask(takeover, "SEQ2") is Phase.WON
    assert takeover.best == "SEQ1"


def test_the_attempt_is_won_when_the_log_is_complete_and_not_before() -> None:
    bus = Bus(3)
    bus.write("SEQ1", history=[(1, 8)])
    bus.write("REW1", history=[(1, 4), (2, 3)])
    takeover = bus.candidate("SEQ1")
    assert bus.run(takeover, "REW1") is Phase.FETCHING
    assert not takeover.fetched()
    for last in (6, 7, 8):
        bus.fetch(takeover, last)
        assert not takeover.fetched()
        assert takeover.phase is Phase.FETCHING
    bus.fetch(takeover)
    assert takeover.fetched()
    assert takeover.phase is Phase.WON
    assert bus.voters["SEQ1"].log.epochs == [(1, 1), (2, 6)]


def test_the_lowest_commit_number_of_those_who_promised_is_told() -> None:
    bus = Bus(3)
    bus.write(*bus.names, history=[(1, 8)])
    for name, commit in (("SEQ1", 7), ("SEQ2", 5), ("REW1", 3)):
        bus.voters[name].log.commit = commit
    takeover = bus.candidate("SEQ1")
    bus.ask(takeover, "SEQ2", "SEQ2")
    assert takeover.lowest_commit == 5


# what is asked


def test_a_promise_is_asked_without_an_incarnation_once_the_session_has_begun() -> None:
    bus = Bus(3)
    bus.write(*bus.names, history=[(1, 4)])
    takeover = bus.candidate("SEQ2")
    assert decode(takeover.request("REW1")) == Query()
    bus.ask(takeover, "REW1")
    assert decode(takeover.request("REW1")) == PromiseRequest(2, "SEQ2", 0)
    assert decode(takeover.request("SEQ1")) == PromiseRequest(2, "SEQ2", 0)


def test_the_first_promise_is_asked_without_an_incarnation_until_all_have_given_it() -> None:
    bus = Bus(3, begun=False)
    takeover = bus.candidate("SEQ1")
    assert decode(takeover.request("SEQ2")) == Query()
    bus.ask(takeover, "SEQ2", "REW1", "SEQ2")
    assert takeover.phase is Phase.SEALING
    for name in ("SEQ2", "REW1"):
        assert decode(takeover.request(name)) == PromiseRequest(1, "SEQ1", 0)
    assert bus.ask(takeover, "REW1") is Phase.BEGINNING
    for name in ("SEQ2", "REW1"):
        incarnation = bus.voters[name].promise.incarnation
        assert decode(takeover.request(name)) == PromiseRequest(1, "SEQ1", incarnation)


# who loses


def test_a_higher_promise_ends_the_attempt() -> None:
    bus = Bus(3)
    bus.write(*bus.names, history=[(1, 4)])
    takeover = bus.candidate("SEQ2")
    bus.ask(takeover, "REW1")
    assert bus.voters["REW1"].seal(5, "SEQ1")
    assert bus.ask(takeover, "REW1") is Phase.LOST
    assert takeover.reason == "REW1 has promised epoch 5 to SEQ1"


def test_the_same_epoch_promised_to_somebody_else_ends_the_attempt() -> None:
    bus = Bus(3)
    bus.write(*bus.names, history=[(1, 4)])
    takeover = bus.candidate("SEQ2")
    bus.ask(takeover, "REW1")
    assert bus.voters["REW1"].seal(2, "SEQ1")
    assert bus.ask(takeover, "REW1") is Phase.LOST
    assert "epoch 2 to SEQ1" in takeover.reason


def test_a_higher_promise_ends_the_attempt_while_it_fetches_too() -> None:
    bus = Bus(3)
    bus.write("SEQ1", history=[(1, 4)])
    bus.write("REW1", history=[(1, 9)])
    takeover = bus.candidate("SEQ1")
    assert bus.run(takeover, "REW1") is Phase.FETCHING
    assert bus.voters["SEQ2"].seal(5, "SEQ2")
    assert bus.ask(takeover, "SEQ2") is Phase.LOST
    bus.fetch(takeover)
    assert not takeover.fetched()
    assert takeover.phase is Phase.LOST


def test_a_promise_of_our_own_that_came_in_between_is_one_that_was_heard_of() -> None:
    bus = Bus(3)
    bus.write(*bus.names, history=[(1, 4)])
    takeover = bus.candidate("SEQ2")
    assert bus.voters["SEQ2"].seal(9, "SEQ1")
    assert bus.run(takeover, "REW1") is Phase.WON
    assert takeover.epoch == 10


def test_an_epoch_that_we_cannot_promise_ourselves_ends_the_attempt() -> None:
    bus = Bus(3)
    bus.write(*bus.names, history=[(1, 4)])
    takeover = bus.candidate("SEQ2")
    storage: Any = bus.voters["SEQ2"].log.storage
    storage.capacity = storage.used - 1
    assert bus.ask(takeover, "REW1") is Phase.LOST
    assert takeover.reason == "epoch 1 is promised to SEQ1 here"
    assert bus.voters["REW1"].epoch == 1
    takeover = bus.candidate("SEQ1")
    takeover.answered("REW1", evolve(bus.answer(takeover, "REW1"), epoch=2**63))  # damaged, or a lie
    assert takeover.phase is Phase.LOST
    assert bus.voters["SEQ1"].epoch == 1


def test_a_promise_that_went_to_somebody_else_while_fetching_is_never_won_on() -> None:
    """The primary would open the epoch that its voter has promised last, which is another one's."""
    bus = Bus(3)
    bus.write("SEQ1", history=[(1, 4)])
    bus.write("REW1", history=[(1, 9)])
    takeover = bus.candidate("SEQ1")
    assert bus.run(takeover, "REW1") is Phase.FETCHING
    bus.fetch(takeover)
    assert bus.voters["SEQ1"].follow(5, "SEQ2")
    takeover.fetched()
    assert takeover.phase is Phase.LOST


def test_a_promise_that_went_to_somebody_else_while_sealing_is_never_won_on() -> None:
    bus = Bus(3)
    bus.write(*bus.names, history=[(1, 4)])
    takeover = bus.candidate("SEQ1")
    bus.ask(takeover, "REW1")
    assert bus.voters["SEQ1"].follow(5, "SEQ2")
    assert bus.ask(takeover, "REW1") is Phase.LOST


def test_an_answer_to_an_earlier_question_is_no_promise() -> None:
    bus = Bus(3)
    bus.write(*bus.names, history=[(1, 4)])
    takeover = bus.candidate("SEQ2")
    earlier = bus.answer(takeover, "REW1")
    takeover.answered("REW1", earlier)
    for name in ("REW1", "SEQ1"):
        takeover.answered(name, earlier)
    assert takeover.phase is Phase.SEALING
    assert takeover.absent == ["REW1", "SEQ1"]


def test_an_attempt_that_is_over_stays_over() -> None:
    bus = Bus(3)
    bus.write(*bus.names, history=[(1, 4)])
    won = bus.candidate("SEQ2")
    assert bus.run(won, "REW1") is Phase.WON
    assert bus.voters["SEQ1"].seal(9, "SEQ1")
    assert bus.ask(won, "SEQ1") is Phase.WON
    won.lose("too late")
    assert (won.phase, won.reason) == (Phase.WON, "")
    lost = bus.candidate("SEQ2")
    lost.lose("no time")
    assert bus.run(lost, "SEQ1", "REW1") is Phase.LOST


# who is another one than it was


def test_a_promise_of_an_incarnation_that_the_own_log_contradicts_does_not_count() -> None:
    bus = Bus(3)
    bus.write(*bus.names, history=[(1, 4)])
    admit(bus.voters["SEQ1"].log, "REW1", 555)
    takeover = bus.candidate("SEQ1")
    assert bus.run(takeover, "REW1") is Phase.LOST
    assert "lost its disk" in takeover.reason


def test_a_promise_of_an_incarnation_that_the_fetched_log_contradicts_does_not_count() -> None:
    bus = Bus(5)
    bus.write(*bus.names, history=[(1, 4)])
    bus.voters["REW1"].log.append(b"more", Stamp(0, 9, b"ALPHA "))
    admit(bus.voters["REW1"].log, "REW2", 555)
    takeover = bus.candidate("SEQ1")
    assert bus.run(takeover, "REW1", "REW2") is Phase.FETCHING
    bus.fetch(takeover)
    takeover.fetched()
    assert takeover.phase is Phase.LOST


def test_a_promise_of_the_incarnation_that_was_admitted_counts() -> None:
    bus = Bus(3)
    bus.write(*bus.names, history=[(1, 4)])
    admit(bus.voters["SEQ1"].log, "REW1", bus.voters["REW1"].promise.incarnation)
    assert bus.run(bus.candidate("SEQ1"), "REW1") is Phase.WON


def test_one_promise_that_does_not_count_is_made_up_for_by_others() -> None:
    bus = Bus(5)
    bus.write(*bus.names, history=[(1, 4)])
    admit(bus.voters["SEQ1"].log, "REW1", 555)
    takeover = bus.candidate("SEQ1")
    bus.ask(takeover, "REW1", "REW2", "REW1")
    assert bus.ask(takeover, "REW2") is Phase.LOST  # a quorum only with the one that does not count
    takeover = bus.candidate("SEQ1")
    bus.ask(takeover, "SEQ2", "REW2", "SEQ2")
    assert bus.ask(takeover, "REW2") is Phase.WON


# who begins to vote


def test_an_answer_that_is_out_of_date_gives_no_vote_to_who_lost_its_disk() -> None:
    """SEQ1 saw REW1 before the first epoch was open, and sees SEQ2 after it was primary and lost its disk."""
    bus = Bus(3, begun=False)
    for name in ("SEQ2", "SEQ1"):
        assert bus.voters[name].seal(1, "SEQ2", bus.voters[name].promise.incarnation)
    takeover = bus.candidate("SEQ1")
    bus.ask(takeover, "REW1")
    assert bus.voters["REW1"].seal(1, "SEQ2", bus.voters["REW1"].promise.incarnation)
    bus.write("SEQ2", "REW1", history=[(1, 9)])  # committed: two of three hold it
    bus.voters["SEQ2"] = bus.new_voter("SEQ2")
    bus.ask(takeover, "SEQ2", "SEQ2")
    assert takeover.phase is Phase.SEALING
    again = bus.candidate("SEQ1")  # REW1 is out of reach for SEQ1, or it would have been heard
    assert bus.run(again, "SEQ2") is not Phase.WON
    assert not bus.voters["SEQ2"].votes
    assert bus.ask(takeover, "REW1") is Phase.LOST
    assert takeover.reason == "the session has begun already"


@pytest.mark.parametrize("others", [("SEQ2",), ("SEQ2", "REW1")])
def test_who_lost_its_disk_while_the_first_epoch_was_promised_begins_nothing(others: tuple[str, ...]) -> None:
    """Before SEALING, or between it and BEGINNING: the next attempt sees who it is now."""
    bus = Bus(3, begun=False)
    takeover = bus.candidate("SEQ1")
    bus.ask(takeover, "SEQ2", "REW1", *others)
    bus.voters["REW1"] = bus.new_voter("REW1")
    assert bus.ask(takeover, "REW1") is Phase.LOST
    assert takeover.reason == "REW1 has lost its disk since it was asked"
    assert bus.ask(takeover, "REW1", "SEQ2") is Phase.LOST
    assert not bus.voters["REW1"].votes
    again = bus.candidate("SEQ1")
    bus.ask(again, "SEQ2", "REW1")
    assert bus.run(again, "SEQ2", "REW1") is Phase.WON
    assert all(voter.votes for voter in bus.voters.values())


def test_who_voted_for_a_higher_epoch_before_it_lost_its_disk_does_not_begin_to_vote_for_a_lower_one() -> (
    None
):
    """SEQ1 has the promise of SEQ2, which takes a higher epoch then, and commits in it what REW1 loses again."""
    bus = Bus(3, begun=False)
    first = bus.candidate("SEQ2")
    bus.ask(first, "SEQ1", "REW1", "SEQ1", "REW1")
    assert bus.ask(first, "REW1") is Phase.BEGINNING  # and SEQ1 does not hear of it
    late = bus.candidate("SEQ1")
    bus.ask(late, "SEQ2", "REW1", "SEQ2")
    assert (late.phase, late.epoch) == (Phase.SEALING, 2)
    second = bus.candidate("SEQ2")
    assert bus.run(second, "REW1") is Phase.WON
    bus.write("SEQ2", "REW1", history=[(second.epoch, 9)])  # committed: two of three hold it
    bus.voters["REW1"] = bus.new_voter("REW1")
    assert bus.ask(late, "REW1", "REW1") is Phase.LOST
    assert not bus.voters["REW1"].votes
    assert bus.run(bus.candidate("SEQ1"), "REW1") is Phase.ASKING


def test_a_first_epoch_that_was_given_up_half_way_is_tried_again_by_another() -> None:
    """Some vote then, and some do not."""
    for heard in range(2):
        bus = Bus(3, begun=False)
        takeover = bus.candidate("SEQ1")
        bus.ask(takeover, "SEQ2", "REW1", "SEQ2", "REW1", *["REW1", "SEQ2"][:heard])
        again = bus.candidate("SEQ2")
        assert bus.ask(again, "SEQ1", "REW1") is Phase.SEALING
        assert bus.ask(again, "SEQ1", "REW1", "SEQ1", "REW1") is Phase.WON
        assert again.epoch == 2
        assert bus.ask(takeover, "REW1") is Phase.LOST


# any order


@given(st.data())
def test_however_candidates_meet_no_epoch_has_two_owners_and_what_was_committed_stays(
    data: st.DataObject,
) -> None:
    """Two candidates try again and again, their questions and answers are lost and late, and no disk is."""
    size = data.draw(st.sampled_from([2, 3, 5]))
    bus = Bus(size)
    committed = 5
    holders = data.draw(st.permutations(bus.names))[: bus.write_quorum]
    bus.write(*holders, history=[(1, committed - 1)])
    attempts = {name: bus.candidate(name) for name in ("SEQ1", "SEQ2")}
    late: list[tuple[str, str, Answer]] = []
    owners: dict[int, str] = {}
    for _ in range(data.draw(st.integers(5, 40))):
        name = data.draw(st.sampled_from(["SEQ1", "SEQ2"]))
        takeover = attempts[name]
        other = data.draw(st.sampled_from(takeover.others))
        what = data.draw(st.sampled_from(["ask", "ask", "ask", "late", "again"]))
        if what == "again":
            takeover = attempts[name] = bus.candidate(name)
        else:
            answer = bus.answer(takeover, other)
            if what == "late":
                late.append((name, other, answer))
                name, other, answer = late.pop(0) if len(late) > 2 else late[0]
                takeover = attempts[name]
            takeover.answered(other, answer)
        if takeover.phase is Phase.FETCHING:
            bus.fetch(takeover)
            takeover.fetched()
        voter = takeover.voter
        if takeover.phase is Phase.WON and (voter.epoch, voter.promise.owner) == (takeover.epoch, name):
            assert owners.setdefault(takeover.epoch, name) == name
            assert voter.log.last >= committed
            assert voter.log.epochs[0] == (1, 1)
            bus.write(name, history=[(takeover.epoch, 1)] if voter.log.epochs[-1][0] < takeover.epoch else [])


@given(st.data())
def test_however_the_session_begins_what_was_committed_stays_though_one_disk_is_lost(
    data: st.DataObject,
) -> None:
    """Nobody votes at first, and any voter may be another one at any time, once. `committed` has a prefix."""
    size = data.draw(st.sampled_from([2, 3, 5]))
    bus = Bus(size, begun=False)
    attempts: dict[str, Takeover] = {name: bus.candidate(name) for name in ("SEQ1", "SEQ2")}
    late: list[tuple[Takeover, str, Answer]] = []
    lost: str | None = None
    owners: dict[int, str] = {}
    committed: list[tuple[int, int]] = []  # the epoch table of the longest log that a write quorum held
    for _ in range(data.draw(st.integers(5, 30))):
        name = data.draw(st.sampled_from(["SEQ1", "SEQ2"]))
        takeover = attempts[name]
        what = data.draw(st.sampled_from(["ask", "ask", "ask", "hold", "late", "again", "lose"]))
        if what == "again":
            attempts[name] = bus.candidate(name)
        elif what == "lose":
            victim = data.draw(st.sampled_from(bus.names))
            if lost is None:
                lost = victim
                bus.voters[victim] = bus.new_voter(victim)
                if victim in attempts:  # its process died with its disk
                    attempts[victim] = bus.candidate(victim)
        elif what == "late":
            if late:
                asker, other, answer = late.pop(data.draw(st.integers(0, len(late) - 1)))
                asker.answered(other, answer)
                takeover = asker
        else:
            for other in data.draw(st.lists(st.sampled_from(takeover.others), min_size=1, max_size=size + 1)):
                answer = bus.answer(takeover, other)
                if what == "hold":
                    late.append((takeover, other, answer))
                else:
                    takeover.answered(other, answer)
        voter = takeover.voter
        if takeover not in attempts.values():
            continue
        if takeover.phase is Phase.FETCHING:
            bus.fetch(takeover)
            takeover.fetched()
        if takeover.phase is Phase.WON and takeover.epoch not in owners:
            owners[takeover.epoch] = voter.name
            if (voter.epoch, voter.promise.owner) != (takeover.epoch, voter.name):
                continue  # it was deposed at once
            assert voter.log.epochs[: len(committed)] == committed
            bus.write(voter.name, history=[(takeover.epoch, 0)])
            if bus.replicate(takeover) >= bus.write_quorum:
                committed = list(voter.log.epochs)
