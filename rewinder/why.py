"""Why nothing moves: one sentence of a node for people, and how much it matters."""

from __future__ import annotations

from enum import IntEnum

from attrs import frozen


class Weight(IntEnum):
    """How much a reason matters: of several nodes, and of several reasons, people hear the weightiest."""

    WORN = 1
    """The stream moves, but not everybody has part in it."""
    SLOWED = 2
    """The stream waits for something that passes by itself."""
    STOPPED = 3
    """Nothing new is committed before somebody comes back, or does something."""


@frozen
class Reason:
    """Why something does not move."""

    sentence: str
    weight: Weight
