"""Micro benchmarks of the kernels, each with a check of its result.

They run once, as plain tests, in the suite. To measure:

    python -m pytest -n 0 --benchmark-enable --benchmark-only tests/bench/test_bench_codecs.py
"""

from __future__ import annotations

import struct
from random import Random

import pytest

from bench.payload import PreparedTable
from moldudp import MOLDUDP64, Receiver
from native.messages import MessageTable
from rewinder.log import MessageLog
from rewinder.memory import MemoryStorage
from rewinder.record import RECORD_CHECK, Stamp, stamp_record
from seqcast._native import DeliveryKernel, Outbox
from seqcast.assembly import Assembly
from sequencer._native import Outgoing
from sequencer.ordering import Ordering
from sequencer.process import payload_limit
from souptcp import SOUPBINTCP, ClientSession, PacketType, ServerSession, Unsequenced

SESSION = b"BENCHMARKS"
DATAGRAM_BYTES = 1472
SENDER = b"BENCH1"
BATCH = 1024
"""Messages in one call of what is measured."""

MESSAGES = PreparedTable(capacity=BATCH).fill(0, (), BATCH)
RECORDS = [
    stamp_record(payload, number, Stamp(time_ns=10**18 + number, sender_sequence=number, sender=SENDER))
    for number, payload in enumerate(MESSAGES.payloads(), start=1)
]
SUBMISSIONS = [struct.pack(">QB", row + 1, 3) + payload for row, payload in enumerate(MESSAGES.payloads())]
"""What a sender puts into unsequenced packets: sequence, flags (whole), payload."""


def table_of(payloads: list[bytes]):
    table, buffer, offset = MessageTable(len(payloads)), b"".join(payloads), 0
    for row, payload in enumerate(payloads):
        table.set(row, row + 1, offset, len(payload))
        offset += len(payload)
    return table.view(memoryview(buffer), len(payloads))


def packets(records) -> list[bytes]:
    """The records as they are multicast: six in each datagram."""
    made, start = [], 0
    while start < BATCH:
        packet, count = MOLDUDP64.pack(SESSION, start + 1, records, DATAGRAM_BYTES, start)
        made.append(packet)
        start += count
    return made


@pytest.mark.benchmark(group="moldudp64")
def test_pack_datagrams(benchmark) -> None:
    made = benchmark(packets, table_of(RECORDS))
    assert len(made) == -(-BATCH // 6)


@pytest.mark.benchmark(group="moldudp64")
@pytest.mark.parametrize("checked", [False, True], ids=["bare", "crc checked"])
def test_put_datagrams_in_order(benchmark, checked: bool) -> None:
    datagrams = packets(table_of(RECORDS))
    check = RECORD_CHECK if checked else None

    def fresh():
        return (Receiver(random=Random(1), session=SESSION, check=check),), {}

    def run(receiver: Receiver) -> int:
        for datagram in datagrams:
            receiver.receive_datagram(datagram, 0)
        return len(receiver.messages())

    assert benchmark.pedantic(run, setup=fresh, rounds=50) == BATCH


@pytest.mark.benchmark(group="souptcp")
def test_read_a_run_of_packets(benchmark) -> None:
    stream = SOUPBINTCP.frame_all(PacketType.UNSEQUENCED, SUBMISSIONS)
    server = ServerSession(SOUPBINTCP, now_ns=0)
    client = ClientSession(SOUPBINTCP, user="BENCH1", password="", session=b"", sequence_number=0, now_ns=0)
    list(server.receive(client.take_output(0), 0))
    server.accept(SESSION, 1, 0)

    def run() -> int:
        return sum(
            len(event.messages) for event in server.receive(stream, 0) if isinstance(event, Unsequenced)
        )

    assert benchmark(run) == BATCH


@pytest.mark.benchmark(group="souptcp")
def test_frame_submissions(benchmark) -> None:
    outbox = Outbox(4 << 20)

    def run() -> int:
        outbox.begin(1)
        return outbox.put(MESSAGES, 0, payload_limit(DATAGRAM_BYTES))

    assert benchmark(run) == BATCH


@pytest.mark.benchmark(group="records")
def test_check_records(benchmark) -> None:
    assert benchmark(DeliveryKernel.check, table_of(RECORDS)) == BATCH


@pytest.mark.benchmark(group="records")
def test_open_records(benchmark) -> None:
    kernel, records = DeliveryKernel(BATCH), table_of(RECORDS)
    payloads, stamps = benchmark(kernel.run, records, 0, BATCH)
    assert payloads.payloads() == MESSAGES.payloads()
    assert stamps[BATCH - 1] == (SENDER, BATCH, 10**18 + BATCH)


@pytest.mark.benchmark(group="records")
def test_open_messages_one_at_a_time(benchmark) -> None:
    assembly, records = Assembly(BATCH), table_of(RECORDS)

    def run() -> int:
        batch, _ = assembly.open(records, BATCH)
        for message in batch:
            last = message
        return last.number

    assert benchmark(run) == BATCH


def new_log() -> MessageLog:
    return MessageLog.create(MemoryStorage(), SESSION, segment_bytes=1 << 20, durability="memory")


@pytest.mark.benchmark(group="sequencer")
def test_order_submissions(benchmark) -> None:
    submissions = table_of(SUBMISSIONS)

    def fresh():
        log = new_log()
        return (Ordering(log, payload_limit(DATAGRAM_BYTES)), log.senders.add(SENDER)), {}

    def run(ordering: Ordering, slot: int) -> int:
        outcome = ordering.submit(slot, submissions, 10**18)
        assert outcome.refusal is None
        return outcome.stamped

    assert benchmark.pedantic(run, setup=fresh, rounds=50) == BATCH


@pytest.mark.benchmark(group="sequencer")
def test_refuse_duplicates(benchmark) -> None:
    log, submissions = new_log(), table_of(SUBMISSIONS)
    ordering, slot = Ordering(log, payload_limit(DATAGRAM_BYTES)), log.senders.add(SENDER)
    ordering.submit(slot, submissions, 10**18)
    outcome = benchmark(ordering.submit, slot, submissions, 10**18)
    assert (outcome.stamped, outcome.duplicates, log.last) == (0, BATCH, BATCH)


@pytest.mark.benchmark(group="sequencer")
def test_pack_from_the_log(benchmark) -> None:
    log = new_log()
    Ordering(log, payload_limit(DATAGRAM_BYTES)).submit(
        log.senders.add(SENDER), table_of(SUBMISSIONS), 10**18
    )
    outgoing = Outgoing(SESSION, 64, DATAGRAM_BYTES)

    def run() -> int:
        number = 1
        while number <= BATCH:
            number = outgoing.fill(log.segment_of(number), number, BATCH)
        return number

    assert benchmark(run) == BATCH + 1


@pytest.mark.benchmark(group="rewinder")
def test_append_replicated_records(benchmark) -> None:
    records = table_of(RECORDS)

    def fresh():
        return (new_log(),), {}

    def run(log: MessageLog) -> int:
        log.append_records(records)
        return log.last

    assert benchmark.pedantic(run, setup=fresh, rounds=50) == BATCH
