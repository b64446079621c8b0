"""The sequencer process on virtual time: when it tries to become primary, and whom it lets follow."""

from __future__ import annotations

from typing import Any

import pytest

from rewinder.log import MessageLog
from rewinder.memory import MemoryStorage
from rewinder.promise import Promise
from rewinder.record import Stamp
from rewinder.why import Weight
from seqcast.testing.fabric import Fabric
from seqcast.testing.node import SEGMENT_BYTES, SESSION, SILENCE_NS, NodeMachine, node_settings
from seqcast.testing.world import SECOND, World
from sequencer.process import SequencerProcess
from sequencer.takeover import Phase


class Bus:
    """Nodes on virtual time, without faults but those that a test makes. `voters` are those of `names` that vote."""

    def __init__(self, *names: str, voters: tuple[str, ...], write_quorum: int) -> None:
        self.world = World(1)
        self.fabric = Fabric(self.world)
        settings = node_settings(
            {name: name.startswith("SEQ") for name in names}, frozenset(voters), write_quorum, "memory"
        )
        self.nodes = {
            name: NodeMachine(self.fabric, name, settings[name], lambda _event, _node: None) for name in names
        }

    def start(self, *names: str) -> None:
        for name in names or self.nodes:
            self.nodes[name].wanted = True
            self.nodes[name].start()

    def stop(self, *names: str) -> None:
        for name in names:
            self.nodes[name].wanted = False
            self.nodes[name].kill("stopped")

    def run(self, seconds: float) -> None:
        self.world.run(self.world.now_ns + int(seconds * SECOND))

    def node(self, name: str) -> Any:
        process = self.nodes[name].process
        assert process is not None
        return process


# who tries


def test_a_lone_sequencer_with_voting_rewinders_opens_the_first_epoch() -> None:
    """There is nobody else that could be primary, so there is nobody to be missed first."""
    bus = Bus("SEQ1", "REW1", "REW2", voters=("SEQ1", "REW1", "REW2"), write_quorum=2)
    bus.start("SEQ1", "REW1")
    bus.run(1)
    sequencer = bus.node("SEQ1")
    assert sequencer.link.primaries == {}
    assert sequencer.role == "candidate"  # every voter has to be there
    assert sequencer.candidate.takeover.phase is Phase.ASKING
    bus.start("REW2")
    bus.run(1)
    assert (sequencer.role, sequencer.primary.epoch, sequencer.log.commit) == ("primary", 1, 1)
    assert sequencer.primary.followers.in_contact == {"REW1", "REW2"}
    assert all(bus.node(name).voter.votes for name in bus.nodes)


def test_a_lone_sequencer_with_voting_rewinders_opens_the_next_epoch_when_it_is_started_again() -> None:
    bus = Bus("SEQ1", "REW1", "REW2", voters=("SEQ1", "REW1", "REW2"), write_quorum=2)
    bus.start()
    bus.run(1)
    bus.stop("SEQ1", "REW1")
    bus.start("SEQ1")
    bus.run(1)
    sequencer = bus.node("SEQ1")
    assert sequencer.role == "primary"
    assert sequencer.log.commit == sequencer.log.last == 2
    assert [number for _, number in sequencer.log.epochs] == [1, 2]


def test_a_lone_sequencer_with_voting_rewinders_tries_again_when_an_attempt_was_lost() -> None:
    bus = Bus("SEQ1", "REW1", "REW2", voters=("SEQ1", "REW1", "REW2"), write_quorum=2)
    bus.start()
    bus.run(1)
    bus.stop(*bus.nodes)
    bus.start("SEQ1")
    bus.run(0.5)
    sequencer = bus.node("SEQ1")
    sequencer.candidate.takeover.lose("no luck")
    bus.start("REW2")
    bus.run(1)
    assert (sequencer.role, sequencer.primary.epoch) == ("primary", 2)
    assert sequencer.candidate.attempts == 2


def test_a_standby_tries_when_it_misses_the_primary() -> None:
    bus = Bus("SEQ1", "SEQ2", "REW1", voters=("SEQ1", "SEQ2", "REW1"), write_quorum=2)
    bus.start()
    bus.run(1)
    first, second = bus.node("SEQ1"), bus.node("SEQ2")
    assert (first.role, second.role, second.link.following) == ("primary", "standby", "SEQ1")
    assert (second.candidate.attempts, second.deadline_ns()) == (0, None)
    bus.stop("SEQ1")
    bus.run(1)
    assert second.role == "primary"
    assert bus.node("REW1").link.following == "SEQ2"


# whom a primary lets follow


def test_a_primary_without_a_quorum_sends_those_away_that_do_not_vote_and_takes_them_when_it_has_one() -> (
    None
):
    """There may be another primary, and nobody tells them."""
    bus = Bus("SEQ1", "REW1", "REW2", "REW9", voters=("SEQ1", "REW1", "REW2"), write_quorum=2)
    bus.start()
    bus.run(2)
    primary, other = bus.node("SEQ1").primary, bus.node("REW9")
    assert other.link.following == "SEQ1"
    bus.stop("REW1")
    bus.run(1)
    assert (primary.followers.quorate, other.link.following) == (True, "SEQ1")
    bus.stop("REW2")
    bus.run(SILENCE_NS / SECOND / 4)
    assert (primary.followers.quorate, other.link.following) == (False, "SEQ1")  # it may be back at once
    bus.run(1)
    assert other.link.following is None
    assert [client.user for client in bus.node("SEQ1").port.followers()] == []
    assert bus.node("SEQ1").primary is primary
    bus.start("REW1")
    bus.run(2.5)
    assert (primary.followers.quorate, other.link.following) == (True, "SEQ1")
    assert {client.user for client in bus.node("SEQ1").port.followers()} == {"REW1", "REW9"}


def test_a_voter_is_let_in_where_there_is_no_quorum() -> None:
    bus = Bus(
        "SEQ1",
        "REW1",
        "REW2",
        "REW3",
        "REW4",
        voters=("SEQ1", "REW1", "REW2", "REW3", "REW4"),
        write_quorum=3,
    )
    bus.start()
    bus.run(1)
    bus.stop("REW2", "REW3", "REW4")
    bus.run(1)
    primary = bus.node("SEQ1").primary
    assert not primary.followers.quorate
    assert bus.node("REW1").link.following == "SEQ1"
    bus.start("REW2")
    bus.run(1)
    assert primary.followers.quorate


def test_who_reads_the_log_of_a_node_that_cuts_it_is_let_go() -> None:
    bus = Bus("SEQ1", "REW1", voters=("SEQ1",), write_quorum=1)
    bus.start()
    bus.run(1)
    sequencer = bus.node("SEQ1")
    assert [client.user for client in sequencer.port.followers()] == ["REW1"]
    sequencer.follower.before_cut()
    assert sequencer.port.followers() == []


# a full disk, and the end


def full() -> MemoryStorage:
    """The disk of a lone voter whose log has no room for one more record, and cannot get any."""
    disk = MemoryStorage()
    log = MessageLog.create(disk, SESSION, durability="memory", segment_bytes=SEGMENT_BYTES)
    Promise(7, votes=True).save(disk, SESSION)
    while len(log.tail.view) - log.tail.end > 1100:
        log.append(bytes(1000), Stamp(0, log.next_number, b"ALPHA "))
    log.append(bytes(len(log.tail.view) - log.tail.end - 40), Stamp(0, log.next_number, b"ALPHA "))
    log.commit = log.last
    disk.capacity = disk.used + 1000
    return disk.killed()


def test_who_has_no_room_to_open_its_epoch_says_so_and_tries_again() -> None:
    bus = Bus("SEQ1", voters=("SEQ1",), write_quorum=1)
    node = bus.nodes["SEQ1"]
    node.disk = full()
    bus.start()
    bus.run(SILENCE_NS / SECOND / 2)
    sequencer = bus.node("SEQ1")
    last = sequencer.log.last
    assert (sequencer.role, sequencer.primary, sequencer.port.primary) == ("standby", None, None)
    assert sequencer.candidate.failures == 1
    reason = sequencer.reason()
    assert reason.weight is Weight.STOPPED
    assert "nothing can be stamped" in reason.sentence
    bus.run(1)
    assert 5 < sequencer.candidate.attempts < 15  # now and then, and not in every turn
    assert (sequencer.role, sequencer.log.last) == ("standby", last)
    node.disk.capacity = None
    bus.run(2 * SILENCE_NS / SECOND)
    assert (sequencer.role, sequencer.log.last, sequencer.log.commit) == ("primary", last + 1, last + 1)


def test_who_is_closed_in_the_middle_of_an_attempt_lets_go_of_the_other_voters() -> None:
    bus = Bus("SEQ1", "REW1", "REW2", voters=("SEQ1", "REW1", "REW2"), write_quorum=2)
    bus.start("SEQ1", "REW1")
    bus.run(0.5)
    sequencer = bus.node("SEQ1")
    assert sequencer.candidate.peers.open
    sequencer.close()
    assert sequencer.candidate.takeover is None
    assert not sequencer.candidate.peers.open
    bus.run(0.1)
    assert bus.node("REW1").status()["clients"]["node"] == 0


@pytest.mark.parametrize("part", ["pump", "storage", "control"])
def test_who_was_opened_in_part_ends_with_the_reason_alone(part: str) -> None:
    bus = Bus("SEQ1", voters=("SEQ1",), write_quorum=1)
    machine = bus.nodes["SEQ1"]

    def fail(*_arguments: object) -> None:
        raise OSError(part)

    setattr(machine, part, fail)
    process = SequencerProcess(machine.settings, surroundings=machine)
    with pytest.raises(OSError, match=part):
        process.run()
