"""Succession: which session follows the one that is read, and from when on the app is told.

A session that has ended needs no haste. One that was left without its end (a forced promotion) is read first as far
as any rewinder keeps it: what the app was given of it stays true, and what it was not given it can have by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from seqcast.events import NewSession

FAREWELL_NS = 5_000_000_000
"""How long a session that was left is looked for at rewinders before its successor is announced."""


@define(eq=False)
class Succession:
    """The machine. `session` is the name of the one that is read."""

    session: str
    former: tuple[str, ...] = ()
    """Those that were left before it: a primary of one that wakes up is not news."""
    successor: str | None = field(default=None, init=False)
    _farewell_ns: int = field(default=0, init=False)

    def noticed(self, event: NewSession, now_ns: int) -> None:
        """The lines carry another session."""
        self.successor = event.session
        self._farewell_ns = now_ns + FAREWELL_NS

    def due(self, everything: bool, now_ns: int) -> bool:
        """Whether the successor is to be announced; `everything`: all that can be had of this session was."""
        return self.successor is not None and (everything or now_ns >= self._farewell_ns)

    def next(self) -> Succession:
        """What holds once the successor is read."""
        assert self.successor is not None
        return Succession(self.successor, (*self.former, self.session))
