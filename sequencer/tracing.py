"""Telling a sender at which numbers its records lie that it was not told of, when it logs in again.

What was in flight when a connection broke may be in the stream, and the answers that said so may be lost. The log
knows: it is read from the number that the sender asks for up to its last record, in slices, so that nobody else has
to wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from rewinder.errors import LogError
from sequencer._native import Answers, TraceKernel

if TYPE_CHECKING:
    from native.messages import Messages
    from rewinder.log import MessageLog

TURN_RECORDS = 1 << 13
"""Records of the log that are looked at in one turn, for all senders together: at some 0.1 us each, which is what it
takes to fetch them into the cache, a turn gets a millisecond longer."""

SLICE_ANSWERS = 2048
"""Answers that one sender gets at once: 46 KiB, and no more before it has taken them. So a trace never comes near
the output above which a client is cut off."""


@define(eq=False)
class Tracer:
    """Reads traces out of `log`. `left` is how many records may still be looked at in this turn."""

    log: MessageLog
    left: int = field(factory=lambda: TURN_RECORDS, init=False)
    _answers: Answers = field(factory=lambda: Answers(SLICE_ANSWERS), init=False)

    def new_turn(self) -> None:
        """A turn begins."""
        self.left = TURN_RECORDS

    def begin(self, sender: bytes, first: int, last: int) -> TraceKernel | None:
        """The trace of `sender` (six bytes) over records `first` to `last`; None when there is nothing to read.

        It begins with the first record that is kept, if `first` is below that. `last` is committed.
        """
        first = max(first, self.log.first)
        return TraceKernel(sender, first, last) if first <= last else None

    def advance(self, trace: TraceKernel) -> Messages:
        """Read a slice; returns the answers that come of it, valid until the next call.

        Raises LogError when the log cannot be read there.
        """
        before = trace.next
        segment = self.log.segment_of(min(before, trace.last))
        answers = trace.run(segment, self.left, self._answers)
        looked = trace.next - before
        if looked == 0 and not answers and self.left > 0:
            raise LogError(f"{segment.file}: record {before} cannot be read")
        self.left -= looked
        return answers
