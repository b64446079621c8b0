"""Examples as processes."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SECONDS = 60
"""How long an example may take on a busy machine."""


def example(name: str, *arguments: str | Path) -> str:
    """Run one to its end; returns what it printed."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Running:
    """One that runs. Its standard error is the test's."""

    def __init__(self, name: str, *arguments: str | Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, EXAMPLES / name, *arguments], stdout=subprocess.PIPE, text=True
        )

    def line(self) -> str:
        """The next line that it prints, as soon as it does."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"it ended with status {self.process.wait()}"
        return line.rstrip("\n")

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def rest(self) -> list[str]:
        """Wait for its end; returns the lines that were not read before."""
        out, _ = self.process.communicate(timeout=SECONDS)
        assert self.process.returncode == 0
        return out.splitlines()


@contextmanager
def running() -> Iterator[Starter]:
    """Starts examples, and kills what is left of them at the end."""
    starter = Starter()
    try:
        yield starter
    finally:
        for each in starter.started:
            if each.process.poll() is None:
                each.kill()
            assert each.process.stdout is not None
            each.process.stdout.close()


class Starter:
    """Starts examples."""

    def __init__(self) -> None:
        self.started: list[Running] = []

    def __call__(self, name: str, *arguments: str | Path) -> Running:
        started = Running(name, *arguments)
        self.started.append(started)
        return started
