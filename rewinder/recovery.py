"""Opening a log: what of it can be trusted, and what has to go.

A process that is killed leaves at most one append that was not finished, at the very end. A machine that is lost
can leave anything in what was not synced: missing pages, and good ones behind them. Damage is neither, and is
never repaired in silence: the log is refused, and the error names file, offset and number.

| what is found | same boot of the machine | the machine was lost since |
|---|---|---|
| bad record at the end, nothing behind it | cut, reported | cut, reported |
| bad record, whole ones behind it | refused | cut there, reported, when above the sync mark |
| bad or missing record up to the sync mark | refused | refused |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from rewinder._native import STOP_REASONS, SearchUnsureError, Stop
from rewinder.checkpoint import load_checkpoint
from rewinder.errors import BadSegment, CorruptRecord, LogError, MissingSegment, StorageFull

if TYPE_CHECKING:
    from rewinder.marks import Marks
    from rewinder.segment import Segment
    from rewinder.segments import SegmentSet
    from rewinder.state import StreamState
    from rewinder.storage import Storage

VERIFY_AT_OPEN_BYTES = 256 << 20
"""Of the sealed segments, the newest ones up to this size are checked at opening: a tenth of a second when they
are in the page cache. Older ones are checked before they are first served."""

LOST_MACHINE_BYTES = 8 << 30
"""After the loss of a machine, this much of what was not synced is checked: the system writes back within some 30
seconds, and this is a minute of a fast disk."""


@frozen
class Recovery:
    """What opening a log had to repair. `str` is a sentence for people.

    `file`, `offset` and `number` name the first record that is not there any more; `bytes_cut` were written
    behind it. `damaged` says that it had been whole once: the machine was not lost, and an append that is cut short
    leaves no length. `below_commit` says that it was committed: other nodes have it, this one must get it again.
    """

    file: str
    offset: int
    number: int
    bytes_cut: int
    segments_dropped: int
    reason: str
    below_commit: bool
    lost_machine: bool
    marks_rebuilt: bool
    damaged: bool = False

    def __str__(self) -> str:
        parts = []
        if self.bytes_cut or self.segments_dropped:
            parts.append(
                f"{self.file}: cut at offset {self.offset}, before record {self.number}: {self.reason}; "
                f"{self.bytes_cut} bytes and {self.segments_dropped} segments dropped"
            )
        if self.lost_machine:
            parts.append("the machine was restarted since the log was last open")
        if self.below_commit:
            parts.append(f"RECORDS FROM {self.number} ON WERE COMMITTED and are not here any more")
        if self.marks_rebuilt:
            parts.append("the marks were missing or damaged; commit and sync marks begin at 0")
        return "; ".join(parts)


class Opening:
    """One opening of a log: `run` leaves segments, state and marks in order. Raises LogError."""

    def __init__(
        self, storage: Storage, session: bytes, segments: SegmentSet, state: StreamState, marks: Marks
    ) -> None:
        self._storage = storage
        self._session = session
        self._segments = segments
        self._state = state
        self._marks = marks
        self._dropped = 0

    def run(self, verify_bytes: int) -> Recovery | None:
        """Check, cut what has to be cut, and say what that was; None when all was in order."""
        if self._marks.lost_machine and self._storage.writable:
            self._drop_behind_hole()
        tail, stop = self._read_from_checkpoint()
        recovery = None
        if self._storage.writable:
            recovery = self._settle(tail, stop)
        else:
            self._look(tail, stop)
        if self._dropped:
            self._segments.reopen(tail)
        self._segments.tail = tail
        tail.verified = True
        self._verify_newest(verify_bytes)
        self._marks.take_over()
        return recovery

    # the state

    def _read_from_checkpoint(self) -> tuple[Segment, Stop]:
        """Read everything behind the newest checkpoint; returns the tail and why reading ended there."""
        segments, state = self._segments, self._state
        restore_state(self._storage, self._session, segments, state, len(segments) - 1)
        tail = segments.bare(len(segments) - 1)
        return tail, state.read(tail)

    # the tail

    def _settle(self, tail: Segment, stop: Stop) -> Recovery | None:
        """Tell a good end of the log from a torn one, which is cut, and from damage, which is refused."""
        marks, number = self._marks, tail.last + 1
        reason = STOP_REASONS[stop]
        if stop is Stop.SENDERS:
            raise LogError(f"{tail.file}: record {number}: {reason}")
        if number <= marks.synced:
            raise tail.corrupt(f"it was synced to the disk before, and now {reason}")
        if not marks.lost_machine:
            refuse_damage(tail, stop)
        offset = tail.end
        bytes_cut = tail.clear()
        if bytes_cut:
            self._storage.sync(tail.blob)
            if stop is Stop.EMPTY:
                reason = "it was not finished"
        below_commit = number <= marks.commit
        if not (bytes_cut or self._dropped or below_commit or marks.rebuilt):
            return None
        return Recovery(
            file=tail.file,
            offset=offset,
            number=number,
            bytes_cut=bytes_cut,
            segments_dropped=self._dropped,
            reason=reason,
            below_commit=below_commit,
            lost_machine=marks.lost_machine,
            marks_rebuilt=marks.rebuilt,
            damaged=bool(bytes_cut) and stop is not Stop.EMPTY and not marks.lost_machine,
        )

    def _look(self, tail: Segment, stop: Stop) -> None:
        """The same for a reader, who changes nothing and may have a writer beside him."""
        if stop is not Stop.EMPTY:
            # What was being written when it was read is whole by now, because more was written behind it.
            stop = self._state.read(tail)
        if stop is Stop.SENDERS:
            raise LogError(f"{tail.file}: record {tail.last + 1}: {STOP_REASONS[stop]}")
        if stop is not Stop.EMPTY:
            refuse_damage(tail, stop)

    # a lost machine

    def _drop_behind_hole(self) -> None:
        """Drop the segments behind the first hole in what was not synced."""
        segments, marks = self._segments, self._marks
        while len(segments) > 1 and segments.firsts[-1] > marks.synced and not self._has_header():
            self._drop_last()
        checked = 0
        lowest = None
        for position in range(len(segments) - 2, -1, -1):
            if segments.firsts[position + 1] - 1 <= marks.synced or checked > LOST_MACHINE_BYTES:
                break
            try:
                segment = segments.bare(position)
                segment.verify(segments.sealed_count(position))
                segments.verified.add(segment.first)
            except BadSegment:
                if position == 0 or segments.firsts[position] <= marks.synced:
                    raise
                lowest = position - 1  # the one before becomes the tail, and what is in it is looked at there
            except CorruptRecord as error:
                if error.number <= marks.synced:
                    raise
                lowest = position
            checked += self._storage.size(segments.name(position))
        if lowest is not None:
            while len(segments) - 1 > lowest:
                self._drop_last()

    def _has_header(self) -> bool:
        try:
            self._segments.bare(len(self._segments) - 1)
        except MissingSegment:
            raise
        except BadSegment:
            return False
        return True

    def _drop_last(self) -> None:
        self._segments.drop_last()
        self._dropped += 1
        self._storage.sync_directory()

    # older segments

    def _verify_newest(self, limit_bytes: int) -> None:
        segments = self._segments
        total = 0
        for position in range(len(segments) - 2, -1, -1):
            total += self._storage.size(segments.name(position))
            if total > limit_bytes:
                break
            if segments.firsts[position] not in segments.verified:
                segments.at(position)


def refuse_damage(tail: Segment, stop: Stop) -> None:
    """Raise CorruptRecord when whole records lie behind the end of the tail, where reading it ended with `stop`."""
    reason = STOP_REASONS[stop]
    if stop is Stop.TIME:
        raise tail.corrupt(reason)
    try:
        behind = tail.search()
    except SearchUnsureError:
        raise tail.corrupt(f"{reason}; what lies behind it may be records, or may not") from None
    if behind is not None:
        offset, number = behind
        raise tail.corrupt(f"{reason}; record {number} lies whole behind it, at offset {offset}")


def restore_state(
    storage: Storage, session: bytes, segments: SegmentSet, state: StreamState, position: int
) -> None:
    """Bring `state` to the first record of the segment at `position`, from the newest checkpoint before it.

    Sealed segments between the two are read and checked; a checkpoint that was missing is written anew. Raises
    CorruptRecord; MissingSegment when the log does not begin with record 1 and there is no checkpoint either.
    """
    start = position
    checkpoint = load_checkpoint(storage, session, segments.firsts[start])
    while checkpoint is None:
        start -= 1
        if start < 0:
            raise MissingSegment(
                storage.describe(segments.name(0)),
                f"the log begins with record {segments.firsts[0]}, and there is no checkpoint to begin with",
            )
        checkpoint = load_checkpoint(storage, session, segments.firsts[start])
    state.restore(checkpoint)
    for passed in range(start, position):
        segment = segments.bare(passed)
        stop = state.read(segment, segments.sealed_count(passed))
        if stop is not Stop.NONE:
            raise segment.corrupt(STOP_REASONS[stop])
        segment.verified = True
        segments.keep(segment)
        segments.refresh_index(segment)
    if start < position and storage.writable:
        write_checkpoint(storage, session, state, segments.firsts[position])


def write_checkpoint(storage: Storage, session: bytes, state: StreamState, first: int) -> None:
    """Write the checkpoint before record `first`. A cache: a disk that is full does without."""
    checkpoint = state.checkpoint(session, first)
    try:
        storage.write_atomically(checkpoint.name, checkpoint.encode(), durable=False)
    except StorageFull:
        return
