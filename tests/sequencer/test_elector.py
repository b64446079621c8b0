"""The elector: the order of the configuration, and rivals that part."""

from __future__ import annotations

from random import Random

import pytest

from sequencer.elector import BACKOFF_LIMIT_NS, BACKOFF_NS, STAGGER_NS, RankElector

ORDER = ["SEQ1", "SEQ2", "SEQ3"]
PATIENCE_NS = 700_000_000


def elector(name: str, seed: int = 1) -> RankElector:
    return RankElector(name, ORDER, Random(seed), PATIENCE_NS)


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_at_the_start_each_gives_those_before_it_time_to_start(rank: int) -> None:
    assert elector(ORDER[rank]).wait_ns(0, None) == rank * PATIENCE_NS


@pytest.mark.parametrize(
    ("name", "gone", "rank"),
    [("SEQ2", "SEQ1", 0), ("SEQ3", "SEQ1", 1), ("SEQ1", "SEQ2", 0), ("SEQ3", "SEQ2", 1), ("SEQ2", "SEQ3", 1)],
)
def test_the_first_of_those_that_are_left_tries_at_once(name: str, gone: str, rank: int) -> None:
    assert elector(name).wait_ns(0, gone) == rank * STAGGER_NS


def test_who_was_primary_itself_waits_like_one_that_starts() -> None:
    assert elector("SEQ1").wait_ns(0, "SEQ1") == 0
    assert elector("SEQ2").wait_ns(0, "SEQ2") == PATIENCE_NS


def test_a_primary_that_is_in_no_order_changes_nothing() -> None:
    assert elector("SEQ2").wait_ns(0, "SEQ9") == STAGGER_NS


def test_the_pause_doubles_with_each_failure_up_to_the_limit() -> None:
    for failures in (1, 2, 3, 6, 7, 20, 10_000):
        pause = min(BACKOFF_NS * 2 ** min(failures - 1, 40), BACKOFF_LIMIT_NS)
        for seed in range(20):
            assert pause <= elector("SEQ1", seed).wait_ns(failures, "SEQ2") < 2 * pause


def test_rivals_that_failed_together_do_not_try_again_together() -> None:
    waits = {elector("SEQ1", seed).wait_ns(3, "SEQ2") for seed in range(20)}
    assert len(waits) == 20


def test_the_pause_comes_on_top_of_the_rank() -> None:
    wait = elector("SEQ3").wait_ns(1, "SEQ2")
    assert STAGGER_NS + BACKOFF_NS <= wait < STAGGER_NS + 2 * BACKOFF_NS
