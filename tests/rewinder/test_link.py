"""The link of a node to its primary: with whom there is a connection, and when it is made anew."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from far_end import FakePump, FakeSocket

from rewinder.counters import Counters
from rewinder.dial import Identity, Patience
from rewinder.follower import Follower
from rewinder.link import Link
from rewinder.log import MessageLog
from rewinder.memory import MemoryStorage
from rewinder.node import Node
from rewinder.pump import READABLE
from rewinder.record import Kind, Stamp, epoch_payload
from rewinder.replication import Answer, Committed, Epochs, Packet
from rewinder.voter import Voter
from souptcp import SOUPBINTCP, ServerSession

SESSION = b"TEST      "
PATIENCE = Patience(heartbeat_ns=1_000_000, silence_ns=10_000_000)
ADDRESSES = {"SEQ1": ("one", 1), "SEQ2": ("two", 2)}


class Bench:
    """The node REW1 with its link. `dialled` are the names of those it has connected to, one after the other."""

    def __init__(self, *names: str, records: int = 0, wanted: Answer | None = None) -> None:
        self.log = MessageLog.create(MemoryStorage(), SESSION, durability="memory", segment_bytes=1 << 17)
        if records:
            self.log.append(epoch_payload(1, "SEQ1"), Stamp(0, 1, b"SEQ1  ", Kind.EPOCH))
        while self.log.last < records:
            self.log.append(b"message", Stamp(0, self.log.next_number, b"ALPHA "))
        self.voter = Voter("REW1", frozenset({"SEQ1", "SEQ2", "REW1"}), self.log, lambda: 7)
        self.pump = FakePump()
        self.dialled: list[str] = []
        self.said: list[str] = []
        pump: Any = self.pump
        network: Any = self
        self.link = Link(
            pump,
            network,
            Identity("REW1", "secret", SESSION),
            PATIENCE,
            Follower(self.voter, Counters()),
            {name: ADDRESSES[name] for name in names},
            Counters(),
            Random(1),
            self.said.append,
            wanted=wanted,
        )
        settings: Any = None
        self.node = Node(settings)
        self.node.link = self.link

    def connect(self, host: str, _port: int) -> FakeSocket:
        """The network's part."""
        self.dialled.append(next(name for name, address in ADDRESSES.items() if address[0] == host))
        self.server = ServerSession(SOUPBINTCP, now_ns=0)
        self.socket = FakeSocket(self.server)
        return self.socket

    def ready(self, now_ns: int = 0) -> None:
        if self.pump.handler is not None:
            self.pump.handler(READABLE, now_ns)

    def let_in(self, number: int, *packets: Packet) -> None:
        """The server's part: it takes the login and says something."""
        self.ready()
        self.server.accept(SESSION, number, 0)
        for packet in packets:
            self.server.send_unsequenced(packet.encode())
        self.ready()


@pytest.fixture
def bench() -> Bench:
    """Two sequencers that may be primary; the first is tried first."""
    bench = Bench("SEQ1", "SEQ2")
    assert bench.link.dialling is None
    bench.link.handle_timer(0)
    assert (bench.dialled, bench.link.dialling) == (["SEQ1"], "SEQ1")
    return bench


def test_who_follows_says_so(bench: Bench) -> None:
    bench.let_in(1)
    assert (bench.link.following, bench.link.dialling) == (None, "SEQ1")
    bench.server.send_unsequenced(Epochs(1, "SEQ1", ()).encode())
    bench.ready()
    assert (bench.link.following, bench.link.dialling) == ("SEQ1", "SEQ1")
    assert bench.said == ["following SEQ1 at one:1 from 1"]
    bench.server.send_unsequenced(Committed(1, 7).encode())
    bench.ready()
    assert bench.link.status() == {"following": "SEQ1", "suspicion": None, "missing": 7}
    bench.link.close()
    assert (bench.link.following, bench.link.dialling) == (None, None)
    assert bench.link.status()["missing"] == 0, "nobody tells any more"


@pytest.mark.parametrize("progress", ["connecting", "logged in", "following"])
def test_a_primary_that_says_it_has_opened_its_epoch_is_not_dialled_again(
    bench: Bench, progress: str
) -> None:
    """It tells everybody, also who has found it already: the connection there is would be lost."""
    if progress != "connecting":
        bench.let_in(1, *([Epochs(1, "SEQ1", ())] if progress == "following" else []))
    bench.node.opened("SEQ1", 5)
    bench.pump.timers.run(5)
    assert bench.dialled == ["SEQ1"]
    assert not bench.socket.closed
    assert bench.link.dialling == "SEQ1"
    assert (bench.link.following is not None) is (progress == "following")


def test_another_primary_that_has_opened_its_epoch_is_turned_to_at_once(bench: Bench) -> None:
    bench.let_in(1, Epochs(1, "SEQ1", ()))
    socket = bench.socket
    bench.node.opened("SEQ2", 5)
    assert socket.closed
    bench.pump.timers.run(5)
    assert (bench.dialled, bench.link.dialling, bench.link.following) == (["SEQ1", "SEQ2"], "SEQ2", None)


def test_a_primary_whose_connection_was_lost_meanwhile_is_dialled_again(bench: Bench) -> None:
    bench.link.close()
    bench.node.opened("SEQ1", 5)
    bench.pump.timers.run(5)
    assert bench.dialled == ["SEQ1", "SEQ1"]


def test_a_log_of_another_epoch_than_was_looked_for_has_the_next_one_tried(bench: Bench) -> None:
    bench.let_in(1, Epochs(1, "SEQ2", ()))
    assert bench.socket.closed
    bench.pump.timers.run(0)
    assert bench.dialled == ["SEQ1", "SEQ2"]
    assert bench.link.following is None


WANTED = Answer(5, "REW1", True, 3, 0, 9, 0, ((1, 1), (3, 4)))


@pytest.fixture
def fetching() -> Bench:
    """A candidate that has six records of epoch 1, and fetches the log of SEQ2."""
    bench = Bench("SEQ2", records=6, wanted=WANTED)
    assert bench.voter.seal(5, "REW1")
    bench.link.turn_to("SEQ2", 0)
    bench.pump.timers.run(0)
    return bench


def test_a_log_that_is_fetched_is_meant_for_the_candidate_itself(fetching: Bench) -> None:
    fetching.let_in(7, Epochs(5, "REW1", WANTED.table))
    assert fetching.socket.closed
    assert fetching.log.last == 3  # what is shared; the login is made anew behind it
    fetching.pump.timers.run(0)
    fetching.let_in(4, Epochs(5, "REW1", WANTED.table))
    assert fetching.link.following == "SEQ2"
    assert fetching.dialled == ["SEQ2", "SEQ2"]


def test_a_fetch_from_a_voter_that_lost_records_since_it_answered_ends_and_cuts_nothing(
    fetching: Bench,
) -> None:
    fetching.let_in(3, Epochs(5, "REW1", ((1, 1),)))
    assert fetching.socket.closed
    assert fetching.log.last == 6
    assert "not the one that it answered with" in str(fetching.link.suspicion)
    fetching.pump.timers.run(0)
    assert fetching.dialled == ["SEQ2"]  # it is tried again after a pause


def test_without_anybody_to_follow_nobody_is_dialled_and_there_is_no_suspicion() -> None:
    bench = Bench()
    assert bench.link.deadline_ns() is None
    bench.link.turn_to("SEQ1", 0)
    bench.pump.timers.run(10)
    bench.link.answer(10)
    assert bench.dialled == []
    assert (bench.link.dialling, bench.link.following, bench.link.suspicion) == (None, None, None)
