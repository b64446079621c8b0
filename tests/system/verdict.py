"""What must hold of a bus after whatever happened to it, judged from what was left: logs, captures, acknowledgements.

| property (DESIGN: what it promises) | how it is looked for |
|---|---|
| uniform agreement | logs are equal up to the commit number; every record that was ever on the wire is theirs |
| integrity, total order | each receiver delivered each message of the logs once, in their order, and no other |
| exactly once, FIFO | the messages of each sender are those that it sent, each once, in its order |
| validity | all that was sent is there |
| acknowledgement | the record at an acknowledged number is the one that was acknowledged |
| only what is committed | nothing was on the wire, and no heartbeat told of anything, above the commit number |

Of the code under test only the reader of logs is used here, on the logs of all nodes. MoldUDP64 and the stamp of a
record are read by the few lines below. Captures are read once, from front to back, so their length does not matter.
"""

from __future__ import annotations

import struct
from collections import Counter
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, BinaryIO

from attrs import define, field, frozen
from load_worker import ACKNOWLEDGEMENT, DELIVERY, LENGTH
from payloads import payload

from rewinder.log import MessageLog
from rewinder.storage import FileStorage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STAMP = struct.Struct(">BB6sQQI")
DATA, EPOCH = 0, 1
FIRST, LAST = 1, 2
DOWNSTREAM = struct.Struct(">10sQH")
END_OF_SESSION = 0xFFFF

BLOCK_RECORDS = 1 << 14
PROBLEMS_MOST = 20
"""Problems that are told one by one; of each kind the first few say enough."""


@frozen
class Submission:
    """What a sender did: how many messages it sent, and where its acknowledgements are."""

    sent: int
    acknowledgements: Path


@frozen
class Delivery:
    """What a receiver wrote down; one that was killed is only `complete` up to some point."""

    name: str
    path: Path
    complete: bool = True


@frozen
class Evidence:
    """All there is to judge. `commit` and `epoch` are what the nodes said at the end, `logs` their directories."""

    session: bytes
    commit: int
    epoch: int
    logs: dict[str, Path]
    submissions: dict[str, Submission]
    deliveries: list[Delivery]
    taps: list[Path]


@frozen
class EpochStart:
    """An epoch of the log: whose it was, its first record, and when (UTC) that was stamped."""

    epoch: int
    number: int
    owner: str
    time_ns: int


@define
class Verdict:
    """What was found."""

    problems: list[str] = field(factory=list)
    records: int = 0
    messages: int = 0
    acknowledgements: int = 0
    datagrams: int = 0
    wire_records: int = 0
    repeats: int = 0
    epochs: list[EpochStart] = field(factory=list)
    longest_silence_ms: float = 0.0
    """The longest time without an acknowledgement for any sender."""
    _kinds: Counter[str] = field(factory=Counter)

    def blame(self, kind: str, sentence: str) -> None:
        """Note a problem."""
        self._kinds[kind] += 1
        if self._kinds[kind] <= PROBLEMS_MOST // 4 and len(self.problems) < PROBLEMS_MOST:
            self.problems.append(f"{kind}: {sentence}")

    @property
    def counts(self) -> dict[str, int]:
        """How many problems of each kind."""
        return dict(self._kinds)


def judge(evidence: Evidence) -> Verdict:
    """Look at everything."""
    verdict = Verdict()
    with ExitStack() as stack:
        logs = {
            name: Log(stack.enter_context(closing(open_log(path, evidence.session))))
            for name, path in evidence.logs.items()
        }
        compare_logs(logs, evidence.commit, verdict)
        log = max(logs.values(), key=lambda each: each.last)
        if log.last < evidence.commit:
            verdict.blame("log", f"no node has all {evidence.commit} committed records")
            return verdict
        walk(log, evidence, verdict)
        for path in evidence.taps:
            look_at_wire(path, log, evidence, verdict)
    return verdict


# logs


def open_log(path: Path, session: bytes) -> MessageLog:
    return MessageLog.open_readonly(FileStorage(path, writable=False), session)


class Log:
    """The records of one log."""

    def __init__(self, log: MessageLog) -> None:
        self.log = log
        self.last = log.last

    def block(self, first: int) -> list[bytes]:
        """Records from `first` on, as many as are to be had at once."""
        return self.log.messages(first, BLOCK_RECORDS).payloads()

    def records(self, last: int) -> Iterator[tuple[int, bytes]]:
        number = 1
        while number <= last:
            block = self.block(number)[: last - number + 1]
            yield from enumerate(block, number)
            number += len(block)


def shown(record: bytes) -> str:
    """A record in a few words."""
    if len(record) < STAMP.size:
        return repr(record)
    kind, flags, sender, sequence, time_ns, _ = STAMP.unpack_from(record, len(record) - STAMP.size)
    return f"{record[: -STAMP.size][:24]!r} (kind {kind}, flags {flags}, {sender!r} {sequence}, at {time_ns})"


def compare_logs(logs: dict[str, Log], commit: int, verdict: Verdict) -> None:
    """All logs hold the same up to the commit number."""
    (name, reference), *others = sorted(logs.items(), key=lambda item: -item[1].last)
    for other_name, other in others:
        if other.last < commit:
            verdict.blame("log", f"{other_name} holds {other.last} of {commit} committed records")
        last = min(commit, other.last, reference.last)
        pairs = zip(reference.records(last), other.records(last), strict=True)
        for (number, ours), (_, theirs) in pairs:
            if ours != theirs:
                verdict.blame(
                    "log", f"{name} and {other_name} differ at {number}: {shown(ours)} and {shown(theirs)}"
                )
                break


# the stream, and what receivers and senders say of it


@define
class SenderState:
    """One sender, as the walk along the log gets to know it."""

    user: str
    acknowledgements: Iterator[tuple[int, int]]
    sequence: int = 0
    index: int = 0
    parts: list[bytes] = field(factory=list)
    awaited: tuple[int, int] | None = None


def walk(log: Log, evidence: Evidence, verdict: Verdict) -> None:
    """Along the log: each sender's messages, each receiver's deliveries, each acknowledgement."""
    senders: dict[bytes, SenderState] = {}
    time_before = 0
    with ExitStack() as stack:
        for user, submission in evidence.submissions.items():
            file = stack.enter_context(submission.acknowledgements.open("rb"))
            state = SenderState(user, read_acknowledgements(file, user, verdict))
            state.awaited = next(state.acknowledgements, None)
            senders[user.encode("ascii").ljust(6)] = state
        captures = [Capture(each, stack.enter_context(each.path.open("rb"))) for each in evidence.deliveries]
        for number, record in log.records(evidence.commit):
            kind, flags, name, sequence, time_ns, _ = STAMP.unpack_from(record, len(record) - STAMP.size)
            if time_ns < time_before:
                verdict.blame("time", f"record {number} is stamped before the one before it")
            time_before = time_ns
            if kind == EPOCH:
                note_epoch(number, record, time_ns, verdict)
            if kind != DATA:
                continue
            state = senders.get(name)
            if state is None:
                verdict.blame("sender", f"record {number} is of {name!r}, who sent nothing")
                continue
            message = take(state, number, flags, sequence, record[: -STAMP.size], verdict)
            if message is not None:
                verdict.messages += 1
                entry = DELIVERY.pack(number, name, sequence, time_ns, len(message)) + message
                for capture in captures:
                    capture.expect(number, entry, verdict)
        for capture in captures:
            capture.end(verdict)
    verdict.records = evidence.commit
    for state in senders.values():
        conclude(state, evidence.submissions[state.user].sent, evidence.commit, verdict)
    if not verdict.epochs or verdict.epochs[-1].epoch != evidence.epoch:
        verdict.blame(
            "epoch", f"the nodes were in epoch {evidence.epoch}, the log ends with {verdict.epochs[-1:]}"
        )


def note_epoch(number: int, record: bytes, time_ns: int, verdict: Verdict) -> None:
    epoch, owner = struct.unpack(">Q6s", record[: -STAMP.size])
    if verdict.epochs and verdict.epochs[-1].epoch >= epoch:
        verdict.blame("epoch", f"epoch {epoch} at {number} follows epoch {verdict.epochs[-1].epoch}")
    verdict.epochs.append(EpochStart(epoch, number, owner.decode("ascii").rstrip(), time_ns))


def take(
    state: SenderState, number: int, flags: int, sequence: int, part: bytes, verdict: Verdict
) -> bytes | None:
    """One record of a sender; returns the message that is whole with it."""
    if sequence != state.sequence + 1:
        verdict.blame("sender", f"record {number} is {state.user}'s {sequence} after {state.sequence}")
    state.sequence = sequence
    while state.awaited is not None and state.awaited[1] <= number:
        if state.awaited != (sequence, number):
            verdict.blame("acknowledgement", f"{state.user}'s {state.awaited} is not there; {sequence} is")
        verdict.acknowledgements += 1
        state.awaited = next(state.acknowledgements, None)
    if bool(flags & FIRST) != (not state.parts):
        verdict.blame("fragment", f"record {number} of {state.user} begins or goes on where it should not")
        state.parts.clear()
    state.parts.append(part)
    if not flags & LAST:
        return None
    message = b"".join(state.parts)
    state.parts.clear()
    if message != payload(state.user, state.index):
        verdict.blame(
            "message", f"record {number} is not message {state.index} of {state.user}: {message[:60]!r}"
        )
    state.index += 1
    return message


def conclude(state: SenderState, sent: int, commit: int, verdict: Verdict) -> None:
    """The end of the log has been reached."""
    if state.index != sent:
        verdict.blame("message", f"{state.user} sent {sent} messages, {state.index} are there")
    if state.awaited is not None:
        verdict.blame("acknowledgement", f"{state.user} was told of {state.awaited}, above {commit}")


def read_acknowledgements(file: BinaryIO, user: str, verdict: Verdict) -> Iterator[tuple[int, int]]:
    """(sender sequence, stream number), one after the other."""
    before = None
    while len(data := file.read(ACKNOWLEDGEMENT.size)) == ACKNOWLEDGEMENT.size:
        now_ns, sequence, number = ACKNOWLEDGEMENT.unpack(data)
        if before is not None:
            verdict.longest_silence_ms = max(verdict.longest_silence_ms, (now_ns - before[0]) / 1e6)
            if sequence <= before[1] or number <= before[2]:
                verdict.blame("acknowledgement", f"{user} was told {(sequence, number)} after {before[1:]}")
        before = (now_ns, sequence, number)
        yield sequence, number


@define
class Capture:
    """What one receiver wrote down, read along with the log."""

    delivery: Delivery
    file: BinaryIO
    over: bool = False

    def expect(self, number: int, entry: bytes, verdict: Verdict) -> None:
        """The next thing delivered is this one."""
        if self.over:
            return
        got = self.file.read(len(entry))
        if got == entry:
            return
        self.over = True
        if self.delivery.complete or not entry.startswith(got):
            what = DELIVERY.unpack_from(got)[:3] if len(got) >= DELIVERY.size else "nothing"
            verdict.blame("delivery", f"{self.delivery.name} should have got {number} and got {what}")

    def end(self, verdict: Verdict) -> None:
        """Nothing else was delivered."""
        rest = b"" if self.over else self.file.read(DELIVERY.size)
        if rest:
            verdict.blame("delivery", f"{self.delivery.name} got {rest!r} after the last committed message")


# the wire


def look_at_wire(path: Path, log: Log, evidence: Evidence, verdict: Verdict) -> None:
    """Every record that was ever multicast is a committed one, with the bytes of the logs."""
    first, block = 1, log.block(1)
    highest = 0
    for datagram in datagrams(path, verdict):
        verdict.datagrams += 1
        session, number, count = DOWNSTREAM.unpack_from(datagram)
        blocks = [] if count == END_OF_SESSION else message_blocks(datagram, count)
        if session != evidence.session or blocks is None:
            verdict.blame("wire", f"{datagram[:40]!r} is no packet of this stream")
            continue
        if number + len(blocks) - 1 > evidence.commit:
            verdict.blame(
                "wire", f"a packet tells of {number} and {count} more; {evidence.commit} is committed"
            )
            continue
        for at, record in enumerate(blocks, number):
            if not first <= at < first + len(block):
                first = max(1, at - BLOCK_RECORDS // 4)
                block = log.block(first)
            if at >= first + len(block):  # a block ends with its segment
                first, block = at, log.block(at)
            if record != block[at - first]:
                verdict.blame(
                    "wire", f"record {at} was multicast as {shown(record)}, it is {shown(block[at - first])}"
                )
        verdict.wire_records += len(blocks)
        verdict.repeats += max(0, min(highest, number + len(blocks) - 1) - number + 1)
        highest = max(highest, number + len(blocks) - 1)


def datagrams(path: Path, verdict: Verdict) -> Iterator[bytes]:
    with path.open("rb") as file:
        while head := file.read(LENGTH.size):
            (length,) = LENGTH.unpack(head)
            datagram = file.read(length)
            if length < DOWNSTREAM.size:
                verdict.blame("wire", f"{datagram!r} is too short for a packet")
                continue
            yield datagram


def message_blocks(datagram: bytes, count: int) -> list[bytes] | None:
    """The message blocks of a MoldUDP64 packet; None when it does not hold what it says."""
    blocks, position = [], DOWNSTREAM.size
    for _ in range(count):
        if len(datagram) < position + 2:
            return None
        length = int.from_bytes(datagram[position : position + 2], "big")
        position += 2 + length
        blocks.append(datagram[position - length : position])
    return blocks if position == len(datagram) else None
