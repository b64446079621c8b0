"""The commit number: the highest record that a write quorum holds (DESIGN: epochs, voters, quorums)."""

from __future__ import annotations

from attrs import define, field


@define(eq=False)
class Commit:
    """Computes the commit number of one epoch from what the voters hold.

    `write_quorum` is W, the number of voters that must hold a record, the primary among them.
    `epoch_start` is the number of the epoch-start record: until W voters hold *it*, nothing is committed,
    because a record of an earlier epoch is safe only below a committed record of this one.

    Invariant: `number` never decreases, and never runs past what W voters said they hold.
    """

    write_quorum: int
    epoch_start: int
    number: int
    _held: dict[str, int] = field(factory=dict, init=False)
    _moved: bool = field(default=False, init=False)  # since the last look

    def held(self, voter: str, number: int) -> None:
        """`voter` holds every record up to `number` (to the durability that the stream claims)."""
        if number > self._held.get(voter, 0):
            self._held[voter] = number
            self._moved = True

    def forget(self, voter: str) -> None:
        """`voter` has lost what it held, and holds nothing that counts before it says so again."""
        self._held.pop(voter, None)

    def advance(self) -> int:
        """The commit number now."""
        if self._moved and len(self._held) >= self.write_quorum:
            self._moved = False
            agreed = sorted(self._held.values(), reverse=True)[self.write_quorum - 1]
            if agreed >= self.epoch_start and agreed > self.number:
                self.number = agreed
        return self.number

    def voters(self) -> dict[str, int]:
        """What each voter that was heard from holds."""
        return dict(self._held)
