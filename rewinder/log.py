"""The message log: the stream on disk, one numbered record after the other.

It is a directory of segments (`rewinder.segment`), of which the last, the tail, is appended to, with sidecars
that make opening and finding quick, and a file of marks. docs/LOG.md has the format, the argument that opening
and locating cost the same however long the log is, and what each durability policy means:

- `memory`: a record is held once it is in the page cache. It survives the process, not the machine.
- `group`: the owner calls `sync` now and then, and holds what `synced` says.
- `always`: the owner calls `sync` every turn, and holds what `synced` says.

A log does not know the time and starts nothing by itself; one thread uses it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rewinder._native import PAYLOAD_LIMIT_BYTES, STOP_REASONS, Stop
from rewinder.errors import (
    ForeignSession,
    LocalProtocolError,
    LogExists,
    LogMissing,
    RefusedRecord,
    SyncFailed,
)
from rewinder.marks import Marks
from rewinder.policy import SEGMENT_BYTES, check_policy
from rewinder.reading import LogReader
from rewinder.record import Kind
from rewinder.recovery import VERIFY_AT_OPEN_BYTES, Opening, Recovery, restore_state, write_checkpoint
from rewinder.segment import SEGMENT_BYTES_MINIMUM, Header, Segment, first_numbers, segment_name
from rewinder.segments import SegmentSet, session_of
from rewinder.state import StreamState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from native.messages import Messages
    from rewinder.record import Stamp
    from rewinder.storage import Storage


class MessageLog(LogReader):
    """An open log; made by `create`, `open`, `open_or_create` or `open_readonly`.

    `tail` is the segment that is appended to. `recovery` says what opening had to repair; None when all was in
    order. The log owns its storage: `close` closes it.
    """

    def __init__(
        self,
        storage: Storage,
        session: bytes,
        segments: SegmentSet,
        state: StreamState,
        marks: Marks,
        *,
        durability: str,
        segment_bytes: int,
        recovery: Recovery | None = None,
    ) -> None:
        """Put an open log together; for the class methods below."""
        super().__init__(session, segments, state)
        self.storage = storage
        self.durability = durability
        self.segment_bytes = segment_bytes
        self.recovery = recovery
        self._marks = marks
        self._commit = min(marks.commit, self.last)
        self._sync_error: str | None = None
        # Sealed segments that a process with durability `memory` left behind; synced with the first `sync`.
        first = max(0, segments.position(marks.synced))
        sealed = zip(segments.firsts[first + 1 :], range(first, len(segments) - 1), strict=True)
        self._unsynced = [segments.name(at) for following, at in sealed if following - 1 > marks.synced]

    # opening

    @classmethod
    def create(
        cls,
        storage: Storage,
        session: bytes,
        *,
        durability: str,
        segment_bytes: int = SEGMENT_BYTES,
        created_ns: int = 0,
        first: int = 1,
    ) -> MessageLog:
        """Begin the log of `session` (ten bytes) at record `first`. `created_ns` is UTC, for people.

        Raises LogExists, StorageFull; LocalProtocolError for settings that cannot be.
        """
        check_policy(session, durability, segment_bytes)
        if cls.exists(storage):
            raise LogExists(f"{storage.describe('')}: there is a log already")
        marks = Marks(storage, session)
        header = Header(session, 0, first, 0, created_ns)
        blob = storage.create(segment_name(first), segment_bytes, header.encode())
        storage.sync(blob)
        if first > 1:
            write_checkpoint(storage, session, StreamState(), first)
        storage.sync_directory()
        segments = SegmentSet(storage, session, [first])
        segments.tail = Segment(storage, blob, session)
        segments.tail.verified = True
        return cls(
            storage,
            session,
            segments,
            StreamState(),
            marks,
            durability=durability,
            segment_bytes=segment_bytes,
        )

    @classmethod
    def open(
        cls,
        storage: Storage,
        session: bytes | None = None,
        *,
        durability: str,
        segment_bytes: int = SEGMENT_BYTES,
        verify_bytes: int = VERIFY_AT_OPEN_BYTES,
    ) -> MessageLog:
        """Open a log to append to it; `session` None takes whichever it is of.

        `segment_bytes` is the size of segments that will be made. Of the sealed segments, `verify_bytes` are
        checked now. Raises LogError (LogMissing, CorruptRecord, BadSegment and its kinds) naming what is wrong;
        StorageFull when there is no room for the marks.
        """
        firsts = first_numbers(storage.names())
        if not firsts:
            raise LogMissing(f"{storage.describe('')}: there is no log")
        found = session_of(storage, firsts[0])
        if session is not None and found != session:
            raise ForeignSession(
                storage.describe(segment_name(firsts[0])), f"it belongs to session {found!r}, not {session!r}"
            )
        check_policy(found, durability, segment_bytes)
        segments = SegmentSet(storage, found, firsts)
        state = StreamState()
        marks = Marks(storage, found)
        recovery = Opening(storage, found, segments, state, marks).run(verify_bytes)
        return cls(
            storage,
            found,
            segments,
            state,
            marks,
            durability=durability,
            segment_bytes=segment_bytes,
            recovery=recovery,
        )

    @classmethod
    def open_or_create(
        cls,
        storage: Storage,
        session: bytes,
        *,
        durability: str,
        segment_bytes: int = SEGMENT_BYTES,
        created_ns: int = 0,
    ) -> MessageLog:
        """Open the log, or begin it where there is none. Raises as `open` and `create` do."""
        if cls.exists(storage):
            return cls.open(storage, session, durability=durability, segment_bytes=segment_bytes)
        return cls.create(
            storage, session, durability=durability, segment_bytes=segment_bytes, created_ns=created_ns
        )

    @classmethod
    def open_readonly(
        cls, storage: Storage, session: bytes | None = None, *, verify_bytes: int = 0
    ) -> MessageLog:
        """Open a log to read it, beside the process that writes it if there is one.

        It shows what there was when it was opened. Raises as `open` does.
        """
        if storage.writable:
            raise LocalProtocolError("a log is opened for reading with a storage that only reads")
        return cls.open(storage, session, durability="memory", verify_bytes=verify_bytes)

    @staticmethod
    def exists(storage: Storage) -> bool:
        """Whether there is a log in `storage`."""
        return bool(first_numbers(storage.names()))

    def close(self) -> None:
        """Sync, if the durability asks for it, and let others have the storage."""
        try:
            if self.storage.writable and self._sync_error is None:
                self.sync()
        finally:
            self.storage.close()

    # marks

    @property
    def commit(self) -> int:
        """Number of the last record here that is known to be committed. Survives a killed process.

        Set it when more becomes known: raises LocalProtocolError for a number below the present one, or above
        `last`.
        """
        return self._commit

    @commit.setter
    def commit(self, number: int) -> None:
        if number < self._commit or number > self.last:
            raise LocalProtocolError(
                f"commit number {number}: it is {self._commit} already, and the last record is {self.last}"
            )
        self._commit = number
        self._marks.commit = max(number, self._marks.commit)

    @property
    def lost_commit(self) -> int:
        """Number up to which records were committed, when this log has lost some of them; else 0.

        It goes back to 0 when the log has got them again.
        """
        return self._marks.commit if self._marks.commit > self.last else 0

    @property
    def synced(self) -> int:
        """Number of the last record that is claimed to survive the machine."""
        return self._marks.synced

    def sync(self) -> None:
        """Make everything up to `last` survive the machine; under durability `memory` nothing happens.

        Raises SyncFailed, also ever after: a disk that failed once may have dropped what it failed to write,
        and would say nothing of it the second time.
        """
        if self.durability == "memory":
            return
        if self._sync_error is not None:
            raise SyncFailed(self._sync_error)
        last = self.last
        if self._marks.synced >= last:
            return
        with self._syncing():
            for name in self._unsynced:
                self.storage.sync(self.storage.open(name))
            if self._unsynced:
                self.storage.sync_directory()
                self._unsynced.clear()
            self.storage.sync(self.tail.blob)
        self._marks.synced = last

    @contextmanager
    def _syncing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._sync_error = f"{self.tail.file}: cannot be synced: {error.strerror}"
            raise SyncFailed(self._sync_error) from error

    # appending

    def roll(self) -> None:
        """Begin a new segment; the present one is full. Nothing happens while it is empty and any record fits.

        Raises StorageFull: then the log is as it was, and `roll` can be tried again. SyncFailed.
        """
        self._check_writable()
        old = self.tail
        if old.count == 0:
            self._replace_short_tail()
            return
        self.sync()  # so that only the tail ever holds what is not synced
        header = Header(
            self.session, old.header.ordinal + 1, self.next_number, old.last_time_ns, old.last_time_ns
        )
        blob = self.storage.create(segment_name(header.first), self.segment_bytes, header.encode())
        self.tail = Segment(self.storage, blob, self.session)
        self.tail.verified = True
        self._segments.seal(self.tail)
        write_checkpoint(self.storage, self.session, self._state, header.first)
        if self.durability != "memory":
            with self._syncing():
                self.storage.sync_directory()
                self._marks.sync()

    def _replace_short_tail(self) -> None:
        """An empty tail that was made too short, or cut short by somebody, would never take a record."""
        old = self.tail
        if len(old.view) >= SEGMENT_BYTES_MINIMUM:
            return
        blob = self.storage.create(old.name, self.segment_bytes, old.header.encode(), replace=True)
        self.tail = Segment(self.storage, blob, self.session)
        self.tail.verified = True
        self._segments.reopen(self.tail)

    def append(self, payload: bytes, stamp: Stamp) -> int:
        """Stamp and append one record; returns its number. For control records: the hot path does it in C.

        Raises StorageFull; LocalProtocolError for a payload that is too long, a time that goes back, and
        anything after the end of the session.
        """
        self._check_writable()
        if self.ended is not None:
            raise LocalProtocolError(f"the session ended with record {self.ended}")
        if len(payload) > PAYLOAD_LIMIT_BYTES:
            raise LocalProtocolError(
                f"a record carries at most {PAYLOAD_LIMIT_BYTES} bytes, not {len(payload)}"
            )
        if stamp.time_ns < self.last_time_ns:
            raise LocalProtocolError(
                f"time {stamp.time_ns} is before that of the last record, {self.last_time_ns}"
            )
        if stamp.kind == Kind.DATA and self.senders.add(stamp.sender) < 0:
            raise LocalProtocolError(f"the sender table has no room for {stamp.sender!r}")
        fields = (stamp.time_ns, stamp.sender_sequence, stamp.sender, stamp.kind, stamp.flags)
        if not self.tail.kernel.append(payload, *fields):
            self.roll()
            if not self.tail.kernel.append(payload, *fields):
                raise LocalProtocolError(f"{len(payload)} bytes do not fit a segment of {self.segment_bytes}")
        number = self.tail.last
        if stamp.kind == Kind.DATA:
            self.senders.note(stamp.sender, stamp.sender_sequence, number)
        else:
            self._state.note_control(self.tail)
        return number

    def append_records(self, messages: Messages) -> int:
        """Append records that are stamped already: a follower's way. Returns how many there were.

        Raises RefusedRecord naming the first that does not belong here (damaged, of another number, back in
        time, after the end of the session), StorageFull when there is no room. What came before it was
        appended, as `last` says.
        """
        self._check_writable()
        kernel, senders, count, done = self.tail.kernel, self.senders.kernel, len(messages), 0
        while done < count:
            if self.ended is not None:
                raise RefusedRecord(self.next_number, f"the session ended with record {self.ended}")
            appended, stop = kernel.append_records(senders, messages, done)
            done += appended
            if stop is Stop.CONTROL:
                self.note_control()
            elif stop is Stop.FULL:
                self.roll()
                if self.tail.kernel is kernel:
                    raise RefusedRecord(self.next_number, "it does not fit a segment")
                kernel = self.tail.kernel
            elif stop is not Stop.NONE:
                raise RefusedRecord(self.next_number, STOP_REASONS[stop])
        return count

    def note_control(self) -> None:
        """A kernel has appended a record, and it is a control record: take it up."""
        self._state.note_control(self.tail)

    def cut(self, last: int) -> None:
        """Drop the records above `last`: an unshared tail must go. Never below the commit number.

        A process or machine that dies in the middle of it leaves a log that is cut less far, or just as far.
        Raises LocalProtocolError when `last` is below the commit number or above the last record.
        """
        self._check_writable()
        if not self._commit <= last <= self.last or last < self.first - 1:
            raise LocalProtocolError(
                f"a log of records {self.first} to {self.last}, committed to {self._commit}, cannot be cut to {last}"
            )
        if last == self.last:
            return
        segments, marks = self._segments, self._marks
        if marks.synced > last:
            marks.synced = last
            with self._syncing():
                marks.sync()  # before the records go: they must not be missed
        while len(segments) > 1 and segments.firsts[-1] > last + 1:
            segments.drop_last()
        self.storage.sync_directory()
        position = len(segments) - 1
        tail = segments.resident(position) or segments.bare(position)
        restore_state(self.storage, self.session, segments, self._state, position)
        tail.kernel.forget(tail.header.time_before_ns)
        stop = self._state.read(tail, last + 1 - tail.first)
        if stop is not Stop.NONE:
            raise tail.corrupt(STOP_REASONS[stop])
        tail.clear()
        tail.verified = True
        segments.reopen(tail)
        self.tail = tail
        # Else the old records could come back after the loss of the machine, mixed with those that follow.
        with self._syncing():
            self.storage.sync(tail.blob)
        names = {segments.name(position) for position in range(len(segments) - 1)}
        self._unsynced = [name for name in self._unsynced if name in names]

    def _check_writable(self) -> None:
        if not self.storage.writable:
            raise LocalProtocolError("the log was opened for reading only")
