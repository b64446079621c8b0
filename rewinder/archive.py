"""The old sessions that a replay port serves: found by name, opened when somebody asks, and shared.

A log stays open for a while after its last reader has left, and so does the answer that one cannot be served:
opening costs some milliseconds, and nobody can make a node do it again and again. Names come from peers: what
cannot be the name of a session is not looked up at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from rewinder.errors import LogError, NotServed
from rewinder.old_session import OldSession, open_old_session
from rewinder.policy import is_session_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from rewinder.counters import Counters
    from rewinder.storage import Storage

OPEN_LIMIT = 8
"""Old sessions that are held at once: each may keep 64 segments open, and descriptors are 1024 on many systems."""

IDLE_NS = 60_000_000_000
"""How long a session is held after its last reader left: receivers that reconnect find it open."""

YIELD_NS = 1_000_000_000
"""One that nobody has read for so long makes room for another. So a node opens at most `OPEN_LIMIT` of them in
this time, whatever it is asked for."""

REPORT_PAUSE_NS = 1_000_000_000
"""Between two lines about logins that were refused: those that came meanwhile are counted in the next one."""


@define(eq=False)
class _Held:
    """A session that is open, or why it cannot be. `left_ns` is when it was last used."""

    outcome: OldSession | str
    left_ns: int
    readers: int = 0

    def close(self) -> None:
        if isinstance(self.outcome, OldSession):
            self.outcome.close()


@define(eq=False)
class Archive:
    """The old sessions of one node.

    `find` gives the storage of a session's log, which only reads, or None when there is none; it raises LogError
    and OSError. `report` gets a sentence for people. `counters` gets `archive.unknown`, `archive.untrusted`,
    `archive.busy` (logins refused for a name that is not there, a log that cannot be trusted, too many at once)
    and `archive.opened`.
    """

    find: Callable[[str], Storage | None]
    counters: Counters
    report: Callable[[str], None]
    _held: dict[str, _Held] = field(factory=dict, init=False)
    _quiet_until_ns: int = field(default=0, init=False)
    _unreported: int = field(default=0, init=False)

    def take(self, requested: bytes, now_ns: int) -> OldSession:
        """The session that a reader asks for; `leave` gives it back. Raises NotServed."""
        try:
            held = self._find(requested, now_ns)
            held.left_ns = now_ns
            if isinstance(held.outcome, str):
                self.counters.add("archive.untrusted")
                raise NotServed(held.outcome)
        except NotServed as error:
            self._refused(str(error), now_ns)
            raise
        held.readers += 1
        return held.outcome

    def leave(self, session: OldSession, now_ns: int) -> None:
        """A reader is gone."""
        held = self._held[session.name]
        held.readers -= 1
        held.left_ns = now_ns

    @property
    def open(self) -> list[str]:
        """The sessions that are open, by name."""
        return [name for name, held in self._held.items() if isinstance(held.outcome, OldSession)]

    def deadline_ns(self) -> int | None:
        """When the next one has been idle for long enough; None while there is none."""
        return min((held.left_ns + IDLE_NS for held in self._held.values() if not held.readers), default=None)

    def handle_timer(self, now_ns: int) -> None:
        """Close what has been idle for long enough."""
        for name, held in list(self._held.items()):
            if not held.readers and now_ns >= held.left_ns + IDLE_NS:
                self._drop(name)

    def close(self) -> None:
        """Let go of everything, whoever reads."""
        for name in list(self._held):
            self._drop(name)

    def _find(self, requested: bytes, now_ns: int) -> _Held:
        name = requested.decode("latin-1").strip(" \0")
        held = self._held.get(name)
        if held is not None:
            return held
        storage = None
        try:
            if is_session_name(name):
                storage = self.find(name)
        except (LogError, OSError) as error:
            self.counters.add("archive.untrusted")
            raise NotServed(f"session {name} cannot be opened: {error}") from None
        if storage is None:
            self.counters.add("archive.unknown")
            raise NotServed(f"there is no session {requested!r} here")
        try:
            self._make_room(now_ns)
        except NotServed:
            storage.close()
            raise
        return self._open(name, storage, now_ns)

    def _open(self, name: str, storage: Storage, now_ns: int) -> _Held:
        outcome: OldSession | str
        try:
            outcome = open_old_session(name, storage)
        except (LogError, OSError) as error:
            outcome = f"session {name} cannot be trusted: {error}"
        else:
            self.counters.add("archive.opened")
        held = self._held[name] = _Held(outcome, now_ns)
        return held

    def _make_room(self, now_ns: int) -> None:
        """Let the one go that has been idle for longest, when there are as many as may be. Raises NotServed."""
        if len(self._held) < OPEN_LIMIT:
            return
        idle = {name: held.left_ns for name, held in self._held.items() if not held.readers}
        oldest = min(idle, key=lambda name: idle[name], default=None)
        if oldest is None or now_ns < idle[oldest] + YIELD_NS:
            self.counters.add("archive.busy")
            raise NotServed(f"{OPEN_LIMIT} old sessions are open already")
        self._drop(oldest)

    def _drop(self, name: str) -> None:
        self._held.pop(name).close()

    def _refused(self, reason: str, now_ns: int) -> None:
        if now_ns < self._quiet_until_ns:
            self._unreported += 1
            return
        more = f"; {self._unreported} more were refused since the last line" if self._unreported else ""
        self.report(reason + more)
        self._unreported = 0
        self._quiet_until_ns = now_ns + REPORT_PAUSE_NS
