"""A node as a voter: what it has promised, and whether its word counts (DESIGN: epochs, voters, quorums).

The argument that rests on this file is in docs/FAILURES.md. In short: a voter follows the primary of the highest
epoch that it has promised, and nobody below; it says what it holds only to that one; and who cannot remember what
it promised or held is another voter, which counts again when the stream itself says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, evolve, field

from rewinder.promise import Promise, load_promise
from rewinder.replication import Answer, VoterState

if TYPE_CHECKING:
    from collections.abc import Callable

    from rewinder.log import MessageLog


@define(eq=False)
class Voter:
    """The voter's half of a node called `name`, with its log.

    `voters` are the names of all voters. `draw()` gives a new incarnation, 64 random bits. Every change is
    durable before a method returns. Raises StorageFull, OSError.
    """

    name: str
    voters: frozenset[str]
    log: MessageLog
    draw: Callable[[], int]
    promise: Promise = field(init=False)
    unfit: str | None = field(default=None, init=False)
    """Why this node lost its vote when it was opened; None when it did not."""

    def __attrs_post_init__(self) -> None:
        found = load_promise(self.log.storage, self.log.session)
        if self.voters == {self.name}:
            # Alone, the log is all there is, and nobody else can have been promised anything.
            self.promise = found or Promise(self.draw(), votes=True)
            if found is None or not found.votes:
                self._save(evolve(self.promise, votes=True))
            return
        if found is not None and found.votes:
            self.unfit = self._forgotten()
        elif found is None and self.log.last > 0:
            self.unfit = "the file of its promises is missing or damaged"
        if found is None or self.unfit is not None:
            epoch, owner = (found.epoch, found.owner) if found is not None else (0, "")
            found = Promise(self.draw(), epoch, owner)
            self._save(found)
        self.promise = found

    @property
    def votes(self) -> bool:
        """Whether its word counts."""
        return self.promise.votes and self.name in self.voters

    @property
    def epoch(self) -> int:
        """The epoch promised."""
        return self.promise.epoch

    def seal(self, epoch: int, owner: str, incarnation: int = 0) -> bool:
        """Promise `epoch` to `owner`, unless a higher one, or the same to somebody else, is promised.

        With our own `incarnation` and an empty log the vote begins here: the candidate has seen that every
        voter is new.
        """
        promise = self.promise
        if not promise.allows(epoch, owner):
            return False
        begins = incarnation == promise.incarnation and self.log.last == 0
        following = evolve(promise, epoch=epoch, owner=owner, votes=promise.votes or begins)
        if following != promise:
            self._save(following)
        return True

    def follow(self, epoch: int, owner: str) -> bool:
        """The primary of `epoch` wants to be followed: the same as a promise to it."""
        return self.seal(epoch, owner)

    def adopt(self, epoch: int) -> None:
        """The end of the session is in place under the primary of `epoch`; see `Promise`."""
        if epoch > self.promise.adopted:
            self._save(evolve(self.promise, adopted=epoch))

    def look_for_admission(self) -> bool:
        """Whether a committed record of the stream has just given the vote back."""
        promise = self.promise
        if promise.votes or self.name not in self.voters:
            return False
        incarnation, number = self.log.admissions.get(self.name, (0, 0))
        if incarnation != promise.incarnation or not 0 < number <= self.log.commit:
            return False
        self.unfit = None
        self._save(evolve(promise, votes=True))
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
        if log.created:
            return "its log is missing"
        if log.lost_machine and log.durability == "memory":
            return "the machine was restarted, and durability is memory: what it held may be gone"
        if log.recovery is not None and log.recovery.marks_rebuilt:
            return "the marks of its log are missing or damaged"
        return None

    def _save(self, promise: Promise) -> None:
        promise.save(self.log.storage, self.log.session)
        self.promise = promise
