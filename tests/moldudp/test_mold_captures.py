"""Real packets: captures from four exchanges, and a file of packets back to back that is cut short."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import oracle_mold
import pytest
from pcap import read_pcap, udp_payload

from moldudp import FIRST_SEEN, MOLDUDP64, Receiver, RemoteProtocolError

if TYPE_CHECKING:
    from pathlib import Path

# file: (session, sequence numbers, counts)
CAPTURES = {
    "ASX_Heartbeat": (b"1567326030", [0x34E3E9], [0]),
    "ASX_TradeExecuted_8msgs": (b"1567326030", None, [8]),
    "AddOrderNoMpidAttributionMessage": (b"000010059B", None, [1]),
    "BX_AddOrderNoMpidAttributionMessage": (b"000010059D", None, [1]),
    "BX_OrderDeleteMessage": (b"000010059D", None, [1]),
    "BX_OrderReplaceMessage": (b"000010059D", None, [1]),
    "ISE_Heartbeat": (b"000008367I", [0x5D921], [0]),
    "MarketParticipantPositionMessage": (b"000010059B", None, [1]),
    "Multiple.Packets": (b"000010059B", None, [1, 38]),
    "NetOrderImbalanceIndicatorMessage": (b"000010059B", None, [1]),
    "OrderDeleteMessage": (b"000010059B", None, [1]),
    "OrderExecutedMessage": (b"000010059B", None, [1]),
    "OrderReplaceMessage": (b"000010059B", None, [1]),
    "StockTradingActionMessage": (b"000010059B", None, [1]),
}


def payloads(shared_data: Path, name: str) -> list[bytes]:
    return [udp_payload(frame) for frame in read_pcap(shared_data / "pcap" / "moldudp64" / f"{name}.pcap")]


def test_all_captures_are_listed(shared_data: Path) -> None:
    assert {path.stem for path in (shared_data / "pcap" / "moldudp64").glob("*.pcap")} == set(CAPTURES)


@pytest.mark.parametrize("name", CAPTURES)
def test_capture(shared_data: Path, name: str) -> None:
    session, numbers, counts = CAPTURES[name]
    packets = payloads(shared_data, name)
    assert [len(MOLDUDP64.decode(data).messages) for data in packets] == counts
    for position, data in enumerate(packets):
        packet = MOLDUDP64.decode(data)
        assert packet.header.session == session
        assert numbers is None or packet.header.sequence_number == numbers[position]
        assert oracle_mold.decode("MoldUDP64", data) == (
            session,
            packet.header.sequence_number,
            packet.header.count,
            list(packet.messages),
            False,
        )
        if packet.messages:  # nothing is left over, and packing gives the very bytes of the exchange back
            number = packet.header.sequence_number
            assert MOLDUDP64.pack(session, number, packet.messages, 1472) == (data, len(packet.messages))
        else:
            assert MOLDUDP64.heartbeat(session, packet.header.sequence_number) == data
        for length in range(len(data)):
            with pytest.raises(RemoteProtocolError):
                MOLDUDP64.decode(data[:length])


@pytest.mark.parametrize("name", CAPTURES)
def test_capture_through_a_receiver(shared_data: Path, name: str) -> None:
    receiver = Receiver(random=random.Random(1), start=FIRST_SEEN)
    for data in payloads(shared_data, name):
        receiver.receive_datagram(data, 0)
        packet = MOLDUDP64.decode(data)
        if packet.header.sequence_number == receiver.next_number or receiver.next_number == 0:
            batch = receiver.messages()
            assert batch.payloads() == list(packet.messages)
            assert receiver.next_number == packet.next_number
    assert receiver.counters.malformed == receiver.counters.impossible == 0


def test_file_of_packets_that_is_cut(shared_data: Path) -> None:
    """Three packets back to back (15, 13 and 13 messages, ten NULs as session); five bytes are missing."""
    data = (shared_data / "moldudp64_concat_3packets.dat").read_bytes()
    receiver = Receiver(random=random.Random(1))
    position = 0
    for size, number, count in [(894, 1, 15), (987, 16, 13), (899, 29, 13)]:
        packet = data[position : position + size]
        position += size
        header = MOLDUDP64.decode_header(packet)
        assert (header.session, header.sequence_number, header.count) == (bytes(10), number, count)
        receiver.receive_datagram(packet, 0)
    assert position - len(data) == 5
    assert receiver.messages().numbers == list(range(1, 29))
    assert (receiver.counters.malformed, receiver.highest) == (1, 29)
