"""A candidate: a standby that tries to become primary. It runs the takeover machine over the network."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from attrs import define, field

from rewinder.link import Link
from rewinder.replication import Opened
from sequencer.peers import Peers
from sequencer.takeover import Phase, Takeover

if TYPE_CHECKING:
    from collections.abc import Callable

    from rewinder.counters import Counters
    from rewinder.dial import Identity, Patience
    from rewinder.follower import Follower
    from rewinder.network import Network
    from rewinder.pump import Pump
    from rewinder.replication import Answer

ATTEMPT_NS = 2_000_000_000
"""How long sealing and fetching may go without progress before the attempt is given up."""


@define(eq=False)
class Candidate:
    """Attempts of one node, one after the other; `takeover` is the present one.

    `peers` are connected while an attempt runs. `follower` fetches what the log lacks. `heard_of(name, answer)` is
    told what voters answer while there is no attempt.
    """

    pump: Pump
    network: Network
    identity: Identity
    patience: Patience
    follower: Follower
    write_quorum: int
    addresses: dict[str, tuple[str, int]]
    counters: Counters
    heard_of: Callable[[str, Answer], None]
    takeover: Takeover | None = field(default=None, init=False)
    attempts: int = field(default=0, init=False)
    failures: int = field(default=0, init=False)
    peers: Peers = field(init=False)
    _fetch: Link | None = field(default=None, init=False)
    _phase: Phase = field(default=Phase.ASKING, init=False)
    _last: int = field(default=0, init=False)
    _due_ns: int | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.peers = Peers(
            self.pump,
            self.network,
            self.identity,
            self.patience,
            self.addresses,
            self.counters,
            self._answered,
        )

    @property
    def asking(self) -> bool:
        """Whether an attempt runs that has not promised anything yet."""
        return self.takeover is not None and self.takeover.phase is Phase.ASKING

    @property
    def insisting(self) -> bool:
        """Whether the attempt does not care who hears a primary."""
        return self.takeover is not None and self.takeover.insist

    def begin(self, now_ns: int, *, insist: bool) -> None:
        """Start an attempt."""
        self.attempts += 1
        self._phase = Phase.ASKING
        self._due_ns = now_ns + ATTEMPT_NS if insist else None
        self.pump.timers.watch(self)
        self.takeover = Takeover(self.follower.voter, self.write_quorum, insist)
        self.takeover.begin()
        if self.addresses:
            self.peers.ask(self.takeover.request, now_ns)

    def turn(self, now_ns: int) -> Phase:
        """Bring the attempt forward; WON and LOST are for the owner to act on."""
        takeover = self.takeover
        assert takeover is not None
        log = self.follower.voter.log
        if takeover.phase is Phase.FETCHING and not takeover.fetched():
            if self._fetch is None:
                self._begin_fetch(takeover.best, now_ns)
            else:
                self._fetch.answer(now_ns)
        if takeover.phase is not self._phase or log.last != self._last:
            moved = takeover.phase is not self._phase
            self._phase, self._last = takeover.phase, log.last
            if moved or takeover.phase is not Phase.ASKING:
                self._due_ns = now_ns + ATTEMPT_NS
                self.pump.timers.watch(self)
            if moved and takeover.phase is Phase.SEALING:  # at once, by our own vote alone
                self.peers.ask(takeover.request, now_ns)
        if self._due_ns is not None and now_ns >= self._due_ns:
            takeover.lose(f"no progress while {takeover.phase.value}: {takeover.missing()}")
        return takeover.phase

    def announce(self, epoch: int, now_ns: int) -> None:
        """The epoch is open: those who promised it may follow."""
        self.peers.ask(lambda _name: Opened(epoch).encode(), now_ns)

    def end(self, *, failed: bool) -> None:
        """The attempt is over; with `failed` hang up as well."""
        self.takeover = None
        self._due_ns = None
        if self._fetch is not None:
            self._fetch.close()
            self._fetch = None
        self.failures = self.failures + 1 if failed else 0
        if failed:
            self.peers.close()

    def close(self) -> None:
        """Let go of every connection."""
        self.end(failed=True)

    def deadline_ns(self) -> int | None:
        """When the attempt is given up."""
        return self._due_ns

    def handle_timer(self, _now_ns: int) -> None:
        """The turn itself does what is due."""

    def _answered(self, name: str, answer: Answer, now_ns: int) -> None:
        takeover = self.takeover
        if takeover is None:
            self.heard_of(name, answer)
            return
        before = takeover.phase
        takeover.answered(name, answer)
        if takeover.phase is not before:
            self.peers.ask(takeover.request, now_ns)

    def _begin_fetch(self, name: str, now_ns: int) -> None:
        self._fetch = Link(
            self.pump,
            self.network,
            self.identity,
            self.patience,
            self.follower,
            {name: self.addresses[name]},
            self.counters,
            Random(0),  # noqa: S311  (one address, so there is nobody to stay clear of)
            lambda _sentence: None,
            wanted=self.takeover.wanted if self.takeover is not None else None,
        )
        self._fetch.turn_to(name, now_ns)
