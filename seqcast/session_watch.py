"""Notices that the lines carry another session now: the old one has ended, or was given up for it.

Anything may be sent to a multicast group. A session is believed to be new only when our own is gone and several
datagrams in a row were of the other one: strays, noise and a second bus on the same group do not look like that.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from attrs import define, field

from seqcast.events import NewSession

if TYPE_CHECKING:
    from collections.abc import Iterable

    from moldudp import Foreign

SESSION_SILENCE_NS = 2_500_000_000
"""Without a heartbeat for so long, a session has no primary: two were due. A takeover takes less."""

DATAGRAMS_MIN = 3
"""So many datagrams in a row must be of the new session: no stray repeats itself so."""

SAID_MAX = 64
"""Sessions that are remembered as said or left before: more than one process follows in its life."""


@define(eq=False)
class SessionWatch:
    """The machine. `own` is the session that is received, None before it is known.

    `former` are sessions that were left before: a primary of one that wakes up is not news.
    """

    own: str | None = None
    session_silence_ns: int = SESSION_SILENCE_NS
    former: Iterable[str] = ()
    _said: deque[str] = field(factory=lambda: deque(maxlen=SAID_MAX), init=False)
    _begun_ns: int | None = field(default=None, init=False)
    _own_ns: int | None = field(default=None, init=False)
    _before: Foreign | None = field(default=None, init=False)  # when our own session was heard last

    def __attrs_post_init__(self) -> None:
        self._said.extend(self.former)

    def look(
        self, foreign: Foreign | None, own_last_heard_ns: int | None, ended: bool, now_ns: int
    ) -> NewSession | None:
        """A new session, once, when it is sure; None otherwise.

        `foreign` is the other session that was heard last, `own_last_heard_ns` when ours was heard last on any
        line, None for never, and `ended` whether ours has ended.
        """
        if self._begun_ns is None:
            self._begun_ns = now_ns
        if own_last_heard_ns != self._own_ns:
            self._own_ns, self._before = own_last_heard_ns, foreign
        if foreign is None or not self._gone(ended, now_ns):
            return None
        datagrams = foreign.datagrams
        before = self._before
        if not ended and before is not None and before.session == foreign.session:
            # What came while ours was alive says nothing. The row may have begun again since.
            datagrams -= before.datagrams if before.datagrams <= datagrams else 0
        session = session_name(foreign.session)
        if datagrams < DATAGRAMS_MIN or session is None or session == self.own or session in self._said:
            return None
        self._said.append(session)
        return NewSession(session, self.own)

    def _gone(self, ended: bool, now_ns: int) -> bool:
        last_ns = self._begun_ns if self._own_ns is None else self._own_ns
        assert last_ns is not None
        return ended or now_ns - last_ns >= self.session_silence_ns


def session_name(session: bytes) -> str | None:
    """The name in a session field; None where it is blank, or holds what no name has."""
    if not all(0x20 <= byte <= 0x7E for byte in session):
        return None
    return session.decode("ascii").strip() or None
