"""The examples do what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bus import Bus

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def example(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_sending_and_receiving(bus: Bus) -> None:
    path = str(bus.config_path)
    multicast = bus.configuration.multicast
    plain = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "listen_plain.py"), multicast.group, str(multicast.port), "101"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert plain.stdout is not None
    assert plain.stdout.readline() == "listening\n"
    first = example("send.py", path, "ALPHA", "60")
    assert first == "ALPHA is in the stream up to its message 60, which is record 61\n"
    assert "record 101" in example("send.py", path, "ALPHA", "100")
    assert bus.run("end-session").returncode == 0
    lines = example("receive.py", path).splitlines()
    assert lines == [f"{n + 1} ALPHA message {n} of ALPHA" for n in range(1, 101)]
    assert example("receive_batches.py", path).startswith("100 messages, ")
    plain.wait(timeout=30)
    heard = plain.stdout.read().splitlines()
    plain.stdout.close()
    assert heard == [f"{n + 1} message {n} of ALPHA" for n in range(1, 101)]


def test_the_protocol_libraries_alone() -> None:
    assert example("moldudp_alone.py").endswith("after the re-request: 10 messages, complete: True\n")
    assert example("souptcp_alone.py").splitlines() == [
        "accepted: session EXAMPLE, next 2",
        "from 2: [b'two', b'three']",
        "end of session",
    ]
