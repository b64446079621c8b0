"""The log of a node for who asks over the control plane: where its segments begin, and records, a page at a time.

A page is small, because the stream goes first: reading one costs some tenths of a millisecond. Records go out as they
are, so that whoever gets them can check them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rewinder.control import Refusal
from rewinder.errors import LogError

if TYPE_CHECKING:
    from rewinder.log import MessageLog

PAGE_RECORDS = 512
PAGE_BYTES = 128 * 1024
"""Most in one page; one record is always given."""

SEGMENTS_LIMIT = 100_000
"""First numbers of segments that are told: a terabyte of the smallest is no more."""


def log_page(log: MessageLog, session: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Answer the command `log`: with `first`, up to `count` records from there on; else where segments begin."""
    known = {
        "session": session,
        "first": log.first,
        "last": log.last,
        "commit": log.commit,
        "ended": log.ended,
    }
    first, count = arguments.get("first"), arguments.get("count", PAGE_RECORDS)
    if first is None:
        return {**known, "segments": log.segments[-SEGMENTS_LIMIT:]}
    if not all(type(each) is int and 0 < each < 1 << 63 for each in (first, count)):
        raise Refusal("first and count must be whole numbers above 0")
    if not log.first <= first <= log.last:
        return {**known, "from": first, "records": []}
    try:
        records = log.messages(first, min(count, PAGE_RECORDS), PAGE_BYTES)
    except (LogError, OSError) as error:
        raise Refusal(str(error)) from None
    return {**known, "from": first, "records": [bytes(record).hex() for record in records]}
