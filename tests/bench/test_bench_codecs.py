"""Micro benchmarks of the kernels, each with a check of its result.

They run once, as plain tests, in the suite. To measure:

    python -m pytest -n 0 --benchmark-enable --benchmark-only tests/bench/test_bench_codecs.py
"""

from __future__ import annotations

import pytest
from attrs import evolve

from bench.codec import nanoseconds
from bench.errors import BenchError
from bench.kernels import BATCH, Kernel, kernels, table_of
from bench.payload import PreparedTable
from rewinder.record import Stamp, stamp_record
from seqcast._native import DeliveryKernel

KERNELS = {kernel.name: kernel for kernel in kernels()}


@pytest.mark.parametrize("name", KERNELS)
def test_kernel(benchmark, name: str) -> None:
    kernel = KERNELS[name]
    benchmark.group = name.partition(":")[0]
    result = benchmark.pedantic(kernel.run, setup=lambda: (kernel.setup(), {}), rounds=50)
    assert result == kernel.expected


def test_a_call_that_does_not_do_its_work_is_an_error() -> None:
    kernel = Kernel("nothing", lambda: 0, 0)
    assert nanoseconds(kernel, 3) > 0
    with pytest.raises(BenchError, match="nothing gave 0, expected 1"):
        nanoseconds(evolve(kernel, expected=1), 3)


def test_opened_records_are_what_was_stamped() -> None:
    payloads = PreparedTable(capacity=BATCH).fill(0, (), BATCH).payloads()
    stamps = [Stamp(time_ns=10**18 + n, sender_sequence=n, sender=b"BENCH1") for n in range(1, BATCH + 1)]
    records = table_of(
        [stamp_record(*each) for each in zip(payloads, range(1, BATCH + 1), stamps, strict=True)]
    )
    opened, columns = DeliveryKernel(BATCH).run(records, 0, BATCH)
    assert opened.payloads() == payloads
    assert columns[BATCH - 1] == (b"BENCH1", BATCH, 10**18 + BATCH)
