"""An app that sends: `seqcast.submission` and the outbox, over a simulated connection."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from native.messages import MessageTable
from rewinder.pump import READABLE, WRITABLE
from seqcast._native import Outbox
from seqcast.submission import Submission
from sequencer.process import payload_limit
from simulation.fabric import Host
from simulation.machine import DATAGRAM_BYTES, SESSION, SILENCE_NS, SUBMIT_PORT, Machine
from simulation.pump import SimPump
from simulation.world import MILLISECOND
from souptcp import Accepted, Closed, Rejected, Unsequenced, log_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from seqcast.submission import Answer
    from simulation.fabric import Fabric

RETRY_NS = 5 * MILLISECOND
LOGIN_LIMIT_NS = 150 * MILLISECOND
OUTBOX_BYTES = 256 * 1024
STUBBORN_FRAMES = 4
DROPS = 6
DROP_CHANCE = 0.15


class SimSender:
    """One sender of `user`. What it has handed over is in `sent`, message by message.

    `on_begin(user, sequence)` is told where a life of it begins, `on_answer(user, answer)` of every answer that tells
    of frames. A stubborn sender sends its last few messages again on each connection, although it was told that they
    are in the stream. A flaky one loses its connection together with answers, a few times.
    """

    def __init__(
        self,
        fabric: Fabric,
        user: str,
        sequencers: list[str],
        on_begin: Callable[[str, int], None],
        on_answer: Callable[[str, Answer], None],
        *,
        stubborn: bool = False,
        flaky: bool = False,
    ) -> None:
        self.machine = Machine(fabric, user)
        self.host = Host(fabric, self.machine)
        self.stubborn = stubborn
        self._drops = DROPS if flaky else 0  # that are still to come
        self.user, self.sequencers = user, sequencers
        self.on_begin, self.on_answer = on_begin, on_answer
        self.sent: list[bytes] = []
        self.frames: list[int] = []  # frames of each message
        self.lost: str | None = None  # why it can never go on
        self._handed = 0  # messages in the present outbox, or known to be in the stream
        self._position = 0
        self._begin()

    def submit(self, payloads: list[bytes]) -> None:
        """The app hands messages over."""
        limit = payload_limit(DATAGRAM_BYTES)
        self.sent += payloads
        self.frames += [max(1, -(-len(payload) // limit)) for payload in payloads]
        self.pump.wake()

    def restart(self) -> None:
        """The process dies with all it knows but its list of messages, and starts again."""
        self.pump.close()
        self.machine.hang_up()
        self._begin()

    @property
    def done(self) -> bool:
        """Whether everything handed over is known to be committed, and at which numbers."""
        submission, frames = self.submission, sum(self.frames)
        return (
            submission.resumed_at is not None
            and self._handed == len(self.sent)
            and submission.committed_sequence == submission.told_sequence == frames
        )

    def deadline_ns(self) -> int | None:
        """When to connect again, or to give a login up."""
        if self._connection is None:
            return self._due_ns
        due_ns = self._session.deadline_ns()
        if self.submission.answered:
            return due_ns
        return self._due_ns if due_ns is None else min(self._due_ns, due_ns)

    def handle_timer(self, now_ns: int) -> None:
        if self._connection is None:
            self._connect(now_ns)
            return
        if not self.submission.answered and now_ns >= self._due_ns:
            self._lost(now_ns)
            return
        for event in self._session.handle_timer(now_ns):
            if isinstance(event, Closed):
                self._lost(now_ns)
                return

    def _begin(self) -> None:
        self.submission = Submission(Outbox(OUTBOX_BYTES))
        self.pump = SimPump(self.machine, self._finish)
        self._connection = None
        self._events = READABLE
        self._due_ns = self.pump.clock.now_ns
        self._handed = 0
        self.pump.timers.watch(self)
        self.pump.wake()

    def _connect(self, now_ns: int) -> None:
        self._position += 1
        address = (self.sequencers[self._position % len(self.sequencers)], SUBMIT_PORT)
        self._connection, self._session = log_in(
            address,
            user=self.user,
            password="",
            session=SESSION,
            sequence_number=self.submission.wanted,
            now_ns=now_ns,
            timeout_ns=2 * SILENCE_NS,
            connect=self.host.connect,
        )
        self._due_ns = now_ns + LOGIN_LIMIT_NS
        self.submission.connected()
        self._events = READABLE | WRITABLE
        self.pump.watch(self._connection.fileno(), self._on_ready, self._events)

    def _on_ready(self, _events: int, now_ns: int) -> int:
        connection = self._connection
        if connection is None:
            return 0
        for event in connection.read(now_ns):
            match event:
                case Unsequenced() if self._drop():
                    self._lost(now_ns)
                    return 1
                case Unsequenced(messages):
                    for answer in messages:
                        self._answer(bytes(answer))
                case Accepted(_, number):
                    self.submission.accepted(number)
                case Rejected() | Closed():
                    self._lost(now_ns)
                    return 1
        return 1

    def _drop(self) -> bool:
        """Whether the connection breaks before an answer arrives."""
        if self._drops and self.submission.answered and self.machine.world.random.random() < DROP_CHANCE:
            self._drops -= 1
            return True
        return False

    def _answer(self, payload: bytes) -> None:
        submission = self.submission
        connected = not submission.answered
        first = submission.resumed_at is None
        answer = submission.answer(payload)
        if first:
            self.on_begin(self.user, submission.resumed_at)
            self._skip(submission.resumed_at)
        if connected and self.stubborn:
            self._send_again(submission.committed_sequence)
        if answer.count:
            self.on_answer(self.user, answer)

    def _send_again(self, committed: int) -> None:
        sequence = 0
        for payload, frames in zip(self.sent, self.frames, strict=True):
            sequence += frames
            if frames == 1 and committed - STUBBORN_FRAMES < sequence <= committed:
                self._session.send_unsequenced(struct.pack(">QB", sequence, 3) + payload)

    def _skip(self, frames: int) -> None:
        """A sender that was started again goes on after what is in the stream."""
        while self._handed < len(self.frames) and frames >= self.frames[self._handed]:
            frames -= self.frames[self._handed]
            self._handed += 1
        assert frames == 0 or self._handed < len(self.frames)
        if frames:  # in the middle of a message: its rest follows
            table, view = self._table([self.sent[self._handed]])
            self.submission.outbox.skip(table.view(view, 1), payload_limit(DATAGRAM_BYTES), frames)

    def _finish(self, now_ns: int) -> int:
        submission, connection = self.submission, self._connection
        self.pump.timers.watch(self)
        if connection is None:
            return 0
        if submission.answered and self._handed < len(self.sent):
            waiting = self.sent[self._handed :]
            table, view = self._table(waiting)
            self._handed += submission.outbox.put(
                table.view(view, len(waiting)), 0, payload_limit(DATAGRAM_BYTES)
            )
        self._write(connection, now_ns)
        self.pump.timers.watch(self)
        return 1

    def _write(self, connection, now_ns: int) -> None:
        outbox = self.submission.outbox
        full = False
        try:
            if not outbox.mid_frame or not self.submission.answered:
                full = not connection.write(now_ns)
            while self.submission.answered and outbox.unsent and not full:
                outbox.left(connection.socket.send(outbox.unsent))
                self._session.sent(now_ns)
        except BlockingIOError:
            full = True
        except OSError:
            self._lost(now_ns)
            return
        events = READABLE | WRITABLE if full else READABLE
        if events != self._events:
            self._events = events
            self.pump.change(connection.fileno(), events)

    def _lost(self, now_ns: int) -> None:
        self.pump.forget(self._connection.fileno())
        self._connection.abandon()
        self._connection = None
        self.submission.connected()
        self._due_ns = now_ns + int(RETRY_NS * (1 + self.machine.world.random.random()))
        self.pump.timers.watch(self)

    @staticmethod
    def _table(payloads: list[bytes]) -> tuple[MessageTable, memoryview]:
        table, offset = MessageTable(len(payloads)), 0
        for row, payload in enumerate(payloads):
            table.set(row, 0, offset, len(payload))
            offset += len(payload)
        return table, memoryview(b"".join(payloads) or b"\0")
