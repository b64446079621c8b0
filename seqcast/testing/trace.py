"""What nodes report goes into the trace of the world, and nowhere else, for as long as it is attached."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from seqcast.testing.world import World


class Trace(logging.Handler):
    """A context manager; `attach` and `detach` do the same by hand."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self._logger = logging.getLogger("seqcast")
        self._before = (self._logger.level, self._logger.propagate)

    def __enter__(self) -> Self:
        self.attach()
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    def attach(self) -> None:
        """Take the reports of all nodes."""
        self._before = (self._logger.level, self._logger.propagate)
        self._logger.addHandler(self)
        self._logger.setLevel(logging.INFO)
        self._logger.propagate = False

    def detach(self) -> None:
        """Leave the logger as it was."""
        self._logger.removeHandler(self)
        self._logger.setLevel(self._before[0])
        self._logger.propagate = self._before[1]

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        values = getattr(record, "values", {})
        self.world.note(getattr(record, "node", "?"), f"{record.getMessage()} {values}")
