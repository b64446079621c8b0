"""The errors of the benchmarks."""

from __future__ import annotations

from seqcast.errors import SeqcastError


class BenchError(SeqcastError):
    """A benchmark could not be carried out: a process did not start, died, or did not end."""


class NoBaseline(BenchError):
    """The baseline cannot be measured on this machine; the sentence says why."""
