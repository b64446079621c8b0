"""The list of the old sessions that a node can serve, made little by little.

What a session holds is known when its log was opened, which costs one segment. A node that has just started has
better things to do, so the logs are opened one after the other, in steps of a bounded size with pauses between
them, and closed again. What was found stays until the node ends: an old session does not change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field

from rewinder.errors import LogError
from rewinder.old_session import Opening, failed_row

if TYPE_CHECKING:
    from collections.abc import Callable

    from rewinder.storage import Storage

LISTED_LIMIT = 64
"""Sessions that are listed, the newest ones: more would make every `status` long, and nobody reads them."""

REFRESH_NS = 10_000_000_000
"""How often the directory is listed anew, at most."""

STEP_BYTES = 1 << 20
"""Bytes of a log that are checked in one step: some hundred microseconds."""

STEP_PAUSE_NS = 10_000_000
"""Between two steps, so that the stream goes first."""

NOT_LOOKED_AT = "it was not looked at yet"


@define(eq=False)
class Listing:
    """The list. `names` gives the sessions that are there, the newest first, `find` the storage of one of them.

    Both raise OSError, `find` LogError too. Once `refresh` was called, `deadline_ns` says when there is a step to
    be made.
    """

    names: Callable[[], list[str]]
    find: Callable[[str], Storage | None]
    _rows: dict[str, dict[str, Any]] = field(factory=dict, init=False)
    _names: list[str] = field(factory=list, init=False)
    _opening: Opening | None = field(default=None, init=False)
    _refreshed_ns: int | None = field(default=None, init=False)
    _due_ns: int | None = field(default=None, init=False)

    def refresh(self, now_ns: int) -> None:
        """See which sessions there are, unless that was done a short time ago."""
        if self._refreshed_ns is not None and now_ns < self._refreshed_ns + REFRESH_NS:
            return
        self._refreshed_ns = now_ns
        try:
            self._names = self.names()[:LISTED_LIMIT]
        except OSError:
            return  # what is known already stays
        for name in self._rows.keys() - set(self._names):
            del self._rows[name]
        if self._due_ns is None and self._next() is not None:
            self._due_ns = now_ns

    def forget(self, name: str) -> None:
        """A session has become shorter: it is looked at again when the directory is listed anew."""
        self._rows.pop(name, None)

    def rows(self) -> list[dict[str, Any]]:
        """The sessions, the newest first; see `OldSession.row`."""
        return [self._rows.get(name) or failed_row(name, NOT_LOOKED_AT) for name in self._names]

    def deadline_ns(self) -> int | None:
        """When the next step is due; None when all was looked at."""
        return self._due_ns

    def handle_timer(self, now_ns: int) -> None:
        """One step."""
        opening = self._opening
        name = self._next() if opening is None else opening.name
        if name is None:
            self._due_ns = None
            return
        self._due_ns = now_ns + STEP_PAUSE_NS
        try:
            if opening is None:
                self._begin(name)
            else:
                self._go_on(opening)
        except (LogError, OSError) as error:
            self._opening = None
            self._rows[name] = failed_row(name, str(error))

    def close(self) -> None:
        """Let go of the log that is being looked at."""
        if self._opening is not None:
            self._opening.storage.close()
            self._opening = None
        self._due_ns = None

    def _next(self) -> str | None:
        """A session that nobody has looked at."""
        return next((name for name in self._names if name not in self._rows), None)

    def _begin(self, name: str) -> None:
        storage = self.find(name)
        if storage is None:
            self._rows[name] = failed_row(name, "it has gone")
            return
        self._opening = Opening(name, storage)

    def _go_on(self, opening: Opening) -> None:
        found = opening.step(STEP_BYTES)
        if found is not None:
            self._opening = None
            self._rows[opening.name] = found.row()
            found.close()
