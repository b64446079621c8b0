"""Submission: what a sender has in flight, and how it gets through a reconnection.

Frames wait in the outbox until the sequencer says that they are committed. A new connection begins with the
sequencer's answer "I have you up to n"; the frames after n are sent again, and the sequencer drops what it knows.
So a message enters the stream once, however often it was sent.

Each frame's number in the stream is told once, in order, however often the connection breaks. Answers that were lost
with a connection are asked for again by the number in the next login (`wanted`).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from attrs import define, field

from seqcast.errors import StreamLost
from souptcp.packets import SEQUENCE_NUMBER_LIMIT

if TYPE_CHECKING:
    from seqcast._native import Outbox

_ANSWER = struct.Struct(">QQI")


class Answer(NamedTuple):
    """The `frames` frames that end with `sequence` are committed, at as many numbers that end with `number`.

    With 0 frames it tells of nothing new: this user's last committed frame is `sequence`, at `number`.
    """

    sequence: int
    number: int
    frames: int


@define(eq=False)
class Submission:
    """The machine of one sender.

    Sender sequences count frames, so a message in fragments takes several. `committed_sequence` is the highest
    that is known to be committed, `committed_number` its stream number. `told_sequence` is how far the numbers of
    our frames were told; it can be lower for a while after a reconnection.

    On each connection call `connected`, then `accepted`, then `answer`. Who logs in at number 0 instead of at
    `wanted` leaves `accepted` out, and is not told what became of the frames that a connection broke under.
    """

    outbox: Outbox
    committed_sequence: int = field(default=0, init=False)
    committed_number: int = field(default=0, init=False)
    told_sequence: int = field(default=0, init=False)
    resumed_at: int | None = field(default=None, init=False)  # the sequencer's first answer ever
    answered: bool = field(default=False, init=False)  # by the present connection
    _floor: int = field(default=1, init=False)  # no frame after `told_sequence` has a number below this one
    _stands: int | None = field(default=None, init=False)  # where the stream stood at the present login

    @property
    def in_flight(self) -> int:
        """Frames that are not known to be committed."""
        return self.outbox.next_sequence - self.outbox.first_sequence

    @property
    def wanted(self) -> int:
        """The sequence number for the next login: frames whose numbers we were not told lie there, or above.

        0 before the first answer ever: whatever is in the stream by then is not ours.
        """
        return 0 if self.resumed_at is None else self._floor

    def connected(self) -> None:
        """A connection was made: nothing may be sent before its first answer."""
        self.answered = False
        self._stands = None

    def accepted(self, number: int) -> None:
        """The login was accepted, with this sequence number: the first that is not known to be committed.

        Frames that the log holds already may have lower numbers, and are told of after the first answer. The
        others are submitted after that, so they get this number or a higher one.
        """
        self._stands = number

    def answer(self, payload: bytes | memoryview) -> Answer:
        """An answer of the sequencer; returns it for whoever waits for numbers.

        Raises StreamLost when the stream has lost what it had acknowledged, knows more of this user than we have
        sent, or contradicts itself.
        """
        if len(payload) != _ANSWER.size:
            raise StreamLost(f"the sequencer answered with {len(payload)} bytes, expected {_ANSWER.size}")
        answer = Answer(*_ANSWER.unpack(payload))
        sequence, number, count = answer
        if count > sequence or number < count or number >= SEQUENCE_NUMBER_LIMIT:
            raise StreamLost(
                f"the sequencer tells of {count} frames up to {sequence}, at numbers up to {number}"
            )
        if number:
            self._check_order(answer)
        if not self.answered:
            self._first_answer(answer)
        else:
            self._later_answer(answer)
        if number and sequence >= self.committed_sequence:
            self.committed_sequence, self.committed_number = sequence, number
        return answer

    def _check_order(self, answer: Answer) -> None:
        """Numbers ascend as sequences do, and at least as fast; within a run just as fast."""
        if not self.committed_number:
            return
        frames = answer.sequence - self.committed_sequence
        numbers = answer.number - self.committed_number
        if frames == 0 or 0 < frames < answer.frames:
            fits = numbers == frames
        else:
            fits = numbers >= frames if frames > 0 else numbers <= frames
        if not fits:
            raise StreamLost(
                f"the sequencer has frame {answer.sequence} of this user at number {answer.number}, "
                f"and had frame {self.committed_sequence} at {self.committed_number}"
            )

    def _first_answer(self, answer: Answer) -> None:
        outbox, sequence = self.outbox, answer.sequence
        if answer.frames:
            raise StreamLost(
                f"the sequencer tells of {answer.frames} frames before it says how far this user is"
            )
        if self.resumed_at is None:
            self.resumed_at = self.told_sequence = sequence
            outbox.begin(sequence + 1)
        elif sequence < self.committed_sequence:
            raise StreamLost(
                f"the sequencer knows this user up to {sequence}, but had acknowledged {self.committed_sequence}"
            )
        elif not outbox.resume(sequence):
            raise StreamLost(
                f"the sequencer has this user up to {sequence}, "
                f"but this sender has sent no more than {outbox.next_sequence - 1}: is the name used twice?"
            )
        elif answer.number and self._stands is None:
            self.told_sequence = sequence
        if answer.number:
            outbox.acknowledge(sequence)
        if self.told_sequence == sequence:  # what comes next is yet to be submitted
            self._floor = max(self._floor, answer.number + 1, self._stands or 0)
        self.answered = True

    def _later_answer(self, answer: Answer) -> None:
        outbox, sequence, count = self.outbox, answer.sequence, answer.frames
        if answer.number:
            outbox.acknowledge(sequence)
            if outbox.first_sequence <= sequence:
                raise StreamLost(
                    f"the sequencer has this user up to {sequence}, "
                    f"but no more than {outbox.first_sequence - 1} was sent: is the name used twice?"
                )
        if count == 0:
            return
        first = sequence - count + 1
        if first != self.told_sequence + 1:
            raise StreamLost(
                f"the sequencer tells of frames {first} to {sequence}, where frame {self.told_sequence + 1} is next"
            )
        lowest = answer.number - count + 1
        if lowest < self._floor:
            raise StreamLost(
                f"the sequencer has frame {first} at number {lowest}, which is below {self._floor}, where it may be"
            )
        self.told_sequence = sequence
        self._floor = answer.number + 1
