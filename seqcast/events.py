"""What a receiver notices about its lines and its session, beside the records."""

from __future__ import annotations

from attrs import frozen


@frozen
class LineSilent:
    """A line brings nothing, while another one does.

    `line` is "a" or "b"; `since_ns` when it was last heard, or first looked for, by the monotonic clock in nanoseconds.
    """

    line: str
    since_ns: int


@frozen
class LineLagging:
    """A line has been `behind` records and more behind the best one for some time."""

    line: str
    behind: int


@frozen
class LineBack:
    """A line that was silent or lagging is well again."""

    line: str


@frozen
class NewSession:
    """The lines carry `session` now, and no longer `previous` (None: which one it was never showed)."""

    session: str
    previous: str | None


Event = LineSilent | LineLagging | LineBack | NewSession
"""What `on_event` of a receiver is called with."""
