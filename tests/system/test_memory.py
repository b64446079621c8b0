"""No process grows with the messages that have passed through it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bus import Bus, new_bus

from native.messages import MessageTable

if TYPE_CHECKING:
    from native.messages import Messages
    from seqcast import Receiver, Sender

SEGMENT_MIB = 1
"""A log keeps the index of 64 segments in memory, some 130 KiB for one of 64 MiB: small ones reach that soon."""

WARM_UP = 700_000
"""By then every buffer has its size, and more segments were filled than stay open."""

MESSAGES = 1_200_000
"""What is measured over: a byte for each of them would be more than `GROWTH_BYTES`."""

GROWTH_BYTES = 1_000_000
"""What the memory of a process may vary by: buffers of the allocator, and objects of a few status questions."""

BATCH = 1000


def anonymous_bytes(pid: int) -> int:
    """Memory of a process that is not pages of files: the log is mapped, and stays in the page cache at will."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    pytest.skip("this kernel does not tell anonymous memory")


def batch_of(length: int) -> Messages:
    table = MessageTable(BATCH)
    for row in range(BATCH):
        table.set(row, 0, row * length, length)
    return table.view(memoryview(bytearray(BATCH * length)), BATCH)


def run(sender: Sender, receiver: Receiver, batch: Messages, count: int) -> None:
    """Send and receive `count` messages, never far apart."""
    received = 0
    for sent in range(0, count, BATCH):
        sender.send_batch(batch)
        while received < sent:
            received += len(receiver.poll(timeout=1.0))
    sender.flush(30)
    while received < count:
        received += len(receiver.poll(timeout=1.0))


def grown(bus: Bus, batch: Messages) -> dict[str, int]:
    """How many bytes each process takes more after the messages than before them."""
    pids = {name: node.process.pid for name, node in bus.nodes.items()} | {"the app": os.getpid()}
    with bus.receiver() as receiver, bus.sender() as sender:
        run(sender, receiver, batch, WARM_UP)
        bus.wait_level()
        before = {name: anonymous_bytes(pid) for name, pid in pids.items()}
        run(sender, receiver, batch, MESSAGES)
        bus.wait_level()
        return {name: anonymous_bytes(pid) - before[name] for name, pid in pids.items()}


@pytest.mark.timeout(120)
def test_memory_is_flat_however_many_messages_pass(tmp_path: Path) -> None:
    batch = batch_of(100)
    with new_bus(tmp_path / "run", segment_mib=SEGMENT_MIB) as bus:
        bus.start_all()
        growth = grown(bus, batch)
    assert max(growth.values()) < GROWTH_BYTES, growth
