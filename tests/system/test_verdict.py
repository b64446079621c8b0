"""The verdict itself: evidence without a fault passes, and each kind of fault is seen."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from load_worker import ACKNOWLEDGEMENT, DELIVERY, LENGTH
from payloads import LONG_EVERY, payload
from verdict import DOWNSTREAM, Delivery, Evidence, Submission, judge

from rewinder.log import MessageLog
from rewinder.record import Kind, Stamp, epoch_payload, stamp_record
from rewinder.storage import FileStorage

if TYPE_CHECKING:
    from collections.abc import Callable

SESSION = b"VERDICT   "
USERS = ("A", "B")
PART = 1500
MESSAGES = LONG_EVERY + 3
"""Of each user, so that each has one in fragments."""


def stream() -> list[tuple[bytes, Stamp]]:
    """The messages of two users in turn, with an epoch start in the middle."""
    records = [epoch(1)]
    sequences = dict.fromkeys(USERS, 0)
    for index in range(MESSAGES):
        for user in USERS:
            message = payload(user, index)
            parts = [message[at : at + PART] for at in range(0, len(message), PART)]
            for n, part in enumerate(parts):
                flags = (n == 0) | (n == len(parts) - 1) << 1
                sequences[user] += 1
                name = user.encode("ascii").ljust(6)
                records.append((part, Stamp(len(records), sequences[user], name, int(Kind.DATA), flags)))
        if index == MESSAGES // 2:
            records.append(epoch(2, len(records)))
    return records


def epoch(number: int, time_ns: int = 0) -> tuple[bytes, Stamp]:
    return epoch_payload(number, "SEQ1"), Stamp(time_ns, number, b"SEQ1  ", int(Kind.EPOCH))


def write_log(path: Path, records: list[tuple[bytes, Stamp]]) -> None:
    path.mkdir(parents=True)
    log = MessageLog.create(FileStorage(path), SESSION, segment_bytes=1 << 18, durability="memory")
    for body, stamp in records:
        log.append(body, stamp)
    log.close()


class Scene:
    """Evidence in files that a test may change before it is judged."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.records = stream()
        self.logs = {name: list(self.records) for name in ("SEQ1", "REW1")}
        self.deliveries: list[bytes] = []
        self.acknowledgements: dict[str, list[tuple[int, int]]] = {user: [] for user in USERS}
        parts: dict[bytes, bytes] = {}
        for number, (body, stamp) in enumerate(self.records, 1):
            if stamp.kind != Kind.DATA:
                continue
            parts[stamp.sender] = parts.get(stamp.sender, b"") + body
            self.acknowledgements[stamp.sender.decode().strip()].append((stamp.sender_sequence, number))
            if stamp.flags & 2:
                message = parts.pop(stamp.sender)
                head = (number, stamp.sender, stamp.sender_sequence, stamp.time_ns, len(message))
                self.deliveries.append(DELIVERY.pack(*head) + message)
        self.wire = [
            stamp_record(body, number, stamp) for number, (body, stamp) in enumerate(self.records, 1)
        ]
        self.datagrams = [
            self.datagram(number, self.wire[number - 1 : number + 4]) for number in range(1, self.last + 1, 5)
        ]
        self.changes: dict[str, Any] = {}
        self.complete = True

    @property
    def last(self) -> int:
        return len(self.records)

    @staticmethod
    def datagram(number: int, records: list[bytes]) -> bytes:
        body = b"".join(struct.pack(">H", len(record)) + record for record in records)
        return DOWNSTREAM.pack(SESSION, number, len(records)) + body

    def evidence(self) -> Evidence:
        directory = self.directory
        for name, records in self.logs.items():
            write_log(directory / name, records)
        for user, pairs in self.acknowledgements.items():
            data = b"".join(ACKNOWLEDGEMENT.pack(at, *pair) for at, pair in enumerate(pairs))
            (directory / user).write_bytes(data)
        (directory / "receiver").write_bytes(b"".join(self.deliveries))
        (directory / "tap").write_bytes(b"".join(LENGTH.pack(len(each)) + each for each in self.datagrams))
        evidence = Evidence(
            session=SESSION,
            commit=self.last,
            epoch=2,
            logs={name: directory / name for name in self.logs},
            submissions={user: Submission(MESSAGES, directory / user) for user in USERS},
            deliveries=[Delivery("receiver", directory / "receiver", complete=self.complete)],
            taps=[directory / "tap"],
        )
        return evolve(evidence, **self.changes)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_evidence_without_a_fault_passes(scene: Scene) -> None:
    verdict = judge(scene.evidence())
    assert verdict.problems == []
    assert (verdict.records, verdict.messages) == (scene.last, 2 * MESSAGES)
    assert verdict.wire_records == scene.last
    assert verdict.acknowledgements == scene.last - 2
    assert [start.epoch for start in verdict.epochs] == [1, 2]


def test_repeats_on_the_wire_and_heartbeats_are_no_fault(scene: Scene) -> None:
    scene.datagrams += [*scene.datagrams[-50:], DOWNSTREAM.pack(SESSION, scene.last + 1, 0)]
    verdict = judge(scene.evidence())
    assert verdict.problems == []
    assert verdict.repeats > 200


def test_a_receiver_that_was_killed_may_lack_the_end(scene: Scene) -> None:
    scene.deliveries[-100:] = [scene.deliveries[-100][:20]]
    scene.complete = False
    assert judge(scene.evidence()).problems == []


def swap(items: list[Any], at: int) -> None:
    items[at], items[at + 1] = items[at + 1], items[at]


def other_payload(records: list[tuple[bytes, Stamp]], at: int) -> None:
    body, stamp = records[at]
    records[at] = (body[:-1] + bytes([body[-1] ^ 1]), stamp)


def damage_delivery(scene: Scene) -> None:
    entry = scene.deliveries[70]
    scene.deliveries[70] = entry[:-1] + bytes([entry[-1] ^ 1])


def resend(scene: Scene) -> None:
    """A message entered the stream twice, in all logs."""
    body, stamp = scene.records[500]
    for records in scene.logs.values():
        records[501:501] = [(body, evolve(stamp, time_ns=records[500][1].time_ns))]


def uncommitted(scene: Scene) -> None:
    scene.changes["commit"] = scene.last - 10
    for records in scene.logs.values():
        del records[-10:]


FAULTS: dict[str, tuple[str, Callable[[Scene], object]]] = {
    "logs differ": ("log", lambda scene: other_payload(scene.logs["REW1"], 900)),
    "a log is short": ("log", lambda scene: scene.logs["REW1"].pop()),
    "a receiver skipped one": ("delivery", lambda scene: scene.deliveries.pop(300)),
    "a receiver got one twice": (
        "delivery",
        lambda scene: scene.deliveries.insert(300, scene.deliveries[299]),
    ),
    "a receiver got two in the other order": ("delivery", lambda scene: swap(scene.deliveries, 800)),
    "a receiver got other bytes": ("delivery", damage_delivery),
    "a receiver lacks the last": ("delivery", lambda scene: scene.deliveries.pop()),
    "a receiver got more than is committed": (
        "delivery",
        lambda scene: scene.deliveries.append(scene.deliveries[-1]),
    ),
    "a message is there twice": ("sender", resend),
    "a message is not there": (
        "message",
        lambda scene: scene.changes.update(
            submissions={user: Submission(MESSAGES + (user == "A"), scene.directory / user) for user in USERS}
        ),
    ),
    "an acknowledged record is another": (
        "acknowledgement",
        lambda scene: scene.acknowledgements["A"].__setitem__(50, (51, 103)),
    ),
    "an acknowledgement is above the commit number": (
        "acknowledgement",
        lambda scene: scene.acknowledgements["B"].append((10**6, scene.last + 1)),
    ),
    "an acknowledgement goes back": ("acknowledgement", lambda scene: swap(scene.acknowledgements["A"], 50)),
    "other bytes on the wire": (
        "wire",
        lambda scene: scene.datagrams.append(scene.datagram(77, [scene.wire[77]])),
    ),
    "more on the wire than is committed": (
        "wire",
        lambda scene: scene.datagrams.append(scene.datagram(scene.last + 1, [scene.wire[-1]])),
    ),
    "a heartbeat of more than is committed": (
        "wire",
        lambda scene: scene.datagrams.append(DOWNSTREAM.pack(SESSION, scene.last + 2, 0)),
    ),
    "another session on the wire": (
        "wire",
        lambda scene: scene.datagrams.append(DOWNSTREAM.pack(b"ANOTHER   ", 1, 0)),
    ),
    "a packet with less than it says": (
        "wire",
        lambda scene: scene.datagrams.append(scene.datagrams[7][:-9]),
    ),
    "records of everybody above the commit number": ("delivery", uncommitted),
    "another epoch than the nodes say": ("epoch", lambda scene: scene.changes.update(epoch=3)),
}


@pytest.mark.parametrize(("kind", "damage"), FAULTS.values(), ids=FAULTS)
def test_each_fault_is_seen(scene: Scene, kind: str, damage: Callable[[Scene], object]) -> None:
    damage(scene)
    verdict = judge(scene.evidence())
    assert kind in verdict.counts
    assert verdict.problems
