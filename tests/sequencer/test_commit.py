"""The commit number: held by W voters, and never before the epoch's own start is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequencer.commit import Commit


def test_one_voter_commits_what_it_holds() -> None:
    commit = Commit(write_quorum=1, epoch_start=1, number=0)
    commit.held("SEQ1", 5)
    assert commit.advance() == 5


def test_two_of_three_are_needed() -> None:
    commit = Commit(write_quorum=2, epoch_start=1, number=0)
    commit.held("SEQ1", 9)
    assert commit.advance() == 0
    commit.held("SEQ2", 4)
    assert commit.advance() == 4
    commit.held("REW1", 7)
    assert commit.advance() == 7


def test_nothing_is_committed_before_the_epoch_start_is() -> None:
    commit = Commit(write_quorum=2, epoch_start=100, number=80)
    commit.held("SEQ2", 120)
    commit.held("REW1", 99)
    assert commit.advance() == 80
    commit.held("REW1", 100)
    assert commit.advance() == 100


def test_what_a_voter_holds_never_shrinks() -> None:
    commit = Commit(write_quorum=1, epoch_start=1, number=0)
    commit.held("SEQ1", 9)
    commit.held("SEQ1", 3)
    assert commit.voters() == {"SEQ1": 9}
    assert commit.advance() == 9


@given(
    st.integers(1, 5).flatmap(
        lambda voters: st.tuples(
            st.just(voters),
            st.integers(1, voters),
            st.lists(st.tuples(st.integers(1, voters), st.integers(1, 50)), max_size=40),
        )
    ),
    st.integers(1, 20),
)
def test_never_past_the_quorum_and_never_back(
    case: tuple[int, int, list[tuple[int, int]]], epoch_start: int
) -> None:
    voters, quorum, reports = case
    commit = Commit(write_quorum=quorum, epoch_start=epoch_start, number=0)
    held = dict.fromkeys(range(1, voters + 1), 0)
    before = 0
    for voter, number in reports:
        commit.held(str(voter), number)
        held[voter] = max(held[voter], number)
        now = commit.advance()
        assert now >= before
        assert now == 0 or sum(number >= now for number in held.values()) >= quorum
        assert now == 0 or now >= epoch_start
        before = now
    best = sorted(held.values(), reverse=True)[quorum - 1]
    assert before == (best if best >= epoch_start else before)


def test_an_own_epoch_guard_that_is_off_would_be_caught() -> None:
    """The guard is what keeps a record of an older epoch from counting too early (compare the test above)."""
    unguarded = Commit(write_quorum=2, epoch_start=0, number=80)
    unguarded.held("SEQ2", 120)
    unguarded.held("REW1", 99)
    with pytest.raises(AssertionError):
        assert unguarded.advance() == 80
