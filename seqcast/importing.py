"""Importing: from a capture, or from a BinaryFILE, to a log that rewinders serve as an old session.

What is imported is either a stream of ours, whose records have stamps: then the log is what the log was. Or it is
another stream, of messages alone: then each becomes a record of its number, stamped with the time of the capture and
with one sender. Which of the two it is, the checksum of the first record says.

Nothing is left of an import that does not succeed: the log is made in a directory of another name.
"""

from __future__ import annotations

import os
import shutil
from contextlib import closing, contextmanager, suppress
from enum import Enum
from typing import TYPE_CHECKING

from attrs import define, field

from rewinder.errors import DamagedRecord, LogError, RefusedRecord
from rewinder.log import MessageLog
from rewinder.policy import is_session_name
from rewinder.record import STAMP_BYTES, Flags, Kind, Stamp, check_record
from rewinder.retention import KEEP_FILE
from rewinder.storage import FileStorage
from seqcast.errors import SeqcastError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from native.messages import Messages
    from seqcast.feeds import FeedReader
    from seqcast.scan import Found, Scan

FILLER_KIND = 255
"""Kind of the records that stand for numbers which a capture lacks: receivers pass over it."""

NOBODY = b" " * 6

FILLED_MOST = 1 << 20
"""Numbers that are filled: a capture that lacks more is not worth it, and a number out of the blue costs no disk."""

PROGRESS_PACKETS = 1024


class ImportFailed(SeqcastError):
    """What is to be imported cannot be, as it is."""


class OnGap(Enum):
    """What to do about numbers that a capture lacks."""

    REFUSE = "refuse"
    """Import nothing of that session."""
    STOP = "stop"
    """Import what lies before the first of them."""
    FILL = "fill"
    """Put a record in their place that is no message. Not for a stream of ours: its records are elsewhere."""


@define
class Imported:
    """What became of one session. `records` says whether it was a stream of ours."""

    session: str
    records: bool = False
    first: int = 0
    last: int = 0
    messages: int = 0
    repeats: int = 0
    """Messages that came again."""
    conflicts: int = 0
    """Of these, with other bytes than the first time: the first ones were taken."""
    out_of_order: int = 0
    """Packets that came later than others with higher numbers."""
    gaps: list[tuple[int, int]] = field(factory=list)
    filled: int = 0
    ended: bool = False


@contextmanager
def new_session(
    node: Path, session: str, *, segment_bytes: int, first: int, created_ns: int
) -> Iterator[MessageLog]:
    """A log to write, which becomes session `session` in the directory of a node when all went well.

    It is marked to be kept whatever the node's policy says: it is older than what is there. Raises LogError,
    StorageFull, OSError.
    """
    _clear_remains(node)
    target = node / session
    making = node / f".import-{session}-{os.getpid()}"
    making.mkdir(parents=True)
    try:
        log = MessageLog.create(
            FileStorage(making),
            session.encode("ascii").ljust(10),
            durability="group",
            segment_bytes=segment_bytes,
            created_ns=created_ns,
            first=first,
        )
        with closing(log):
            yield log
            log.commit = log.last
        (making / KEEP_FILE).touch()
        making.rename(target)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise


def _clear_remains(node: Path) -> None:
    """Remove what imports have left that were killed."""
    for path in node.glob(".import-*"):
        with suppress(LogError, OSError):
            FileStorage(path).close()  # else its import goes on
            shutil.rmtree(path)


def check_name(node: Path, session: str) -> None:
    """Raise ImportFailed unless a session of this name can come into the directory of a node."""
    if not is_session_name(session):
        raise ImportFailed(f"{session!r} cannot be a session's name here: 1 to 10 ASCII letters or digits")
    if (node / session).exists():
        raise ImportFailed(f"{node / session}: session {session} is there already")


def is_record(message: bytes | memoryview, number: int) -> bool:
    """Whether a message is a record of ours with this number: its checksum says so."""
    try:
        check_record(message, number)
    except DamagedRecord:
        return False
    return True


@define(eq=False)
class Writer:
    """Appends messages to a log: records of ours as they are, messages of others with a stamp."""

    log: MessageLog
    records: bool
    sender: bytes
    fragment_bytes: int
    _sequence: int = field(default=0, init=False)

    def take(self, messages: Messages, time_ns: int) -> None:
        """Append all of them. Raises ImportFailed for a record that does not belong here; StorageFull."""
        if self.records:
            try:
                self.log.append_records(messages)
            except RefusedRecord as error:
                raise ImportFailed(f"record {error.number} is not as it was stamped: {error}") from None
            return
        for message in messages:
            self._append(bytes(message), time_ns)

    def fill(self, count: int) -> None:
        """Append so many records that are no messages."""
        for _ in range(count):
            self.log.append(b"", Stamp(self.log.last_time_ns, 0, NOBODY, FILLER_KIND))

    def end(self) -> None:
        """Append the end of the session, unless it is there."""
        if self.log.ended is None:
            self.log.append(b"", Stamp(self.log.last_time_ns, 0, NOBODY, Kind.END))

    def same(self, message: memoryview, number: int) -> bool:
        """Whether the message of this number in the log is this one."""
        stored = self.log.messages(number, 1)[0]
        return stored == message if self.records else stored[:-STAMP_BYTES] == message

    def _append(self, message: bytes, time_ns: int) -> None:
        """One record, or as many as the message has fragments."""
        time_ns = max(time_ns, self.log.last_time_ns)
        pieces = range(0, max(len(message), 1), self.fragment_bytes)
        for start in pieces:
            flags = (Flags.FIRST if start == 0 else 0) | (Flags.LAST if start == pieces[-1] else 0)
            self._sequence += 1
            stamp = Stamp(time_ns, self._sequence, self.sender, Kind.DATA, flags)
            self.log.append(message[start : start + self.fragment_bytes], stamp)


def import_found(
    scan: Scan,
    found: Found,
    node: Path,
    name: str,
    *,
    on_gap: OnGap,
    sender: bytes,
    segment_bytes: int,
    progress: Callable[[int], None],
) -> Imported:
    """Import one session of a capture, as `name`. `progress` is told of messages that were taken.

    Raises ImportFailed, and leaves nothing, when it cannot be; LogError, StorageFull, OSError.
    """
    check_name(node, name)
    order, first, gaps = found.order(), found.first, found.gaps()
    assert first is not None
    opening = scan.messages(found, order[0])[0]
    result = Imported(name, is_record(opening, first), first, out_of_order=found.out_of_order, gaps=gaps)
    if gaps and (on_gap is OnGap.REFUSE or (on_gap is OnGap.FILL and result.records)):
        raise ImportFailed(_gap_sentence(found, result, on_gap))
    if on_gap is OnGap.FILL and sum(last + 1 - start for start, last in gaps) > FILLED_MOST:
        raise ImportFailed(f"{_gap_sentence(found, result, on_gap)}; more than {FILLED_MOST} are not filled")
    stop = gaps[0][0] if gaps and on_gap is OnGap.STOP else None
    with new_session(
        node, name, segment_bytes=segment_bytes, first=first, created_ns=found.times[order[0]]
    ) as log:
        writer = Writer(log, result.records, sender, 1 << 16)
        _write_packets(scan, found, order, writer, result, stop, progress)
        if stop is None:
            if found.announced > log.next_number:
                result.filled += found.announced - log.next_number
                writer.fill(found.announced - log.next_number)
            if found.ended == log.next_number:
                writer.end()
        result.last, result.ended = log.last, log.ended is not None
    return result


def _write_packets(
    scan: Scan,
    found: Found,
    order: Sequence[int],
    writer: Writer,
    result: Imported,
    stop: int | None,
    progress: Callable[[int], None],
) -> None:
    """Write the packets in the order of their numbers, up to number `stop`."""
    log, before = writer.log, None
    for done, index in enumerate(order):
        if done % PROGRESS_PACKETS == 0:
            progress(result.messages)
        number, count = found.firsts[index], found.counts[index]
        if stop is not None and number >= stop:
            break
        if number > log.next_number:
            result.filled += number - log.next_number
            writer.fill(number - log.next_number)
        known = min(count, log.next_number - number)
        messages = scan.messages(found, index)
        if known:
            result.repeats += known
            if before is None or scan.packet(found, before) != scan.packet(found, index):
                result.conflicts += sum(
                    not writer.same(messages[position], number + position) for position in range(known)
                )
        if known < count:
            writer.take(messages.after(known), found.times[index])
            result.messages += count - known
        before = index
    progress(result.messages)


def import_file(
    reader: FeedReader,
    node: Path,
    name: str,
    *,
    time_ns: int,
    first: int,
    sender: bytes,
    segment_bytes: int,
    fragment_bytes: int,
    progress: Callable[[int], None],
) -> Imported:
    """Import a BinaryFILE as `name`: records of ours from number `first` on, or messages stamped with `time_ns`.

    A message above `fragment_bytes` becomes several records. Raises as `import_found` does; FeedError.
    """
    check_name(node, name)
    batch = next(reader, None)
    if batch is None:
        raise ImportFailed(f"{reader.name}: there is no message in it")
    result = Imported(name, is_record(batch[0], first), first)
    with new_session(node, name, segment_bytes=segment_bytes, first=first, created_ns=time_ns) as log:
        writer = Writer(log, result.records, sender, fragment_bytes)
        while batch is not None:
            writer.take(batch, time_ns)
            result.messages += len(batch)
            progress(result.messages)
            batch = next(reader, None)
        if reader.ended and not result.records:
            writer.end()
        result.last, result.ended = log.last, log.ended is not None
    return result


def _gap_sentence(found: Found, result: Imported, on_gap: OnGap) -> str:
    ranges = ", ".join(f"{first} to {last}" for first, last in result.gaps[:5])
    more = f" and {len(result.gaps) - 5} more" if len(result.gaps) > 5 else ""
    missing = sum(last + 1 - first for first, last in result.gaps)
    advice = "--on-gap stop takes what lies before the first gap"
    if result.records:
        why = (
            "its records are on the nodes it came from, and are not made up here; "
            if on_gap is OnGap.FILL
            else ""
        )
    else:
        why, advice = "", f"{advice}, --on-gap fill puts empty records there"
    return f"session {found.name or 'without a name'}: {missing} messages are missing: {ranges}{more}; {why}{advice}"
