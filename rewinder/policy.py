"""What the owner of a log decides: the size of its segments, and how durable a record must be to be held."""

from __future__ import annotations

import re

from rewinder.errors import LocalProtocolError
from rewinder.segment import SEGMENT_BYTES_LIMIT, SEGMENT_BYTES_MINIMUM

SEGMENT_BYTES = 64 << 20
"""Size of a segment file: large enough that a new one is rare, small enough to be checked within a turn."""

DURABILITIES = ("memory", "group", "always")
"""`rewinder.log` and docs/LOG.md say what each means."""

SESSION_BYTES = 10

_SESSION_NAME = re.compile(r"[0-9A-Za-z]{1,10}")


def is_session_name(name: str) -> bool:
    """Whether a session can be called so: up to ten ASCII letters and digits, which are a safe file name, too."""
    return _SESSION_NAME.fullmatch(name) is not None


def check_policy(session: bytes, durability: str, segment_bytes: int) -> None:
    """Raise LocalProtocolError for settings that cannot be."""
    if len(session) != SESSION_BYTES:
        raise LocalProtocolError(f"session {session!r} does not have {SESSION_BYTES} bytes")
    if durability not in DURABILITIES:
        raise LocalProtocolError(f"durability {durability!r} is none of {', '.join(DURABILITIES)}")
    if not SEGMENT_BYTES_MINIMUM <= segment_bytes <= SEGMENT_BYTES_LIMIT:
        raise LocalProtocolError(
            f"a segment has {SEGMENT_BYTES_MINIMUM} to {SEGMENT_BYTES_LIMIT} bytes, not {segment_bytes}"
        )
