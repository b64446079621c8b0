"""The errors of the library, by what the caller can do about them."""

from __future__ import annotations


class SeqcastError(Exception):
    """Anything that goes wrong in seqcast itself; the sentence says what to do."""


class NotConnected(SeqcastError):
    """No sequencer, or no rewinder, could be reached in the time given."""


class LoginRefused(SeqcastError):
    """A sequencer or rewinder refused the login: wrong user or password, or another session."""


class WouldBlock(SeqcastError):
    """The sender's outbox is full: wait for acknowledgements (`flush`, `poll`) and try again.

    `taken` is how many messages of a batch were queued before it was full.
    """

    def __init__(self, sentence: str, taken: int = 0) -> None:
        super().__init__(sentence)
        self.taken = taken


class StreamLost(SeqcastError):
    """The stream contradicts what was acknowledged, or a record can be had from nobody."""


class TimedOut(SeqcastError):
    """The time given ran out. What was submitted may or may not be in the stream; it is safe to wait on."""


class StateDamaged(SeqcastError):
    """Bytes that should say what an assembly has in hand are something else."""


class CheckpointDamaged(SeqcastError):
    """A checkpoint's file is torn, damaged, of something else or of a newer version; `file` names it.

    Remove it to start from the beginning of the stream.
    """

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file}: {reason}; remove it to start from the beginning of the stream")
        self.file = file
        self.reason = reason


class CheckpointFailed(SeqcastError):
    """A checkpoint could not be written, or its file not be read; `file` names it.

    What was saved before is still there, and the same call may succeed later.
    """

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file = file
        self.reason = reason
