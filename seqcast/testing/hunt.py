"""Hunting a bug by seed: the same scenario on bus after bus until one run goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from seqcast.testing.bus import Bus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


@frozen
class Found:
    """The first seed that went wrong, what was raised, and what had happened on the bus."""

    seed: int
    error: Exception
    trace: list[str]


def hunt(
    scenario: Callable[[Bus], None], seeds: Iterable[int] = range(1000), **settings: Any
) -> Found | None:
    """Run `scenario(bus)` with one seed after the other; returns the first that raises, None when none does.

    `settings` are those of `Bus`. The same seed brings the same failure back: `scenario(Bus(seed, **settings))`.
    """
    for seed in seeds:
        with Bus(seed, **settings) as bus:
            try:
                scenario(bus)
            except Exception as error:  # noqa: BLE001  (whatever goes wrong is what is hunted)
                return Found(seed, error, bus.trace)
    return None
