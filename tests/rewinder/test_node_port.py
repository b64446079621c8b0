"""The node port: talk about promises with anybody who may, and the log for whom it is meant."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from attrs import define, field
from oracle_log import messages_of

from rewinder.counters import Counters
from rewinder.log import MessageLog
from rewinder.memory import MemoryStorage
from rewinder.node_port import NodePort
from rewinder.promise import load_promise
from rewinder.record import Kind, Stamp, epoch_payload
from rewinder.replication import Answer, Epochs, Held, Opened, PromiseRequest, Query, VoterState, decode
from rewinder.service import Client, Denied, Granted
from rewinder.voter import EPOCH_JUMP, Voter
from souptcp import SOUPBINTCP, LoginRequest, ServerSession
from souptcp.packets import PacketType

SESSION = b"TEST      "


@define(eq=False)
class FakeConnection:
    """Takes whatever the session has to say."""

    session: ServerSession
    sent: bytearray = field(factory=bytearray)
    socket: Any = None
    full: bool = False

    def fileno(self) -> int:
        return 5

    def write(self, now_ns: int, *, more: bool = False) -> bool:
        if self.full and self.session.output_bytes:
            return False
        self.sent += self.session.take_output(now_ns)
        return True


@define(eq=False)
class FakePump:
    def change(self, fileno: int, events: int) -> None:
        """Nothing is waited for."""


@define(eq=False)
class FakeService:
    """The service around a port, without sockets; `closed` are the reasons of what was closed."""

    application: NodePort
    counters: Counters = field(factory=Counters)
    pump: FakePump = field(factory=FakePump)
    name: str = "node"

    def release(self, client: Client) -> None:
        client.gone = True
        self.application.ended(client)

    def linger(self, connection: Any, _now_ns: int, _patience_ns: int) -> None:
        connection.write(0)
        connection.session.close()


@define(eq=False)
class FakeAdmission:
    """Lets in everybody under the name they give."""

    def check(self, client: Client, request: LoginRequest) -> Denied | None:
        client.user = request.user
        return None if request.password == "right" else Denied(b"A", "no", "not_authorized")


@define(eq=False)
class FakeNode:
    hears: bool = False
    told: list[tuple[str, str]] = field(factory=list)

    def promised(self, owner: str, _now_ns: int) -> None:
        self.told.append(("promised", owner))

    def opened(self, owner: str, _now_ns: int) -> None:
        self.told.append(("opened", owner))


@define(eq=False)
class FakePrimary:
    epoch: int = 1
    quorate: bool = True
    patient: str = ""
    said: list[object] = field(factory=list)
    connected: list[str] = field(factory=list)

    def serves(self, name: str) -> bool:
        return self.quorate or name != "REW9"

    def follower_started(self, client: Client) -> None:
        self.connected.append(client.user)

    def follower_ended(self, client: Client) -> None:
        self.connected.remove(client.user)

    def follower_holds(self, client: Client, epoch: int, number: int) -> None:
        self.follower_said(client, Held(epoch, number), 0)

    def follower_said(self, client: Client, packet: object, _now_ns: int) -> None:
        self.said.append(packet)

    def follower_at_edge(self, client: Client) -> None:
        """Nothing to tell."""

    def hurries(self, client: Client) -> bool:
        return client.user != self.patient


class Port:
    """The node port of REW1, whose log has ten records, and which votes."""

    def __init__(self) -> None:
        log = MessageLog.create(MemoryStorage(), SESSION, durability="memory", segment_bytes=1 << 17)
        voters = frozenset({"SEQ1", "SEQ2", "REW1"})
        self.voter = Voter("REW1", voters, log, count(7).__next__)
        assert self.voter.seal(1, "SEQ1", 7)
        log.append(epoch_payload(1, "SEQ1"), Stamp(0, 1, b"SEQ1  ", Kind.EPOCH))
        while log.last < 10:
            log.append(b"message", Stamp(0, log.next_number, b"ALPHA "))
        self.log = log
        self.node = FakeNode()
        self.counters = Counters()
        admission: Any = FakeAdmission()
        self.port = NodePort(
            log, admission, self.counters, name="node", says_end=False, voter=self.voter, node=self.node
        )
        self.service = FakeService(self.port)

    def lead(self) -> FakePrimary:
        """Make the node primary, as far as its port is concerned."""
        primary = FakePrimary()
        self.port.primary = primary
        self.port.visible = self.log.last
        return primary

    def log_in(self, user: str, number: int, password: str = "right") -> tuple[Any, Granted | Denied]:
        session = ServerSession(SOUPBINTCP, now_ns=0)
        service: Any = self.service
        connection: Any = FakeConnection(session)
        client: Any = Client(service, connection, session)
        connection.socket = FakeSocket(connection)
        request = LoginRequest(user, password, b"", number)
        list(session.receive(SOUPBINTCP.encode_login(request), 0))
        answer = self.port.login(client, request, 0)
        if isinstance(answer, Granted):
            client.logged_in = True
            session.accept(answer.session, answer.sequence_number, 0)
            self.port.started(client, 0)
        return client, answer

    def say(self, client: Any, *packets: Any) -> list[object]:
        """What is answered."""
        heard(client)
        self.port.unsequenced(client, messages_of([packet.encode() for packet in packets]), 0)
        return heard(client)


@define(eq=False)
class FakeSocket:
    """Where the log goes to."""

    connection: FakeConnection
    room: int | None = None

    def send(self, data: memoryview) -> int:
        self.connection.sent += data
        return len(data)

    def sendmsg(self, buffers: tuple[memoryview, ...]) -> int:
        """All of it, or as much as there is `room` for."""
        data = b"".join(buffers)[: self.room]
        self.connection.sent += data
        return len(data)


def packets_of(client: Any) -> list[tuple[int, bytes]]:
    """The SoupBinTCP packets (type, payload) that the client was sent since the last look."""
    client.connection.write(0)
    data, found = bytes(client.connection.sent), []
    client.connection.sent.clear()
    while data:
        length = int.from_bytes(data[:2], "big")
        found.append((data[2], data[3 : 2 + length]))
        data = data[2 + length :]
    return found


def heard(client: Any) -> list[object]:
    """What nodes say to each other, of that."""
    return [decode(payload) for kind, payload in packets_of(client) if kind == PacketType.UNSEQUENCED]


# talk


def test_everybody_who_may_log_in_may_ask() -> None:
    port = Port()
    port.log.commit = 4
    client, answer = port.log_in("SEQ2", 0)
    assert answer == Granted(SESSION, 5)
    assert port.port.followers() == []
    (found,) = port.say(client, Query())
    assert isinstance(found, Answer)
    assert (found.epoch, found.owner, found.votes, found.last, found.commit) == (1, "SEQ1", True, 10, 4)
    assert not found.hears
    port.node.hears = True
    (found,) = port.say(client, Query())
    assert isinstance(found, Answer)
    assert found.hears


def test_who_may_not_replicate_is_not_let_in() -> None:
    port = Port()
    for number in (0, 1):
        assert isinstance(port.log_in("SEQ1", number, "wrong")[1], Denied)


def test_a_higher_epoch_is_promised_and_told_once() -> None:
    port = Port()
    client, _ = port.log_in("SEQ2", 0)
    for _ in range(2):
        (found,) = port.say(client, PromiseRequest(5, "SEQ2"))
        assert isinstance(found, Answer)
        assert (found.epoch, found.owner) == (5, "SEQ2")
        assert port.node.told == [("promised", "SEQ2")]
    assert port.voter.epoch == 5


def test_a_lower_epoch_is_refused_with_what_is_promised() -> None:
    port = Port()
    assert port.voter.seal(5, "SEQ1")
    client, _ = port.log_in("SEQ2", 0)
    for epoch in (4, 5):
        (found,) = port.say(client, PromiseRequest(epoch, "SEQ2"))
        assert isinstance(found, Answer)
        assert (found.epoch, found.owner) == (5, "SEQ1")
    assert port.node.told == []
    assert port.counters["node.refused"] == 2


@pytest.mark.parametrize("owner", ["SEQ1", ""])
def test_nobody_asks_for_a_promise_to_somebody_else(owner: str) -> None:
    port = Port()
    client, _ = port.log_in("SEQ2", 0)
    assert port.say(client, PromiseRequest(5, owner)) == []
    assert port.voter.epoch == 1
    assert port.counters["node.unknown"] == 1


@pytest.mark.parametrize(
    ("user", "epoch"),
    [("REW1", 5), ("REW9", 5), ("SEQ2", 2 + EPOCH_JUMP), ("SEQ2", 2**64 - 1)],
    ids=["ourselves", "no voter", "a jump", "the last number"],
)
def test_what_may_not_be_promised_is_refused_with_what_is_promised(user: str, epoch: int) -> None:
    port = Port()
    client, _ = port.log_in(user, 0)
    before = port.voter.promise
    (found,) = port.say(client, PromiseRequest(epoch, user))
    assert isinstance(found, Answer)
    assert (found.epoch, found.owner) == (1, "SEQ1")
    port.say(client, Opened(epoch))
    assert port.voter.promise == before
    assert port.node.told == []
    assert port.counters["node.refused"] == 1


def test_what_cannot_be_written_down_is_not_promised() -> None:
    port = Port()
    storage: Any = port.log.storage
    storage.capacity = storage.used - 1
    client, _ = port.log_in("SEQ2", 0)
    (found,) = port.say(client, PromiseRequest(5, "SEQ2"))
    assert isinstance(found, Answer)
    assert (found.epoch, found.owner) == (1, "SEQ1")
    assert port.node.told == []
    assert port.counters["node.refused"] == 1


def test_only_the_owner_of_the_promised_epoch_opens_it() -> None:
    port = Port()
    owner, _ = port.log_in("SEQ1", 0)
    other, _ = port.log_in("SEQ2", 0)
    port.say(other, Opened(1))
    assert port.node.told == []
    port.say(owner, Opened(1))
    assert port.node.told == [("opened", "SEQ1")]
    assert port.voter.seal(5, "SEQ2")
    port.say(owner, Opened(1), Opened(4), Opened(5))
    assert port.node.told == [("opened", "SEQ1")]
    assert port.counters["node.unknown"] == 4


def test_an_epoch_above_the_promised_one_that_was_opened_is_promised() -> None:
    """Else a primary of the epoch that we have promised would still be followed, or be this node itself."""
    port = Port()
    port.lead()
    follower, _ = port.log_in("SEQ1", 1)
    owner, _ = port.log_in("SEQ2", 0)
    assert port.say(owner, Opened(4)) == []
    assert (port.voter.epoch, port.voter.promise.owner) == (4, "SEQ2")
    assert load_promise(port.log.storage, SESSION) == port.voter.promise
    assert port.node.told == [("promised", "SEQ2"), ("opened", "SEQ2")]
    assert follower.gone
    assert not owner.gone
    port.say(owner, Opened(4))
    assert port.node.told[2:] == [("opened", "SEQ2")]


def test_an_epoch_that_was_opened_and_cannot_be_written_down_is_not_promised() -> None:
    port = Port()
    storage: Any = port.log.storage
    storage.capacity = storage.used - 1
    client, _ = port.log_in("SEQ2", 0)
    port.say(client, Opened(4))
    assert port.voter.epoch == 1
    assert port.node.told == []


def test_garbage_and_what_only_a_primary_hears_is_counted() -> None:
    port = Port()
    client, _ = port.log_in("SEQ2", 0)
    port.port.unsequenced(client, messages_of([b"", b"?", b"P", Held(1, 4).encode()]), 0)
    assert port.counters["node.unknown"] == 4
    assert heard(client) == []


# the log


def test_who_is_no_primary_gives_its_log_to_the_owner_of_its_promise_alone() -> None:
    port = Port()
    assert isinstance(port.log_in("SEQ2", 1)[1], Denied)
    assert port.voter.seal(5, "SEQ2")
    assert isinstance(port.log_in("SEQ1", 1)[1], Denied)
    client, answer = port.log_in("SEQ2", 4)
    assert answer == Granted(SESSION, 4)
    packets = packets_of(client)
    sequenced = [kind for kind, _ in packets if kind == PacketType.SEQUENCED]
    (table,) = [payload for kind, payload in packets if kind == PacketType.UNSEQUENCED]
    assert decode(table) == Epochs(5, "SEQ2", ((1, 1),))
    assert len(sequenced) == 7
    assert packets.index((PacketType.UNSEQUENCED, table)) < packets.index(
        next(packet for packet in packets if packet[0] == PacketType.SEQUENCED)
    )


def test_a_candidate_that_is_ahead_is_let_in_at_the_end_of_the_log() -> None:
    port = Port()
    assert port.voter.seal(5, "SEQ2")
    assert port.log_in("SEQ2", 40)[1] == Granted(SESSION, 11)


def test_a_primary_hears_what_its_followers_say() -> None:
    port = Port()
    primary = port.lead()
    client, answer = port.log_in("SEQ2", 11)
    assert answer == Granted(SESSION, 11)
    assert primary.connected == ["SEQ2"]
    said = [VoterState(votes=True, incarnation=3), Held(1, 10)]
    port.say(client, *said)
    assert primary.said == said
    client.close("gone", 0)
    assert primary.connected == []


def test_a_primary_turns_away_whom_it_does_not_serve() -> None:
    port = Port()
    primary = port.lead()
    assert isinstance(port.log_in("REW9", 1)[1], Granted)
    primary.quorate = False
    assert isinstance(port.log_in("REW9", 1)[1], Denied)
    assert isinstance(port.log_in("SEQ2", 1)[1], Granted)
    assert isinstance(port.log_in("REW9", 0)[1], Granted)  # it may talk
    primary.quorate = True
    assert isinstance(port.log_in("REW9", 1)[1], Granted)


def test_all_are_let_go_but_those_to_be_kept() -> None:
    port = Port()
    port.lead()
    kept, gone = (port.log_in(user, 1)[0] for user in ("SEQ2", "REW9"))
    port.port.hang_up("no quorum", 0, keep=frozenset({"SEQ2"}))
    assert (kept.gone, gone.gone) == (False, True)


def test_a_higher_promise_ends_the_serving_of_the_log() -> None:
    port = Port()
    port.lead()
    follower, _ = port.log_in("SEQ1", 1)
    talker, _ = port.log_in("SEQ2", 0)
    port.say(talker, PromiseRequest(5, "SEQ2"))
    assert follower.gone
    assert not talker.gone
    assert port.port.followers() == []


def test_who_asks_for_a_promise_beside_the_log_is_let_go_and_ends_nothing_else() -> None:
    port = Port()
    port.lead()
    client, _ = port.log_in("SEQ2", 1)
    assert port.say(client, PromiseRequest(5, "SEQ2"), Query(), Held(1, 4)) == []
    assert client.gone
    assert port.node.told == [("promised", "SEQ2")]


# how much at once


def test_a_follower_that_may_wait_is_shown_records_when_it_is_poured_to() -> None:
    port = Port()
    port.lead().patient = "SEQ3"
    hurried, _ = port.log_in("SEQ2", 11)
    patient, _ = port.log_in("SEQ3", 11)
    packets_of(hurried), packets_of(patient)
    port.log.append(b"message", Stamp(0, 11, b"ALPHA "))
    assert port.port.show(11, 0) > 0
    assert [kind for kind, _ in packets_of(hurried)] == [PacketType.SEQUENCED]
    assert packets_of(patient) == []
    port.port.pour(patient, 0)
    assert [kind for kind, _ in packets_of(patient)] == [PacketType.SEQUENCED]


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("room", range(60))
def test_what_is_queued_leaves_before_the_records_however_little_the_socket_takes(
    room: int, *, full: bool
) -> None:
    port = Port()
    port.lead()
    client, _ = port.log_in("SEQ2", 11)
    packets_of(client)
    port.log.append(b"message", Stamp(0, 11, b"ALPHA "))
    client.send_unsequenced(b"first")
    client.connection.socket.room, client.connection.full = room, full
    port.port.show(11, 0)
    client.connection.socket.room, client.connection.full = None, False
    client.mid_packet = client.state.offset != client.state.target
    port.port.pour(client, 0)
    (first, payload), (second, record) = packets_of(client)
    assert (first, payload, second) == (PacketType.UNSEQUENCED, b"first", PacketType.SEQUENCED)
    assert record.startswith(b"message")
    assert client.state.number == 12
