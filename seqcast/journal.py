"""The journal of `seqcast send`: which run of which user is unfinished, so that the same command can go on.

One small file per user, beside the logs. It is written before the first message of a run is sent and marked as
finished after the last one is acknowledged. A run that was cut short is found again by its input: same path, size
and head. So sending a file twice on purpose sends it twice, and repeating a command that was killed does not.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

from attrs import define, field

if TYPE_CHECKING:
    from pathlib import Path

HEAD_BYTES = 64 * 1024
"""How much of an input's beginning goes into its identity."""


@define
class Journal:
    """The journal of one user in one session."""

    path: Path
    _entry: dict[str, Any] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._entry = {}
        with contextlib.suppress(OSError, ValueError):
            entry = json.loads(self.path.read_text(encoding="utf-8"))
            if isinstance(entry, dict):
                self._entry = entry

    def unfinished(self, identity: str) -> int | None:
        """The sender sequence before the unfinished run of this input, or None when there is no such run."""
        base = self._entry.get("base")
        if (
            self._entry.get("input") == identity
            and self._entry.get("finished") is False
            and isinstance(base, int)
        ):
            return base
        return None

    def begin(self, identity: str, base: int) -> None:
        """A run of this input begins after sender sequence `base`."""
        self._write({"input": identity, "base": base, "finished": False})

    def finish(self) -> None:
        """Everything of the present run is acknowledged."""
        self._write({**self._entry, "finished": True})

    def _write(self, entry: dict[str, Any]) -> None:
        self._entry = entry
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as stream:
            json.dump(entry, stream)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(self.path)


def identify(path: Path, format_name: str) -> str | None:
    """The identity of an input file; None for what is not a regular file, and so cannot be gone back to."""
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        head = hashlib.blake2b(stream.read(HEAD_BYTES), digest_size=16).hexdigest()
    return f"{format_name}:{path.resolve()}:{path.stat().st_size}:{head}"
