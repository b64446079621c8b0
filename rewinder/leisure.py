"""What a node does while there is nothing to do: it makes room ready for the records to come.

The first touch of a fresh page costs more than writing a record into it, and it costs when the record is there. So
pages behind the end of the log are asked for in turns that found nothing, a small piece each; and a whole spare
segment, once what is left of the last one is less than what is to be ready.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define

if TYPE_CHECKING:
    from collections.abc import Callable

    from rewinder.log import MessageLog

PIECE_BYTES = 64 * 1024
"""Asked for in one turn: some tens of microseconds, for which a message that comes just then has to wait."""


@define(eq=False)
class Chores:
    """What a node does in quiet turns: what is first is done first. `all` are told whether there is more to do."""

    all: tuple[Callable[[], bool], ...]

    def __call__(self) -> bool:
        """A piece of one of them; False when all is done."""
        return any(chore() for chore in self.all)


@define(eq=False)
class Leisure:
    """Keeps `ahead_bytes` ready behind the end of a log."""

    log: MessageLog
    ahead_bytes: int

    def __call__(self) -> bool:
        """A piece of it; False when all is ready."""
        if not self.ahead_bytes:
            return False
        log = self.log
        tail = log.tail
        ready = tail.kernel.prepare(0)
        if ready < min(self.ahead_bytes, len(tail.view) - tail.end):
            tail.kernel.prepare(PIECE_BYTES)
            return True
        if ready >= self.ahead_bytes:
            return False
        return log.storage.prepare(log.segment_bytes, PIECE_BYTES)
