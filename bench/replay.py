"""Replay: a history out of a rewinder, as fast as one client can take it, and what four slow clients do to the live.

The client is `baseline/stream.c`: it walks over the packets and counts those with records. The same program takes the
same number of packets of the same size from a file, by `sendfile` and by plain writes, with nobody in between.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.baselines import bytes_per_second
from bench.figures import Spread, ratios
from bench.payload import MESSAGE_BYTES
from bench.rounds import Load, result_of
from bench.scenario import beside, cpu, latencies, microseconds
from rewinder.record import STAMP_BYTES
from seqcast.child import ChildCommand
from seqcast.latency import LatencyHistogram
from souptcp import SOUPBINTCP, LoginRequest, PacketType

if TYPE_CHECKING:
    from bench.bus import Bus
    from bench.processes import Process
    from bench.scenario import Bench

CLIENTS = 4
CLIENTS_BYTES_PER_SECOND = 300_000_000 // 8
"""Of all of them together."""

LIVE_RATE = 100_000
"""Messages a second while they read."""

CLIENT_SECONDS = 120.0
"""A client that takes longer than this for the history is given up."""

FILE_PACKETS = 1 << 20
"""Packets in the file of the baseline, at most: 242 MB, more than any cache but the kernel's holds."""

PACKET_BYTES = MESSAGE_BYTES + STAMP_BYTES + SOUPBINTCP.overhead
"""Of one record on the wire."""

FIRST_NUMBER = 1


def measure(bench: Bench) -> dict[str, Any]:
    """`one_client` is about bytes a second, `four_clients` about live latency without and with them."""
    records = bench.settings.records
    with bench.bus() as bus:
        bench.show("replay: history", 0, records)
        bus.fill(records, lambda count: bench.show("replay: history", count, records))
        one = _one_client(bench, bus)
        four = _four_clients(bench, bus)
    return {"records": records, "one_client": one, "four_clients": four}


def _one_client(bench: Bench, bus: Bus) -> dict[str, Any]:
    records = bench.settings.records
    ours: list[float] = []
    cpu_us: list[float] = []
    theirs: dict[str, list[float | None]] = {"sendfile": [], "write": []}
    rewinder = bus.nodes[bus.configuration.rewinders[0].name]
    with tempfile.TemporaryDirectory(prefix="seqcast-bench-") as directory:
        path = Path(directory) / "packets"
        write_packets(path, min(records, FILE_PACKETS))
        for number in bench.rounds():
            label = bench.label("replay, one client", number)
            bench.show(label, 0, records)
            if bench.baselines is not None:
                before = rewinder.cpu_seconds()
                client = start_client(bench, bus, "client", 0)
                bus.processes.wait(
                    lambda c=client: c.status is not None,  # type: ignore[misc]
                    CLIENT_SECONDS,
                    "the replay did not end",
                )
                ours.append(bytes_per_second(result_of(client), records))
                cpu_us.append((rewinder.cpu_seconds() - before) * 1e6 / records)
            for how, found in theirs.items():
                found.append(
                    bench.baseline(label, lambda b, how=how: b.stream(how, path, records))  # type: ignore[misc]
                )
    if not ours:
        return {"bytes_per_second": None, "baseline": None}
    return {
        "bytes_per_second": Spread.of(ours).as_plain(0),
        "records_per_second": Spread.of([each / PACKET_BYTES for each in ours]).as_plain(0),
        "rewinder_cpu_us_per_record": Spread.of(cpu_us).as_plain(4),
        "baseline": {how: beside(ours, found, "bytes_per_second", 0) for how, found in theirs.items()},
    }


def _four_clients(bench: Bench, bus: Bus) -> dict[str, Any]:
    load = Load(max(1, int(LIVE_RATE * bench.settings.seconds)), LIVE_RATE)
    alone: list[LatencyHistogram] = []
    beside_clients: list[LatencyHistogram] = []
    rounds, rates = [], []
    for number in bench.rounds():
        quiet = bench.round_on(bus, bench.label("live alone", number), load)
        alone.append(LatencyHistogram.from_state(quiet.received["latencies"]))
        if bench.baselines is None:
            continue
        clients = [
            start_client(bench, bus, f"client {n}", CLIENTS_BYTES_PER_SECOND // CLIENTS)
            for n in range(CLIENTS)
        ]
        busy = bench.round_on(bus, bench.label("live beside four replays", number), load)
        for client in clients:
            bus.processes.tell_to_end(client)
        bus.processes.wait(
            lambda c=clients: all(client.status is not None for client in c),  # type: ignore[misc]
            CLIENT_SECONDS,
            "a replay did not end",
        )
        rounds.append(busy)
        beside_clients.append(LatencyHistogram.from_state(busy.received["latencies"]))
        rates.append(8e-6 * sum(bytes_per_second(result_of(client), 0) for client in clients))
    result: dict[str, Any] = {
        "clients": CLIENTS,
        "rate": LIVE_RATE,
        "messages": load.messages,
        "alone": latencies(alone),
        "beside": None,
    }
    if beside_clients:
        result |= {
            "beside": latencies(beside_clients),
            "megabits_per_second": Spread.of(rates).as_plain(),
            "p50_ratio": ratios(microseconds(beside_clients, 50), microseconds(alone, 50)).as_plain(3),
            "p99_ratio": ratios(microseconds(beside_clients, 99), microseconds(alone, 99)).as_plain(3),
            "cpu_us_per_message": cpu(rounds),
        }
    return result


def start_client(bench: Bench, bus: Bus, name: str, rate: int) -> Process:
    """A client that reads the history from its first record, once.

    With a `rate` in bytes a second, again and again until it is told to end.
    """
    assert bench.baselines is not None
    node = bus.configuration.rewinders[0]
    login = LoginRequest(
        user="REPLAY", password="", session=bus.configuration.session_field, sequence_number=FIRST_NUMBER
    )
    packet = SOUPBINTCP.encode_login(login)
    arguments = (node.replay_port, packet.hex(), bench.settings.records, rate)
    program = (bench.baselines.program("stream"), "drain", *map(str, arguments))
    return bus.processes.start(ChildCommand(name=name, role="bench", arguments=program))


def write_packets(path: Path, packets: int) -> None:
    """A file of packets like those of the history."""
    packet = SOUPBINTCP.frame(PacketType.SEQUENCED, bytes(MESSAGE_BYTES + STAMP_BYTES))
    many = 4096
    with path.open("wb") as file:
        for first in range(0, packets, many):
            file.write(packet * min(many, packets - first))
