"""A node as a voter: what it has promised, and whether its word counts (DESIGN: epochs, voters, quorums).

The argument that rests on this file is in docs/FAILURES.md. In short: a voter follows the primary of the highest
epoch that it has promised, and nobody below; it says what it holds only to that one; and who cannot remember what
it promised or held is another voter, which counts again when the stream itself says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, evolve, field

from rewinder.errors import StorageFull
from rewinder.marks import last_boot
from rewinder.promise import Promise, load_promise
from rewinder.replication import Answer, VoterState
from rewinder.segment import first_numbers

if TYPE_CHECKING:
    from collections.abc import Callable

    from rewinder.log import MessageLog
    from rewinder.storage import Storage


EPOCH_JUMP = 1 << 32
"""Epochs that one promise may skip: each takeover takes one, and a number out of the blue must not be the last."""


MISSING = "its log is missing"
RESTARTED = "the machine was restarted, and durability is memory: what it held may be gone"
NO_MARKS = "the marks of its log are missing or damaged"


def give_up_vote(storage: Storage, session: bytes, durability: str, draw: Callable[[], int]) -> str | None:
    """Take the vote away, durably, from a node whose storage has lost what it held; returns why, or None.

    To be called before the log is opened: opening puts things in order, and with them goes what tells that
    something was lost. Not for a node that votes alone. Raises StorageFull, OSError.
    """
    promise = load_promise(storage, session)
    if promise is None or not (promise.votes or promise.epoch):
        return None
    boot = last_boot(storage, session)
    if not first_numbers(storage.names()):
        reason = MISSING
    elif boot is None:
        reason = NO_MARKS
    elif durability == "memory" and boot and storage.boot_id and boot != storage.boot_id:
        reason = RESTARTED
    else:
        return None
    Promise(draw(), promise.epoch, promise.owner).save(storage, session)
    return reason


@define(eq=False)
class Voter:
    """The voter's half of a node called `name`, with its log.

    `voters` are the names of all voters. `draw()` gives a new incarnation, 64 random bits. Every change is
    durable before a method returns that it was made; a full disk makes none. Opening raises StorageFull then, and
    everything OSError when the disk fails.
    """

    name: str
    voters: frozenset[str]
    log: MessageLog
    draw: Callable[[], int]
    promise: Promise = field(init=False)
    unfit: str | None = None
    """Why this node lost its vote when it was opened, by `give_up_vote` or now; None when it did not."""

    def __attrs_post_init__(self) -> None:
        found = load_promise(self.log.storage, self.log.session)
        if self.voters == {self.name}:
            # Alone, the log is all there is, and nobody else can have been promised anything.
            self.promise = found or Promise(self.draw(), votes=True)
            if found is None or not found.votes:
                self._save(evolve(self.promise, votes=True))
            return
        reason = None
        if found is not None and (found.votes or (found.epoch and self.name in self.voters)):
            # Also who is being admitted: of two voters, its word counts before it votes.
            reason = self._forgotten()
        elif found is None and self.log.last > 0:
            reason = "the file of its promises is missing or damaged"
        self.unfit = reason or self.unfit
        if found is None or reason is not None:
            epoch, owner = (found.epoch, found.owner) if found is not None else (0, "")
            found = Promise(self.draw(), epoch, owner)
            self._save(found)
        self.promise = found

    @property
    def votes(self) -> bool:
        """Whether its word counts."""
        return self.promise.votes and self.name in self.voters

    @property
    def missing(self) -> str | None:
        """Why the word of this voter does not count yet; None when it does, and for who is no voter."""
        if self.promise.votes or self.name not in self.voters:
            return None
        if self.unfit is None and self.log.last == 0 and self.promise.epoch == 0:
            return "the first epoch is not open yet"
        return f"{self.unfit or 'it has lost its vote'}; it has to catch up and be admitted again"

    @property
    def epoch(self) -> int:
        """The epoch promised; 0 for who has no vote to promise."""
        return self.promise.epoch if self.name in self.voters else 0

    def seal(self, epoch: int, owner: str, incarnation: int = 0) -> bool:
        """Promise `epoch` to `owner`, unless a higher one, or the same to somebody else, is promised.

        With our own `incarnation` and an empty log the vote begins here: the candidate has the promise of every
        voter already, each with an empty log.
        """
        promise = self.promise
        if not promise.allows(epoch, owner) or owner not in self.voters or epoch > promise.epoch + EPOCH_JUMP:
            return False
        # Nothing was committed below this epoch, or not every voter could have promised it with an empty log.
        begins = incarnation == promise.incarnation and self.log.last == 0
        following = evolve(promise, epoch=epoch, owner=owner, votes=promise.votes or begins)
        return following == promise or self._keep(following)

    def follow(self, epoch: int, owner: str) -> bool:
        """The primary of `epoch` wants to be followed: the same as a promise to it. Who has no vote promises nothing.

        An epoch that is promised to ourselves, and that our own log has no start of, is one that we have tried to
        open and given up for ever: each attempt takes a new one. Its promise may go to the one who has opened it.
        """
        if self.name not in self.voters:
            return True
        promise = self.promise
        given_up = self.log.epochs[-1][0] < epoch if self.log.epochs else True
        others = self.voters - {self.name}
        if (epoch, self.name) == (promise.epoch, promise.owner) and given_up and owner in others:
            return self._keep(evolve(promise, owner=owner))
        return self.seal(epoch, owner)

    def adopt(self, epoch: int) -> bool:
        """The end of the session is in place under the primary of `epoch`; see `Promise`."""
        return epoch <= self.promise.adopted or self._keep(evolve(self.promise, adopted=epoch))

    def look_for_admission(self) -> bool:
        """Whether a committed record of the stream has just given the vote back."""
        promise = self.promise
        if promise.votes or self.name not in self.voters:
            return False
        incarnation, number = self.log.admissions.get(self.name, (0, 0))
        if incarnation != promise.incarnation or not 0 < number <= self.log.commit:
            return False
        if not self._keep(evolve(promise, votes=True)):
            return False
        self.unfit = None
        return True

    def state(self) -> VoterState:
        """What a primary is told first."""
        return VoterState(self.votes, self.promise.incarnation)

    def answer(self, *, hears: bool = False) -> Answer:
        """What a candidate is told. `hears` says that this node hears a primary."""
        promise, log = self.promise, self.log
        return Answer(
            promise.epoch,
            promise.owner,
            self.votes,
            promise.incarnation,
            promise.adopted,
            log.last,
            log.commit,
            tuple(log.epochs),
            hears,
        )

    def _forgotten(self) -> str | None:
        """Why this node cannot stand by what it held; None when it can."""
        log = self.log
        if log.lost_commit:
            return f"records up to {log.lost_commit} were committed and are not in its log any more"
        recovery = log.recovery
        if recovery is not None and recovery.damaged and log.durability == "memory":
            return f"record {recovery.number}, the last one, was damaged"
        return None

    def _keep(self, promise: Promise) -> bool:
        """Make a promise durable; False when the disk is full: then it was not given."""
        try:
            self._save(promise)
        except StorageFull:
            return False
        return True

    def _save(self, promise: Promise) -> None:
        promise.save(self.log.storage, self.log.session)
        self.promise = promise
