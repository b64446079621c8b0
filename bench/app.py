"""The app process of `bench.delivery`: sends or receives so many messages in one way, and reports what it took."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from bench import worker
from bench.payload import MESSAGE_BYTES, TABLE_MESSAGES, PreparedTable
from rewinder.pump import Idle
from seqcast.receiver import Receiver
from seqcast.sender import Sender

if TYPE_CHECKING:
    from collections.abc import Callable

USERS = {"table": "TABLE", "list": "LIST", "single": "SINGLE"}
"""Each way of sending has a user of its own."""

BATCH_MESSAGES = 1000
"""Messages of one list."""


def send_tables(sender: Sender, messages: int) -> None:
    """Prepared tables, as a program that reads or computes them in C has."""
    table = PreparedTable()
    for first in range(0, messages, TABLE_MESSAGES):
        sender.send_batch(table.fill(first, (), min(TABLE_MESSAGES, messages - first)))


def send_lists(sender: Sender, messages: int) -> None:
    """Lists of bytes."""
    payloads = [bytes([n & 255]) * MESSAGE_BYTES for n in range(BATCH_MESSAGES)]
    for first in range(0, messages, BATCH_MESSAGES):
        sender.send_batch(payloads[: messages - first])


def send_singles(sender: Sender, messages: int) -> None:
    """One call each."""
    payload = bytes(MESSAGE_BYTES)
    for _ in range(messages):
        sender.send(payload)


def receive_batches(receiver: Receiver, messages: int) -> int:
    """Batches; the payloads stay where they are."""
    count = 0
    while count < messages:
        count += len(receiver.poll(timeout=1.0).payloads)
    return count


def receive_arrays(receiver: Receiver, messages: int) -> int:
    """Batches, and all of their columns as NumPy arrays."""
    count = 0
    while count < messages:
        batch = receiver.poll(timeout=1.0)
        count += len(batch.arrays().numbers) if len(batch) else 0
    return count


def receive_singles(receiver: Receiver, messages: int) -> int:
    """Messages one at a time."""
    count = 0
    for _ in receiver:
        count += 1
        if count == messages:
            break
    return count


def receive_async(receiver: Receiver, messages: int) -> int:
    """Messages one at a time, in an event loop."""

    async def main() -> int:
        count = 0
        async for _ in receiver:
            count += 1
            if count == messages:
                break
        return count

    return asyncio.run(main())


SEND: dict[str, Callable[[Sender, int], None]] = {
    "table": send_tables,
    "list": send_lists,
    "single": send_singles,
}
RECEIVE: dict[str, Callable[[Receiver, int], int]] = {
    "batches": receive_batches,
    "arrays": receive_arrays,
    "single": receive_singles,
    "async": receive_async,
}


def send(config: str, way: str, messages: int) -> dict[str, Any]:
    """Send, and wait until all are committed. `wrong` counts frames too many or too few in the stream."""
    with Sender(config, USERS[way]) as sender:
        cpu, started = worker.cpu_seconds(), time.monotonic()
        SEND[way](sender, messages)
        sender.flush()
        return {
            "count": sender.committed_sequence,
            "wrong": abs(sender.committed_sequence - messages),
            "seconds": time.monotonic() - started,
            "cpu_seconds": worker.cpu_seconds() - cpu,
        }


def receive(config: str, way: str, messages: int, idle: Idle) -> dict[str, Any]:
    """Read from the rewinder. `wrong` counts how far the last number is from where it should be."""
    with Receiver(config, lines=(), idle=idle) as receiver:
        cpu, started = worker.cpu_seconds(), time.monotonic()
        count = RECEIVE[way](receiver, messages)
        seconds, cpu_seconds = time.monotonic() - started, worker.cpu_seconds() - cpu
        delivered = receiver.delivered
        wrong = (receiver.last_number or 0) - (receiver.first_number or 0) + 1 - delivered
    return {
        "count": min(count, messages),
        "wrong": abs(wrong),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
    }


def main() -> None:
    """Run the process."""
    settings = worker.settings()
    config, way, messages = settings["config"], settings["way"], settings["messages"]
    worker.prepare()
    if settings["role"] == "send":
        worker.report(**send(config, way, messages))
    else:
        worker.report(**receive(config, way, messages, Idle(settings["idle"])))


if __name__ == "__main__":
    main()
