"""An app that sends: the uplink of a sender, and all below it, over the simulated network."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from native.messages import table_of
from seqcast._native import Outbox
from seqcast.intake import Intake
from seqcast.submission import Submission
from seqcast.testing.fabric import SimNetwork
from seqcast.testing.machine import Machine
from seqcast.testing.node import DATAGRAM_BYTES, SESSION, SILENCE_NS, SUBMIT_PORT
from seqcast.testing.pump import SimPump
from seqcast.uplink import Uplink
from sequencer.process import payload_limit
from souptcp import Unsequenced

if TYPE_CHECKING:
    from collections.abc import Callable

    from seqcast.submission import Answer
    from seqcast.testing.fabric import Fabric

OUTBOX_BYTES = (8 * 1024, 256 * 1024)
"""Some are small, so that they fill, and a message may be larger than the room that is left."""

NEVER_NS = 1 << 60

STUBBORN_FRAMES = 4
DROPS = 6
DROP_CHANCE = 0.15
FRAGMENT_BYTES = payload_limit(DATAGRAM_BYTES)


class FlakyUplink(Uplink):
    """An uplink whose connection breaks before an answer arrives whenever `drops()` says so."""

    drops: Callable[[], bool]

    def _take(self, event: object, now_ns: int) -> None:
        if isinstance(event, Unsequenced) and self.drops():
            self._lost("the connection broke", now_ns)
        else:
            super()._take(event, now_ns)


class SimSender:
    """One sender of `user`. What it has handed over is in `sent`, message by message.

    `on_begin(user, sequence)` is told where a life of it begins, `on_answer(user, answer)` of every answer that tells
    of frames. A stubborn sender sends its last few messages again on each connection, although it was told that they
    are in the stream. A flaky one loses its connection together with answers, a few times. A patient one stays with a
    sequencer that acknowledges nothing.
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
        patient: bool = False,
    ) -> None:
        self.machine = Machine(fabric, user)
        self.network = SimNetwork(fabric, self.machine)
        self.stubborn = stubborn
        self.silence_ns = NEVER_NS if patient else SILENCE_NS * 5 // 4
        self.outbox_bytes = OUTBOX_BYTES[1] if patient else self.machine.world.random.choice(OUTBOX_BYTES)
        self._drops = DROPS if flaky else 0  # that are still to come
        self.user, self.sequencers = user, sequencers
        self.on_begin, self.on_answer = on_begin, on_answer
        self.sent: list[bytes] = []
        self.frames: list[int] = []  # frames of each message
        self._begin()

    def submit(self, payloads: list[bytes]) -> None:
        """The app hands messages over."""
        self.sent += payloads
        self.frames += [max(1, -(-len(payload) // FRAGMENT_BYTES)) for payload in payloads]
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

    def _begin(self) -> None:
        self.submission = Submission(Outbox(self.outbox_bytes))
        self.intake = Intake(self.submission.outbox, FRAGMENT_BYTES)
        self.pump = SimPump(self.machine, self._finish)
        self._handed = 0  # messages that the intake has taken, or that are known to be in the stream
        self._connected = False
        self._begun = False
        self.uplink = FlakyUplink(
            pump=self.pump,
            network=self.network,
            random=self.machine.world.random,
            submission=self.submission,
            sequencers=[(name, SUBMIT_PORT) for name in self.sequencers],
            user=self.user,
            password="",
            session=SESSION,
            silence_ns=self.silence_ns,
            on_answer=self._answered,
            timeout_ns=2 * SILENCE_NS,
        )
        self.uplink.drops = self._drop
        self.uplink.open(self.pump.clock.read())
        self.pump.wake()

    def _drop(self) -> bool:
        """Whether the connection breaks before an answer arrives."""
        if self._drops and self.submission.answered and self.machine.world.random.random() < DROP_CHANCE:
            self._drops -= 1
            return True
        return False

    def _answered(self, answer: Answer) -> None:
        if not self._begun:
            self._begun = True
            self.on_begin(self.user, self.submission.resumed_at)
            self._skip(self.submission.resumed_at)
        if answer.frames:
            self.on_answer(self.user, answer)

    def _skip(self, frames: int) -> None:
        """A sender that was started again goes on after what is in the stream."""
        self._handed, frames = self.intake.pass_over(table_of(self.sent), frames)
        assert frames == 0

    def _send_again(self, committed: int) -> None:
        sequence = 0
        for payload, frames in zip(self.sent, self.frames, strict=True):
            sequence += frames
            if frames == 1 and committed - STUBBORN_FRAMES < sequence <= committed:
                self.uplink.client.send_unsequenced(struct.pack(">QB", sequence, 3) + payload)

    def _finish(self, now_ns: int) -> int:
        submission = self.submission
        if submission.answered and not self._connected and self.stubborn:
            self._send_again(submission.committed_sequence)
        self._connected = submission.answered
        if submission.resumed_at is not None and self.intake.go_on() and self._handed < len(self.sent):
            self._handed += self.intake.take(table_of(self.sent[self._handed :]), 0)
        self.uplink.write(now_ns)
        self.uplink.look_after(now_ns)
        return 1
