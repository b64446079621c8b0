"""What to measure: how many, how fast, how often. One set of settings for all scenarios that need a bus."""

from __future__ import annotations

from attrs import evolve, field, frozen, validators

from bench.baselines import BLOCK, SPIN
from bench.rounds import Load
from seqcast.settings import Durability

MESSAGES_MOST = 100_000_000
"""More do not fit the disk of most machines: each takes some 240 bytes at each of two nodes."""

ROUNDS_MOST = 100

TRIALS_MOST = 1000

RATES = (1_000, 20_000)
"""Messages a second: so slow that each message wakes everybody, and so fast that many find everybody awake."""

VOTERS = (1, 3)
"""One machine's worth of promise, and the default."""

_COUNT = [validators.ge(1), validators.le(MESSAGES_MOST)]


@frozen(kw_only=True)
class Settings:
    """The sizes of rounds, and the bus they run on. Counts are of messages, rates of messages a second."""

    messages: int = field(default=1_000_000, validator=_COUNT)
    """In a round of throughput or overload; and what `memory` looks at, once and twice."""
    latency_messages: int | None = None
    """In a round of latency; None for as many as `seconds` have."""
    seconds: float = 5.0
    rates: tuple[int, ...] = RATES
    rounds: int = field(default=5, validator=[validators.ge(1), validators.le(ROUNDS_MOST)])
    records: int = field(default=5_000_000, validator=_COUNT)
    """History for `replay`, `catch_up` and `interference`."""
    logs: tuple[int, ...] = (1_000_000, 10_000_000)
    """Sizes of log for `scale`."""
    receivers: tuple[int, ...] = (1, 3, 10)
    senders: tuple[int, ...] = (1, 10, 100)
    trials: int = field(default=20, validator=[validators.ge(1), validators.le(TRIALS_MOST)])
    """Kills of a primary, for `failover`."""
    calls: int = field(default=2_000, validator=_COUNT)
    """Of each kernel, in a round of `codec`."""
    round_trips: int = field(default=10_000, validator=_COUNT)
    """Of a ping-pong, in a round of latency."""
    voters: tuple[int, ...] = VOTERS
    durability: Durability = Durability.MEMORY
    idle: str = field(default=BLOCK, validator=validators.in_((BLOCK, SPIN)))
    """How those that a message passes wait for it."""

    @classmethod
    def quick(cls) -> Settings:
        """One short round of each: to see that it works, not to quote."""
        return cls(
            messages=200_000,
            seconds=1.0,
            rounds=1,
            records=300_000,
            logs=(100_000, 300_000),
            receivers=(1, 3),
            senders=(1, 10),
            trials=3,
            calls=200,
            round_trips=1_000,
        )

    def timed_load(self, rate: int) -> Load:
        """What one round of latency at `rate` messages a second sends."""
        return Load(self.latency_messages or max(1, int(rate * self.seconds)), rate)


def sized(
    settings: Settings, *, messages: int | None = None, rounds: int | None = None, records: int | None = None
) -> Settings:
    """The settings with other sizes; None leaves them. `records` is the history, and the largest log."""
    if messages is not None:
        settings = evolve(settings, messages=messages, latency_messages=messages)
    if rounds is not None:
        settings = evolve(settings, rounds=rounds)
    if records is not None:
        logs = (*(each for each in settings.logs if each < records), records)
        settings = evolve(settings, records=records, logs=logs)
    return settings
