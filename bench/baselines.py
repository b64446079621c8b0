"""The baselines: small C programs (`baseline/*.c`), compiled when a benchmark starts.

Each says at its head what it does. They are what the machine can do when nobody orders, keeps, repairs or
acknowledges anything: `relay` for the rate and the latency of two hops, `pingpong` for those of a multicast group,
`stream` for TCP, `memory` for bytes that do not leave the process.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from bench.errors import BenchError, NoBaseline
from seqcast.latency import LatencyHistogram

if TYPE_CHECKING:
    from bench.rounds import Load

SOURCES = Path(__file__).resolve().parent / "baseline"

PROGRAMS = ("relay", "pingpong", "stream", "memory")

FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra")

COMPILE_SECONDS = 60
RUN_SECONDS = 120

PACKED = 6
"""Messages in one datagram of the packed relay: as many records of 200 bytes as the bus puts into one frame."""

SEGMENTS = 48
"""Datagrams in one call of the offloaded relay: with six messages of 200 bytes in each, what one call can take."""

NOT_HERE = 3
"""Exit status of a baseline for which this kernel lacks something."""

BLOCK, SPIN = "block", "spin"


@frozen
class Baselines:
    """The compiled programs. What they print is checked: a baseline that lost something raises BenchError."""

    directory: Path

    @classmethod
    def compile(cls, directory: Path) -> Baselines:
        """Compile them into `directory`. Raises NoBaseline when there is no C compiler, or no source."""
        name = os.environ.get("CC", "cc")
        compiler = shutil.which(name)
        if compiler is None:
            raise NoBaseline(f"there is no C compiler ({name})")
        for program in PROGRAMS:
            source = SOURCES / f"{program}.c"
            if not source.exists():
                raise NoBaseline(f"its source is not installed ({source.name})")
            made = subprocess.run(  # noqa: S603  (the arguments are ours)
                [compiler, *FLAGS, "-o", str(directory / program), str(source)],
                capture_output=True,
                text=True,
                timeout=COMPILE_SECONDS,
                check=False,
            )
            if made.returncode != 0:
                raise NoBaseline(f"{program}.c does not compile: {made.stderr.strip()[-500:]}")
        return cls(directory)

    def program(self, name: str) -> str:
        """Where a program is."""
        return str(self.directory / name)

    def relay_throughput(self, load: Load, per_datagram: int, datagrams: int = 1, wait: str = BLOCK) -> float:
        """Messages a second through the bare relay; `datagrams` in one system call."""
        result = self._run(
            *("relay", "throughput", load.messages, load.message_bytes, per_datagram, datagrams, wait)
        )
        if result["received"] != load.messages or result["wrong"]:
            raise BenchError(f"the relay lost messages: {result['received']} of {load.messages} came")
        elapsed_ns = result["last_ns"] - result["first_ns"]
        return float((result["received"] - result["first_batch"]) * 1e9 / max(elapsed_ns, 1))

    def relay_latency(self, load: Load, wait: str = BLOCK) -> LatencyHistogram:
        """Delivery time minus due time through the bare relay; of what came: nothing is repaired."""
        assert load.rate is not None
        result = self._run("relay", "latency", load.messages, load.message_bytes, load.rate, wait)
        return _histogram(result)

    def pingpong(self, round_trips: int, message_bytes: int, wait: str) -> LatencyHistogram:
        """Round trips between two processes over a multicast group."""
        return _histogram(self._run("pingpong", round_trips, message_bytes, wait))

    def stream(self, how: str, file: Path, packets: int) -> float:
        """Bytes a second over TCP, from a file of packets; `how` is "write" or "sendfile"."""
        return bytes_per_second(self._run("stream", how, file, packets), packets)

    def memory(self, total_bytes: int, chunk: int, piece: int) -> float:
        """Nanoseconds to copy `chunk` bytes with memcpy, `piece` bytes a call."""
        result = self._run("memory", total_bytes, chunk, piece)
        return float(result["ns"] * chunk / result["bytes"])

    def _run(self, name: str, *values: object) -> dict[str, Any]:
        arguments = [self.program(name), *map(str, values)]
        try:
            ran = subprocess.run(arguments, capture_output=True, timeout=RUN_SECONDS, check=False)  # noqa: S603
        except subprocess.TimeoutExpired:
            raise BenchError(f"the baseline {name} did not end within {RUN_SECONDS} s") from None
        if ran.returncode != 0:
            kind = NoBaseline if ran.returncode == NOT_HERE else BenchError
            raise kind(f"the baseline {name} failed: {ran.stderr.decode('utf-8', 'replace').strip()}")
        try:
            result = json.loads(ran.stdout)
        except ValueError:
            raise BenchError(f"the baseline {name} wrote {ran.stdout!r:.80}") from None
        return dict(result)


def bytes_per_second(result: dict[str, Any], packets: int) -> float:
    """The rate that `stream` saw, after its first read. Raises BenchError when packets were missing."""
    if result["ended"] or result["packets"] < packets:
        raise BenchError(f"a stream ended after {result['packets']} of {packets} packets")
    elapsed_ns = result["last_ns"] - result["first_ns"]
    return float((result["bytes"] - result["first_bytes"]) * 1e9 / max(elapsed_ns, 1))


def _histogram(result: dict[str, Any]) -> LatencyHistogram:
    histogram = LatencyHistogram()
    histogram.record_many(result["latencies_ns"])
    return histogram
