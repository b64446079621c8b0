"""Takeover: how a voter becomes primary (DESIGN: epochs, voters, quorums; the argument is in docs/FAILURES.md).

1. ASKING. What have the voters promised, what do they hold, do they hear a primary? A seal quorum of voters that
   hear none is needed to go on, so that one broken connection does not end the epoch of a primary that is well.
   At the start of the session nobody votes: then every voter has to be there, with an empty log.
2. SEALING. The next epoch is promised by a seal quorum: from then on nothing more can be committed below it. At
   the start of the session every voter has to promise, and to be the one that was asked before: then whoever it
   was earlier has had no part in any commit. When all have, each of them begins to vote (BEGINNING).
3. FETCHING. Of the logs of those who promised, the one with the highest (last epoch, last number) holds all that
   was ever committed. What we lack of it is fetched, and what we have beside it is cut.
4. WON. The log is ours to continue.

The machine knows no network: `request` says what a voter is to be asked, `answered` takes the answers.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from attrs import define, field

from rewinder.replication import PromiseRequest, Query

if TYPE_CHECKING:
    from rewinder.replication import Answer
    from rewinder.voter import Voter


class Phase(Enum):
    """How far an attempt is."""

    ASKING = "asking"
    SEALING = "sealing"
    BEGINNING = "beginning"
    FETCHING = "fetching"
    WON = "won"
    LOST = "lost"


@define(eq=False)
class Takeover:
    """One attempt. `write_quorum` is W; with `insist` it does not matter who still hears a primary.

    `reason` says why it was lost. `best` is the voter whose log is adopted, and `wanted` what it answered.
    """

    voter: Voter
    write_quorum: int
    insist: bool = False
    phase: Phase = field(default=Phase.ASKING, init=False)
    epoch: int = field(default=0, init=False)
    reason: str = field(default="", init=False)
    best: str = field(default="", init=False)
    wanted: Answer | None = field(default=None, init=False)
    _first: bool = field(default=False, init=False)  # the first epoch of the session
    _asked: dict[str, int] = field(factory=dict, init=False)  # their incarnations when they were asked
    _answers: dict[str, Answer] = field(factory=dict, init=False)

    @property
    def seal_quorum(self) -> int:
        """R: how many voters must promise, so that each write quorum has one of them."""
        return len(self.voter.voters) - self.write_quorum + 1

    @property
    def others(self) -> list[str]:
        """The voters that are asked."""
        return sorted(self.voter.voters - {self.voter.name})

    @property
    def lowest_commit(self) -> int:
        """The lowest commit number that was told: what was published above it may not have reached everybody."""
        return min(answer.commit for answer in self._answers.values())

    def begin(self) -> None:
        """Ask ourselves first: who votes alone has won already."""
        self._answers[self.voter.name] = self.voter.answer()
        self._look()

    def request(self, name: str) -> bytes:
        """What the voter `name` is to be asked now."""
        if self.phase is Phase.ASKING:
            return Query().encode()
        incarnation = self._asked[name] if self.phase is Phase.BEGINNING else 0
        return PromiseRequest(self.epoch, self.voter.name, incarnation).encode()

    def answered(self, name: str, answer: Answer) -> None:
        """What the voter `name` says. It may have been asked in an earlier phase."""
        if self.phase is Phase.ASKING:
            self._answers[name] = answer
        elif answer.epoch > self.epoch or (answer.epoch == self.epoch and answer.owner != self.voter.name):
            self.lose(f"{name} has promised epoch {answer.epoch} to {answer.owner}")
        elif answer.epoch == self.epoch and self.phase in (Phase.SEALING, Phase.BEGINNING):
            if self._first and answer.incarnation != self._asked[name]:
                # Whoever it was before may have voted for a higher epoch since the others promised ours.
                self.lose(f"{name} has lost its disk since it was asked")
            self._answers[name] = answer
        self._look()

    def fetched(self) -> bool:
        """Whether the log holds what was to be fetched; then the attempt is won, or lost after all."""
        assert self.wanted is not None
        if self.phase is not Phase.FETCHING or self.voter.answer().rank < self.wanted.rank:
            return False
        self._conclude()
        return True

    def lose(self, reason: str) -> None:
        """Give the attempt up."""
        if self.phase is not Phase.WON:
            self.phase = Phase.LOST
            self.reason = reason

    def missing(self) -> str:
        """What the attempt waits for, for people."""
        needed = f"{self.phase.value}: {self.seal_quorum} of {len(self.voter.voters)} voters are needed"
        return "; ".join([needed, *self.obstacles()])

    def obstacles(self) -> list[str]:
        """Which voters stand in the way, and how, for people."""
        mute = [name for name, answer in self._answers.items() if not answer.votes]
        hearing = [name for name, answer in self._answers.items() if answer.hears]
        return [
            f"{', '.join(names)} {what}"
            for names, what in (
                (self.absent, "did not answer"),
                (mute, "may not vote yet"),
                (hearing, "still hears a primary" if len(hearing) == 1 else "still hear a primary"),
            )
            if names
        ]

    @property
    def absent(self) -> list[str]:
        """The voters that have not answered in this phase."""
        return [name for name in self.others if name not in self._answers]

    @property
    def nothing_yet(self) -> bool:
        """Whether no log that was heard of holds anything: the session has not begun."""
        return self.voter.log.last == 0 and all(answer.last == 0 for answer in self._answers.values())

    def _look(self) -> None:
        """Go on to the next phase when there are enough answers."""
        if self.phase is Phase.ASKING:
            self._consider()
        if self.phase is Phase.SEALING and self._first:
            self._begin_voting()
        if self.phase in (Phase.SEALING, Phase.BEGINNING):
            self._count()

    def _consider(self) -> None:
        answers = self._answers
        answers[self.voter.name] = self.voter.answer()
        self._first = len(answers) == len(self.voter.voters) and all(
            answer.last == 0 for answer in answers.values()
        )
        willing = [
            answer for answer in answers.values() if answer.votes and (self.insist or not answer.hears)
        ]
        if not self._first and not (self.voter.votes and len(willing) >= self.seal_quorum):
            return
        self.epoch = self._next_epoch()
        if not self.voter.seal(self.epoch, self.voter.name):
            self.lose(f"epoch {self.voter.epoch} is promised to {self.voter.promise.owner} here")
            return
        self.phase = Phase.SEALING
        self._asked = {name: answer.incarnation for name, answer in answers.items()}
        self._answers = {self.voter.name: self.voter.answer()}

    def _next_epoch(self) -> int:
        """One above the highest that was heard of.

        Where two seal quorums need not meet (of two voters, each is one), two candidates could take the same
        epoch, and their logs would be taken for one. There, each voter takes only every N-th epoch.
        """
        epoch = 1 + max(max(answer.epoch, answer.rank[0]) for answer in self._answers.values())
        voters = sorted(self.voter.voters)
        if not self._first and 2 * self.seal_quorum <= len(voters):
            epoch += (voters.index(self.voter.name) - epoch) % len(voters)
        return epoch

    def _begin_voting(self) -> None:
        """Once every voter has promised, and none holds anything, nothing can ever have been committed."""
        answers = self._answers
        if any(answer.last for answer in answers.values()):
            self.lose("the session has begun already")
        elif len(answers) == len(self.voter.voters):
            self.phase = Phase.BEGINNING
            self.voter.seal(self.epoch, self.voter.name, self.voter.promise.incarnation)
            answers[self.voter.name] = self.voter.answer()

    def _count(self) -> None:
        promised = {name: answer for name, answer in self._answers.items() if answer.votes}
        if len(promised) < (len(self.voter.voters) if self._first else self.seal_quorum):
            return
        own = self._answers[self.voter.name]
        self.best = max(promised, key=lambda name: promised[name].rank)
        self.wanted = promised[self.best]
        if self.wanted.rank > own.rank:
            self.phase = Phase.FETCHING
        else:
            self.best = self.voter.name
            self._conclude()

    def _conclude(self) -> None:
        """The log is complete. A promise counts only of the incarnation that this log knows to vote."""
        promise = self.voter.promise
        if (promise.epoch, promise.owner) != (self.epoch, self.voter.name):
            # It went to a primary that was met meanwhile, and we would open that one's epoch.
            self.lose(f"epoch {promise.epoch} is promised to {promise.owner} here")
            return
        admissions = self.voter.log.admissions
        counted = [
            name
            for name, answer in self._answers.items()
            if answer.votes and admissions.get(name, (answer.incarnation, 0))[0] == answer.incarnation
        ]
        if len(counted) >= self.seal_quorum:
            self.phase = Phase.WON
        else:
            self.lose("a voter that promised has lost its disk since")
