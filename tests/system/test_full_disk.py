"""A disk that fills up: stamping stops with a clear reason, nothing acknowledged is lost, and it goes on."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from bus import new_bus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20


@contextmanager
def small_disk(path: Path, mib: int) -> Iterator[None]:
    """A file system of its own at `path`."""
    path.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_full_disk_stops_stamping_and_room_lets_it_go_on(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    disk = directory / "log" / "SEQ1"
    with small_disk(disk, 5), new_bus(directory, "--force") as bus:
        text = bus.config_path.read_text()
        bus.config_path.write_text(text.replace("segment_mib = 64", "segment_mib = 1"))
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(2 * MIB))  # leaves room for two segments
        bus.start_all()
        with bus.sender() as sender:
            payload = bytes(1000)
            while not (status := bus.ask("SEQ1", "status"))["refusing"]:
                for _ in range(100):
                    sender.send(payload)
                sender.poll(0.01)
            assert "nothing can be stamped" in status["refusing"]
            assert ".seg" in status["refusing"]
            acknowledged = sender.committed_sequence
            assert acknowledged > 0
            assert sender.in_flight > 0
            ballast.unlink()
            number = sender.flush(20)
            total = sender.last_sequence
        assert "storage full" in bus.nodes["SEQ1"].log
        with bus.receiver(lines=()) as receiver:
            sequences: list[int] = []
            while receiver.position <= number:
                sequences += receiver.poll(timeout=1.0).stamps.sequences
        assert sequences == list(range(1, total + 1))
        assert bus.ask("SEQ1", "status")["refusing"] is None
