"""The followers of a primary: whose word counts for the commit, and who has to be admitted again."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define, field

from rewinder.counters import Counters
from rewinder.log import MessageLog
from rewinder.memory import MemoryStorage
from rewinder.record import Kind, Stamp, admission_payload, epoch_payload
from rewinder.replication import Answer, Committed, Go, Held, VoterState, decode
from sequencer.commit import Commit
from sequencer.followers import PATIENCE_NS, Followers

SESSION = b"TEST      "
EPOCH = 3
LAST = 10
VOTING = VoterState(votes=True, incarnation=7)
LEARNING = VoterState(votes=False, incarnation=7)


@define(eq=False)
class FakeClient:
    """A connection of a follower; `takes` is whether it reads what it is sent."""

    user: str
    mid_packet: bool = False
    takes: bool = True
    sent: list[object] = field(factory=list)
    flushed: int = 0

    def send_unsequenced(self, payload: bytes) -> None:
        self.sent.append(decode(payload))

    @property
    def session(self) -> FakeClient:
        return self

    def send_framed(self, packet: bytes) -> None:
        assert int.from_bytes(packet[:2], "big") == len(packet) - 2
        assert packet[2:3] == b"U"
        self.send_unsequenced(packet[3:])

    def flush(self, _now_ns: int) -> bool:
        self.flushed += 1
        return self.takes


@define(eq=False)
class FakePort:
    """Where the log is poured from: notes to whom, and says what is to be told at the packet's edge."""

    log: MessageLog
    primary: Any = None
    poured: list[str] = field(factory=list)

    def pour(self, client: Any, _now_ns: int) -> int:
        self.poured.append(client.user)
        self.primary.followers.follower_at_edge(client)
        return 1


class Primary:
    """The primary's side: a log of `LAST` records, all of which it holds itself."""

    def __init__(self, *voters: str, write_quorum: int = 2) -> None:
        log = MessageLog.create(MemoryStorage(), SESSION, durability="memory", segment_bytes=1 << 17)
        log.append(epoch_payload(EPOCH, "SEQ1"), Stamp(0, EPOCH, b"SEQ1  ", Kind.EPOCH))
        while log.last < LAST:
            log.append(b"message", Stamp(0, log.next_number, b"ALPHA "))
        self.log = log
        self.commit = Commit(write_quorum, 1, 0)
        self.deposed: list[str] = []
        port: Any = FakePort(log, self)
        self.port = port
        self.followers = Followers(
            EPOCH,
            self.commit,
            port,
            frozenset({"SEQ1", *(voters or ("SEQ2", "REW1"))}),
            self.admit,
            self.deposed.append,
            Counters(),
        )

    def admit(self, name: str, incarnation: int) -> None:
        self.log.append(admission_payload(name, incarnation), Stamp(0, 0, b"SEQ1  ", Kind.ADMIT))

    def connect(self, user: str, *packets: VoterState | Held | Answer) -> Any:
        client: Any = FakeClient(user)
        self.followers.follower_started(client)
        self.say(client, *packets)
        return client

    def say(self, client: Any, *packets: VoterState | Held | Answer) -> None:
        for packet in packets:
            if isinstance(packet, Held):
                self.followers.follower_holds(client, packet.epoch, packet.number)
            else:
                self.followers.follower_said(client, packet, 0)

    def advance(self) -> int:
        """What the primary does at the end of a turn."""
        self.commit.held("SEQ1", self.log.last)
        self.log.commit = max(self.log.commit, self.commit.advance())
        return self.log.commit

    @property
    def stale(self) -> int:
        return self.followers.counters["node.stale"]


# whose word counts


def test_a_voter_that_holds_records_counts() -> None:
    primary = Primary()
    client = primary.connect("SEQ2", VOTING, Held(EPOCH, 6))
    assert primary.commit.voters() == {"SEQ2": 6}
    assert primary.advance() == 6
    primary.say(client, Held(EPOCH, LAST))
    assert primary.advance() == LAST
    assert primary.followers.in_contact == {"SEQ2"}


@pytest.mark.parametrize("epoch", [EPOCH - 1, EPOCH + 1])
def test_what_is_said_of_another_epoch_does_not_count(epoch: int) -> None:
    primary = Primary()
    primary.connect("SEQ2", VOTING, Held(epoch, 6))
    assert primary.commit.voters() == {}
    assert primary.stale == 1


def test_more_than_there_is_does_not_count() -> None:
    primary = Primary()
    primary.connect("SEQ2", VOTING, Held(EPOCH, LAST + 1))
    assert primary.commit.voters() == {}
    assert primary.stale == 1
    assert primary.followers.status()["SEQ2"]["held"] == 0


def test_who_has_not_said_whether_it_votes_does_not_count() -> None:
    primary = Primary()
    client = primary.connect("SEQ2", Held(EPOCH, 6))
    assert primary.commit.voters() == {}
    assert primary.followers.in_contact == set()
    assert primary.followers.obstacle("SEQ2") == "it has not said yet whether it votes"
    primary.say(client, VOTING, Held(EPOCH, 7))
    assert primary.commit.voters() == {"SEQ2": 7}


def test_who_is_no_voter_does_not_count_and_is_not_admitted() -> None:
    primary = Primary()
    primary.connect("REW9", VOTING, Held(EPOCH, LAST))
    primary.connect("REW8", LEARNING, Held(EPOCH, LAST))
    assert primary.commit.voters() == {}
    assert primary.followers.in_contact == set()
    assert primary.log.last == LAST


def test_who_is_not_connected_says_nothing() -> None:
    primary = Primary()
    client: Any = FakeClient("SEQ2")
    primary.say(client, VOTING, Held(EPOCH, 6))
    assert primary.commit.voters() == {}
    assert primary.stale == 2


def test_another_incarnation_than_the_stream_knows_does_not_count() -> None:
    primary = Primary()
    primary.admit("SEQ2", 8)
    client = primary.connect("SEQ2", VOTING, Held(EPOCH, LAST))
    assert primary.commit.voters() == {}
    primary.say(client, VoterState(votes=True, incarnation=8), Held(EPOCH, LAST))
    assert primary.commit.voters() == {"SEQ2": LAST}


def test_an_admission_written_meanwhile_ends_the_vote_of_the_earlier_incarnation() -> None:
    primary = Primary()
    client = primary.connect("SEQ2", VOTING, Held(EPOCH, 5))
    primary.admit("SEQ2", 8)
    primary.say(client, Held(EPOCH, LAST))
    assert primary.commit.voters() == {"SEQ2": 5}
    assert primary.followers.in_contact == set()


def test_what_a_voter_said_stays_true_when_its_connection_is_gone() -> None:
    primary = Primary()
    client = primary.connect("SEQ2", VOTING, Held(EPOCH, 6))
    primary.followers.follower_ended(client)
    primary.followers.follower_ended(client)
    assert primary.advance() == 6
    assert primary.followers.in_contact == set()
    assert primary.followers.obstacle("SEQ2") == "it is not connected"


def test_who_comes_back_without_its_vote_holds_nothing_any_more() -> None:
    primary = Primary()
    primary.followers.follower_ended(primary.connect("SEQ2", VOTING, Held(EPOCH, 6)))
    primary.connect("SEQ2", VoterState(votes=False, incarnation=8))
    assert primary.commit.voters() == {}
    assert primary.advance() == 0
    assert primary.followers.obstacle("SEQ2") == "it does not vote"


# who is in contact


def test_only_who_has_acknowledged_in_this_epoch_is_in_contact() -> None:
    """To be connected, and to vote, is not to have promised this epoch: it may just be looking."""
    primary = Primary()
    client = primary.connect("SEQ2")
    for packet in (VOTING, Held(EPOCH - 1, 6), Held(EPOCH + 1, 6), Held(EPOCH, LAST + 1), Held(EPOCH, 0)):
        primary.say(client, packet)
        assert primary.followers.in_contact == set()
        assert not primary.followers.quorate
    primary.say(client, Held(EPOCH, 1))
    assert primary.followers.in_contact == {"SEQ2"}
    assert primary.followers.quorate
    primary.followers.follower_ended(client)
    assert primary.followers.in_contact == set()
    primary.connect("SEQ2", VOTING)  # what it held before stays true, but is it there?
    assert primary.commit.voters() == {"SEQ2": 1}
    assert not primary.followers.quorate


@pytest.mark.parametrize(
    ("voters", "write_quorum", "needed"),
    [(["SEQ2"], 2, 1), (["SEQ2", "REW1"], 2, 1), (["SEQ2", "REW1", "REW2", "REW3"], 3, 2)],
)
def test_a_write_quorum_is_ourselves_and_the_voters_in_contact(
    voters: list[str], write_quorum: int, needed: int
) -> None:
    primary = Primary(*voters, write_quorum=write_quorum)
    primary.connect("REW9", VOTING, Held(EPOCH, LAST))
    primary.connect(voters[0], VOTING, Held(EPOCH, LAST))
    primary.connect(voters[0], VOTING, Held(EPOCH, LAST))  # the old connection is not known to be gone
    assert primary.followers.quorate is (needed == 1)
    for name in voters[1:needed]:
        primary.connect(name, VOTING, Held(EPOCH, LAST))
    assert primary.followers.quorate


def test_who_votes_alone_has_a_quorum_always() -> None:
    assert Primary(write_quorum=1).followers.quorate


def test_who_is_no_voter_is_served_only_where_there_is_a_quorum() -> None:
    primary = Primary()
    assert not primary.followers.serves("REW9")
    assert primary.followers.serves("REW1")
    client = primary.connect("SEQ2", VOTING)
    assert not primary.followers.serves("REW9")
    primary.say(client, Held(EPOCH, LAST))
    assert primary.followers.serves("REW9")
    primary.say(client, VoterState(votes=False, incarnation=8))
    assert not primary.followers.serves("REW9")


# admission


def test_who_lost_its_vote_is_admitted_once_when_it_has_caught_up() -> None:
    primary = Primary()
    primary.connect("REW1", VOTING, Held(EPOCH, 8))
    assert primary.advance() == 8
    learner = primary.connect("SEQ2", LEARNING, Held(EPOCH, 7))
    assert primary.log.admissions == {}
    primary.say(learner, Held(EPOCH, 8))
    assert primary.log.admissions == {"SEQ2": (7, 11)}
    primary.say(learner, Held(EPOCH, 9), Held(EPOCH, 11))
    assert primary.log.last == 11
    assert "SEQ2" not in primary.commit.voters()


def test_who_was_admitted_counts_when_it_says_that_it_votes() -> None:
    primary = Primary()
    learner = primary.connect("SEQ2", LEARNING, Held(EPOCH, LAST))
    primary.say(learner, Held(EPOCH, 11))
    assert primary.advance() == 0  # its own copy is none of the two that its admission needs
    primary.connect("REW1", VOTING, Held(EPOCH, 11))
    assert primary.advance() == 11
    primary.say(learner, VOTING, Held(EPOCH, 11))
    assert primary.commit.voters()["SEQ2"] == 11
    assert primary.followers.in_contact == {"SEQ2", "REW1"}


def test_each_new_incarnation_is_admitted_anew() -> None:
    primary = Primary()
    primary.followers.follower_ended(primary.connect("SEQ2", LEARNING, Held(EPOCH, LAST)))
    primary.connect("SEQ2", VoterState(votes=False, incarnation=8), Held(EPOCH, 11))
    assert primary.log.admissions == {"SEQ2": (8, 12)}


def test_an_admission_that_an_earlier_primary_wrote_is_not_written_again() -> None:
    primary = Primary()
    primary.admit("SEQ2", 7)
    primary.connect("SEQ2", LEARNING, Held(EPOCH, 11))
    assert primary.log.last == 11


def test_where_all_must_hold_a_record_the_copy_of_who_is_being_admitted_counts() -> None:
    """Nobody else could commit its admission."""
    primary = Primary("SEQ2", write_quorum=2)
    primary.followers.follower_ended(primary.connect("SEQ2", VOTING, Held(EPOCH, LAST)))
    assert primary.advance() == LAST
    new = VoterState(votes=False, incarnation=8)
    learner = primary.connect("SEQ2", new, Held(EPOCH, 4))
    assert primary.log.last == LAST
    primary.say(learner, Held(EPOCH, LAST))
    assert primary.log.admissions == {"SEQ2": (8, 11)}
    assert primary.advance() == LAST
    primary.say(learner, Held(EPOCH, 11))
    assert primary.advance() == 11
    primary.log.append(b"message", Stamp(0, 12, b"ALPHA "))
    primary.say(learner, Held(EPOCH, 12))
    assert primary.advance() == 12
    primary.followers.follower_ended(learner)
    again = primary.connect("SEQ2", new, Held(EPOCH, 6))  # its admission is not in its log any more
    assert "SEQ2" not in primary.commit.voters()
    primary.say(again, Held(EPOCH, 12))
    assert primary.commit.voters()["SEQ2"] == 12


def test_of_three_voters_the_copy_of_who_is_being_admitted_does_not_count() -> None:
    primary = Primary()
    learner = primary.connect("SEQ2", LEARNING, Held(EPOCH, LAST))
    primary.say(learner, Held(EPOCH, 11))
    assert primary.commit.voters() == {}


# who has promised a higher epoch


def answer(epoch: int, owner: str) -> Answer:
    return Answer(epoch, owner, True, 7, 0, LAST, 0, ((EPOCH, 1),))


@pytest.mark.parametrize(
    ("user", "epoch", "owner", "deposed"),
    [
        ("SEQ2", EPOCH + 1, "SEQ2", True),
        ("REW1", EPOCH + 1, "SEQ2", True),
        ("SEQ2", EPOCH, "SEQ2", True),  # it will never follow us in this epoch
        ("SEQ2", EPOCH - 1, "SEQ2", False),
        ("REW9", EPOCH + 1, "SEQ2", False),  # no voter
    ],
)
def test_a_voter_that_refuses_for_a_later_promise_deposes(
    user: str, epoch: int, owner: str, deposed: bool
) -> None:
    primary = Primary()
    primary.connect(user, answer(epoch, owner))
    assert bool(primary.deposed) is deposed
    if deposed:
        assert primary.deposed == [f"{user} has promised epoch {epoch} to {owner}"]
    else:
        assert primary.stale == 1


# what followers are told


def test_the_commit_number_is_told_once_at_a_packets_edge() -> None:
    primary = Primary()
    client = primary.connect("SEQ2", VOTING)
    primary.followers.follower_at_edge(client)
    primary.followers.follower_at_edge(client)
    assert client.sent == [Committed(EPOCH, 0)]
    primary.say(client, Held(EPOCH, 6))
    primary.advance()
    primary.followers.follower_at_edge(client)
    primary.followers.follower_at_edge(client)
    assert client.sent == [Committed(EPOCH, 0), Committed(EPOCH, 6)]


def test_a_commit_number_waits_for_records_to_travel_with_and_not_for_ever() -> None:
    primary = Primary()
    followers = primary.followers
    client = primary.connect("SEQ2", VOTING, Held(EPOCH, 6))
    assert followers.deadline_ns() is None
    primary.advance()
    followers.moved(5)
    assert followers.deadline_ns() == 5 + PATIENCE_NS
    assert followers.tell(4 + PATIENCE_NS) == 0
    assert client.sent == []
    assert followers.tell(5 + PATIENCE_NS) == 1
    assert client.sent == [Committed(EPOCH, 6)]
    assert followers.deadline_ns() is None


def test_one_that_learned_it_with_records_is_not_poured_to_for_it() -> None:
    primary = Primary()
    followers = primary.followers
    client = primary.connect("SEQ2", VOTING, Held(EPOCH, 5))
    primary.advance()
    followers.moved(0)
    followers.follower_at_edge(client)  # as records leave
    primary.say(client, Held(EPOCH, 6))
    primary.advance()  # this one moved later, and may wait for its own time
    assert followers.tell(PATIENCE_NS) == 0
    assert followers.deadline_ns() == 2 * PATIENCE_NS
    assert followers.tell(2 * PATIENCE_NS) == 1
    assert client.sent == [Committed(EPOCH, 5), Committed(EPOCH, 6)]


# who gets records at once


def hurried(primary: Primary, *clients: Any) -> list[str]:
    return [client.user for client in clients if primary.followers.hurries(client)]


def test_as_many_voters_as_a_commit_needs_get_records_at_once_and_the_others_when_it_is_due() -> None:
    primary = Primary()
    clients = [primary.connect(user, VOTING) for user in ("REW9", "SEQ2", "REW1")]
    assert hurried(primary, *clients) == ["SEQ2", "REW1"]  # nobody knows yet which is quick
    primary.say(clients[1], Held(EPOCH, 5))
    primary.say(clients[2], Held(EPOCH, 5))
    assert hurried(primary, *clients) == ["SEQ2"]
    primary.advance()
    for client in clients:
        primary.followers.follower_at_edge(client)
    primary.followers.moved(0)
    primary.followers.tell(PATIENCE_NS)
    assert primary.port.poured == ["REW9", "REW1"]


def test_a_voter_that_holds_more_takes_the_place_of_a_slow_one() -> None:
    primary = Primary()
    slow, quick = (primary.connect(user, VOTING, Held(EPOCH, 4)) for user in ("SEQ2", "REW1"))
    primary.say(quick, Held(EPOCH, 5))
    assert hurried(primary, slow, quick) == ["REW1"]
    primary.say(slow, Held(EPOCH, 5))
    assert hurried(primary, slow, quick) == ["REW1"]


def test_the_place_of_one_that_is_gone_or_has_lost_its_vote_is_free() -> None:
    primary = Primary()
    first, second = (primary.connect(user, VOTING, Held(EPOCH, 4)) for user in ("SEQ2", "REW1"))
    primary.followers.follower_ended(first)
    assert hurried(primary, second) == ["REW1"]
    primary.say(second, Held(EPOCH, 5), VoterState(votes=False, incarnation=1))
    again = primary.connect("SEQ2", VOTING, Held(EPOCH, 5))
    assert hurried(primary, second, again) == ["SEQ2"]


def test_a_second_connection_of_one_name_is_no_second_voter() -> None:
    primary = Primary("SEQ2", "REW1", "REW2", "REW3", write_quorum=3)
    first = primary.connect("SEQ2", VOTING, Held(EPOCH, 4))
    second = primary.connect("SEQ2", VOTING, Held(EPOCH, 5))
    assert not primary.followers.quorate
    primary.connect("REW1", VOTING, Held(EPOCH, 3))
    assert hurried(primary, first, second) == ["SEQ2"]
    assert primary.followers.hurries(second)
    assert primary.followers.quorate


def test_where_one_copy_is_enough_nobody_gets_records_at_once() -> None:
    primary = Primary(write_quorum=1)
    client = primary.connect("SEQ2", VOTING, Held(EPOCH, 4))
    assert hurried(primary, client) == []
    assert primary.followers.quorate


def test_nothing_is_put_into_the_middle_of_a_packet() -> None:
    primary = Primary()
    client = primary.connect("SEQ2", VOTING, Held(EPOCH, LAST))
    client.mid_packet = True
    primary.advance()
    assert not primary.followers.send_go("SEQ2", LAST, 0)
    assert client.sent == []
    client.mid_packet = False
    primary.followers.follower_at_edge(client)
    assert client.sent == [Committed(EPOCH, LAST)]


def test_go_is_for_the_voter_that_holds_everything_and_follows_the_commit_number() -> None:
    primary = Primary()
    target = primary.connect("SEQ2", VOTING, Held(EPOCH, LAST - 1))
    other = primary.connect("REW1", VOTING, Held(EPOCH, LAST))
    primary.advance()
    assert not primary.followers.send_go("SEQ2", LAST, 0)
    primary.say(target, Held(EPOCH, LAST))
    assert primary.followers.send_go("SEQ2", LAST, 0)
    assert target.sent == [Committed(EPOCH, LAST), Go(EPOCH, LAST)]
    assert other.sent == []
    target.takes = False
    assert not primary.followers.send_go("SEQ2", LAST, 0)


def test_go_is_not_for_who_does_not_vote() -> None:
    primary = Primary()
    primary.admit("SEQ2", 7)
    client = primary.connect("SEQ2", LEARNING, Held(EPOCH, 11))
    assert not primary.followers.send_go("SEQ2", 11, 0)
    assert not primary.followers.send_go("REW1", 11, 0)
    assert client.sent == []


def test_the_status_says_what_each_follower_holds() -> None:
    primary = Primary()
    primary.connect("SEQ2", VOTING, Held(EPOCH, 6))
    primary.connect("REW9", LEARNING, Held(EPOCH, 4))
    assert primary.followers.status() == {
        "SEQ2": {"held": 6, "lag": 4, "votes": True, "voter": True},
        "REW9": {"held": 4, "lag": 6, "votes": False, "voter": False},
    }
    assert primary.followers.obstacle("SEQ2") is None
