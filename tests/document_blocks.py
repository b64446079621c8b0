"""Documents as programs: their fenced blocks, and a shell in which the commands of one document run.

What the language of a block says:

| language | what is done with it |
|---|---|
| `console` | each line that begins with `$ ` is a command, the lines below are what it prints |
| `python NAME.py` | is written to that file |
| `python` | runs, together with the other such blocks below the same heading |
| `text` | what the block before it has printed |

Three dots in printed lines stand for anything, a line of three dots for any number of lines.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Self

from attrs import define, field, frozen

COMMAND_SECONDS = 60.0
"""One command takes a second or two; a machine that does other things too takes longer."""

LOOK_AGAIN_SECONDS = 20.0
LOOK_AGAIN_PAUSE = 0.05
LOOKS = ("cat ", "tail ", "cmp ", "grep ", "curl ", "seqcast status")
"""Commands that look at what other processes do, and so are given again until they show what the document says, as
a reader would."""

ANY_LINES = "..."


@frozen
class Block:
    """One fenced block: `argument` is what stands behind its language, `line` that of its fence, counted from 1."""

    section: str
    language: str
    argument: str
    text: str
    line: int


def blocks_of(path: Path) -> list[Block]:
    """The fenced blocks of a document, in order."""
    found: list[Block] = []
    section, fence, body = "", None, []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if fence is None and line.startswith("## "):
            section = line[3:].strip()
        elif fence is None and line.startswith("```"):
            language, _, argument = line[3:].strip().partition(" ")
            fence, body = (language, argument, number), []
        elif fence is not None and line == "```":
            found.append(Block(section, fence[0], fence[1], "\n".join(body) + "\n", fence[2]))
            fence = None
        elif fence is not None:
            body.append(line)
    assert fence is None, f"{path}: the block of line {fence} has no end"
    return found


def commands_of(block: Block) -> list[tuple[str, str]]:
    """The commands of a console block, each with the output that the document shows."""
    commands: list[tuple[str, str]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            commands.append((line[2:], ""))
        elif commands[-1][0].endswith("\\"):
            commands[-1] = (f"{commands[-1][0]}\n{line}", "")
        else:
            commands[-1] = (commands[-1][0], f"{commands[-1][1]}{line}\n")
    return commands


def fits(shown: str, printed: str) -> bool:
    """Whether a program has printed what the document shows."""
    pattern = ""
    for line in shown.splitlines():
        if line == ANY_LINES:
            pattern += r"(?:.*\n)*"
        else:
            pattern += r".*".join(re.escape(part) for part in line.split("...")) + r"\n"
    return re.fullmatch(pattern, printed) is not None


@define
class Shell:
    """One bash that begins in `directory`, with a home of its own; whatever it leaves running ends with it."""

    directory: Path
    home: Path
    _bash: subprocess.Popen[bytes] = field(init=False)
    _pending: bytes = field(default=b"", init=False)

    def __attrs_post_init__(self) -> None:
        environment = {**os.environ, "HOME": str(self.home)}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        environment.pop("SEQCAST_CONFIG", None)
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.directory,
            env=environment,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._bash.pid, number)
                if number is signal.SIGTERM:
                    self._wait_for_group()
        self._bash.wait()
        for stream in (self._bash.stdin, self._bash.stdout):
            assert stream is not None
            stream.close()

    def run(self, command: str) -> tuple[int, str]:
        """Run one command; returns its exit status and what it printed."""
        end = uuid.uuid4().hex
        assert self._bash.stdin is not None
        self._bash.stdin.write(f"{command}\necho {end} $?\n".encode())
        self._bash.stdin.flush()
        deadline = time.monotonic() + COMMAND_SECONDS
        while (found := re.search(rb"%s (\d+)\n" % end.encode(), self._pending)) is None:
            assert self._bash.stdout is not None
            ready, _, _ = select.select([self._bash.stdout], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"no end within {COMMAND_SECONDS:g} s: {command}\n{self._pending.decode()}"
            self._pending += os.read(self._bash.stdout.fileno(), 65536)
        printed, self._pending = self._pending[: found.start()], self._pending[found.end() :]
        return int(found[1]), printed.decode()

    def play(self, block: Block) -> None:
        """Run the commands of a console block; each succeeds, and prints what the document shows."""
        for command, shown in commands_of(block):
            deadline = time.monotonic() + LOOK_AGAIN_SECONDS
            while True:
                status, printed = self.run(command)
                if status == 0 and fits(shown, printed):
                    break
                late = not command.startswith(LOOKS) or time.monotonic() > deadline
                assert not late, (
                    f"line {block.line}: $ {command}\n{printed}(status {status}) and not\n{shown}"
                )
                time.sleep(LOOK_AGAIN_PAUSE)

    def _wait_for_group(self) -> None:
        """Wait until what was told to end has ended; raises ProcessLookupError then."""
        deadline = time.monotonic() + LOOK_AGAIN_SECONDS
        while time.monotonic() < deadline:
            self._bash.poll()
            os.killpg(self._bash.pid, 0)
            time.sleep(LOOK_AGAIN_PAUSE)
