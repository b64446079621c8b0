"""Why nothing moves at a sequencer, in one sentence.

`why_primary` speaks for a primary, `why_candidate` for one that tries to become primary. They look at the
machines and change nothing. `Progress` is what a primary remembers for it: how long a commit has been waited for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from rewinder.why import Reason, Weight
from sequencer.takeover import Phase

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sequencer.handover import Handover
    from sequencer.primary import Primary
    from sequencer.takeover import Takeover

STUCK_NS = 1_000_000_000
"""A commit number that has waited this long without a step does not move. Copies take milliseconds."""

BEHIND_NS = 1_000_000_000
"""A follower that lacks what is older than this is behind; how many records that is depends on the load."""

ORDINALS = {2: "second", 3: "third", 4: "fourth", 5: "fifth"}


@define(eq=False)
class Progress:
    """How the log of a primary moved of late; `look` at the end of each turn."""

    waiting_since_ns: int | None = field(default=None, init=False)
    """When the commit number moved last, or stood still first, while records wait for it; None when none do."""
    settled: int = field(default=0, init=False)
    """The last record that is older than `BEHIND_NS`."""
    _commit: int = field(default=-1, init=False)
    _last: int = field(default=0, init=False)
    _last_ns: int | None = field(default=None, init=False)

    def look(self, last: int, commit: int, now_ns: int) -> None:
        """Note where the log stands."""
        if last <= commit:
            self.waiting_since_ns = None
        elif commit != self._commit or self.waiting_since_ns is None:
            self.waiting_since_ns = now_ns
        self._commit = commit
        if self._last_ns is None or now_ns - self._last_ns >= BEHIND_NS:
            self.settled, self._last, self._last_ns = self._last, last, now_ns

    def stuck(self, now_ns: int) -> bool:
        """Whether records have waited for their commit so long that it is not the load."""
        return self.waiting_since_ns is not None and now_ns - self.waiting_since_ns >= STUCK_NS


def why_primary(
    primary: Primary, progress: Progress, handover: Handover | None, now_ns: int
) -> Reason | None:
    """The weightiest reason why the stream of a primary does not move; None when all is well."""
    log, name = primary.log, primary.name
    if primary.storage_error is not None:
        return Reason(f"the log of {name} cannot grow: {primary.storage_error}", Weight.STOPPED)
    if not primary.followers.quorate or progress.stuck(now_ns):
        held_back = "; senders are held back" if primary.submit.holding else ""
        weight = Weight.SLOWED if _opening(primary, progress, now_ns) else Weight.STOPPED
        return Reason(_waiting(primary) + held_back, weight)
    if handover is not None:
        sentence = f"{name} hands over to {handover.target} and reads no sender meanwhile"
        return Reason(f"{sentence}: {handover.waits_for()}", Weight.SLOWED)
    if primary.submit.holding:
        waiting = f"{log.last - log.commit} records wait for their commit"
        return Reason(f"senders are held back: {waiting}, which goes on", Weight.SLOWED)
    return _worn(primary, progress)


def why_candidate(name: str, takeover: Takeover) -> Reason:
    """Why the attempt of `name` to become primary has not come to its end."""
    voters = len(takeover.voter.voters)
    beginning = takeover.nothing_yet and not takeover.voter.votes
    if takeover.phase is Phase.ASKING and beginning and takeover.absent:
        missing = f"{_listed(takeover.absent)} {'is' if len(takeover.absent) == 1 else 'are'} missing"
        what = f"the first epoch opens when all {voters} voters are there; {missing}"
    elif takeover.phase is Phase.FETCHING and takeover.wanted is not None:
        what = f"{name} fetches the log of {takeover.best} up to {takeover.wanted.last}, and has "
        what += str(takeover.voter.log.last)
    else:
        needed = f"{takeover.seal_quorum} of {voters}"
        what = f"{name} asks the voters; {needed} must answer and vote"
        if takeover.phase is not Phase.ASKING:
            what = f"{name} wants epoch {takeover.epoch} promised; {needed} voters must do so"
        what = ", ".join([what, *takeover.obstacles()])
    return Reason(f"no primary: {what}", Weight.STOPPED)


def why_standby(name: str, suspicion: str | None, failure: str | None) -> Reason:
    """Why a standby that follows nobody is not trying to become primary just now."""
    what = f"{name} looks for one"
    if failure is not None:
        what = f"the last attempt of {name} failed ({failure}), and it tries again soon"
    elif suspicion is not None:
        what = f"{name} will ask the voters soon ({suspicion})"
    return Reason(f"no primary: {what}", Weight.STOPPED)


def _opening(primary: Primary, progress: Progress, now_ns: int) -> bool:
    """Whether the epoch was opened just now, so that the followers may be on their way."""
    return not primary.established and not progress.stuck(now_ns)


def _waiting(primary: Primary) -> str:
    """What a primary waits for, and from whom."""
    log, quorum, held = primary.log, primary.write_quorum, primary.commit.voters()
    who = f"{primary.name} is primary of epoch {primary.epoch} and"
    others = sorted(primary.voter.voters - {primary.name})
    absent = [name for name in others if _state(primary, name) is not None]
    last = log.last
    if last <= log.commit:
        states = [_described(primary, name) for name in absent]
        needed = f"{quorum} of {len(primary.voter.voters)} voters"
        return f"{who} commits nothing new without {needed}: {', '.join(states)}"
    # Nothing of an epoch counts before its start does.
    first = log.commit + 1 if primary.established else primary.commit.epoch_start
    behind = [name for name in (primary.name, *others) if name not in absent and held.get(name, 0) < last]
    states = [_described(primary, name) for name in (*absent, *behind)]
    copies = quorum - sum(number >= first for number in held.values())
    wanted = f"{copies} more copies"
    if copies <= 1:
        wanted = "its own copy" if quorum == 1 else f"a {ORDINALS.get(quorum, f'{quorum}th')} copy"
    records = f"record {first}" if first == last else f"records {first} to {last}"
    return f"{who} waits for {wanted} of {records}: {', '.join(states)}"


def _state(primary: Primary, name: str) -> str | None:
    """Why a voter adds nothing to a commit, whatever it holds; None when it does."""
    obstacle = primary.followers.obstacle(name)
    return None if obstacle is None else obstacle.removeprefix("it ")


def _described(primary: Primary, name: str) -> str:
    state = None if name == primary.name else _state(primary, name)
    return f"{name} {state}" if state is not None else f"{name} holds {primary.commit.voters().get(name, 0)}"


def _worn(primary: Primary, progress: Progress) -> Reason | None:
    """What is not as it should be though the stream moves."""
    followers = primary.followers
    states = {name: _state(primary, name) for name in sorted(primary.voter.voters - {primary.name})}
    missing = [f"{name} {state}" for name, state in states.items() if state is not None]
    if missing:
        spare = len(followers.in_contact) + 1 - primary.write_quorum
        more = "; with one voter less nothing is committed any more" if spare == 0 else ""
        who = f"{primary.name} is primary of epoch {primary.epoch} and commits, but"
        return Reason(f"{who} {', '.join(missing)}{more}", Weight.WORN)
    behind = {
        name: state["lag"] for name, state in followers.status().items() if state["held"] < progress.settled
    }
    if behind:
        rows = [f"{name} is behind by {lag} records" for name, lag in sorted(behind.items())]
        return Reason(", ".join(rows), Weight.WORN)
    return None


def _listed(names: Iterable[str]) -> str:
    """Names as people list them."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
