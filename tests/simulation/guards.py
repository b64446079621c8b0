"""The guards of the order, each of which can be taken away: then a checker must notice.

This exists in the simulator alone. Nothing in production can be switched off.
"""

from __future__ import annotations

import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

from rewinder._native import crc32c
from rewinder.follower import Follower
from rewinder.memory import MemoryStorage
from rewinder.node import Node
from rewinder.promise import Promise
from rewinder.record import Flags, Stamp
from rewinder.replication import Answer
from rewinder.voter import Voter
from sequencer._native import AnswerKernel
from sequencer.commit import Commit
from sequencer.followers import Followers
from sequencer.submit import SubmitPort
from sequencer.takeover import Takeover
from sequencer.tracing import Tracer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_HEAD = struct.Struct(">QB")


def _quorum() -> list[Any]:
    """What the primary holds counts as committed at once."""

    def advance(self: Commit) -> int:
        self.number = max(self.number, *self._held.values(), 0)
        return self.number

    return [mock.patch.object(Commit, "advance", advance)]


def _promise() -> list[Any]:
    """Whatever was promised, everybody gets what they ask for."""
    return [mock.patch.object(Promise, "allows", return_value=True)]


def _epoch_tag() -> list[Any]:
    """A follower that has promised a higher epoch goes on following, and its word goes on counting."""

    class Forgetful:
        """A voter as the follower sees it, without what it promised since."""

        def __init__(self, voter: Voter) -> None:
            self.voter = voter

        def __getattr__(self, name: str) -> Any:
            return 0 if name == "epoch" else getattr(self.voter, name)

    def with_forgetful(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Follower, *arguments: Any) -> Any:
            voter, self.voter = self.voter, Forgetful(self.voter)
            try:
                return method(self, *arguments)
            finally:
                self.voter = voter

        return call

    return [
        mock.patch.object(Node, "promised"),
        mock.patch.object(Node, "opened"),
        mock.patch.object(Follower, "sequenced", with_forgetful(Follower.sequenced)),
        mock.patch.object(Follower, "outgoing", with_forgetful(Follower.outgoing)),
    ]


def _adoption() -> list[Any]:
    """The longest log is adopted, whatever its epoch."""
    return [mock.patch.object(Answer, "rank", property(lambda self: (self.last, self.last)))]


def _own_epoch() -> list[Any]:
    """What a write quorum holds is committed, though no record of the present epoch lies above it."""

    def advance(self: Commit) -> int:
        held = sorted(self._held.values(), reverse=True)
        if len(held) >= self.write_quorum:
            self.number = max(self.number, held[self.write_quorum - 1])
        return self.number

    return [mock.patch.object(Commit, "advance", advance)]


def _dedup() -> list[Any]:
    """Whatever a sender sends is stamped, known or not."""
    ordinary = SubmitPort.unsequenced

    def unsequenced(self: SubmitPort, client: Any, messages: Any, now_ns: int) -> None:
        if self.refuse is not None or client.state.slot < 0:
            ordinary(self, client, messages, now_ns)
            return
        log = self.log
        for message in messages:
            sequence, flags = _HEAD.unpack_from(message)
            time_ns = max(self.clock.utc_ns, log.last_time_ns)
            log.append(
                bytes(message[_HEAD.size :]), Stamp(time_ns, sequence, client.state.name, 0, Flags(flags))
            )

    return [mock.patch.object(SubmitPort, "unsequenced", unsequenced)]


def _crc() -> list[Any]:
    """Damage goes unnoticed: the checksum of a damaged record is made to fit."""
    ordinary = MemoryStorage.damage

    def damage(self: MemoryStorage, name: str, offset: int, mask: int = 1) -> None:
        ordinary(self, name, offset, mask)
        blob = self._files[name]
        position, number = 64, int(name.partition(".")[0])
        while True:
            (length,) = struct.unpack_from(">H", blob.view, position)
            if position + 2 + length > offset:
                break
            position, number = position + 2 + length, number + 1
        covered = bytes(blob.view[position + 3 : position + 2 + length - 4])
        checksum = crc32c(covered, crc32c(struct.pack(">Q", number)))
        struct.pack_into(">I", blob.view, position + 2 + length - 4, checksum)
        blob.synced = bytes(blob.view)

    return [mock.patch.object(MemoryStorage, "damage", damage)]


def _readmission() -> list[Any]:
    """Who begins with an empty disk votes like the one it was."""

    def votes(self: Voter) -> bool:
        return self.name in self.voters

    def conclude(self: Takeover) -> None:
        self.phase = type(self.phase).WON

    return [
        mock.patch.object(Voter, "votes", property(votes)),
        mock.patch.object(Takeover, "_conclude", conclude),
        mock.patch.object(Followers, "_counts", lambda _self, follower: follower.client.user in _self.voters),
    ]


def _runs() -> list[Any]:
    """Frames of one sender are told as if no record of another lay between."""
    ordinary = AnswerKernel.told

    def told(self: AnswerKernel) -> list[tuple[int, memoryview]]:
        return [(slot, _joined(bytes(packets))) for slot, packets in ordinary(self)]

    return [mock.patch.object(AnswerKernel, "told", told)]


def _joined(packets: bytes) -> memoryview:
    """Answers, framed as packets, as one that tells of all their frames."""
    counts = [int.from_bytes(packets[end - 4 : end], "big") for end in range(23, len(packets) + 1, 23)]
    return memoryview(packets[-23:-4] + sum(counts).to_bytes(4, "big"))


def _part() -> list[Any]:
    """What became committed is told together with what is not yet."""
    ordinary = SubmitPort.committed

    def committed(self: SubmitPort, first: int, _last: int, now_ns: int) -> None:
        ordinary(self, first, self.log.last, now_ns)

    return [mock.patch.object(SubmitPort, "committed", committed)]


def _trace() -> list[Any]:
    """Who logs in again is not told what it was not told before."""
    return [mock.patch.object(Tracer, "begin", return_value=None)]


GUARDS: dict[str, tuple[Callable[[], list[Any]], str, int, int]] = {
    "quorum": (_quorum, "mixed", 3, 5),
    "promise": (_promise, "duels", 3, 20),
    "epoch-tag": (_epoch_tag, "crashes", 3, 20),
    "adoption": (_adoption, "crashes", 3, 100),
    "own-epoch": (_own_epoch, "figure8", 3, 20),
    "dedup": (_dedup, "crashes", 3, 20),
    "crc": (_crc, "disks", 3, 20),
    "readmission": (_readmission, "disks", 3, 120),
    "runs": (_runs, "mixed", 3, 10),
    "part": (_part, "mixed", 3, 10),
    "trace": (_trace, "mixed", 1, 10),
}
"""Name of each guard: what takes it away, the faults that need it, voters, and seeds within which it is missed."""


@contextmanager
def without(guard: str) -> Iterator[None]:
    """Take one guard away."""
    patches = GUARDS[guard][0]()
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()
