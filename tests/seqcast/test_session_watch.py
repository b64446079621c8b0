"""A new session is announced when it is sure, once; and never because of what strangers send."""

from __future__ import annotations

from random import Random

import pytest

from moldudp import Foreign
from seqcast.events import NewSession
from seqcast.session_watch import SessionWatch

MS = 1_000_000
SECOND = 1000 * MS
NEXT = b"NEXT      "


def test_a_session_that_ended_is_followed_by_the_next() -> None:
    watch = SessionWatch("OLD")
    assert watch.look(Foreign(NEXT, 1, 1), 0, True, 0) is None
    assert watch.look(Foreign(NEXT, 2, 1), 0, True, 10 * MS) is None
    assert watch.look(Foreign(NEXT, 3, 1), 0, True, 20 * MS) == NewSession("NEXT", "OLD")
    assert watch.look(Foreign(NEXT, 4, 1), 0, True, 30 * MS) is None  # once
    other = Foreign(b"THIRD     ", 3, 1)
    assert watch.look(other, 0, True, 40 * MS) == NewSession("THIRD", "OLD")
    assert watch.look(Foreign(NEXT, 3, 1), 0, True, 50 * MS) is None


def test_a_session_that_was_left_without_an_end() -> None:
    watch = SessionWatch("OLD")
    assert watch.look(None, 5 * SECOND, False, 5 * SECOND) is None
    assert watch.look(Foreign(NEXT, 9, 9), 5 * SECOND, False, 7499 * MS) is None
    assert watch.look(Foreign(NEXT, 9, 9), 5 * SECOND, False, 7500 * MS) == NewSession("NEXT", "OLD")


def test_a_session_that_was_never_heard() -> None:
    watch = SessionWatch("OLD")
    said = [watch.look(Foreign(NEXT, 5, 1), None, False, now * 100 * MS) for now in range(40)]
    assert [at for at, event in enumerate(said) if event is not None] == [25]


def test_the_previous_session_may_be_unknown() -> None:
    assert SessionWatch().look(Foreign(NEXT, 3, 1), None, True, 0) == NewSession("NEXT", None)


def test_a_second_bus_on_the_group_is_not_news_while_ours_is_alive() -> None:
    watch = SessionWatch("OURS")
    for now in range(1000):
        own_ns = now // 10 * SECOND
        assert watch.look(Foreign(NEXT, now * 10, now), own_ns, False, now * 100 * MS) is None


def test_what_was_heard_while_ours_was_alive_does_not_count() -> None:
    """A bus that is long gone is not the next session, whatever was heard of it."""
    watch = SessionWatch("OURS")
    gone = Foreign(NEXT, 100, 1)
    assert watch.look(gone, 1 * SECOND, False, 1 * SECOND) is None
    assert watch.look(gone, 1 * SECOND, False, 60 * SECOND) is None
    assert watch.look(Foreign(NEXT, 102, 1), 1 * SECOND, False, 61 * SECOND) is None
    assert watch.look(Foreign(NEXT, 103, 1), 1 * SECOND, False, 62 * SECOND) == NewSession("NEXT", "OURS")


def test_a_row_that_began_again_counts_from_its_beginning() -> None:
    watch = SessionWatch("OURS")
    assert watch.look(Foreign(NEXT, 100, 1), SECOND, False, SECOND) is None
    assert watch.look(Foreign(NEXT, 3, 1), SECOND, False, 9 * SECOND) == NewSession("NEXT", "OURS")


def test_random_sessions_are_never_believed() -> None:
    chance = Random(1)
    watch = SessionWatch("OURS")
    for now in range(2000):
        session = bytes(chance.randrange(0x21, 0x7F) for _ in range(10))
        assert watch.look(Foreign(session, 1, 1), None, now % 2 == 0, now * 100 * MS) is None


@pytest.mark.parametrize(
    "session", [b"\x00" * 10, b"NEXT\n     ", b"\xc3\x84USSERE  ", b" " * 10, b"OURS      "]
)
def test_what_is_no_name_is_never_believed(session: bytes) -> None:
    assert SessionWatch("OURS").look(Foreign(session, 1000, 1), None, True, 60 * SECOND) is None


def test_a_session_that_was_left_is_not_new() -> None:
    watch = SessionWatch("NEXT", former=["OLD"])
    assert watch.look(Foreign(b"OLD       ", 50, 1), None, False, 0) is None
    assert watch.look(Foreign(b"OLD       ", 50, 1), None, False, 60 * SECOND) is None
