"""A simulated machine: its clocks, its power, and what the process on it has open. Apps run on one, nodes do."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from seqcast.testing.world import SECOND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seqcast.testing.fabric import Fabric


class Machine:
    """One host on the fabric. `failure(machine, error)` is told of an exception out of a turn, if it is set."""

    def __init__(self, fabric: Fabric, name: str) -> None:
        self.fabric, self.world, self.name = fabric, fabric.world, name
        random = self.world.random
        self.on = True
        self.sockets: dict[int, Any] = {}
        self.paused_until_ns = 0
        self.monotonic_offset_ns = random.randrange(SECOND, 1000 * SECOND)
        self.utc_offset_ns = random.randrange(-SECOND, SECOND)
        self.spent = 0
        self.sync_ns = 0
        self.failure: Callable[[Machine, Exception], None] | None = None
        fabric.machines[name] = self

    @contextmanager
    def watched(self) -> Iterator[None]:
        """An exception out of a turn ends the process."""
        try:
            yield
        except Exception as error:
            if self.failure is None:
                raise
            self.failure(self, error)

    def ended(self) -> None:
        """The process has stopped by itself."""

    def pause(self, duration_ns: int) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        self.paused_until_ns = self.world.now_ns + duration_ns
        self.world.at(self.paused_until_ns, lambda: None)  # so that whoever waits for it looks again then

    def hang_up(self) -> None:
        """The process is gone: the kernel closes what it had open."""
        for thing in list(self.sockets.values()):
            thing.wake = None
            thing.close()
