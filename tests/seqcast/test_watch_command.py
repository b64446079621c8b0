"""`seqcast status --watch` on a terminal, of nodes that are down: it goes on, and leaves the terminal as it was."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from stand_in import run

ENTER, LEAVE, SHOW_CURSOR = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25h"
SECONDS = 30


def test_the_screen(tmp_path: Path) -> None:
    run("init", "--dir", str(tmp_path))
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "seqcast.cli", "status", "--watch", "--config", str(tmp_path)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
        start_new_session=True,
    )
    os.close(theirs)
    shown, deadline = b"", time.monotonic() + SECONDS
    try:
        while b"REW1" not in shown:
            assert select.select([ours], [], [], max(0.0, deadline - time.monotonic()))[0], shown
            shown += os.read(ours, 65536)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=SECONDS) == 0
        while select.select([ours], [], [], 0)[0]:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # nobody has the other end any more
                break
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert b"has not been heard of" in shown
    assert b"Traceback" not in shown
    assert shown.index(ENTER) < shown.index(LEAVE)
    assert shown.endswith((LEAVE, SHOW_CURSOR, LEAVE + SHOW_CURSOR, SHOW_CURSOR + LEAVE))
