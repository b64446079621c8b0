"""Labelled counters of a process: every drop, reject and retry has a name."""

from __future__ import annotations

from collections import Counter


class Counters(Counter[str]):
    """Counts by dotted name, e.g. `replay.login_rejected`; names appear when they are first counted."""

    def add(self, name: str, amount: int = 1) -> None:
        """Count `amount` more of `name`."""
        self[name] += amount
