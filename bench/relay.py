"""The baseline: a bare relay over UDP (`baseline/relay.c`), compiled when it is needed.

What it does is described in its source. It is the floor for the latency of two hops, and a fair measure for the
rate of a program that makes one system call for each datagram and hop.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from array import array
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from bench.errors import BenchError, NoBaseline
from seqcast.latency import LatencyHistogram

if TYPE_CHECKING:
    from bench.bus import Load

SOURCE = Path(__file__).resolve().parent / "baseline" / "relay.c"

FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra")

COMPILE_SECONDS = 60
RUN_SECONDS = 120


@frozen
class Relay:
    """The compiled relay."""

    program: Path

    @classmethod
    def compile(cls, directory: Path) -> Relay:
        """Compile it into `directory`. Raises NoBaseline when there is no C compiler, or no source."""
        name = os.environ.get("CC", "cc")
        compiler = shutil.which(name)
        if compiler is None:
            raise NoBaseline(f"there is no C compiler ({name})")
        if not SOURCE.exists():
            raise NoBaseline(f"its source is not installed ({SOURCE.name})")
        program = directory / "relay"
        made = subprocess.run(  # noqa: S603  (the arguments are ours)
            [compiler, *FLAGS, "-o", str(program), str(SOURCE)],
            capture_output=True,
            text=True,
            timeout=COMPILE_SECONDS,
            check=False,
        )
        if made.returncode != 0:
            raise NoBaseline(f"it does not compile: {made.stderr.strip()[-500:]}")
        return cls(program)

    def throughput(self, load: Load, per_datagram: int) -> float:
        """Messages a second with `per_datagram` messages in each datagram. Raises BenchError."""
        output = self._run("throughput", load, per_datagram)
        try:
            result = json.loads(output)
        except ValueError:
            raise BenchError(f"the relay wrote {output!r:.80}") from None
        if result["received"] != load.messages or result["wrong"]:
            raise BenchError(f"the relay lost messages: {result['received']} of {load.messages} came")
        elapsed_ns = result["last_ns"] - result["first_ns"]
        return float((result["received"] - result["first_batch"]) * 1e9 / max(elapsed_ns, 1))

    def latency(self, load: Load) -> LatencyHistogram:
        """The latencies of `load`, delivery time minus due time; of what came: nothing is repaired."""
        assert load.rate is not None
        latencies = array("q")
        latencies.frombytes(self._run("latency", load, load.rate))
        histogram = LatencyHistogram()
        histogram.record_many(latencies)
        return histogram

    def _run(self, what: str, load: Load, last: int) -> bytes:
        seconds = RUN_SECONDS + load.messages / (load.rate or load.messages)
        arguments = [str(self.program), what, str(load.messages), str(load.message_bytes), str(last)]
        try:
            ran = subprocess.run(arguments, capture_output=True, timeout=seconds, check=False)  # noqa: S603
        except subprocess.TimeoutExpired:
            raise BenchError(f"the relay did not end within {seconds:g} s") from None
        if ran.returncode != 0:
            raise BenchError(f"the relay failed: {ran.stderr.decode('utf-8', 'replace').strip()}")
        return ran.stdout
