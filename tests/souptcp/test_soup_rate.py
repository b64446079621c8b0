"""How fast the machines are: `pytest --benchmark-enable -n 0 tests/souptcp/test_soup_rate.py`.

Without the option each runs once, so that they cannot rot. What is measured is one buffer of 256 KiB, read at
once, of 200-byte sequenced packets; the memory move that stands for `recv_into` is in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from machines import active_client, active_server, name_of
from oracle_soup import split

from souptcp import SOUPBINTCP, SOUPTCP_3, Codec, PacketType, Sequenced
from souptcp.session import BUFFER_BYTES

if TYPE_CHECKING:
    from souptcp import ClientSession

PAYLOAD = bytes(range(100, 200)) * 2


def full_buffer(codec: Codec) -> tuple[bytes, int]:
    packet = codec.frame(PacketType.SEQUENCED, PAYLOAD)
    count = BUFFER_BYTES // len(packet)
    return packet * count, count


def read_once(client: ClientSession, data: bytes) -> int:
    client.space()[: len(data)] = data
    total = 0
    for event in client.received(len(data), 0):
        if isinstance(event, Sequenced):
            total += len(event.messages)
    return total


@pytest.mark.parametrize("codec", [SOUPBINTCP, SOUPTCP_3], ids=name_of)
def test_client_receives_batches(benchmark: Any, codec: Codec) -> None:
    data, count = full_buffer(codec)
    client = active_client(codec)
    assert benchmark(read_once, client, data) == count
    benchmark.extra_info["messages"] = count


def test_client_hands_out_every_message(benchmark: Any) -> None:
    """What it costs when the application looks at each message."""
    data, count = full_buffer(SOUPBINTCP)
    client = active_client()

    def read_all() -> int:
        client.space()[: len(data)] = data
        total = 0
        for event in client.received(len(data), 0):
            if isinstance(event, Sequenced):
                for message in event.messages:
                    total += len(message) > 0
        return total

    assert benchmark(read_all) == count


def test_client_receives_one_message_a_read(benchmark: Any) -> None:
    client = active_client()
    packet = SOUPBINTCP.frame(PacketType.SEQUENCED, PAYLOAD)
    assert benchmark(read_once, client, packet) == 1


def test_server_packs_batches(benchmark: Any) -> None:
    data, count = full_buffer(SOUPBINTCP)
    client, server = active_client(), active_server()
    client.space()[: len(data)] = data
    (event,) = client.received(len(data), 0)
    assert isinstance(event, Sequenced)

    def pack() -> int:
        server.send_sequenced(event.messages)
        return len(server.take_output(0))

    assert benchmark(pack) == len(data)
    assert len(event.messages) == count


def test_baseline_in_plain_python(benchmark: Any) -> None:
    """The oracle on a tenth of the buffer: what the same work costs a message at a time."""
    data, count = full_buffer(SOUPBINTCP)
    packet_bytes = len(data) // count
    packets, _, _ = benchmark(split, "binary", data[: count // 10 * packet_bytes])
    assert len(packets) == count // 10
