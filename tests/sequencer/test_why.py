"""Why nothing moves at a sequencer: the sentences, over the real machines without a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import define, field

from rewinder.control import Deferred
from rewinder.counters import Counters
from rewinder.errors import StorageFull
from rewinder.log import MessageLog
from rewinder.memory import MemoryStorage
from rewinder.node import Node
from rewinder.node_port import NodePort
from rewinder.record import Kind, Stamp
from rewinder.replication import Answer, VoterState
from rewinder.voter import Voter
from rewinder.why import Reason, Weight
from sequencer.handover import HANDOVER_NS, Handover
from sequencer.ordering import Ordering
from sequencer.primary import Primary
from sequencer.publisher import Publisher
from sequencer.submit import BACKLOG_LIMIT_RECORDS, SubmitPort
from sequencer.takeover import Phase, Takeover
from sequencer.why import Progress, why_candidate, why_primary, why_standby

SESSION = b"DEMO      "
SECOND = 1_000_000_000
INCARNATION = 7


@define(eq=False)
class Follower:
    """What a primary sees of a follower."""

    user: str
    mid_packet: bool = False
    sent: list[bytes] = field(factory=list)

    @property
    def session(self) -> Follower:
        return self

    def send_framed(self, packet: bytes) -> None:
        self.sent.append(packet)

    def send_unsequenced(self, payload: bytes) -> None:
        self.sent.append(payload)

    def flush(self, _now_ns: int) -> bool:
        return True


class SilentPort(NodePort):
    """A node port whose followers get nothing: they say what they hold all the same."""

    def pour(self, _client: Any, _now_ns: int) -> int:
        return 0


@define(eq=False)
class Bench:
    """A primary called SEQ1 with what belongs to it."""

    voters: frozenset[str]
    now_ns: int = 10 * SECOND
    progress: Progress = field(factory=Progress)
    handover: Handover | None = None
    followers: dict[str, Follower] = field(factory=dict)
    primary: Primary = field(init=False)

    def __attrs_post_init__(self) -> None:
        log, counters = new_log(), Counters()
        voter = Voter("SEQ1", self.voters, log, lambda: INCARNATION)
        assert voter.seal(3, "SEQ1", INCARNATION)
        admission: Any = None
        node: Any = None
        clock: Any = None
        port = SilentPort(log, admission, counters, name="node", says_end=False, voter=voter, node=node)
        submit = SubmitPort(log, Ordering(log, 1000), admission, counters, clock, lambda _error: None)
        publisher = Publisher(log, [], counters, 1472, next_number=1)
        quorum = len(self.voters) // 2 + 1
        self.primary = Primary(
            voter, quorum, publisher, submit, port, lambda _reason: None, lambda: 1, lambda: 1
        )
        self.primary.open(self.now_ns)

    def connect(self, name: str, held: int, *, votes: bool = True) -> None:
        client: Any = Follower(name)
        self.followers[name] = client
        self.primary.followers.follower_started(client)
        self.primary.followers.follower_said(client, VoterState(votes, INCARNATION), self.now_ns)
        self.holds(name, held)

    def holds(self, name: str, number: int) -> None:
        client: Any = self.followers[name]
        self.primary.followers.follower_holds(client, 3, number)

    def disconnect(self, name: str) -> None:
        client: Any = self.followers.pop(name)
        self.primary.followers.follower_ended(client)

    def append(self, last: int) -> None:
        log = self.primary.log
        while log.last < last:
            log.append(b"message", Stamp(log.last_time_ns, log.last + 1, b"ALICE "))

    def turn(self, seconds: float = 0) -> None:
        self.now_ns += int(seconds * SECOND)
        self.primary.turn(self.now_ns)
        self.progress.look(self.primary.log.last, self.primary.log.commit, self.now_ns)

    def why(self) -> Reason | None:
        return why_primary(self.primary, self.progress, self.handover, self.now_ns)

    @property
    def sentence(self) -> str:
        reason = self.why()
        assert reason is not None
        return reason.sentence

    @property
    def weight(self) -> Weight | None:
        reason = self.why()
        return None if reason is None else reason.weight


def new_log() -> MessageLog:
    return MessageLog.create(MemoryStorage(), SESSION, segment_bytes=1 << 20, durability="memory")


@pytest.fixture
def three() -> Iterator[Bench]:
    """A primary of three voters, all of which hold and committed records 1 to 100."""
    bench = Bench(frozenset({"SEQ1", "SEQ2", "REW1"}))
    with closing(bench.primary.log):
        bench.append(100)
        bench.connect("SEQ2", 100)
        bench.connect("REW1", 100)
        bench.turn()
        assert bench.primary.log.commit == 100
        assert bench.why() is None
        yield bench


class TestPrimary:
    def test_which_voters_lack_what(self, three: Bench) -> None:
        three.append(240)
        three.disconnect("SEQ2")
        three.turn()
        assert three.weight is Weight.WORN, "one copy is enough, and it may be on its way"
        three.turn(1.5)
        assert three.weight is Weight.STOPPED
        assert three.sentence == (
            "SEQ1 is primary of epoch 3 and waits for a second copy of records 101 to 240: "
            "SEQ2 is not connected, REW1 holds 100"
        )

    def test_what_moves_is_not_stuck(self, three: Bench) -> None:
        for last in range(110, 200, 10):
            three.append(last)
            three.holds("SEQ2", last - 5)
            three.holds("REW1", last - 5)
            three.turn(0.9)
            assert three.primary.log.commit < last
            assert three.why() is None
        three.turn(1.1)
        assert three.sentence.endswith("a second copy of records 186 to 190: REW1 holds 185, SEQ2 holds 185")

    def test_no_quorum_is_said_at_once_and_without_a_gap(self, three: Bench) -> None:
        three.disconnect("SEQ2")
        three.disconnect("REW1")
        assert three.why() == Reason(
            "SEQ1 is primary of epoch 3 and commits nothing new without 2 of 3 voters: "
            "REW1 is not connected, SEQ2 is not connected",
            Weight.STOPPED,
        )
        three.append(101)
        three.turn()
        assert "waits for a second copy of record 101: REW1 is not connected" in three.sentence

    def test_a_new_epoch_gives_its_followers_a_moment(self) -> None:
        bench = Bench(frozenset({"SEQ1", "SEQ2"}))
        with closing(bench.primary.log):
            bench.turn()
            assert bench.why() == Reason(
                "SEQ1 is primary of epoch 3 and waits for a second copy of record 1: SEQ2 is not connected",
                Weight.SLOWED,
            )
            bench.turn(1)
            assert bench.weight is Weight.STOPPED

    def test_several_copies_of_five_are_missing(self) -> None:
        bench = Bench(frozenset({"SEQ1", "SEQ2", "REW1", "REW2", "REW3"}))
        with closing(bench.primary.log):
            bench.append(9)
            bench.connect("REW3", 0)
            bench.turn(0)
            bench.turn(2)
            assert "waits for 2 more copies of records 1 to 9: REW1 is not connected" in bench.sentence
            assert bench.sentence.endswith("REW3 holds 0")
            bench.holds("REW3", 9)
            assert "waits for a third copy of records 1 to 9: " in bench.sentence

    def test_a_voter_that_does_not_vote(self, three: Bench) -> None:
        three.disconnect("REW1")
        three.connect("REW1", 50, votes=False)
        assert three.why() == Reason(
            "SEQ1 is primary of epoch 3 and commits, but REW1 does not vote; "
            "with one voter less nothing is committed any more",
            Weight.WORN,
        )

    def test_a_voter_that_has_not_said_yet_whether_it_votes(self, three: Bench) -> None:
        three.disconnect("REW1")
        client: Any = Follower("REW1")
        three.primary.followers.follower_started(client)
        assert "but REW1 has not said yet whether it votes" in three.sentence

    def test_a_follower_that_is_behind(self, three: Bench) -> None:
        three.connect("REW2", 100)
        three.append(5100)
        three.holds("SEQ2", 5100)
        three.holds("REW1", 5100)
        three.turn(1)
        assert three.why() is None, "for less than a second it is only on its way"
        three.turn(1)
        assert three.why() == Reason("REW2 is behind by 5000 records", Weight.WORN)
        three.holds("REW2", 5100)
        assert three.why() is None

    def test_a_full_disk(self, three: Bench) -> None:
        three.primary.storage_full(StorageFull("log/SEQ1/DEMO/5.seg", 64))
        three.disconnect("SEQ2")
        assert three.why() == Reason(
            "the log of SEQ1 cannot grow: log/SEQ1/DEMO/5.seg: no space left: 64 bytes wanted", Weight.STOPPED
        )

    def test_a_handover(self, three: Bench) -> None:
        three.append(120)
        three.holds("REW1", 120)
        three.turn()
        three.handover = Handover(three.primary, "SEQ2", Deferred(), three.now_ns)
        three.handover.turn(three.now_ns)
        three.turn()
        assert three.why() == Reason(
            "SEQ1 hands over to SEQ2 and reads no sender meanwhile: it holds 100 of 120, and 120 is committed",
            Weight.SLOWED,
        )

    def test_senders_that_are_held_back(self, three: Bench) -> None:
        three.append(100 + BACKLOG_LIMIT_RECORDS + 10)
        three.turn()
        assert three.why() == Reason(
            "senders are held back: 262154 records wait for their commit, which goes on", Weight.SLOWED
        )
        three.turn(1)
        assert three.sentence.endswith("REW1 holds 100, SEQ2 holds 100; senders are held back")


class TestHandover:
    def test_it_waits_for_the_target_without_being_asked_again_and_again(self, three: Bench) -> None:
        three.append(120)
        three.holds("REW1", 120)
        three.turn()
        handover = Handover(three.primary, "SEQ2", Deferred(), three.now_ns)
        handover.turn(three.now_ns)
        assert handover.deadline_ns() == three.now_ns + HANDOVER_NS, "what the target says wakes it"
        three.holds("SEQ2", 120)
        handover.turn(three.now_ns)
        assert three.now_ns < (handover.deadline_ns() or 0) < three.now_ns + HANDOVER_NS
        assert three.followers["SEQ2"].sent
        three.disconnect("SEQ2")
        handover.turn(handover.deadline_ns() or 0)
        assert handover.deadline_ns() == three.now_ns + HANDOVER_NS

    def test_one_that_is_given_up_lets_the_senders_go_and_says_why(self, three: Bench) -> None:
        answer = Deferred()
        heard: list[dict[str, Any]] = []
        answer._attach(heard.append)
        handover = Handover(three.primary, "SEQ2", answer, three.now_ns)
        three.turn()
        assert three.primary.submit.holding
        three.disconnect("SEQ2")
        handover.turn(three.now_ns + HANDOVER_NS)
        assert handover.over
        assert not three.primary.submit.holding
        assert heard[0]["error"] == "SEQ2 did not take over within 5 s: it is not connected"


def answer(last: int = 0, *, epoch: int = 0, votes: bool = True, hears: bool = False) -> Answer:
    table = ((1, 1),) if last else ()
    return Answer(epoch, "SEQ9" if epoch else "", votes, INCARNATION, 0, last, last, table, hears)


def takeover(*, new: bool) -> Takeover:
    """An attempt of SEQ1, one of three voters."""
    log = new_log()
    voter = Voter("SEQ1", frozenset({"SEQ1", "SEQ2", "REW1"}), log, lambda: INCARNATION)
    if not new:
        assert voter.seal(1, "SEQ2", INCARNATION)
        log.append((1).to_bytes(8, "big") + b"SEQ2  ", Stamp(1, 1, b"SEQ2  ", Kind.EPOCH))
    attempt = Takeover(voter, 2)
    attempt.begin()
    return attempt


class TestCandidate:
    def test_the_first_epoch_wants_every_voter(self) -> None:
        attempt = takeover(new=True)
        assert why_candidate("SEQ1", attempt).sentence == (
            "no primary: the first epoch opens when all 3 voters are there; REW1 and SEQ2 are missing"
        )
        attempt.answered("REW1", answer(votes=False))
        assert why_candidate("SEQ1", attempt) == Reason(
            "no primary: the first epoch opens when all 3 voters are there; SEQ2 is missing", Weight.STOPPED
        )

    def test_later_a_quorum_is_enough(self) -> None:
        attempt = takeover(new=False)
        attempt.answered("SEQ2", answer(1, epoch=1, hears=True))
        assert why_candidate("SEQ1", attempt).sentence == (
            "no primary: SEQ1 asks the voters; 2 of 3 must answer and vote, "
            "REW1 did not answer, SEQ2 still hears a primary"
        )

    def test_a_candidate_that_has_lost_its_disk_may_not_begin_anew(self) -> None:
        attempt = takeover(new=True)
        attempt.answered("SEQ2", answer(9, epoch=1, hears=True))
        assert why_candidate("SEQ1", attempt).sentence == (
            "no primary: SEQ1 asks the voters; 2 of 3 must answer and vote, "
            "REW1 did not answer, SEQ1 may not vote yet, SEQ2 still hears a primary"
        )

    def test_promises_that_are_missing(self) -> None:
        attempt = takeover(new=False)
        attempt.answered("SEQ2", answer(1, epoch=1))
        assert attempt.phase is Phase.SEALING
        assert why_candidate("SEQ1", attempt).sentence == (
            f"no primary: SEQ1 wants epoch {attempt.epoch} promised; 2 of 3 voters must do so, "
            "REW1, SEQ2 did not answer"
        )

    def test_a_log_that_is_fetched(self) -> None:
        attempt = takeover(new=False)
        attempt.answered("SEQ2", answer(9, epoch=1))
        promised = Answer(attempt.epoch, "SEQ1", True, INCARNATION, 0, 9, 9, ((1, 1),))
        attempt.answered("SEQ2", promised)
        assert attempt.phase is Phase.FETCHING
        assert why_candidate("SEQ1", attempt).sentence == (
            "no primary: SEQ1 fetches the log of SEQ2 up to 9, and has 1"
        )

    @pytest.mark.parametrize(
        ("suspicion", "failure", "sentence"),
        [
            (None, None, "no primary: SEQ2 looks for one"),
            ("SEQ1 at h:1: gone", None, "no primary: SEQ2 will ask the voters soon (SEQ1 at h:1: gone)"),
            (
                "SEQ1 at h:1: gone",
                "REW1 has promised epoch 9 to SEQ1",
                "no primary: the last attempt of SEQ2 failed (REW1 has promised epoch 9 to SEQ1), "
                "and it tries again soon",
            ),
        ],
    )
    def test_between_attempts(self, suspicion: str | None, failure: str | None, sentence: str) -> None:
        assert why_standby("SEQ2", suspicion, failure) == Reason(sentence, Weight.STOPPED)


def node(**more: Any) -> Any:
    """What `Node.reason` looks at."""
    link = SimpleNamespace(storage_error=None, following="SEQ1", suspicion=None)
    link.__dict__.update({key: more.pop(key) for key in list(more) if hasattr(link, key)})
    values = {
        "settings": SimpleNamespace(
            name="REW1", authority=SimpleNamespace(problem=more.pop("problem", None))
        ),
        "log": SimpleNamespace(ended=more.pop("ended", None), commit=12),
        "voter": SimpleNamespace(missing=more.pop("missing", None)),
        "follower": SimpleNamespace(refused=more.pop("refused", None)),
        "link": link,
    }
    assert not more
    made = SimpleNamespace(**values)
    made.stream_reason = lambda: Node.stream_reason(made)
    return made


class TestEveryNode:
    @pytest.mark.parametrize(
        ("state", "sentence"),
        [
            ({"following": None}, "REW1 follows nobody: it is looking for a primary"),
            ({"following": None, "suspicion": "SEQ1 at h:1: gone"}, "REW1 follows nobody: SEQ1 at h:1: gone"),
            ({"following": None, "refused": "epoch 2 is over"}, "REW1 follows nobody: epoch 2 is over"),
            ({"missing": "its log is missing"}, "REW1 does not vote: its log is missing"),
            ({"storage_error": "9.seg: no space left"}, "the log of REW1 cannot grow: 9.seg: no space left"),
            ({"problem": "users: line 3"}, "REW1 lets in whom it knew before: users: line 3"),
        ],
    )
    def test_what_a_follower_lacks(self, state: dict[str, Any], sentence: str) -> None:
        assert Node.reason(node(**state)) == Reason(sentence, Weight.WORN)

    def test_the_end_of_the_session(self) -> None:
        assert Node.reason(node(ended=12)) == Reason("the session ended at 12", Weight.STOPPED)
        assert Node.reason(node(ended=13)) is None, "it is not committed yet"

    def test_nothing(self) -> None:
        assert Node.reason(node()) is None
