"""Every decoder and encoder, ready to be called with a batch: for `bench.codec`, and for pytest-benchmark.

A kernel handles `BATCH` messages of 200 bytes a call. Those that change what they work on get it fresh for each call.
"""

from __future__ import annotations

import struct
from random import Random
from typing import TYPE_CHECKING, Any

from attrs import frozen

from bench.payload import MESSAGE_BYTES, PreparedTable
from moldudp import MOLDUDP64, Receiver
from native.messages import Messages, MessageTable
from rewinder.log import MessageLog
from rewinder.memory import MemoryStorage
from rewinder.record import RECORD_CHECK, Stamp, stamp_record
from seqcast._native import DeliveryKernel, Outbox
from seqcast.assembly import Assembly
from sequencer._native import Outgoing
from sequencer.ordering import Ordering
from sequencer.process import payload_limit
from souptcp import SOUPBINTCP, ClientSession, PacketType, Sequenced, ServerSession, Unsequenced

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SESSION = b"BENCHMARKS"
DATAGRAM_BYTES = 1472
SENDER = b"BENCH1"
TIME_NS = 10**18
BATCH = 1024
"""Messages in one call of what is measured."""


def _nothing() -> tuple[Any, ...]:
    return ()


@frozen
class Kernel:
    """One kernel. `run(*setup())` handles a batch and returns `expected`; `setup` belongs to no measurement."""

    name: str
    run: Callable[..., Any]
    expected: Any
    setup: Callable[[], tuple[Any, ...]] = _nothing


def kernels() -> list[Kernel]:
    """All kernels, each with inputs of its own."""
    payloads = PreparedTable(capacity=BATCH).fill(0, (), BATCH)
    stamps = [
        Stamp(time_ns=TIME_NS + number, sender_sequence=number, sender=SENDER)
        for number in range(1, BATCH + 1)
    ]
    records = table_of(
        [
            stamp_record(payload, number, stamp)
            for number, (payload, stamp) in enumerate(zip(payloads.payloads(), stamps, strict=True), start=1)
        ]
    )
    # What a sender puts into unsequenced packets: sequence, flags (whole), payload.
    submissions = [
        struct.pack(">QB", row + 1, 3) + payload for row, payload in enumerate(payloads.payloads())
    ]
    return [
        *_moldudp64(records),
        *_soupbintcp(records, submissions),
        *_records(records, payloads),
        *_nodes(records, table_of(submissions)),
    ]


def table_of(payloads: list[bytes]) -> Messages:
    """Payloads one behind the other in a buffer, numbered from 1."""
    table, buffer, offset = MessageTable(len(payloads)), b"".join(payloads), 0
    for row, payload in enumerate(payloads):
        table.set(row, row + 1, offset, len(payload))
        offset += len(payload)
    return table.view(memoryview(buffer), len(payloads))


def packets(records: Messages | Sequence[bytes]) -> list[bytes]:
    """The records as they are multicast: six in each datagram."""
    made, start = [], 0
    while start < BATCH:
        packet, count = MOLDUDP64.pack(SESSION, start + 1, records, DATAGRAM_BYTES, start)
        made.append(packet)
        start += count
    return made


def _moldudp64(records: Messages) -> list[Kernel]:
    datagrams = packets(records)

    def window(check: Any) -> Callable[[], tuple[Any, ...]]:
        return lambda: (Receiver(random=Random(1), session=SESSION, check=check),)  # noqa: S311  (no secret)

    def put(receiver: Receiver) -> int:
        for datagram in datagrams:
            receiver.receive_datagram(datagram, 0)
        return len(receiver.messages())

    return [
        Kernel("moldudp64: pack datagrams", lambda: len(packets(records)), len(datagrams)),
        Kernel(
            "moldudp64: decode datagrams",
            lambda: sum(len(MOLDUDP64.decode(datagram).messages) for datagram in datagrams),
            BATCH,
        ),
        Kernel("moldudp64: put datagrams in order", put, BATCH, window(None)),
        Kernel("moldudp64: put datagrams in order, checksum", put, BATCH, window(RECORD_CHECK)),
    ]


def _soupbintcp(records: Messages, submissions: list[bytes]) -> list[Kernel]:
    sequenced = records.payloads()
    up = SOUPBINTCP.frame_all(PacketType.UNSEQUENCED, submissions)
    down = SOUPBINTCP.frame_all(PacketType.SEQUENCED, sequenced)
    server = ServerSession(SOUPBINTCP, now_ns=0)
    client = ClientSession(SOUPBINTCP, user="BENCH1", password="", session=b"", sequence_number=0, now_ns=0)
    list(server.receive(client.take_output(0), 0))
    server.accept(SESSION, 1, 0)
    list(client.receive(server.take_output(0), 0))
    out = bytearray()

    def pack() -> int:
        out.clear()
        SOUPBINTCP.pack(out, PacketType.SEQUENCED, records)
        return len(out)

    def read(session: ClientSession | ServerSession, stream: bytes) -> int:
        count = 0
        for event in session.receive(stream, 0):
            if isinstance(event, Sequenced | Unsequenced):
                count += len(event.messages)
        return count

    return [
        Kernel("soupbintcp: pack packets", pack, len(down)),
        Kernel("soupbintcp: server reads packets", lambda: read(server, up), BATCH),
        Kernel("soupbintcp: client reads packets", lambda: read(client, down), BATCH),
    ]


def _records(records: Messages, payloads: Messages) -> list[Kernel]:
    outbox, kernel, assembly = Outbox(4 << 20), DeliveryKernel(BATCH), Assembly(BATCH)

    def submit() -> int:
        outbox.begin(1)
        return outbox.put(payloads, 0, payload_limit(DATAGRAM_BYTES))

    def opened() -> int:
        found, _ = kernel.run(records, 0, BATCH)
        return len(found)

    def one_at_a_time() -> int:
        batch, _ = assembly.open(records, BATCH)
        last = 0
        for message in batch or ():
            last = message.number
        return last

    return [
        Kernel("records: frame submissions", submit, BATCH),
        Kernel("records: check", lambda: DeliveryKernel.check(records), BATCH),
        Kernel("records: open", opened, BATCH),
        Kernel("records: open, one object a message", one_at_a_time, BATCH),
    ]


def new_log() -> MessageLog:
    """An empty log in memory."""
    return MessageLog.create(MemoryStorage(), SESSION, segment_bytes=1 << 20, durability="memory")


def _nodes(records: Messages, submissions: Messages) -> list[Kernel]:
    limit = payload_limit(DATAGRAM_BYTES)

    def fresh() -> tuple[Ordering, int]:
        log = new_log()
        return Ordering(log, limit), log.senders.add(SENDER)

    def order(ordering: Ordering, slot: int) -> int:
        return ordering.submit(slot, submissions, TIME_NS).stamped

    ordering, known = fresh()
    ordering.submit(known, submissions, TIME_NS)
    log = new_log()
    Ordering(log, limit).submit(log.senders.add(SENDER), submissions, TIME_NS)
    outgoing = Outgoing(SESSION, 64, DATAGRAM_BYTES)

    def pack() -> int:
        number = 1
        while number <= BATCH:
            number = outgoing.fill(log.segment_of(number), number, BATCH)
        return number - 1

    def append(log: MessageLog) -> int:
        log.append_records(records)
        return log.last

    return [
        Kernel("sequencer: dedup, stamp, checksum, append", order, BATCH, fresh),
        Kernel(
            "sequencer: refuse duplicates",
            lambda: ordering.submit(known, submissions, TIME_NS).duplicates,
            BATCH,
        ),
        Kernel("sequencer: pack datagrams from the log", pack, BATCH),
        Kernel("rewinder: append replicated records", append, BATCH, lambda: (new_log(),)),
    ]


BATCH_BYTES = BATCH * MESSAGE_BYTES
"""Payload bytes that one call handles."""
