"""The name of the session that follows: a pattern of a date and a counter.

A pattern is text of letters and digits, with `%y %m %d %j %H %M` and the like of strftime for the time (UTC), and at
most one run of `#` for a counter of so many digits: `%y%m%d##` gives 26112501, and on the same day 26112502. The
counter is one above the highest that was used with the same text around it, so that no name comes back.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rewinder.policy import is_session_name
from seqcast.errors import SeqcastError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

DEFAULT_PATTERN = "%y%m%d##"
"""The day, and the session of the day: 8 of the 10 characters, and sorted by name they are sorted by time."""

_COUNTER = re.compile("#+")


class BadPattern(SeqcastError, ValueError):
    """A pattern that gives no name, or none that is not taken."""

    exit_status = 2


def next_name(pattern: str, used: Iterable[str], now: datetime) -> str:
    """The name that follows by `pattern`. `used` are the names that are taken; `now` is UTC. Raises BadPattern."""
    runs = _COUNTER.findall(pattern)
    if len(runs) > 1:
        raise BadPattern(f"{pattern!r}: a pattern has one run of # at most, and this has {len(runs)}")
    before, after = (now.strftime(part) for part in ([*_COUNTER.split(pattern), ""])[:2])
    if not runs:
        return _checked(pattern, before, used)
    digits = len(runs[0])
    counted = re.compile(f"{re.escape(before)}([0-9]{{{digits}}}){re.escape(after)}")
    matches = (counted.fullmatch(name) for name in used)
    following = 1 + max((int(match[1]) for match in matches if match is not None), default=0)
    if following >= 10**digits:
        raise BadPattern(
            f"{pattern!r}: {following - 1} sessions are called {before}{runs[0]}{after} already, which is all that "
            f"{digits} digits can count"
        )
    return _checked(pattern, f"{before}{following:0{digits}}{after}", used)


def _checked(pattern: str, name: str, used: Iterable[str]) -> str:
    if not is_session_name(name):
        raise BadPattern(f"{pattern!r} gives {name!r}: a session has 1 to 10 ASCII letters or digits")
    if name in set(used):
        raise BadPattern(f"{pattern!r} gives {name!r}, which was a session before: add a counter, ##")
    return name
