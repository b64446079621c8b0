"""Submission: what a sender has in flight, and how it gets through a reconnection.

Frames wait in the outbox until the sequencer says that they are committed. A new connection begins with the
sequencer's answer "I have you up to n"; the frames after n are sent again, and the sequencer drops what it knows.
So a message enters the stream once, however often it was sent.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from attrs import define, field

from seqcast.errors import StreamLost

if TYPE_CHECKING:
    from seqcast._native import Outbox

_ANSWER = struct.Struct(">QQ")


@define
class Answer:
    """An answer."""

    sequence: int
    number: int
    count: int


@define(eq=False)
class Submission:
    """The machine of one sender.

    Sender sequences count frames, so a message in fragments takes several. `committed_sequence` is the highest
    that is known to be committed, `committed_number` its stream number.
    """

    outbox: Outbox
    committed_sequence: int = field(default=0, init=False)
    committed_number: int = field(default=0, init=False)
    resumed_at: int | None = field(default=None, init=False)  # the sequencer's first answer ever
    answered: bool = field(default=False, init=False)  # by the present connection

    @property
    def in_flight(self) -> int:
        """Frames that are not known to be committed."""
        return self.outbox.next_sequence - self.outbox.first_sequence

    def connected(self) -> None:
        """A connection was made: nothing may be sent before its first answer."""
        self.answered = False

    wanted = 0

    def accepted(self, number: int) -> None:
        """Accepted."""

    def answer(self, payload: bytes) -> Answer:
        """An answer of the sequencer.

        Raises StreamLost when the stream has lost what it had acknowledged, or knows more of this user than we
        have sent.
        """
        if len(payload) != _ANSWER.size:
            raise StreamLost(f"the sequencer answered with {len(payload)} bytes, expected {_ANSWER.size}")
        sequence, number = _ANSWER.unpack(payload)
        if not self.answered:
            self._first_answer(sequence)
        before = self.committed_sequence or (self.resumed_at or 0)
        if number and sequence >= self.committed_sequence:
            self.committed_sequence, self.committed_number = sequence, number
            self.outbox.acknowledge(sequence)
        return Answer(sequence, number, max(0, sequence - before))

    def _first_answer(self, sequence: int) -> None:
        outbox = self.outbox
        if self.resumed_at is None:
            self.resumed_at = sequence
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
        self.answered = True
