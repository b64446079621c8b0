"""What goes past the events: records and commit numbers to a follower, what is held to a primary.

Whatever comes, in whatever pieces, has the same effect as by the ordinary way.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from attrs import define, field
from far_end import FakePump, FakeSocket

from rewinder.admission import Admission
from rewinder.counters import Counters
from rewinder.dial import Identity, Patience
from rewinder.follower import Follower
from rewinder.link import Link
from rewinder.log import MessageLog
from rewinder.memory import MemoryStorage
from rewinder.node_port import NodePort
from rewinder.pump import READABLE
from rewinder.record import Kind, Stamp, admission_payload, epoch_payload
from rewinder.replication import Committed, Epochs, Go, Held, Packet, Query, VoterState
from rewinder.service import Client
from rewinder.voter import Voter
from souptcp import SOUPBINTCP, ClientSession, ServerSession, Unsequenced

SESSION = b"TEST      "
EPOCH = 3
PATIENCE = Patience(heartbeat_ns=1_000_000, silence_ns=10_000_000)


def new_log() -> MessageLog:
    return MessageLog.create(MemoryStorage(), SESSION, durability="memory", segment_bytes=1 << 17)


def begin(log: MessageLog) -> MessageLog:
    log.append(epoch_payload(EPOCH, "SEQ1"), Stamp(0, EPOCH, b"SEQ1  ", Kind.EPOCH))
    return log


class Far(FakeSocket):
    """The client's end of a connection whose bytes come in pieces."""

    pieces: Random
    coming = b""

    def recv_into(self, space: memoryview) -> int:
        self.coming += self.server.take_output(self.now_ns)
        count = min(len(space), len(self.coming), self.pieces.choice((1, 19, 60, 1000, 100_000)))
        if not count:
            raise BlockingIOError
        space[:count] = self.coming[:count]
        self.coming = self.coming[count:]
        return count


class Bench:
    """The voter REW1, which follows SEQ1 in epoch 3."""

    def __init__(self, seed: int, *, skims: bool) -> None:
        self.pieces, self.pump, self.reports = Random(seed), FakePump(), list[str]()
        self.log, self.counters = new_log(), Counters()
        self.voter = Voter("REW1", frozenset({"SEQ1", "SEQ2", "REW1"}), self.log, lambda: 7)
        self.voter.seal(1, "SEQ2", 7)
        pump: Any = self.pump
        network: Any = self
        self.link = Link(
            pump,
            network,
            Identity("REW1", "secret", SESSION),
            PATIENCE,
            Follower(self.voter, self.counters),
            {"SEQ1": ("one", 1)},
            self.counters,
            Random(1),
            self.reports.append,
        )
        if not skims:
            self.link._dial.skim = None
        self.link.handle_timer(0)
        self.run()
        self.server.accept(SESSION, 1, 0)
        self.tell(Epochs(EPOCH, "SEQ1", ((EPOCH, 1),)))
        self.run()
        assert self.link.following == "SEQ1"

    def connect(self, _host: str, _port: int) -> Far:
        self.server = ServerSession(SOUPBINTCP, now_ns=0)
        self.far = Far(self.server)
        self.far.pieces = self.pieces
        return self.far

    def tell(self, packet: Packet) -> None:
        self.server.send_unsequenced(packet.encode())

    def run(self) -> None:
        """Turns until all has come."""
        while self.pump.handler is not None:
            self.pump.handler(READABLE, 0)
            self.link.answer(0)
            if not self.far.coming and not self.server.output_bytes:
                return

    @property
    def state(self) -> object:
        """All that can be seen of it, and what its primary was told last."""
        log, follower = self.log, self.link.follower
        said = [
            bytes(m) for event in self.far.heard if isinstance(event, Unsequenced) for m in event.messages
        ]
        return (
            *(log.last, log.commit, log.epochs, log.ended, log.admissions, log.senders.items()),
            bytes(log.tail.view[: log.tail.end]),
            *(follower.handed_over, follower.refused, self.link.following, self.reports, dict(self.counters)),
            said[-1:],
        )


def talk(bench: Bench, primary: MessageLog, seed: int) -> None:
    """What a primary may say, and sometimes what it may not."""
    random = Random(seed)
    sent, turns = 0, 30
    for turn in range(turns):
        for _ in range(random.randrange(90)):
            primary.append(
                random.randbytes(random.randrange(40)), Stamp(turn, primary.next_number, b"ALPHA ")
            )
        if random.random() < 0.05:
            primary.append(admission_payload("SEQ2", turn), Stamp(turn, 0, b"SEQ1  ", Kind.ADMIT))
        if turn == turns - 1 and random.random() < 0.5:
            primary.append(b"", Stamp(turn, 0, b"SEQ1  ", Kind.END))
        while sent < primary.last:
            messages = primary.messages(sent + 1, random.randrange(1, 200))
            sent += len(messages)
            if turn > 3 and random.random() < 0.01:
                bench.server.send_sequenced([bytes(messages[0])[:-1] + b"!"])
            bench.server.send_sequenced(messages)
            number = random.randrange(primary.last + 100)
            bench.tell(Committed(EPOCH if random.random() < 0.9 else random.randrange(6), number))
            if random.random() < 0.1:
                bench.tell(random.choice((Go(EPOCH, primary.last), Query())))
        if turn > 3 and random.random() < 0.02:
            bench.voter.seal(EPOCH + 1, "SEQ2")
        bench.run()


@pytest.mark.parametrize("seed", range(40))
def test_a_follower_does_the_same_with_and_without_it(seed: int) -> None:
    skimming, plain = Bench(seed, skims=True), Bench(seed, skims=False)
    for bench in (skimming, plain):
        talk(bench, begin(new_log()), seed)
    assert skimming.state == plain.state
    assert skimming.log.last > 1


def test_records_and_commit_numbers_make_no_events_once_somebody_is_followed() -> None:
    bench = Bench(1, skims=True)
    bench.link._dial.on_event = lambda event, _now_ns: pytest.fail(f"{event} came")
    primary = begin(new_log())
    primary.append(b"message", Stamp(0, 1, b"ALPHA "))
    bench.server.send_sequenced(primary.messages(1, 2))
    bench.tell(Committed(EPOCH, 2))
    bench.run()
    assert (bench.log.last, bench.log.commit, bench.log.epochs) == (2, 2, [(EPOCH, 1)])


@define(eq=False)
class Primary:
    """Notes what followers say."""

    said: list[object] = field(factory=list)

    def serves(self, _name: str) -> bool:
        return True

    def follower_started(self, client: Client) -> None:
        """Known by what it says."""

    def follower_ended(self, client: Client) -> None:
        """As above."""

    def hurries(self, _client: Client) -> bool:
        return False

    def follower_holds(self, _client: Client, epoch: int, number: int) -> None:
        self.said.append(Held(epoch, number))

    def follower_said(self, _client: Client, packet: object, _now_ns: int) -> None:
        self.said.append(packet)

    def follower_at_edge(self, client: Client) -> None:
        """Nothing to tell."""


@pytest.mark.parametrize("piece", [1, 7, 20, 33, 1000])
def test_a_primary_hears_everything_in_the_order_it_was_said(piece: int) -> None:
    admission: Admission = None  # type: ignore[assignment]  # nobody logs in here
    port = NodePort(begin(new_log()), admission, Counters(), name="node", voter=None, node=None)  # type: ignore[arg-type]
    port.primary = primary = Primary()
    server = ServerSession(SOUPBINTCP, now_ns=0)
    session = ClientSession(
        SOUPBINTCP, user="SEQ2", password="", session=SESSION, sequence_number=2, now_ns=0
    )
    list(server.receive(session.take_output(0), 0))
    server.accept(SESSION, 2, 0)
    list(session.receive(server.take_output(0), 0))
    client = Client(None, None, server, user="SEQ2", state=object())  # type: ignore[arg-type]
    server.skim = lambda view, start, end: port._skim(client, view, start, end)
    packets = [
        VoterState(votes=True, incarnation=3),
        *(Held(EPOCH, number) for number in range(50)),
        VoterState(votes=False, incarnation=4),
        Held(EPOCH, 1 << 60),
        Held(EPOCH + 1, 4),
        VoterState(votes=True, incarnation=5),
    ]
    for packet in packets:
        session.send_unsequenced(packet.encode())
    data, events = session.take_output(0), 0
    for start in range(0, len(data), piece):
        for event in server.receive(data[start : start + piece], 0):
            assert isinstance(event, Unsequenced)
            port.unsequenced(client, event.messages, 0)
            events += 1
    assert primary.said == packets
    assert events < len(packets)
