"""What a primary says: one line for each change, and none while nothing changes."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import Any

import pytest

from rewinder.counters import Counters
from sequencer.notices import Notices


class World:
    """A primary as far as notices look at it."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []
        self.counters = Counters()
        self.names: list[str] = []
        self.followers = SimpleNamespace(quorate=True, in_contact=set())
        self.primary: Any = SimpleNamespace(
            storage_error=None,
            followers=self.followers,
            submit=SimpleNamespace(holding=False),
            log=SimpleNamespace(last=10, commit=7),
            port=SimpleNamespace(followers=lambda: [SimpleNamespace(user=name) for name in self.names]),
        )
        self.notices = Notices(self.counters, self.note("info"), self.note("warning"))

    def note(self, level: str) -> Any:
        return lambda event, **values: self.said.append((level, event, *values.values()))

    def look(self) -> list[tuple[Any, ...]]:
        """One look; then another, at which nothing has changed."""
        self.said.clear()
        self.notices.look(self.primary)
        first = list(self.said)
        self.said.clear()
        self.notices.look(self.primary)
        assert [event for _, event, *_ in self.said] in ([], ["the network takes packets again"])
        return first


@pytest.fixture
def world() -> World:
    made = World()
    assert made.look() == []
    return made


def test_followers(world: World) -> None:
    world.names = ["SEQ2", "REW1"]
    assert world.look() == [
        ("info", "a follower has come", "REW1"),
        ("info", "a follower has come", "SEQ2"),
    ]
    world.names = ["SEQ2"]
    assert world.look() == [("warning", "a follower has gone", "REW1")]


def test_the_quorum(world: World) -> None:
    world.followers.quorate = False
    assert world.look() == [("warning", "no quorum: nothing new is committed", "nobody")]
    world.followers.quorate, world.followers.in_contact = True, {"SEQ2", "REW1"}
    assert world.look() == [("info", "the quorum is there again", "REW1, SEQ2")]


def test_storage_and_senders(world: World) -> None:
    world.primary.storage_error = "full"
    assert world.look() == [], "that it is full was said when it was found out"
    world.primary.storage_error = None
    assert world.look() == [("info", "there is room for the log again")]
    world.primary.submit.holding = True
    assert world.look() == [("warning", "senders are held back", 3)]
    world.primary.submit.holding = False
    assert world.look() == [("info", "senders are let go on", 3)]


def test_a_network_that_refuses(world: World) -> None:
    name = f"publish.b.refused.{errno.ENETUNREACH}"
    world.counters.add("submit.refused", 5)
    world.counters.add(name, 3)
    world.notices.look(world.primary)
    world.counters.add(name)
    world.notices.look(world.primary)
    assert world.said == [("warning", "the network refuses packets", "b", "ENETUNREACH")], "once"
    world.notices.look(world.primary)
    assert world.said[1:] == [("info", "the network takes packets again", "b")]
