"""Reception on virtual time: a receiver with lines and rewinders that do what a test tells them."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from attrs import define, evolve, field

import moldudp
from native.messages import Messages, MessageTable
from rewinder.record import RECORD_CHECK, Stamp, stamp_record
from seqcast.reception import Reception, Repair

if TYPE_CHECKING:
    from collections.abc import Iterator

SESSION = b"TEST      "
MS = 1_000_000
REPLY_LINE = 3


def record(number: int) -> bytes:
    return stamp_record(b"payload %d" % number, number, Stamp(number, number, b"ALPHA "))


def packet(first: int, count: int) -> bytes:
    body, packed = moldudp.MOLDUDP64.pack(SESSION, first, [record(first + n) for n in range(count)], 1400)
    assert packed == count
    return body


@define(eq=False)
class FakeRewind:
    """A rewinder that has `last` records, gives `batch` of them at each read, and may break."""

    number: int
    last: int
    batch: int = 50
    rejected: str | None = None
    breaks_after: int | None = None
    corrupt_at: int | None = None
    keeps_from: int = 1
    stands_at: int | None = None
    ends: bool = False
    silent: bool = False
    accepts: int | None = None
    ended: bool = False
    failure: str | None = None
    accepted: int | None = None
    closed: bool = False
    given: int = 0

    def records(self, _now_ns: int) -> Iterator[Messages]:
        if self.silent:
            return
        if self.rejected is not None:
            self.failure = "refused"
            return
        if self.accepted is None:
            self.number = self.accepts or max(self.number, self.keeps_from)
            self.accepted = self.number
        last = self.last if self.stands_at is None else self.stands_at
        count = min(self.batch, last - self.number + 1)
        if count > 0:
            data = bytearray()
            table = MessageTable(count)
            for n in range(count):
                one = record(self.number + n)
                if self.number + n == self.corrupt_at:
                    one = one[:3] + bytes([one[3] ^ 1]) + one[4:]
                table.set(n, self.number + n, len(data), len(one))
                data += one
            self.number += count
            self.given += count
            yield table.view(memoryview(data), count)
        if self.ends and self.number > last:
            self.ended = True
            self.failure = "the peer closed the connection"
        if self.breaks_after is not None and self.given >= self.breaks_after:
            self.failure = "the peer closed the connection"

    def deadline_ns(self) -> int | None:
        return None

    def handle_timer(self, now_ns: int) -> None:
        raise AssertionError

    def close(self) -> None:
        self.closed = True


@define(eq=False)
class World:
    """One receiver, its rewinders, and a clock."""

    start: int = 1
    eager: bool = True
    small_gap: int = 0
    plans: list[dict[str, object]] = field(factory=list)
    history: int = 0
    rewinders: int = 1
    archive: bool = False
    session: bytes | None = SESSION
    held_datagrams: int = 64
    seed: int = 1
    repair: Repair = field(factory=Repair)
    now_ns: int = 0
    opened: list[tuple[int, FakeRewind]] = field(factory=list)
    got: list[int] = field(factory=list)
    requests: list[moldudp.Header] = field(factory=list)
    reception: Reception = field(init=False)

    def __attrs_post_init__(self) -> None:
        random = Random(self.seed)
        self.reception = Reception(
            mold=moldudp.Receiver(
                session=self.session,
                start=self.start,
                check=RECORD_CHECK,
                random=random,
                held_datagrams=self.held_datagrams,
            ),
            open_rewind=self.open_rewind,  # type: ignore[arg-type]
            random=random,
            repair=evolve(self.repair, small_gap=self.small_gap),
            eager=self.eager,
            rewinders=self.rewinders,
            archive=self.archive,
        )

    def open_rewind(self, turn: int, number: int, _now_ns: int) -> FakeRewind:
        plan = self.plans.pop(0) if self.plans else {}
        if "error" in plan:
            raise OSError(plan["error"])
        rewind = FakeRewind(number, self.history, **plan)  # type: ignore[arg-type]
        self.opened.append((turn, rewind))
        return rewind

    def live(self, first: int, count: int, line: int = 0) -> None:
        self.hear(packet(first, count), line)

    def beat(self, number: int, line: int = 0, session: bytes = SESSION) -> None:
        self.hear(moldudp.MOLDUDP64.heartbeat(session, number), line)

    def hear(self, datagram: bytes, line: int = 0) -> None:
        self.reception.mold.receive_datagram(datagram, self.now_ns, line)
        self.reception.line_heard(self.now_ns)
        self.drain()

    def reply(self, request: moldudp.Header) -> None:
        """The request server gives one datagram for what was requested."""
        self.reception.mold.receive_datagram(
            packet(request.sequence_number, min(request.count, 10)), self.now_ns, REPLY_LINE
        )
        self.drain()

    def drain(self) -> None:
        while (batch := self.reception.records(self.now_ns)) is not None:
            for number, payload in zip(batch.numbers, batch, strict=True):
                assert bytes(payload) == record(number)
                self.got.append(number)

    def has_data(self) -> bool:
        """Whether the rewinder that is asked has something to read."""
        rewind = self.reception.rewind
        if rewind is None or rewind.silent or rewind.failure:  # type: ignore[attr-defined]
            return False
        return rewind.accepted is None or rewind.number <= rewind.last  # type: ignore[attr-defined]

    def pass_time(self, nanoseconds: int) -> None:
        """Turns of a millisecond, with a read of the rewinder in each."""
        end = self.now_ns + nanoseconds
        while self.now_ns < end:
            self.now_ns += MS
            if self.reception.rewind is not None:
                self.reception.rewind_readable(self.now_ns)
            self.drain()
            self.requests += [moldudp.MOLDUDP64.decode_header(r) for r in self.reception.due(self.now_ns)]

    def check(self, last: int, first: int = 1) -> None:
        assert self.got == list(range(first, last + 1))
