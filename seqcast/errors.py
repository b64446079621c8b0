"""The errors of the library, by what the caller can do about them. Each sentence says what to do."""

from __future__ import annotations


class SeqcastError(Exception):
    """Anything that goes wrong in seqcast itself."""


class NotConnected(SeqcastError):
    """No sequencer, or no rewinder, could be reached in the time given. See that the nodes run, and try again."""


class LoginRefused(SeqcastError):
    """A sequencer or rewinder refused the login. Correct the user, the password, or the session."""


class WouldBlock(SeqcastError):
    """The sender's outbox is full. Wait for acknowledgements (`flush`, `room`), and send the rest.

    `taken` is how many messages of a batch were taken before it was full.
    """

    def __init__(self, sentence: str, taken: int = 0) -> None:
        super().__init__(sentence)
        self.taken = taken


class MessageTooLarge(SeqcastError, ValueError):
    """A message above 16 MiB. Cut it: nothing of it was taken."""


class StreamLost(SeqcastError):
    """The stream contradicts what was acknowledged, or a record can be had from nobody. An operator must look."""


class TimedOut(SeqcastError):
    """The time given ran out. What was submitted may or may not be in the stream; it is safe to wait on."""


class NumberUnknown(SeqcastError):
    """A message is committed, but the records that would tell at which number are no longer kept."""


class UnknownLine(SeqcastError, ValueError):
    """A line that the stream does not have. Lines are called a and b; see the configuration."""


class SessionEnded(SeqcastError):
    """The session has ended. What was not acknowledged is not in it: send that in the next session.

    `Sender(..., after=sender.session_name)` is a sender for that one.
    """


class SessionChanged(SeqcastError):
    """The lines carry another session: the next day, or a forced promotion.

    `session` is the new one, `previous` the one that was read, `position` the number of its record that would have
    been next; what was delivered below it stays true. Go on with `next_session()`, or start anew.
    """

    def __init__(self, session: str, previous: str, position: int) -> None:
        super().__init__(
            f"the lines carry session {session!r} now, and {previous!r} was read up to {position - 1}: "
            "next_session() goes on with the new one from its first record"
        )
        self.session = session
        self.previous = previous
        self.position = position


class WrongSession(SeqcastError):
    """A checkpoint belongs to another session than the one that is read. Read that one to its end, or start anew."""


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
