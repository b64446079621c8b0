"""The connection of a follower to its primary: found among the sequencers, kept, and made again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field

from rewinder.dial import Dial, Identity, Patience
from rewinder.errors import NotPrimary, RefusedRecord, StorageFull
from souptcp import Accepted, Sequenced, Unsequenced

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from native.messages import Messages
    from rewinder.counters import Counters
    from rewinder.follower import Follower
    from rewinder.network import Network
    from rewinder.pump import Pump
    from rewinder.replication import Answer

RETRY_NS = 50_000_000
"""First pause after a failed connection; doubles up to the limit, with jitter."""

RETRY_LIMIT_NS = 1_000_000_000
"""Longest pause: a primary that comes back is followed again within about a second."""

REFUSED_NS = 200_000_000
"""How long a connection to a primary that may not be followed is kept, so that it learns why."""

HOLD_NS = 200_000_000
"""How long whoever was promised an epoch may take to say that it has opened it, before others are tried."""


@define(eq=False)
class Link:
    """Follows whichever of `primaries` (node ports, by name) lets us in.

    `report(sentence)` is told when the state changes. A log that cannot be reconciled, or not trusted, raises
    LogError out of the pump: the process must not go on.

    `suspicion` says why there is no primary, as far as this node can tell: it was set when a whole round over
    `primaries` has failed since one was followed. `storage_error` says why the log could not grow, as long as it
    cannot.
    """

    pump: Pump
    network: Network
    identity: Identity
    patience: Patience
    follower: Follower
    primaries: dict[str, tuple[str, int]]
    counters: Counters
    random: Random
    report: Callable[[str], None]
    wanted: Answer | None = None
    """Fetch this log, which a voter hands to us as the candidate of an epoch; None: follow a primary."""
    following: str | None = field(default=None, init=False)
    suspicion: str | None = field(default=None, init=False)
    storage_error: str | None = field(default=None, init=False)
    _dial: Dial = field(init=False)
    _order: list[str] = field(init=False)
    _failures: int = field(default=0, init=False)
    _due_ns: int | None = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._dial = Dial(
            self.pump, self.network, self.identity, self.patience, self._handle, self._lost, self._skim
        )
        self._order = list(self.primaries)
        if not self._order:
            self._due_ns = None

    @property
    def dialling(self) -> str | None:
        """With whom there is a connection, followed or not yet; None without one."""
        return self._order[0] if self._dial.open else None

    def status(self) -> dict[str, Any]:
        """Whom it follows, why it follows nobody, and how many records it lacks that are known to be committed."""
        return {
            "following": self.following,
            "suspicion": self.suspicion,
            "missing": 0 if self.following is None else self.follower.missing,
        }

    def deadline_ns(self) -> int | None:
        """When to connect, or to give up whom we may not follow."""
        return self._due_ns

    def handle_timer(self, now_ns: int) -> None:
        """Connect to the next one."""
        if self._due_ns is None or now_ns < self._due_ns:
            return
        self._due_ns = None
        if self._dial.open:
            self._lost(f"not followed: {self.follower.refused}", now_ns)
            return
        self._dial.connect(self.primaries[self._order[0]], self.follower.login_number, now_ns)

    def answer(self, now_ns: int) -> None:
        """Tell the primary what is held by now."""
        if self._dial.logged_in:
            for packet in self.follower.outgoing(now_ns):
                self._dial.send(packet, now_ns)
            if self.follower.refused is not None and self._due_ns is None:
                self._wake(now_ns + REFUSED_NS)

    def turn_to(self, name: str, now_ns: int, *, wait_ns: int = 0) -> None:
        """Leave whom we follow, and try `name` first, after `wait_ns`."""
        self._drop()
        self.suspicion = None
        self._failures = 0
        if name in self.primaries:
            self._order.remove(name)
            self._order.insert(0, name)
        if self._order:
            self._wake(now_ns + wait_ns)

    def close(self) -> None:
        """Let go of the primary, and look for none."""
        self._due_ns = None
        self._drop()

    def _handle(self, event: object, now_ns: int) -> None:
        match event:
            case Sequenced(first_number, messages):
                self._append(first_number, messages, now_ns)
            case Unsequenced(messages):
                for message in messages:
                    if not self._told(bytes(message), now_ns):
                        return
            case Accepted(_, sequence_number):
                owner = self._order[0] if self.wanted is None else self.identity.name
                self.follower.accepted(sequence_number, owner, self.wanted)

    def _skim(self, view: memoryview, start: int, end: int) -> tuple[int, int]:
        """What needs no event; see `Session.skim`. Nothing before something was followed the ordinary way."""
        if self.following is None or self.storage_error is not None:
            return start, 0
        return self.follower.skim(view, start, end)

    def _told(self, packet: bytes, now_ns: int) -> bool:
        """A packet beside the log; False when the connection was given up for it."""
        follower = self.follower
        try:
            stay = follower.unsequenced(packet)
        except NotPrimary as reason:
            self._failed(str(reason), now_ns)
            return False
        if not stay:
            self._again("the logs were reconciled; logging in at the shared record", now_ns)
            return False
        if follower.in_step and self.following is None:
            self.following = self._order[0]
            self.suspicion = None
            self._failures = 0
            self.report(f"following {self._where()} from {follower.login_number}")
        return True

    def _append(self, first_number: int, messages: Messages, now_ns: int) -> None:
        try:
            self.follower.sequenced(first_number, messages)
            self.storage_error = None
        except StorageFull as error:
            self.storage_error = str(error)
            self.counters.add("follower.storage_full")
            self._failed(str(error), now_ns, ours=True)
        except RefusedRecord as error:
            self.counters.add("follower.refused_record")
            self._failed(str(error), now_ns, ours=True)

    def _lost(self, reason: str, now_ns: int) -> None:
        """The connection is gone. One that broke is tried again at once: only a second failure is a suspicion."""
        if self.following is not None and not self._dial.silent:
            self._again(reason, now_ns)
        else:
            self._failed(reason, now_ns)

    def _again(self, reason: str, now_ns: int) -> None:
        self.report(f"not following {self._where()}: {reason}")
        self.counters.add("follower.disconnects")
        self._drop()
        self._wake(now_ns)

    def _failed(self, reason: str, now_ns: int, *, ours: bool = False) -> None:
        """Try the next one; after a round of failures, after a pause. `ours`: the fault lies with this node."""
        where = self._where()
        if self.following is not None or self._failures == 0:
            self.report(f"not following {where}: {reason}")
        self.counters.add("follower.disconnects")
        self._drop()
        self._order.append(self._order.pop(0))
        self._failures += 1
        rounds, within = divmod(self._failures, len(self._order))
        pause = 0
        if ours or within == 0:
            pause = min(RETRY_NS << min(max(rounds - 1, 0), 8), RETRY_LIMIT_NS)
        if within == 0 and not ours:
            self.suspicion = f"{where}: {reason}"
        self._wake(now_ns + int(pause * (1 + 0.5 * self.random.random())))

    def _wake(self, due_ns: int) -> None:
        self._due_ns = due_ns
        self.pump.timers.watch(self)

    def _where(self) -> str:
        name = self._order[0]
        host, port = self.primaries[name]
        return f"{name} at {host}:{port}"

    def _drop(self) -> None:
        self.following = None
        self._due_ns = None
        self._dial.close()
