"""The messages of a load: which one the message with a certain index of a certain user is."""

from __future__ import annotations

SHORT_BYTES = 24
"""Shortest message."""

SPREAD_BYTES = 140
LONG_EVERY = 997
LONG_BYTES = 4000
"""Every so many messages one takes several records: a primary may die between its fragments."""

_FILLER = bytes(range(256)) * (LONG_BYTES // 256 + 2)


def payload(user: str, index: int) -> bytes:
    """Message `index` (from 0) of `user`."""
    size = LONG_BYTES if index % LONG_EVERY == LONG_EVERY - 1 else SHORT_BYTES + index * 31 % SPREAD_BYTES
    head = b"%s %d " % (user.encode("ascii"), index)
    start = index & 255
    return head + _FILLER[start : start + size - len(head)]
