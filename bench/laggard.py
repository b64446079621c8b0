"""The process of a receiver that reads little: its kernel buffer overflows, and stays full, until SIGTERM.

What it misses it asks of a rewinder. It is ready when it has heard the stream.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

from bench import worker
from seqcast.config import read_configuration
from seqcast.receiver import LIVE, Receiver

BUFFER_BYTES = 1 << 16
"""Of its sockets: at 20,000 messages of 200 bytes a second full after some 10 ms."""

PORTION_MESSAGES = 64
PAUSE_SECONDS = 0.1
"""It takes so many messages, and then does something else for so long: one message in thirty of 20,000 a second."""

HEARTBEAT_SECONDS = 20.0

SOCKET_TABLE = Path("/proc/self/net/udp")


def datagrams_dropped() -> int:
    """Datagrams for which the buffers of this process had no room, as the kernel counts them."""
    links = (path.readlink().name for path in Path("/proc/self/fd").iterdir() if path.is_symlink())
    ours = {name.removeprefix("socket:[").removesuffix("]") for name in links if name.startswith("socket:[")}
    # proc(5), /proc/net/udp: the inode is the tenth column, the drops are the last.
    rows = (line.split() for line in SOCKET_TABLE.read_text(encoding="ascii").splitlines()[1:])
    return sum(int(row[-1]) for row in rows if row[9] in ours)


def lag_behind(receiver: Receiver) -> dict[str, Any]:
    """Read little until SIGTERM; returns what it got, and what it did not."""
    ending: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: ending.append(number))
    received = 0
    while not ending:
        received += len(receiver.poll(PORTION_MESSAGES))
        time.sleep(PAUSE_SECONDS)
    return {
        "received": received,
        "lag": receiver.lag,
        "rewound": receiver.rewound,
        "datagrams_dropped": datagrams_dropped(),
    }


def main() -> None:
    """Run the process."""
    settings = worker.settings()
    configuration = read_configuration(Path(settings["config"]))
    with Receiver(configuration, LIVE, receive_buffer=BUFFER_BYTES) as receiver:
        deadline = time.monotonic() + HEARTBEAT_SECONDS
        while not receiver.appeared:
            receiver.poll(timeout=0.05)
            if time.monotonic() > deadline:
                raise SystemExit(f"no heartbeat came within {HEARTBEAT_SECONDS:g} s")
        worker.ready()
        worker.report(**lag_behind(receiver))


if __name__ == "__main__":
    main()
