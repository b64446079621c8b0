"""Real SoupBinTCP traffic: JNX (OUCH 1.11) and Nasdaq (OUCH 5.0), one packet a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from machines import active_client, active_server, client_of, plain, server_of
from pcap import read_pcap, tcp_payload

from souptcp import (
    SOUPBINTCP,
    Accepted,
    LoginAccepted,
    LoginRequest,
    LoginRequested,
    PacketType,
    Sequenced,
    Unsequenced,
)

if TYPE_CHECKING:
    from pathlib import Path


def capture(shared_data: Path, name: str) -> bytes:
    (frame,) = read_pcap(shared_data / "pcap" / "soupbintcp" / f"{name}.pcap")
    return tcp_payload(frame)


def test_jnx_login(shared_data: Path) -> None:
    request = LoginRequest("user", "password", b"", 0)
    data = capture(shared_data, "JNX_LoginRequestPacket")
    assert plain(server_of().receive(data, 0)) == [LoginRequested(request)]
    assert SOUPBINTCP.encode_login(request) == data  # our padding is theirs


def test_jnx_login_accepted(shared_data: Path) -> None:
    data = capture(shared_data, "JNX_LoginAcceptedPacket")
    assert plain(client_of().receive(data, 0)) == [Accepted(b"1689192121", 135)]
    assert SOUPBINTCP.encode_accepted(LoginAccepted(b"1689192121", 135)) == data


@pytest.mark.parametrize(
    ("name", "first", "length"),
    [
        ("JNX_EnterOrderMessage", b"O", 48),
        ("JNX_ReplaceOrderMessage", b"U", 26),
        ("NSM_CancelOrderMessage", b"X", 9),
        ("NSM_EnterOrderMessage", b"O", 53),
    ],
)
def test_orders_are_unsequenced(shared_data: Path, name: str, first: bytes, length: int) -> None:
    data = capture(shared_data, name)
    ((kind, payloads),) = plain(active_server().receive(data, 0))
    assert kind is Unsequenced
    assert [(payload[:1], len(payload)) for payload in payloads] == [(first, length)]
    assert SOUPBINTCP.frame_all(PacketType.UNSEQUENCED, payloads) == data


@pytest.mark.parametrize(
    ("name", "first", "length"),
    [
        ("JNX_OrderAcceptedMessage", b"A", 65),
        ("NSM_CanceledMessage", b"C", 18),
        ("NSM_OrderAcceptedMessage", b"A", 73),
    ],
)
def test_answers_are_sequenced(shared_data: Path, name: str, first: bytes, length: int) -> None:
    data = capture(shared_data, name)
    ((kind, number, payloads),) = plain(active_client(number=135).receive(data, 0))
    assert (kind, number) == (Sequenced, 135)
    assert [(payload[:1], len(payload)) for payload in payloads] == [(first, length)]
    assert SOUPBINTCP.frame_all(PacketType.SEQUENCED, payloads) == data


def test_heartbeats(shared_data: Path) -> None:
    client = capture(shared_data, "NSM_ClientHeartbeatPacket")
    server = capture(shared_data, "NSM_ServerHeartbeatPacket")
    assert client == SOUPBINTCP.frame(PacketType.CLIENT_HEARTBEAT)
    assert server == SOUPBINTCP.frame(PacketType.SERVER_HEARTBEAT)
    assert plain(active_server().receive(client, 0)) == plain(active_client().receive(server, 0)) == []


def test_every_capture_is_used(shared_data: Path) -> None:
    assert len(list((shared_data / "pcap" / "soupbintcp").iterdir())) == 11
