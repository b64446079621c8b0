"""Looking at a log from outside: what `seqcast log ls`, `verify` and `dump` show.

Everything here reads only, works beside the process that writes, and goes on where opening the log would refuse:
to say what is wrong with a damaged log is its purpose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from native.messages import MessageTable
from rewinder._native import HEADER_BYTES, NO_LIMIT, STOP_REASONS, SearchUnsureError, Stop
from rewinder.errors import LogError, LogMissing
from rewinder.record import STAMP_BYTES, Kind, read_stamp
from rewinder.segment import INDEX_SUFFIX, Header, Segment, first_numbers, segment_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rewinder.record import Stamp
    from rewinder.storage import Storage

PROBLEM_LIMIT = 1000
"""Problems that one verification lists: a disk that is that bad needs no longer list."""

SLICE_RECORDS = 1 << 16
"""Records between two reports of progress."""

DUMP_ROWS = 1024
"""Records read at once."""

KIND_NAMES = {int(kind): kind.name.lower() for kind in Kind}


@frozen
class SegmentSummary:
    """One segment. `last` is one below `first` when it holds nothing; times are UTC nanoseconds, or None.

    `bytes` are those of its records and their frames, `file_bytes` those of the file. `epochs` are (epoch,
    number of its first record); they are listed only when the segment was read through, else None. `problem`
    says why the segment cannot be used, or only as far as listed.
    """

    file: str
    first: int
    last: int
    records: int
    bytes: int
    file_bytes: int
    first_time_ns: int | None
    last_time_ns: int | None
    epochs: tuple[tuple[int, int], ...] | None
    sealed: bool
    problem: str | None


@frozen
class Problem:
    """Something wrong: in `file`, at `offset`, where record `number` should be; 0 where there is none to name."""

    file: str
    offset: int
    number: int
    reason: str

    def __str__(self) -> str:
        if self.number == 0:
            return f"{self.file}: {self.reason}"
        return f"{self.file}: record {self.number} at offset {self.offset}: {self.reason}"


@frozen
class Verification:
    """What was checked, and what is wrong. `bytes` are those of whole records and their frames."""

    session: bytes
    segments: int
    first: int
    last: int
    records: int
    bytes: int
    epochs: tuple[tuple[int, int], ...]
    ended: int | None
    problems: tuple[Problem, ...]


def list_segments(storage: Storage, *, epochs: bool = False) -> list[SegmentSummary]:
    """Every segment, oldest first. With `epochs` all are read through; else sealed ones by their index only.

    Raises LogMissing when there is no log.
    """
    firsts = _firsts(storage)
    session = _session(storage, firsts)
    summaries = []
    for position, first in enumerate(firsts):
        following = firsts[position + 1] if position + 1 < len(firsts) else None
        summaries.append(_summary(storage, session, first, following, epochs=epochs))
    return summaries


def verify(storage: Storage, progress: Callable[[int, int], None] | None = None) -> Verification:
    """Check every record of every segment. `progress` is told (bytes of files done, bytes of files in all).

    Raises LogMissing when there is no log; everything else that is wrong is listed.
    """
    firsts = _firsts(storage)
    sizes = [storage.size(segment_name(first)) for first in firsts]
    check = _Check(storage, _session(storage, firsts), sum(sizes), progress)
    for position, first in enumerate(firsts):
        check.segment(first, firsts[position + 1] if position + 1 < len(firsts) else None)
        check.done += sizes[position]
        check.report(0)
    return check.result(firsts)


def dump(storage: Storage, first: int | None = None, count: int | None = None) -> Iterator[dict[str, Any]]:
    """Records from `first` on (default: the first that is kept), as values that JSON can carry.

    Keys: number, time_ns, kind (`data`, `epoch`, `end`, or the number of a reserved one), flags, sender,
    sender_sequence, length of the payload, and the payload in hexadecimal. Nothing that fails its check is
    given: raises CorruptRecord there, BadSegment, or LogMissing.
    """
    firsts = _firsts(storage)
    session = _session(storage, firsts)
    number = firsts[0] if first is None else max(first, firsts[0])
    left = NO_LIMIT if count is None else count
    for position, start in enumerate(firsts):
        following = firsts[position + 1] if position + 1 < len(firsts) else None
        if following is not None and following <= number:
            continue
        segment = Segment(storage, storage.open(segment_name(start)), session)
        stop = _read(segment, NO_LIMIT if following is None else following - start)
        if following is None and stop is not Stop.EMPTY:
            stop = _read(segment, NO_LIMIT)  # what a writer beside us was at is whole by now
        for record_number, record in _records(segment, number):
            if left == 0:
                return
            left -= 1
            yield as_plain(record_number, record)
        number = segment.last + 1
        if left and (
            (following is None and stop is not Stop.EMPTY) or (following is not None and number < following)
        ):
            raise segment.corrupt(STOP_REASONS[stop])


class _Check:
    """A verification under way."""

    def __init__(
        self, storage: Storage, session: bytes, total: int, progress: Callable[[int, int], None] | None
    ) -> None:
        self._storage = storage
        self._session = session
        self._total = total
        self._progress = progress
        self._problems: list[Problem] = []
        self._epochs: list[tuple[int, int]] = []
        self._ended: int | None = None
        self._records = 0
        self._bytes = 0
        self._last = 0
        self._last_time_ns = 0
        self._ordinal: int | None = None
        self.done = 0

    def segment(self, first: int, following: int | None) -> None:
        """Check one segment, which ends before record `following`; None for the tail."""
        name = segment_name(first)
        self._last = first - 1
        try:
            segment = Segment(self._storage, self._storage.open(name), self._session)
        except (LogError, OSError) as error:
            reason = getattr(error, "reason", str(error))
            self._problem(Problem(self._storage.describe(name), 0, 0, reason))
            self._ordinal = None
            return
        self._check_place(segment)
        limit = NO_LIMIT if following is None else following - first
        while len(self._problems) < PROBLEM_LIMIT:
            stop = self._read(segment, limit)
            if following is None and stop is not Stop.EMPTY:
                stop = self._read(segment, limit)  # what a writer beside us was at is whole by now
            self._last = segment.last
            if segment.count >= limit or not self._go_on(segment, stop, following):
                break
        self._last_time_ns = segment.last_time_ns

    def report(self, within: int) -> None:
        """Tell how far it is."""
        if self._progress is not None:
            self._progress(self.done + within, self._total)

    def result(self, firsts: list[int]) -> Verification:
        """The whole of it."""
        return Verification(
            session=self._session,
            segments=len(firsts),
            first=firsts[0],
            last=self._last,
            records=self._records,
            bytes=self._bytes,
            epochs=tuple(self._epochs),
            ended=self._ended,
            problems=tuple(self._problems),
        )

    def _check_place(self, segment: Segment) -> None:
        """Whether the header fits what came before."""
        header = segment.header
        if self._ordinal is not None:
            if header.ordinal != self._ordinal + 1:
                reason = f"{header.ordinal - self._ordinal - 1} segment file(s) before this one are missing"
                self._problem(Problem(segment.file, 0, 0, reason))
            elif header.time_before_ns != self._last_time_ns:
                reason = "its header does not fit the time of the last record before it"
                self._problem(Problem(segment.file, 0, 0, reason))
        self._ordinal = header.ordinal

    def _read(self, segment: Segment, limit: int) -> Stop:
        """Take up whole records; count them and note those that are not data."""
        kernel = segment.kernel
        while True:
            count, end = segment.count, segment.end
            stop = kernel.scan(None, min(limit, count + SLICE_RECORDS))
            self._records += segment.count - count
            self._bytes += segment.end - end
            self.report(segment.end)
            if stop is Stop.CONTROL:
                # The index is no help behind a bad place, so the record is found by where it ends.
                stamp = read_stamp(segment.view[max(end, segment.end - STAMP_BYTES) : segment.end])
                if stamp.kind == Kind.EPOCH:
                    self._epochs.append((stamp.sender_sequence, segment.last))
                elif stamp.kind == Kind.END:
                    self._ended = segment.last
            elif stop is not Stop.NONE or segment.count >= limit:
                return stop

    def _go_on(self, segment: Segment, stop: Stop, following: int | None) -> bool:
        """Reading stopped before the segment's end: list why; True when there is more behind it."""
        number, offset = segment.last + 1, segment.end
        unsure = False
        try:
            found = segment.search()
        except SearchUnsureError:
            found, unsure = None, True
        if found is not None and (following is None or found[1] < following):
            reason = f"{STOP_REASONS[stop]}; {found[1] - number} record(s) are lost here"
            self._problem(Problem(segment.file, offset, number, reason))
            segment.kernel.skip_to(*found)
            return True
        if following is not None:
            reason = f"{STOP_REASONS[stop]}; records {number} to {following - 1} are lost"
            self._problem(Problem(segment.file, offset, number, reason))
        elif stop is not Stop.EMPTY or unsure:
            # Beside a writer this may be the record that is being appended; nobody can tell from outside.
            reason = f"{STOP_REASONS[stop]}; an append that was not finished, or damage at the end"
            self._problem(Problem(segment.file, offset, number, reason))
        return False

    def _problem(self, problem: Problem) -> None:
        if len(self._problems) < PROBLEM_LIMIT:
            self._problems.append(problem)


def _firsts(storage: Storage) -> list[int]:
    firsts = first_numbers(storage.names())
    if not firsts:
        raise LogMissing(f"{storage.describe('')}: there is no log")
    return firsts


def _session(storage: Storage, firsts: list[int]) -> bytes:
    """The session of the first segment whose header can be read; the last error when there is none."""
    error: LogError | None = None
    for first in firsts:
        name = segment_name(first)
        try:
            return Header.decode(storage.open(name).view[:HEADER_BYTES], storage.describe(name)).session
        except LogError as found:
            error = found
    assert error is not None
    raise error


def _read(segment: Segment, limit: int, epochs: list[tuple[int, int]] | None = None) -> Stop:
    """Take up all whole records, from the start."""
    while True:
        stop = segment.kernel.scan(None, limit)
        if stop is not Stop.CONTROL:
            return stop
        if epochs is not None:
            stamp = _stamp_of(segment, segment.last)
            if stamp.kind == Kind.EPOCH:
                epochs.append((stamp.sender_sequence, segment.last))


def _stamp_of(segment: Segment, number: int) -> Stamp:
    table = MessageTable(1)
    count = segment.kernel.rows(number, 1, NO_LIMIT, table)
    return read_stamp(table.view(segment.view, count)[0])


def _records(segment: Segment, first: int) -> Iterator[tuple[int, memoryview]]:
    table = MessageTable(DUMP_ROWS)
    number = max(first, segment.first)
    while number <= segment.last:
        count = segment.kernel.rows(number, DUMP_ROWS, NO_LIMIT, table)
        for record in table.view(segment.view, count):
            yield number, record
            number += 1


def _summary(
    storage: Storage, session: bytes, first: int, following: int | None, *, epochs: bool
) -> SegmentSummary:
    name = segment_name(first)
    file_bytes = storage.size(name)
    found_epochs: list[tuple[int, int]] = []
    problem = None
    try:
        segment = Segment(storage, storage.open(name), session)
    except LogError as error:
        problem = str(getattr(error, "reason", error))
        return SegmentSummary(
            storage.describe(name),
            first,
            first - 1,
            0,
            0,
            file_bytes,
            None,
            None,
            None,
            following is not None,
            problem,
        )
    limit = NO_LIMIT if following is None else following - first
    through = epochs or following is None or not _by_index(storage, segment, limit)
    if through:
        stop = _read(segment, limit, found_epochs)
        if segment.count < limit and (following is not None or stop is not Stop.EMPTY):
            problem = f"record {segment.last + 1} at offset {segment.end}: {STOP_REASONS[stop]}"
    empty = segment.count == 0
    return SegmentSummary(
        file=segment.file,
        first=first,
        last=segment.last,
        records=segment.count,
        bytes=segment.end - HEADER_BYTES,
        file_bytes=file_bytes,
        first_time_ns=None if empty else _stamp_of(segment, first).time_ns,
        last_time_ns=None if empty else segment.last_time_ns,
        epochs=tuple(found_epochs) if through else None,
        sealed=following is not None,
        problem=problem,
    )


def _by_index(storage: Storage, segment: Segment, count: int) -> bool:
    try:
        return segment.load_index(storage.read(segment_name(segment.first, INDEX_SUFFIX)), count)
    except FileNotFoundError:
        return False


def as_plain(number: int, record: memoryview) -> dict[str, Any]:
    """A record, which has a stamp, as plain values; the payload in hexadecimal."""
    stamp = read_stamp(record)
    payload = record[:-STAMP_BYTES]
    return {
        "number": number,
        "time_ns": stamp.time_ns,
        "kind": KIND_NAMES.get(stamp.kind, stamp.kind),
        "flags": stamp.flags,
        "sender": stamp.sender.decode("ascii", "replace").rstrip(),
        "sender_sequence": stamp.sender_sequence,
        "length": len(payload),
        "payload": payload.hex(),
    }
