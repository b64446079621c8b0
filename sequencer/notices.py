"""What a primary says when something around it changes: looked at once a second, and one line for each change."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Callable

    from rewinder.counters import Counters
    from sequencer.primary import Primary


@define(eq=False)
class Notices:
    """Compares what it sees with the last look. `report` and `warn` write a line: the event, and values."""

    counters: Counters
    report: Callable[..., None]
    warn: Callable[..., None]
    _followers: frozenset[str] = field(default=frozenset(), init=False)
    _quorate: bool = field(default=True, init=False)
    _storage_error: str | None = field(default=None, init=False)
    _holding: bool = field(default=False, init=False)
    _refused: dict[str, int] = field(factory=dict, init=False)  # by counter
    _refusing: frozenset[str] = field(default=frozenset(), init=False)  # lines, in the last second

    def look(self, primary: Primary) -> None:
        """Say what has changed since the last look."""
        self._look_at_followers(primary)
        self._look_at_lines()
        error = primary.storage_error
        if error is None and self._storage_error is not None:
            self.report("there is room for the log again")
        self._storage_error = error
        if primary.submit.holding is not self._holding:
            self._holding = primary.submit.holding
            waiting = primary.log.last - primary.log.commit
            if self._holding:
                self.warn("senders are held back", uncommitted=waiting)
            else:
                self.report("senders are let go on", uncommitted=waiting)

    def _look_at_followers(self, primary: Primary) -> None:
        names = frozenset(client.user for client in primary.port.followers())
        for name in sorted(names - self._followers):
            self.report("a follower has come", follower=name)
        for name in sorted(self._followers - names):
            self.warn("a follower has gone", follower=name)
        self._followers = names
        quorate = primary.followers.quorate
        if quorate is not self._quorate:
            self._quorate = quorate
            contact = ", ".join(sorted(primary.followers.in_contact)) or "nobody"
            if quorate:
                self.report("the quorum is there again", voters=contact)
            else:
                self.warn("no quorum: nothing new is committed", voters=contact)

    def _look_at_lines(self) -> None:
        """The network may refuse packets: receivers ask the rewinders for what was in them."""
        refusing = set()
        for name, count in self.counters.items():
            head, _, reason = name.rpartition(".refused.")
            if not head.startswith("publish."):
                continue
            more = count - self._refused.get(name, 0)
            self._refused[name] = count
            if more:
                line = head.removeprefix("publish.")
                refusing.add(line)
                if line not in self._refusing:
                    self.warn(
                        "the network refuses packets", line=line, reason=errno.errorcode.get(int(reason))
                    )
        for line in sorted(self._refusing - refusing):
            self.report("the network takes packets again", line=line)
        self._refusing = frozenset(refusing)
