"""The checker: it sees every wire and every disk, and holds what DESIGN section 1 promises.

It knows the formats (docs/PROTOCOL.md, docs/LOG.md) and nothing of the code. The numbers in the messages are
those of the list in docs/FAILURES.md.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from seqcast.testing.node import NODE_PORT, REPLAY_PORT, NodeMachine
from simulation.disks import DATA, END, EPOCH, STAMP_BYTES, DiskReader, stamp_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from seqcast.submission import Answer
    from seqcast.testing.datagrams import SimDatagrams
    from seqcast.testing.machine import Machine
    from seqcast.testing.streams import SimSocket
    from seqcast.testing.world import World

MOLD = struct.Struct(">10sQH")
ANSWER = struct.Struct(">cBQ6s")
HELD = struct.Struct(">cQQ")
EPOCHS = struct.Struct(">cQ6s")
END_OF_SESSION = 0xFFFF
VIOLATIONS_LIMIT = 20


class Frames:
    """Cuts a byte stream into SoupBinTCP packets, for `each(kind, payload)`."""

    def __init__(self, each: Callable[[bytes, bytes], None]) -> None:
        self._each = each
        self._rest = b""

    def __call__(self, data: bytes) -> None:
        data, start = self._rest + data, 0
        while len(data) - start >= 3:
            (length,) = struct.unpack_from(">H", data, start)
            if len(data) - start < 2 + length:
                break
            self._each(data[start + 2 : start + 3], data[start + 3 : start + 2 + length])
            start += 2 + length
        self._rest = data[start:]


class Checker:
    """Everything that was seen, and what was wrong with it."""

    def __init__(
        self, world: World, nodes: dict[str, NodeMachine], voters: frozenset[str], quorum: int, durable: bool
    ):
        self.world, self.nodes, self.voters, self.quorum, self.durable = world, nodes, voters, quorum, durable
        self.violations: list[str] = []
        self.stream: dict[int, bytes] = {}
        self.acknowledged: dict[str, dict[int, int]] = {}  # by user and sequence: the number it was told
        self._told: dict[str, int] = {}  # by user: how far its present life was told
        self.replayed_bytes = 0
        self._proved = 0  # the highest number that a write quorum was seen to hold
        self._owners: dict[int, str] = {}
        self._promised: dict[str, int] = {}
        self._expected: dict[str, int] = {}
        self._readers: dict[int, DiskReader] = {}

    def violated(self, check: int, sentence: str) -> None:
        """Note a violation."""
        if len(self.violations) < VIOLATIONS_LIMIT:
            self.violations.append(f"check {check}: {sentence}")
            self.world.note("CHECK", self.violations[-1])

    @property
    def epochs(self) -> int:
        """How many epochs somebody has opened, or was promised, and served."""
        return len(self._owners)

    # what is seen

    def multicast(self, machine: Machine, packet: bytes) -> None:
        """A packet leaves for the group."""
        self._packet(machine.name, packet, "multicast")

    def datagram(self, source: SimDatagrams, data: bytes) -> None:
        """A reply to a re-request leaves."""
        if isinstance(source.machine, NodeMachine):
            self.replayed_bytes += len(data)
            self._packet(source.machine.name, data, "answered")

    def stream_opened(self, client: SimSocket, server: SimSocket, port: int) -> None:
        """A connection was made: look into those that matter."""
        assert client.out is not None
        assert server.out is not None
        if port == REPLAY_PORT:
            server.out.tap = Frames(self._replay(server.machine.name))
        elif port == NODE_PORT:
            server.out.tap = Frames(self._node_talk(server.machine.name))
            client.out.tap = Frames(self._node_talk(client.machine.name))

    def delivered(self, name: str, number: int, record: bytes) -> None:
        """A receiver takes a record."""
        expected = self._expected.get(name, 1)
        if number != expected:
            self.violated(3, f"{name} got record {number}, expected {expected}")
        self._expected[name] = number + 1
        self._same(name, number, record)

    def restarted(self, name: str) -> None:
        """A receiver begins again."""
        self._expected[name] = 1

    def began(self, user: str, sequence: int) -> None:
        """A life of a sender begins after what was in the stream, up to `sequence`."""
        self._told[user] = sequence

    def answered(self, user: str, answer: Answer) -> None:
        """A sender is told at which numbers frames of it are: each once in a life, in order."""
        self._shown(user, answer.number, None, "was told of")
        acknowledged = self.acknowledged.setdefault(user, {})
        for back in reversed(range(answer.frames)):
            sequence, number = answer.sequence - back, answer.number - back
            if sequence != self._told[user] + 1:
                self.violated(3, f"{user} was told of {sequence} after {self._told[user]}")
            self._told[user] = sequence
            if acknowledged.setdefault(sequence, number) != number:
                self.violated(
                    3, f"{user} was told that {sequence} is record {acknowledged[sequence]}, and now {number}"
                )
            record = self.stream.get(number)
            if record is not None and stamp_of(record)[2:4] != (user.encode().ljust(6), sequence):
                self.violated(3, f"{user} was told that {sequence} is record {number}, which is another")

    def lost_memory(self, name: str) -> None:
        """A node begins with an empty disk: it may have forgotten its promises, and has to say so."""
        self._promised.pop(name, None)

    # the end

    def conclude(
        self, log: list[bytes], submitted: dict[str, list[bytes]], received: dict[str, list[bytes]]
    ) -> None:
        """Everything is quiet: `log` is the stream as the last primary has it."""
        for number, record in self.stream.items():
            if number > len(log) or log[number - 1] != record:
                self.violated(2, f"record {number} was shown and is not in the final log")
        self._check_log(log)
        for user, answers in self.acknowledged.items():
            for sequence, number in answers.items():
                kind_sender = stamp_of(log[number - 1]) if number <= len(log) else None
                if kind_sender is None or kind_sender[2:4] != (user.encode().ljust(6), sequence):
                    self.violated(3, f"{user} {sequence} was acknowledged at {number} and is not there")
        data = [stamp for stamp in map(stamp_of, log) if stamp[0] == DATA]
        for user, told in self._told.items():
            last = max((stamp[3] for stamp in data if stamp[2] == user.encode().ljust(6)), default=0)
            if told != last:
                self.violated(3, f"{user} was told the numbers of its frames up to {told}, and has {last}")
        messages = _messages(log)
        for user, sent in submitted.items():
            if messages.get(user, []) != sent:
                self.violated(
                    8, f"{user}: the stream has {len(messages.get(user, []))} messages, sent were {len(sent)}"
                )
        everything = [payload for _, payload in sorted(_numbered(log))]
        for name, payloads in received.items():
            if payloads != everything:
                self.violated(8, f"{name} got {len(payloads)} messages, the stream has {len(everything)}")

    def copies(self, name: str, log: list[bytes], commit: int) -> None:
        """The log of one node against the final one."""
        ours = DiskReader(self.nodes[name].disk).records()
        if commit > len(ours) or ours[:commit] != log[:commit]:
            self.violated(1, f"the log of {name} differs from that of the primary, below its commit {commit}")

    # inside

    def _check_log(self, log: list[bytes]) -> None:
        epoch = time = 0
        senders: dict[bytes, int] = {}
        ended = None
        for number, record in enumerate(log, start=1):
            kind, _, sender, sequence, stamped = stamp_of(record)
            if stamped < time:
                self.violated(7, f"time goes back at record {number}")
            time = stamped
            if ended is not None:
                self.violated(7, f"record {number} follows the end of the session, {ended}")
            if kind == END:
                ended = number
            elif kind == EPOCH:
                if sequence <= epoch:
                    self.violated(4, f"epoch {sequence} follows {epoch} at record {number}")
                epoch = sequence
                self._owner(sequence, sender.decode().rstrip())
            elif kind == DATA:
                if sequence != senders.get(sender, 0) + 1:
                    self.violated(
                        3, f"{sender!r} {sequence} follows {senders.get(sender, 0)} at record {number}"
                    )
                senders[sender] = sequence

    def _packet(self, name: str, packet: bytes, how: str) -> None:
        _, number, count = MOLD.unpack_from(packet)
        if count in (0, END_OF_SESSION):
            self._shown(name, number - 1, None, "announced")
            return
        offset = MOLD.size
        for _ in range(count):
            (length,) = struct.unpack_from(">H", packet, offset)
            self._shown(name, number, packet[offset + 2 : offset + 2 + length], how)
            offset += 2 + length
            number += 1

    def _same(self, who: str, number: int, record: bytes) -> None:
        known = self.stream.setdefault(number, record)
        if known != record:
            self.violated(1, f"{who}: record {number} is not what it was elsewhere")

    def _shown(self, name: str, number: int, record: bytes | None, how: str) -> None:
        """A record, or its number, is on a wire that receivers see."""
        if record is not None:
            self._same(name, number, record)
        if number <= self._proved:
            return
        found = record if record is not None else self.stream.get(number)
        if found is None:  # a number without its record: whoever has most of such copies will do
            copies = [
                reader.record(number) for machine in self.nodes.values() for reader in self._disks(machine)
            ]
            found = next((copy[0] for copy in copies if copy is not None), b"")
        holders = [voter for voter in sorted(self.voters) if self._holds(self.nodes[voter], number, found)]
        if len(holders) < self.quorum:
            check = 5 if how == "multicast" else 6
            self.violated(
                check, f"{name} {how} record {number}, which {', '.join(holders) or 'nobody'} holds"
            )
        else:
            self._proved = number

    def _holds(self, machine: NodeMachine, number: int, record: bytes) -> bool:
        return any(reader.holds(number, record, durable=self.durable) for reader in self._disks(machine))

    def _disks(self, machine: NodeMachine) -> list[DiskReader]:
        """The present disk of a machine, and those it had."""
        readers = []
        for disk in (machine.disk, *reversed(machine.former_disks)):
            reader = self._readers.get(id(disk))
            if reader is None:
                reader = self._readers[id(disk)] = DiskReader(disk)
            readers.append(reader)
        return readers

    def _replay(self, name: str) -> Callable[[bytes, bytes], None]:
        following = 0

        def each(kind: bytes, payload: bytes) -> None:
            nonlocal following
            if kind == b"A":
                following = int(payload[10:30])
            elif kind == b"S":
                self.replayed_bytes += len(payload)
                self._shown(name, following, payload, "replayed")
                following += 1

        return each

    def _node_talk(self, name: str) -> Callable[[bytes, bytes], None]:
        def each(kind: bytes, payload: bytes) -> None:
            if kind != b"U":
                return
            if payload[:1] == b"A":
                _, _, epoch, _ = ANSWER.unpack_from(payload)
                if epoch < self._promised.get(name, 0):
                    self.violated(4, f"{name} promised {self._promised[name]}, and now speaks of {epoch}")
                self._promised[name] = max(epoch, self._promised.get(name, 0))
            elif payload[:1] == b"H":
                _, epoch, number = HELD.unpack(payload)
                if epoch < self._promised.get(name, 0):
                    self.violated(
                        4,
                        f"{name} acknowledges {number} in epoch {epoch}, but promised {self._promised[name]}",
                    )
            elif payload[:1] == b"E":
                _, epoch, owner = EPOCHS.unpack_from(payload)
                if owner.decode().rstrip() == name:  # else a voter hands its log to a candidate
                    self._owner(epoch, name)

        return each

    def _owner(self, epoch: int, owner: str) -> None:
        known = self._owners.setdefault(epoch, owner)
        if known != owner:
            self.violated(4, f"epoch {epoch} has two owners, {known} and {owner}")


def _numbered(log: list[bytes]) -> list[tuple[int, bytes]]:
    """(number of its last record, payload) of each message of the stream, fragments joined."""
    found = []
    partial: dict[bytes, bytes] = {}
    for number, record in enumerate(log, start=1):
        kind, flags, sender, _, _ = stamp_of(record)
        if kind != DATA:
            continue
        payload = record[:-STAMP_BYTES]
        joined = payload if flags & 1 else partial[sender] + payload
        if flags & 2:
            found.append((number, joined))
        else:
            partial[sender] = joined
    return found


def _messages(log: list[bytes]) -> dict[str, list[bytes]]:
    """The messages of each sender."""
    found: dict[str, list[bytes]] = {}
    for number, payload in _numbered(log):
        sender = stamp_of(log[number - 1])[2].decode().rstrip()
        found.setdefault(sender, []).append(payload)
    return found
