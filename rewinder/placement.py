"""Where a node runs: on which core, and before which other processes."""

from __future__ import annotations

import os

from attrs import frozen

PRIORITY_LEAST = 1
PRIORITY_MOST = 99
"""What Linux has for SCHED_FIFO."""

CORE_MOST = 1023
"""Most systems are built for no more cores than this, counted from 0."""


@frozen
class Placement:
    """`core` is the only one that the process may use, `priority` is that of SCHED_FIFO; None leaves it to the system.

    It is asked for once, when the process begins.
    """

    core: int | None = None
    priority: int | None = None

    def take(self) -> None:
        """Move this process there. Raises OSError with a sentence that says what the system refused, and what helps."""
        if self.core is not None:
            allowed = sorted(os.sched_getaffinity(0))
            try:
                os.sched_setaffinity(0, {self.core})
            except OSError as error:
                raise OSError(
                    f"core = {self.core}: this process cannot run there ({_reason(error)}); "
                    f"it may use {_listed(allowed)}"
                ) from None
        if self.priority is not None:
            try:
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(self.priority))
            except OSError as error:
                raise OSError(
                    f"priority = {self.priority}: the system refuses SCHED_FIFO ({_reason(error)}): "
                    "it needs CAP_SYS_NICE, or a limit for it (ulimit -r, LimitRTPRIO= of systemd)"
                ) from None


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _listed(cores: list[int]) -> str:
    return f"core {cores[0]}" if len(cores) == 1 else f"cores {', '.join(map(str, cores))}"
