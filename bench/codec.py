"""Codecs: nanoseconds a message in every decoder and encoder, beside memcpy of the same 200 bytes.

memcpy moves a batch of 1024 messages, one call for each message; the kernels are called from Python, one call for each
batch or datagram, as the processes call them. A ratio below 1 means that a kernel does not touch every byte.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError
from bench.figures import Spread
from bench.kernels import BATCH, BATCH_BYTES, kernels
from bench.payload import MESSAGE_BYTES
from bench.scenario import beside

if TYPE_CHECKING:
    from bench.baselines import Baselines
    from bench.kernels import Kernel
    from bench.scenario import Bench


def measure(bench: Bench) -> dict[str, Any]:
    """Every kernel, and memcpy message by message and in one piece."""
    calls, all_kernels = bench.settings.calls, kernels()
    ours: dict[str, list[float]] = {kernel.name: [] for kernel in all_kernels}
    theirs: list[float | None] = []
    whole: list[float | None] = []
    for number in bench.rounds():
        label = bench.label("codec", number)
        theirs.append(bench.baseline(label, lambda b: _memcpy(b, calls, MESSAGE_BYTES)))
        whole.append(bench.baseline(label, lambda b: _memcpy(b, calls, BATCH_BYTES)))
        for done, kernel in enumerate(all_kernels):
            bench.show(label, done, len(all_kernels))
            ours[kernel.name].append(nanoseconds(kernel, calls) / BATCH)
    return {
        "messages_per_call": BATCH,
        "kernels": {
            name: {
                "ns_per_message": Spread.of(found).as_plain(2),
                "memcpy": beside(found, theirs, "ns_per_message", 2),
            }
            for name, found in ours.items()
        },
        "memcpy_whole_ns_per_message": _spread(whole),
    }


def nanoseconds(kernel: Kernel, calls: int) -> float:
    """The median time of one call. Raises BenchError when a call did not do its work."""
    taken = []
    for _ in range(calls):
        arguments = kernel.setup()
        start_ns = time.perf_counter_ns()
        result = kernel.run(*arguments)
        taken.append(time.perf_counter_ns() - start_ns)
        if result != kernel.expected:
            raise BenchError(f"{kernel.name} gave {result!r}, expected {kernel.expected!r}")
    return statistics.median(taken)


def _memcpy(baselines: Baselines, calls: int, piece: int) -> float:
    return baselines.memory(calls * BATCH_BYTES, BATCH_BYTES, piece) / BATCH


def _spread(values: list[float | None]) -> dict[str, float] | None:
    known = [value for value in values if value is not None]
    return Spread.of(known).as_plain(2) if known else None
