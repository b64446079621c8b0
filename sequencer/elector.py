"""Who tries to become primary, and when. It never decides what is safe: sealing does (`sequencer.takeover`).

`RankElector` needs nothing but the configuration. A site that runs an election service of its own can put another
elector in its place: one that waits for ever (`NEVER_NS`) while somebody else has been chosen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import define

if TYPE_CHECKING:
    from random import Random

STAGGER_NS = 50_000_000
"""A sequencer gives each one before it in the order this much of a start."""

BACKOFF_NS = 20_000_000
"""Pause after a first attempt that failed; doubles up to the limit, with jitter, so that rivals part."""

BACKOFF_LIMIT_NS = 1_000_000_000

NEVER_NS = 1 << 62
"""Do not try."""


class Elector(Protocol):
    """Decides when a sequencer without a primary tries to become one."""

    def wait_ns(self, failures: int, gone: str | None) -> int:
        """How long to wait, since the primary was missed or the last attempt failed.

        `failures` attempts have failed in a row; `gone` is the primary that was followed last, None at the start.
        """


@define(eq=False)
class RankElector:
    """The order of the configuration: the first sequencer that is there tries at once.

    `patience_ns` is what one that starts gives those before it in the order, because they may be starting too.
    """

    name: str
    order: list[str]
    random: Random
    patience_ns: int

    def wait_ns(self, failures: int, gone: str | None) -> int:
        """See `Elector`."""
        if gone == self.name:  # a deposed primary that was started again: the others are well
            gone = None
        rank = [name for name in self.order if name != gone].index(self.name)
        wait = rank * (STAGGER_NS if gone is not None else self.patience_ns)
        if failures:
            pause = min(BACKOFF_NS << min(failures - 1, 16), BACKOFF_LIMIT_NS)
            wait += int(pause * (1 + self.random.random()))
        return wait
