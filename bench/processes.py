"""The processes of a benchmark: nodes that run until they are stopped, and workers that report in JSON lines.

All die with the benchmark, however that dies. What they write comes through one pipe each: a line that is a
JSON object is a report, any other is kept for the sentence that says why a process died.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import sys
import time
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from attrs import define, field

from bench.errors import BenchError
from seqcast.child import Child, ChildCommand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

START_SECONDS = 30.0
"""How long a process may take until it says that it is ready; on a busy machine imports alone take a while."""

STOP_SECONDS = 10.0
"""How long a process may take to end in order; then it is killed. Nodes drain connections in 2 s."""

LINES_KEPT = 20
"""Lines of a process that are kept to say why it died."""

PARTIAL_BYTES = 4 << 20
"""Longest line of a process: a histogram is far shorter."""


@contextmanager
def _signals_held() -> Iterator[None]:
    """Let signals that end the benchmark wait until a child has been started.

    Python runs hooks around a fork, and drops what a signal handler raises while one of them runs: the
    benchmark would go on as if nobody had told it to end.
    """
    held: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in handlers:
        signal.signal(number, lambda caught, _frame: held.append(caught))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for caught in held:
            signal.raise_signal(caught)


@define(eq=False)
class Process:
    """One process, and what it has reported."""

    name: str
    child: Child
    reports: list[dict[str, Any]] = field(factory=list, init=False)
    status: int | None = field(default=None, init=False)
    """Exit status when it has ended; a signal as a negative number."""
    stopping: bool = field(default=False, init=False)
    _lines: deque[str] = field(factory=lambda: deque(maxlen=LINES_KEPT), init=False)
    _partial: bytes = field(default=b"", init=False)

    @property
    def ready(self) -> bool:
        """True when it has said so."""
        return self.child.ready

    @property
    def result(self) -> dict[str, Any] | None:
        """Its last report, once it has ended in order."""
        return self.reports[-1] if self.status == 0 and self.reports else None

    def cpu_seconds(self) -> float:
        """Processor time that it has used so far, its own and the kernel's for it."""
        # In nanoseconds where the kernel counts them so (/proc/schedstat), else in its ticks, which are 10 ms.
        if (scheduled := self._scheduled()) is not None:
            return scheduled[0]
        return sum(self._ticked())

    def kernel_seconds(self) -> float:
        """The kernel's part of that, in ticks of 10 ms."""
        return self._ticked()[1]

    def queued_seconds(self) -> float:
        """Time that it was ready to run and had no processor; 0 where the kernel does not say."""
        scheduled = self._scheduled()
        return 0.0 if scheduled is None else scheduled[1]

    def anonymous_bytes(self) -> int:
        """Memory that is not pages of files: a log is mapped, and stays in the page cache at will.

        Raises BenchError where the kernel does not say.
        """
        for line in (self._directory / "status").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
        raise BenchError("this kernel does not tell anonymous memory (RssAnon)")

    @property
    def _directory(self) -> Path:
        return Path(f"/proc/{self.child.process.pid}")

    def _ticked(self) -> tuple[float, float]:
        """Seconds of its own and of the kernel's for it."""
        # proc_pid_stat(5): the name may hold spaces and brackets; utime and stime are fields 14 and 15.
        text = (self._directory / "stat").read_text(encoding="utf-8", errors="replace")
        own, kernel = map(int, text.rpartition(")")[2].split()[11:13])
        return own / os.sysconf("SC_CLK_TCK"), kernel / os.sysconf("SC_CLK_TCK")

    def _scheduled(self) -> tuple[float, float] | None:
        """Seconds that its threads ran, and that they waited for a processor."""
        try:
            threads = [each.read_text(encoding="ascii") for each in self._directory.glob("task/*/schedstat")]
        except OSError:  # a thread that has just ended
            return None
        if not threads:
            return None
        ran, waited = zip(*(map(int, each.split()[:2]) for each in threads), strict=True)
        return sum(ran) / 1e9, sum(waited) / 1e9

    def last_words(self) -> str:
        """The last lines that it wrote, for a sentence."""
        return " | ".join(self._lines) or "it wrote nothing"

    def take(self, data: bytes) -> None:
        """Take what it wrote."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            try:
                report = json.loads(line)
            except ValueError:
                report = None
            if isinstance(report, dict):
                self.reports.append(report)
            elif line.strip():
                self._lines.append(line.decode("utf-8", "replace").strip())
        if len(self._partial) > PARTIAL_BYTES:
            raise BenchError(f"{self.name} wrote a line of more than {PARTIAL_BYTES} bytes")


@define(eq=False)
class Processes:
    """All processes of one round; a context manager that leaves none behind."""

    running: list[Process] = field(factory=list, init=False)
    _selector: selectors.BaseSelector = field(factory=selectors.PollSelector, init=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandon()

    def start(self, command: ChildCommand) -> Process:
        """Start a process. Raises BenchError when that fails."""
        with _signals_held():
            try:
                process = Process(command.name, Child(command))
            except OSError as error:
                raise BenchError(f"{command.name} cannot be started: {error}") from error
            self.running.append(process)
        child = process.child
        register = self._selector.register
        register(child.notifications, selectors.EVENT_READ, lambda: self._notified(process))
        register(child.output, selectors.EVENT_READ, lambda: self._wrote(process))
        register(child.pidfd, selectors.EVENT_READ, lambda: self._ended(process))
        return process

    def start_module(self, name: str, module: str, settings: dict[str, Any]) -> Process:
        """Start a module of this package as a program, with its settings as one JSON argument."""
        arguments = (sys.executable, "-P", "-m", module, json.dumps(settings))
        return self.start(ChildCommand(name=name, role="bench", arguments=arguments))

    def wait(
        self,
        condition: Callable[[], bool],
        seconds: float,
        sentence: str,
        look: Callable[[], None] | None = None,
    ) -> None:
        """Wait until the condition holds; `look` is called after each thing that happened.

        Raises BenchError with `sentence` after `seconds`, and at once when a process dies that was not told to.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                raise BenchError(f"{sentence} within {seconds:g} s")
            self.turn(left)
            if look is not None:
                look()

    def wait_ready(self, *processes: Process) -> None:
        """Wait until all of them have said that they are ready."""
        names = " and ".join(process.name for process in processes)
        self.wait(
            lambda: all(process.ready for process in processes),
            START_SECONDS,
            f"{names} did not become ready",
        )

    def stop(self, *processes: Process) -> None:
        """End processes in order, one after the other."""
        for process in processes:
            if process.status is not None:
                continue
            process.stopping = True
            process.child.signal(signal.SIGTERM)
            self.wait(lambda p=process: p.status is not None, STOP_SECONDS, f"{process.name} did not stop")  # type: ignore[misc]

    def tell_to_end(self, process: Process) -> None:
        """Send SIGTERM to a process, and do not wait."""
        process.child.signal(signal.SIGTERM)

    @contextmanager
    def frozen(self, process: Process) -> Iterator[None]:
        """Meanwhile the process does not run (SIGSTOP)."""
        process.child.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.child.signal(signal.SIGCONT)

    def kill(self, process: Process) -> int:
        """Kill a process with SIGKILL; returns when, in monotonic nanoseconds."""
        process.stopping = True
        now_ns = time.monotonic_ns()
        process.child.signal(signal.SIGKILL)
        return now_ns

    def abandon(self) -> None:
        """End at once whatever still runs."""
        for process in self.running:
            if process.status is None:
                process.stopping = True
                process.child.signal(signal.SIGKILL)
                self._forget(process)
                process.status = process.child.close()
        self._selector.close()

    def turn(self, seconds: float) -> None:
        """Take what the processes tell; waits at most so long for the first of them.

        Raises BenchError when a process died that was not told to.
        """
        for key, _ in self._selector.select(seconds):
            if key.fd in self._selector.get_map():
                key.data()

    def _notified(self, process: Process) -> None:
        process.child.read_notifications()

    def _wrote(self, process: Process) -> None:
        data = process.child.read_output()
        if data is None:
            self._selector.unregister(process.child.output)
        else:
            process.take(data)

    def _ended(self, process: Process) -> None:
        while data := process.child.read_output():
            process.take(data)
        self._forget(process)
        process.status = process.child.close()
        if process.status != 0 and not process.stopping:
            raise BenchError(f"{process.name} died ({process.status}): {process.last_words()}")

    def _forget(self, process: Process) -> None:
        for source in (process.child.notifications, process.child.output, process.child.pidfd):
            if source in self._selector.get_map():
                self._selector.unregister(source)
