"""The scenario for which a record of an earlier epoch is not committed by counting copies (Raft, figure 8).

SEQ1 has records that nobody else has. SEQ2 opens the next epoch and dies before anybody learns of it. SEQ1 comes
back, opens an epoch above that, and dies while its old records are on their way to REW1. SEQ2 comes back: its epoch
is higher than that of those records, and its log is adopted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqcast.testing.world import MICROSECOND, MILLISECOND

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulation.faults import Faults

LOOK_NS = 20 * MICROSECOND


class FigureEight:
    """Brings it about, step by step, for a bus of three voters."""

    def __init__(self, faults: Faults) -> None:
        self.faults, self.world = faults, faults.world
        nodes = faults.simulation.nodes
        self.first, self.second, self.voter = nodes["SEQ1"], nodes["SEQ2"], nodes["REW1"]
        self.others = ["SEQ2", "REW1", "REW8", "REW9"]

    def plan(self) -> None:
        self.world.at(self.faults.random.randrange(300, 600) * MILLISECOND, self._isolate_first)

    def _when(self, condition: Callable[[], bool], then: Callable[[], None]) -> None:
        if condition():
            then()
        else:
            self.world.after(LOOK_NS, lambda: self._when(condition, then))

    def _cut(self, *, whole: bool) -> None:
        for other in self.others:
            for pair in (("SEQ1", other), (other, "SEQ1")):
                (self.faults.fabric.mend if whole else self.faults.fabric.cut)(*pair)

    def _isolate_first(self) -> None:
        """SEQ1 stamps what nobody else gets."""
        self._cut(whole=False)
        self.second.wanted = False  # once it dies
        self._when(lambda: getattr(self.second.process, "primary", None) is not None, self._kill_second)

    def _kill_second(self) -> None:
        """SEQ2 has just opened its epoch: nobody else knows."""
        self.second.kill("figure eight")
        self._when(self._first_has_more, self._return_first)

    def _first_has_more(self) -> bool:
        return (
            self.first.process is not None and self.first.process.log.last > self.voter.process.log.last + 50
        )

    def _return_first(self) -> None:
        self._cut(whole=True)
        epoch = self.voter.process.voter.epoch

        def half_way() -> bool:
            primary = getattr(self.first.process, "primary", None)
            if primary is None or primary.epoch <= epoch:
                return False
            return self.base < self.voter.process.log.last < primary.commit.epoch_start

        self.base = self.voter.process.log.last
        self._when(half_way, self._kill_first)

    def _kill_first(self) -> None:
        """Some of its old records have arrived, and the start of its new epoch never will."""
        self.faults.fabric.cut("SEQ1", "REW1")
        # A primary that counts copies commits them in one of its next turns, and is heard.
        self.world.after(self.faults.random.randrange(500, 3000) * MICROSECOND, self._end)

    def _end(self) -> None:
        self.first.wanted = False
        self.first.kill("figure eight")
        self.second.wanted = True
        self.second.start()
        self._when(lambda: getattr(self.second.process, "primary", None) is not None, self._peace)

    def _peace(self) -> None:
        self.faults.done["figure8"] += 1
        self.faults.fabric.mend("SEQ1", "REW1")
        self.first.wanted = True
        self.world.after(100 * MILLISECOND, self.first.start)
