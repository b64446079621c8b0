"""What holds of an installed wheel: run by `make wheel`, with the Python of a new environment, outside the checkout."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(sysconfig.get_paths()["purelib"])
BINARY = Path(sys.executable).with_name("seqcast")
TEST = """\
import pytest

@pytest.mark.bus(seeds=2)
def test_a_message_is_delivered(bus):
    sender, receiver = bus.sender("ALPHA"), bus.receiver()
    number = sender.send(b"hello").wait()
    assert [(each.number, each.payload) for each in receiver.take(1)] == [(number, b"hello")]
"""


def output_of(*command: str | Path) -> str:
    """Run a command to its end; returns what it prints."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")
    return done.stdout


def main() -> None:
    """Installed whole, and working."""
    for package in ("native", "moldudp", "souptcp", "rewinder", "sequencer", "seqcast", "bench"):
        assert (HERE / package / "py.typed").exists(), f"{package} is not in the wheel, or not typed"
    (extension,) = HERE.glob("native/_seqcast*.so")
    assert extension.suffixes[0] == ".abi3", extension
    version = importlib.metadata.version("seqcast")
    assert output_of(BINARY, "--version") == f"seqcast {version}\n"
    output_of(BINARY, "init", "--dir", "run")
    assert "OK" in output_of(BINARY, "demo", "--messages", "5000")
    Path("test_it.py").write_text(TEST, encoding="ascii")
    assert "2 passed" in output_of(sys.executable, "-m", "pytest", "-q", "test_it.py")
    sys.stdout.write(f"seqcast {version} works as a wheel\n")


main()
