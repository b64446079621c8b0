"""Retention: which old sessions a node keeps, and how the others go.

The oldest go first, a segment at a time, in turns in which there is nothing else to do. Never touched is the present
session, one that people have marked (`KEEP_FILE`), one that somebody reads, and one that is not in good order: that
did not end, of which not everything is known to be committed, or that cannot be opened. What nobody else may have is
not for a program to throw away.

A session that is being removed loses its oldest segments first, so that a node that dies half-way leaves a shorter
session that can be replayed, and goes on with it later.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Self

from attrs import define, field, frozen

from rewinder.checkpoint import CHECKPOINT_SUFFIX
from rewinder.errors import LogError, LogLocked
from rewinder.marks import MARKS_FILE
from rewinder.old_session import Opening
from rewinder.promise import PROMISE_FILE
from rewinder.segment import INDEX_SUFFIX, first_numbers, segment_name
from rewinder.storage import OWNER_FILE, TEMPORARY_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Callable

    from rewinder.counters import Counters
    from rewinder.old_session import OldSession
    from rewinder.storage import Storage

KEEP_FILE = "keep"
"""A file of this name in the directory of a session protects it."""

PIECE_BYTES = 1 << 20
"""Given back to the disk in one turn: 0.3 ms of the file system. A whole segment of 64 MiB takes it some 20 ms."""

EXAMINED_BYTES = 1 << 20
"""Bytes of a log that are looked at in one turn, to find out what it is."""

SCAN_NS = 10_000_000_000
"""How often it is looked whether something has to go."""

LOCKED_NS = 1_000_000_000
"""After this time it is looked again whether a session that was open somewhere is free."""

OVERDUE_NS = 1_000_000_000
"""After so long without a quiet turn a step is made in one that is not quiet: disks fill up in busy times."""

_OURS = re.compile(
    rf"[0-9]{{20}}\.(seg|idx|ckpt)|{MARKS_FILE}|{OWNER_FILE}|{PROMISE_FILE}|.*\{TEMPORARY_SUFFIX}"
)
"""The files of a log. A directory that holds anything else is not only ours."""

_UNITS = {"MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_SESSIONS = re.compile(r"([1-9][0-9]{0,5}) sessions?")
_SIZE = re.compile(r"([1-9][0-9]{0,6}) (MiB|GiB|TiB)")


@frozen
class Keep:
    """How much is kept: the newest `sessions` old ones, or `size` bytes with the present one among them; else all."""

    sessions: int | None = None
    size: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """`all`, `30 sessions` or `200 GiB`. Raises ValueError."""
        if text == "all":
            return cls()
        if found := _SESSIONS.fullmatch(text):
            return cls(sessions=int(found[1]))
        if found := _SIZE.fullmatch(text):
            return cls(size=int(found[1]) * _UNITS[found[2]])
        raise ValueError(
            'must be "all", a number of sessions ("30 sessions") or a size ("500 MiB", "200 GiB")'
        )

    def __str__(self) -> str:
        if self.sessions is not None:
            return f"{self.sessions} session{'' if self.sessions == 1 else 's'}"
        if self.size is None:
            return "all"
        unit = next(name for name in reversed(_UNITS) if self.size % _UNITS[name] == 0)
        return f"{self.size // _UNITS[unit]} {unit}"


@define
class Kept:
    """What is known of one old session. `protected` says why it stays; None when it may go."""

    name: str
    size: int
    time_ns: int = 0  # of its last record
    protected: str | None = None


@define(eq=False)
class Removal:
    """A session of which something was removed, while its directory is ours. `storage` is closed by its owner."""

    kept: Kept
    storage: Storage
    segments: int = 0
    size: int = 0
    gone: bool = False
    file: str = ""  # that is being given back, of `file_size` bytes
    file_size: int = 0


@define(eq=False)
class Retention:
    """The retention of one node. Call it in quiet turns; it says whether there is more to do now.

    `names` gives the old sessions, `find` the storage of one of them to read, `claim` the same to write, which nobody
    can have beside a reader, `clear` removes its empty directory: they raise LogError and OSError. `present` is how
    many bytes the present session takes. `in_use` says whether this node reads a session, `removed` is told of each
    whose records became fewer, `report` gets an event and its values. Counted are `retention.sessions`,
    `retention.segments` and `retention.bytes` (removed), and `retention.failed`.
    """

    keep: Keep
    names: Callable[[], list[str]]
    find: Callable[[str], Storage | None]
    claim: Callable[[str], Storage | None]
    clear: Callable[[str], None]
    present: Callable[[], int]
    in_use: Callable[[str], bool]
    removed: Callable[[str], None]
    report: Callable[..., None]
    counters: Counters
    _known: dict[str, Kept] = field(factory=dict, init=False)
    _new: list[str] = field(factory=list, init=False)  # not looked at yet
    _skipped: set[str] = field(factory=set, init=False)  # until the next scan
    _opening: tuple[Opening, int] | None = field(default=None, init=False)
    _removal: Removal | None = field(default=None, init=False)
    _scan_ns: int = field(default=0, init=False)
    _stepped_ns: int = field(default=0, init=False)
    _now_ns: int = field(default=0, init=False)
    _busy: bool = field(default=False, init=False)

    @property
    def active(self) -> bool:
        """Whether anything is ever to go."""
        return self.keep != Keep()

    def __call__(self) -> bool:
        """One step, if one is to be made; True when there is more to do now."""
        if not self._busy:
            return False
        self._stepped_ns = self._now_ns
        self._busy = self._step()
        return self._busy

    # timers

    def deadline_ns(self) -> int | None:
        """When to look again, or to make the step that no quiet turn has made."""
        if not self.active:
            return None
        return self._stepped_ns + OVERDUE_NS if self._busy else self._scan_ns

    def handle_timer(self, now_ns: int) -> None:
        """See what there is, from time to time."""
        self._now_ns = now_ns
        if self._busy:
            self()
            return
        self._scan_ns, self._stepped_ns = now_ns + SCAN_NS, now_ns
        self._skipped.clear()
        try:
            names = self.names()
        except OSError:
            return  # it is looked again
        for name in self._known.keys() - set(names):
            del self._known[name]
        self._new = [name for name in names if name not in self._known]
        self._busy = True

    def status(self) -> dict[str, Any]:
        """For people: the policy, what is there, and what stays although it is old."""
        known = self._known.values()
        return {
            "keep": str(self.keep),
            "sessions": len(known),
            "bytes": sum(each.size for each in known) + self.present(),
            "protected": {each.name: each.protected for each in known if each.protected is not None},
        }

    def close(self) -> None:
        """Let go of what is being looked at or removed."""
        if self._opening is not None:
            self._opening[0].storage.close()
            self._opening = None
        self._let_go()

    # inside

    def _step(self) -> bool:
        if self._opening is not None:
            self._go_on(*self._opening)
        elif self._new:
            self._examine(self._new.pop())
        else:
            removal = self._removal
            victim = removal.kept if removal is not None and removal.file else self._victim()
            if removal is not None and removal.kept is not victim:
                self._let_go()
            if victim is None:
                return False
            self._remove_from(victim)
        return True

    def _examine(self, name: str) -> None:
        """Begin to find out what a session is."""
        try:
            storage = self.find(name)
            if storage is None:
                return
            names = storage.names()
            size = sum(storage.size(each) for each in names)
        except LogLocked:  # somebody writes it
            self._look_soon()
            return
        except (LogError, OSError) as error:
            self._known[name] = Kept(name, 0, protected=f"it cannot be opened: {error}")
            return
        reason = _untouchable(names)
        if reason is not None or not first_numbers(names):  # the latter: what a removal has left
            storage.close()
            self._known[name] = Kept(name, size, protected=reason)
            return
        try:
            self._opening = Opening(name, storage), size
        except (LogError, OSError) as error:
            self._known[name] = Kept(name, size, protected=f"it cannot be opened: {error}")

    def _go_on(self, opening: Opening, size: int) -> None:
        """Read on in the session that is being looked at."""
        self._opening = None
        try:
            found = opening.step(EXAMINED_BYTES)
        except (LogError, OSError) as error:
            self._known[opening.name] = Kept(opening.name, size, protected=f"it cannot be opened: {error}")
            return
        if found is None:
            self._opening = opening, size
            return
        self._known[found.name] = Kept(found.name, size, found.log.last_time_ns, _reason_to_stay(found))
        found.close()

    def _victim(self) -> Kept | None:
        """The session of which something has to go now; the oldest that may."""
        free = sorted(
            (each for each in self._known.values() if each.protected is None),
            key=lambda each: (each.time_ns, each.name),
        )
        keep = self.keep
        if keep.sessions is not None:
            free = free[: max(0, len(free) - keep.sessions)]
        elif self.present() + sum(each.size for each in self._known.values()) <= (keep.size or 0):
            return None
        return next(
            (each for each in free if each.name not in self._skipped and not self.in_use(each.name)), None
        )

    def _remove_from(self, kept: Kept) -> None:
        """Remove a piece of a session."""
        try:
            removal = self._removal
            if removal is None:
                removal = self._begin(kept)
                if removal is None:
                    return
            self._remove_piece(removal)
        except (LogError, OSError) as error:
            self._skipped.add(kept.name)
            if isinstance(error, LogLocked):  # somebody reads it
                self._look_soon()
            else:
                self.counters.add("retention.failed")
                self.report("an old session cannot be removed", session=kept.name, detail=str(error))
            self._let_go()

    def _begin(self, kept: Kept) -> Removal | None:
        """Claim a session; None when it stays after all."""
        storage = self.claim(kept.name)
        if storage is None:
            self._known.pop(kept.name, None)
            return None
        kept.protected = _untouchable(storage.names())
        if kept.protected is not None:
            storage.close()
            return None
        self._removal = Removal(kept, storage)
        return self._removal

    def _remove_piece(self, removal: Removal) -> None:
        storage, kept = removal.storage, removal.kept
        firsts = first_numbers(storage.names())
        if not removal.file and not firsts:
            for name in sorted(storage.names(), key=OWNER_FILE.__eq__):  # last what says that it was ours
                storage.remove(name)
            self.clear(kept.name)
            del self._known[kept.name]
            removal.gone = True
            self.counters.add("retention.sessions")
            self._let_go()
            return
        if not removal.file:
            removal.file = segment_name(firsts[0])
            removal.file_size = storage.size(removal.file)
        if storage.discard(removal.file, PIECE_BYTES):
            return
        stem = removal.file.partition(".")[0]
        for suffix in (INDEX_SUFFIX, CHECKPOINT_SUFFIX):
            storage.remove(stem + suffix)
        removal.segments += 1
        removal.size += removal.file_size
        kept.size = max(0, kept.size - removal.file_size)
        self.counters.add("retention.segments")
        self.counters.add("retention.bytes", removal.file_size)
        removal.file = ""
        self.removed(kept.name)

    def _look_soon(self) -> None:
        """Somebody has a session open, perhaps only to see what it is."""
        self._scan_ns = min(self._scan_ns, self._now_ns + LOCKED_NS)

    def _let_go(self) -> None:
        """Give the session back, and say what was done."""
        removal, self._removal = self._removal, None
        if removal is None:
            return
        firsts = [] if removal.gone else first_numbers(removal.storage.names())
        removal.storage.close()
        if removal.segments or removal.gone:
            self.report(
                "an old session was removed"
                if removal.gone
                else "the oldest part of an old session was removed",
                session=removal.kept.name,
                segments=removal.segments,
                bytes=removal.size,
                keep=str(self.keep),
                **({"first": firsts[0]} if firsts else {}),
            )


def _untouchable(names: list[str]) -> str | None:
    """Why the directory of a session with these files is not to be touched; None when it may be."""
    if KEEP_FILE in names:
        return "it is marked to be kept"
    foreign = [name for name in names if not _OURS.fullmatch(name)]
    if foreign:
        return f"there is something else in its directory: {min(foreign)}"
    return None if first_numbers(names) or OWNER_FILE in names else "there is no log in its directory"


def _reason_to_stay(session: OldSession) -> str | None:
    """Why a session stays whatever the policy says; None when it may go."""
    if session.log.ended is None:
        return "it did not end"
    if not session.ended:
        return f"records above {session.shown} are not known to be committed"
    return None
