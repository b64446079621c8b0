"""Processes of a benchmark: their reports, their deaths, and that none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from bench.errors import BenchError
from bench.processes import Processes
from seqcast.child import ChildCommand

READY = "from rewinder import notify; notify.ready();"


def python(name: str, code: str) -> ChildCommand:
    return ChildCommand(name=name, role="test", arguments=(sys.executable, "-c", code))


def ended(process) -> bool:
    return process.status is not None


def test_reports_are_the_json_objects_among_the_lines() -> None:
    code = "print('hello'); print('{\"a\": 1}'); print('[1]'); print('{\"b\": 2}', end='\\n\\n')"
    with Processes() as processes:
        process = processes.start(python("one", code))
        processes.wait(lambda: ended(process), 20, "it did not end")
        assert process.reports == [{"a": 1}, {"b": 2}]
        assert process.result == {"b": 2}
        assert process.last_words() == "hello | [1]"


def test_a_process_that_dies_is_an_error_with_its_last_words() -> None:
    with Processes() as processes:
        process = processes.start(python("one", "raise SystemExit('no disk')"))
        with pytest.raises(BenchError, match=r"one died \(1\): no disk"):
            processes.wait(lambda: ended(process), 20, "it did not end")
        assert process.result is None


def test_a_process_that_is_not_ready_in_time_is_an_error() -> None:
    with Processes() as processes:
        process = processes.start(python("one", "import signal; signal.pause()"))
        with pytest.raises(BenchError, match=r"one is not ready within 0\.05 s"):
            processes.wait(lambda: process.ready, 0.05, "one is not ready")


def test_a_command_that_is_not_there_is_an_error() -> None:
    with Processes() as processes, pytest.raises(BenchError, match="one cannot be started"):
        processes.start(ChildCommand(name="one", role="test", arguments=("/no/such/program",)))


def test_readiness_processor_time_and_an_orderly_stop() -> None:
    with Processes() as processes:
        process = processes.start(python("one", READY + "import signal; signal.pause()"))
        processes.wait_ready(process)
        assert process.cpu_seconds() > 0
        processes.stop(process)
        assert process.status == -15
        processes.stop(process)  # again: nothing to do


def test_none_is_left_behind() -> None:
    with Processes() as processes:
        process = processes.start(python("one", READY + "import signal; signal.pause()"))
        processes.wait_ready(process)
    assert process.status == -9
    with pytest.raises(ProcessLookupError):
        os.kill(process.child.process.pid, 0)


def test_look_is_called_while_it_waits() -> None:
    seen: list[int] = []
    with Processes() as processes:
        process = processes.start(python("one", "print('{\"progress\": 5}')"))
        processes.wait(lambda: ended(process), 20, "-", lambda: seen.append(len(process.reports)))
    assert seen[-1] == 1


END_WHILE_FORKING = """
import os, signal, sys
from bench.processes import Processes
from seqcast.child import ChildCommand

def end(number, frame):
    sys.exit(128 + number)

signal.signal(signal.SIGTERM, end)
os.register_at_fork(after_in_parent=lambda: signal.raise_signal(signal.SIGTERM))
with Processes() as processes:
    try:
        processes.start(ChildCommand(name="one", role="test", arguments=(sys.executable, "-c", "input()")))
        print("went on")
    finally:
        print("started", len(processes.running))
"""


def test_a_signal_that_comes_while_a_child_is_started_is_not_lost() -> None:
    """Without care it would be: exceptions in the hooks of a fork are dropped."""
    ran = subprocess.run(
        [sys.executable, "-c", END_WHILE_FORKING], capture_output=True, text=True, timeout=30, check=False
    )
    assert ran.returncode == 128 + signal.SIGTERM
    assert ran.stdout == "started 1\n"
    assert ran.stderr == ""


def test_what_a_process_holds_and_waits_for() -> None:
    code = READY + "kept = b'x' * (20 << 20); print('{}', flush=True); import signal; signal.pause()"
    with Processes() as processes:
        process = processes.start(python("one", code))
        processes.wait_ready(process)
        processes.wait(lambda: bool(process.reports), 20, "it did not get its memory")
        assert 20 << 20 < process.anonymous_bytes() < 60 << 20
        assert process.queued_seconds() >= 0
        assert 0 <= process.kernel_seconds() <= process.cpu_seconds() + 0.02


def test_a_frozen_process_does_nothing_until_it_may() -> None:
    code = (
        "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0));"
        + READY
        + "signal.pause()"
    )
    with Processes() as processes:
        process = processes.start(python("one", code))
        processes.wait_ready(process)
        with processes.frozen(process):
            processes.tell_to_end(process)
            with pytest.raises(BenchError, match="it does not run"):
                processes.wait(lambda: ended(process), 0.1, "it does not run")
        processes.wait(lambda: ended(process), 20, "it did not go on")
        assert process.status == 0
