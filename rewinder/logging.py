"""One line for each event of a process, on standard error.

The code logs through the standard `logging` module, to the logger "seqcast": the message is the name of the
event, and `extra={"node": NAME, "values": {...}}` is what there is to say about it. This module formats that:

    2026-01-31T09:30:00.123456Z info SEQ1 ready submit=30002 node=30001

or, for programs, as one JSON object with the keys time, level, node, event, and values. Whatever is logged, a
line is one line: text from a peer cannot forge another.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import IO, Any

from attrs import define, field

LOGGER = "seqcast"

REPEATS_PER_SECOND = 20
"""Lines of one event that are written within a second; the rest is counted, so that no peer fills a disk."""

EVENTS_LIMIT = 1024
"""Event names that are counted at once; the code has far fewer."""


def configure(*, as_json: bool = False, level: int = logging.INFO, stream: IO[str] | None = None) -> None:
    """Send what is logged to `stream` (standard error unless given), one line for each event."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if as_json else PlainLines())
    handler.addFilter(Repeats())
    logger = logging.getLogger(LOGGER)
    for old in list(logger.handlers):
        logger.removeHandler(old)
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False


class PlainLines(logging.Formatter):
    """Lines for people."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        parts = [_time(record), record.levelname.lower()]
        node = getattr(record, "node", None)
        if node:
            parts.append(str(node))
        parts.append(_escaped(record.getMessage()))
        parts += [f"{key}={_shown(value)}" for key, value in _values(self, record).items()]
        return " ".join(parts)


class JsonLines(logging.Formatter):
    """Lines for programs."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "node": getattr(record, "node", None),
            "event": record.getMessage(),
            "values": _values(self, record),
        }
        return json.dumps(line, default=str)


@define(eq=False)
class Repeats:
    """A filter that lets each event through so many times a second, and then says how many it held back."""

    limit: int = REPEATS_PER_SECOND
    _second: dict[str, int] = field(factory=dict, init=False)
    _seen: dict[str, int] = field(factory=dict, init=False)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record may pass."""
        event, second = str(record.msg), int(record.created)
        seen = self._seen.get(event, 0)
        if self._second.get(event) != second:
            if len(self._second) >= EVENTS_LIMIT:
                self._second.clear()
                self._seen.clear()
            self._second[event] = second
            self._seen[event] = 1
            if seen > self.limit:
                record.values = {**getattr(record, "values", {}), "held_back": seen - self.limit}
            return True
        self._seen[event] = seen + 1
        return seen < self.limit


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _values(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, Any]:
    values = dict(getattr(record, "values", {}))
    if record.exc_info:
        values["exception"] = formatter.formatException(record.exc_info)
    return values


def _shown(value: object) -> str:
    """Return a value bare when it is one plain word, else quoted as in JSON."""
    text = value if isinstance(value, str) else str(value)
    plain = text.isascii() and text.isprintable() and text and not set(text) & set(' "=\\')
    return text if plain else json.dumps(text)


def _escaped(text: str) -> str:
    return text if text.isprintable() else json.dumps(text)[1:-1]
