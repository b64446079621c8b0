"""Express turns do what turns in Python do: whatever senders send, and however it is cut.

A primary with one voter runs in this process, turn by turn; its senders are bare sockets.
"""

from __future__ import annotations

import socket
import struct
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field
from bus import configure

import moldudp
from rewinder.record import RECORD_CHECK, Kind, read_stamp
from seqcast.nodes import process_of
from souptcp import SOUPBINTCP, Accepted, ClientSession, Unsequenced

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sequencer.process import SequencerProcess

HEAD = struct.Struct(">QB")
ANSWER = struct.Struct(">QQI")
DEADLINE_TURNS = 10_000


@define(eq=False)
class RawSender:
    """A sender that cuts its packets where it likes. `numbers` has the stream numbers that it was told, by sequence."""

    node: SequencerProcess
    name: str
    socket: socket.socket = field(init=False)
    session: ClientSession = field(init=False)
    sequence: int = 0
    rest: bytes = b""  # of what was cut
    answered: bool = False
    numbers: dict[int, int] = field(factory=dict)
    duplicates: int = 0  # answers that told of nothing new

    def connect(self, number: int = 0) -> None:
        self.socket = socket.create_connection((self.node.settings.host, self.node.ports()["submit"]))
        self.socket.setblocking(False)
        self.session = ClientSession(
            SOUPBINTCP, user=self.name, password="", session=self.node.log.session, sequence_number=number
        )
        self.socket.send(self.session.take_output(1))
        self.answered, self.rest = False, b""

    def packet(self, sequence: int) -> bytes:
        text = b"%s %d " % (self.name.encode(), sequence) + b"." * (sequence * 37 % 300)
        return SOUPBINTCP.frame(ord("U"), HEAD.pack(sequence, 3) + text)

    def submit(self, count: int, cut: int = 0) -> None:
        """The next messages, of which the last `cut` bytes do not leave now."""
        data = self.rest + b"".join(self.packet(self.sequence + n) for n in range(1, count + 1))
        self.sequence += count
        self.rest = data[len(data) - min(cut, len(data)) :]
        self.socket.send(data[: len(data) - len(self.rest)])

    def again(self, first: int, count: int) -> None:
        """Messages that were sent before."""
        self.submit(0)
        self.socket.send(b"".join(self.packet(first + n) for n in range(count)))

    def look(self) -> None:
        """Take what the port has said."""
        if self.socket.fileno() < 0:
            return
        try:
            data = self.socket.recv(1 << 16)
        except BlockingIOError:
            return
        for event in self.session.receive(data, 1):
            match event:
                case Unsequenced(messages):
                    for payload in messages:
                        self.told(*ANSWER.unpack(payload))
                case Accepted():
                    pass
                case other:
                    raise AssertionError(f"{self.name} was told {other}")

    def told(self, sequence: int, number: int, count: int) -> None:
        self.answered = True
        self.duplicates += count == 0
        for back in range(count):
            assert self.numbers.setdefault(sequence - back, number - back) == number - back


@define(eq=False)
class Rig:
    node: Any
    receiver: moldudp.Receiver
    line: socket.socket
    records: list[bytes] = field(factory=list)
    senders: list[RawSender] = field(factory=list)
    opened: list[RawSender] = field(factory=list)

    def sender(self, name: str) -> RawSender:
        sender = RawSender(self.node, name)
        self.senders.append(sender)
        self.opened.append(sender)
        sender.connect()
        self.until(lambda: sender.answered)
        return sender

    def turn(self) -> None:
        self.node.pump.turn(0)
        for sender in self.senders:
            sender.look()
        self.receiver.receive_from(self.line.fileno(), 1)
        while len(messages := self.receiver.messages()):
            self.records += messages.payloads()

    def until(self, condition: Any) -> None:
        for _ in range(DEADLINE_TURNS):
            if condition():
                return
            self.turn()
        raise AssertionError("it does not happen")

    def settle(self) -> None:
        """Everything was sent whole, is committed, published and told."""
        for sender in self.senders:
            sender.submit(0)
        log = self.node.log
        self.until(
            lambda: all(log.senders.last_of(s.name.encode().ljust(6))[0] == s.sequence for s in self.senders)
        )
        self.until(lambda: len(self.records) == log.last and log.commit == log.last)
        self.until(lambda: all(len(s.numbers) == s.sequence for s in self.senders))

    def judge(self) -> None:
        """Each message once, in order, at the number that its sender was told; on the wire as in the log."""
        log, counts = self.node.log, dict.fromkeys((s.name for s in self.senders), 0)
        by_name = {s.name: s for s in self.senders}
        number = 1
        while number <= log.last:
            for record in log.messages(number, 1000):
                assert self.records[number - 1] == record
                stamp = read_stamp(record)
                if stamp.kind == Kind.DATA:
                    name = stamp.sender.decode().strip()
                    counts[name] += 1
                    assert stamp.sender_sequence == counts[name]
                    assert bytes(record).startswith(b"%s %d " % (name.encode(), counts[name]))
                    assert by_name[name].numbers[counts[name]] == number
                number += 1
        assert counts == {s.name: s.sequence for s in self.senders}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    configuration = configure(tmp_path / "run", nodes=1, segment_mib=1)
    multicast = configuration.multicast
    node: Any = process_of(configuration, "SEQ1")
    with moldudp.multicast_receiver(multicast.group, multicast.port, multicast.interface) as line:
        receiver = moldudp.Receiver(
            session=configuration.session_field, start=1, check=RECORD_CHECK, random=Random(1)
        )
        rig = Rig(node, receiver, line)
        try:
            node.open()
            yield rig
        finally:
            for sender in rig.opened:
                sender.socket.close()
            for service in node.services:
                service.close(node.pump.clock.read())
            while not all(service.drained for service in node.services):
                node.pump.turn()
            node.close()


def express_turns(rig: Rig) -> int:
    return int(rig.node.submit.express.turns)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_senders_do(rig: Rig, seed: int) -> None:
    random = Random(seed)
    senders = [rig.sender(name) for name in ("ALPHA", "BETA", "GAMMA")]
    for _ in range(400):
        sender = random.choice(senders)
        match random.randrange(8):
            case 0:
                sender.submit(random.randrange(1, 4), cut=random.randrange(1, 60))
            case 1 if sender.sequence > 5 and not sender.rest:
                sender.again(sender.sequence - 4, random.randrange(1, 5))
            case 2 if not sender.rest:
                sender.socket.send(SOUPBINTCP.frame(ord("R")))
            case 3:
                sender.submit(random.randrange(20, 120))
            case _:
                sender.submit(random.randrange(1, 4))
        for _ in range(random.randrange(3)):
            rig.turn()
    rig.settle()
    rig.judge()
    assert express_turns(rig) > 20
    assert not rig.node.counters["submit.violations"]
    assert rig.node.submit.ordering.stamped == sum(sender.sequence for sender in senders)


def test_a_sender_that_comes_back(rig: Rig) -> None:
    """What it had sent when its connection broke is told on the next one, and nothing is told twice."""
    sender, other = rig.sender("ALPHA"), rig.sender("BETA")
    for round_ in range(20):
        sender.submit(30)
        other.submit(3)
        for _ in range(round_ % 3):
            rig.turn()
        sender.socket.close()
        rig.turn()
        known = sender.numbers.get(sender.sequence, 0)
        sender.connect(max(1, known))
        rig.until(lambda: sender.answered)
        last, _ = rig.node.log.senders.last_of(b"ALPHA ")
        sender.sequence = last  # what the port has not read is lost with the connection
    rig.settle()
    rig.judge()
    assert express_turns(rig) > 0


def test_who_does_not_read_its_answers_holds_up_nobody(rig: Rig) -> None:
    lazy, busy = rig.sender("LAZY"), rig.sender("BUSY")
    lazy.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    rig.senders.remove(lazy)
    for _ in range(3000):
        lazy.submit(1)
        busy.submit(1)
        rig.turn()
    rig.senders.append(lazy)
    rig.settle()
    rig.judge()


def test_a_sender_that_is_replaced_is_not_read_any_more(rig: Rig) -> None:
    first = rig.sender("ALPHA")
    first.submit(5)
    rig.until(lambda: len(first.numbers) == 5)
    rig.senders.remove(first)
    second = rig.sender("ALPHA")
    second.sequence = 5
    second.numbers = dict(first.numbers)
    second.submit(5)
    rig.settle()
    rig.judge()
    assert rig.node.counters["submit.replaced"] == 1
