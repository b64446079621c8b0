"""What can go wrong with a log, and whose fault it is.

`LogError` and its kinds mean that the log, or a record for it, cannot be trusted or is not there; each names
the file, the offset and the stream number as far as there are any. `StorageFull` is none of them: the log is
good, and the same call may succeed later. `LocalProtocolError` is a mistake of the caller.
"""

from __future__ import annotations


class LocalProtocolError(Exception):
    """The caller asked for something that the log does not allow."""


class StorageFull(Exception):
    """There is no room for a file. Nothing is lost, and what was asked for can be tried again."""

    def __init__(self, file: str, wanted: int, reason: str = "no space left") -> None:
        super().__init__(f"{file}: {reason}: {wanted} bytes wanted")
        self.file = file
        self.wanted = wanted


class LogError(Exception):
    """The log, or a record for it, cannot be trusted or is not there."""


class LogMissing(LogError):
    """There is no log where one was to be opened."""


class LogExists(LogError):
    """There is a log already where one was to be created."""


class LogLocked(LogError):
    """Another process has the log open for writing."""


class NotServed(LogError):
    """An old session that was asked for is not served here."""


class NotInLog(LogError):
    """The log does not hold the number that was asked for."""


class ForkedLog(LogError):
    """Two logs contradict each other about something that is committed, or about where they part."""


class SyncFailed(LogError):
    """The disk did not take what was written. Nothing more may be claimed as durable by this process."""


class RefusedRecord(LogError):
    """A record that somebody sent does not belong at the end of this log."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"record {number} was refused: {reason}")
        self.number = number
        self.reason = reason


class DamagedRecord(LogError):
    """The bytes of a record do not fit its checksum and number."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"record {number}: {reason}")
        self.number = number
        self.reason = reason


class CorruptRecord(LogError):
    """A record in a segment is damaged, or not there although it was; it is never served."""

    def __init__(self, file: str, offset: int, number: int, reason: str) -> None:
        super().__init__(f"{file}: record {number} at offset {offset}: {reason}")
        self.file = file
        self.offset = offset
        self.number = number
        self.reason = reason


class NotPrimary(Exception):
    """Whoever serves this log is not the primary that was looked for."""


class BadSegment(LogError):
    """A segment file cannot be used; `file` names it."""

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file = file
        self.reason = reason


class BadHeader(BadSegment):
    """The header of a segment is damaged, of an unknown version, or of another place in the log."""


class ShortSegment(BadSegment):
    """A segment file is shorter than what it must hold."""


class ForeignSession(BadSegment):
    """A segment belongs to another session."""


class MissingSegment(BadSegment):
    """A segment file is not there."""
