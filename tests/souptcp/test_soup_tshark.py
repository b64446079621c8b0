"""Wireshark reads what we send: every kind of packet it knows, without one expert warning.

Its SoupTCP dissector knows 2.00 only: a sequence number of 3.00 reads as blanks, and `Z` is unknown. Both are
looked at as far as they go.
"""

from __future__ import annotations

import struct
import subprocess
from typing import TYPE_CHECKING

import pytest
from machines import active_server, client_of, plain, server_of
from pcap import tcp_payload, write_pcap

from souptcp import SOUPBINTCP, SOUPBINTCP_3, SOUPBINTCP_4_10, SOUPTCP_2, SOUPTCP_3, Codec, PacketType

if TYPE_CHECKING:
    from pathlib import Path

CLIENT_PORT, SERVER_PORT = 5000, 30003
QUOTING = str.maketrans("", "", "',")


def tcp_frames(segments: list[tuple[str, bytes]]) -> list[bytes]:
    """Ethernet frames of one TCP connection; "client" or "server" says who sent a segment."""
    sequence = {"client": 1000, "server": 5000}
    frames = []
    for sender, payload in segments:
        other = "server" if sender == "client" else "client"
        ports = (CLIENT_PORT, SERVER_PORT) if sender == "client" else (SERVER_PORT, CLIENT_PORT)
        segment = struct.pack(
            ">HHIIBBHHH", *ports, sequence[sender], sequence[other], 0x50, 0x18, 65535, 0, 0
        )
        sequence[sender] += len(payload)
        addresses = [bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))]
        if sender == "server":
            addresses.reverse()
        total = 20 + len(segment) + len(payload)
        head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, total, 0, 0, 64, 6, 0, *addresses)
        carry = sum(struct.unpack(">10H", head))
        carry = (carry & 0xFFFF) + (carry >> 16)
        head = head[:10] + struct.pack(">H", ~(carry + (carry >> 16)) & 0xFFFF) + head[12:]
        frames.append(bytes(12) + b"\x08\x00" + head + segment + payload)
        assert tcp_payload(frames[-1]) == payload
    return frames


def conversation(codec: Codec) -> list[tuple[str, bytes]]:
    """A session with every packet type, as the machines send it, and a login that is refused."""
    refused = server_of(codec)
    client = client_of(codec, session=b"SESS01", sequence_number=7)
    login = client.take_output(0)
    plain(refused.receive(login, 0))
    refused.reject("A", 0)
    server = server_of(codec)
    plain(server.receive(login, 0))
    server.accept(b"SESS01", 7, 0)
    segments = [("client", login), ("server", refused.take_output(0)), ("server", server.take_output(0))]
    plain(client.receive(segments[-1][1], 0))
    server.send_sequenced([b"one", b"three"])
    server.send_debug("text")
    if codec.server_unsequenced:
        server.send_unsequenced(b"beside")
    segments.append(("server", server.take_output(0)))
    client.send_unsequenced(b"question")
    client.send_debug("hello")
    segments.append(("client", client.take_output(0)))
    plain(client.handle_timer(10**9))
    plain(server.handle_timer(10**9))
    segments += [("client", client.take_output(10**9)), ("server", server.take_output(10**9))]
    server.end_session(10**9)
    client.logout(10**9)
    return [*segments, ("server", server.take_output(10**9)), ("client", client.take_output(10**9))]


def dissect(tshark: str, path: Path, protocol: str, *options: str) -> str:
    command = [tshark, "-r", str(path), "-d", f"tcp.port=={SERVER_PORT},{protocol}", *options]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.parametrize(
    "codec", [SOUPBINTCP_3, SOUPBINTCP, SOUPBINTCP_4_10], ids=lambda codec: codec.version
)
def test_every_packet_of_soup_bin_tcp(tshark: str, codec: Codec, tmp_path: Path) -> None:
    path = tmp_path / "soup.pcap"
    segments = conversation(codec)
    write_pcap(path, tcp_frames(segments))
    options = ["-T", "fields", "-e", "soupbintcp.packet_type", "-e", "soupbintcp.packet_length"]
    options += ["-e", "soupbintcp.message", "-e", "_ws.expert.message", "-e", "_ws.malformed"]
    rows = [line.split("\t") for line in dissect(tshark, path, "soupbintcp", *options).splitlines()]
    assert len(rows) == len(segments)
    types = "".join(row[0] for row in rows).translate(QUOTING)
    assert types == ("LJASS+UU+RHZO" if codec.server_unsequenced else "LJASS+U+RHZO")
    assert [row[3:] for row in rows] == [["", ""]] * len(rows)
    messages = [bytes.fromhex(text) for row in rows for text in row[2].split(",") if text]
    beside = [b"beside"] if codec.server_unsequenced else []
    assert messages == [b"one", b"three", *beside, b"question"]
    text = dissect(tshark, path, "soupbintcp", "-V")
    for line in (
        "User Name: USER",
        "Password: PASSWORD",
        "Session:     SESS01",
        "Requested sequence number: 7",
        "Next sequence number: 7",
        "Sequence number: 7 (Calculated)",
        "Sequence number: 8 (Calculated)",
        "Login Reject Code: Not authorized ('A')",
        "Debug Text: text",
    ):
        assert line in (found.strip() for found in text.splitlines()), line


def test_every_packet_of_soup_tcp_2(tshark: str, tmp_path: Path) -> None:
    path = tmp_path / "soup.pcap"
    segments = conversation(SOUPTCP_2)
    write_pcap(path, tcp_frames(segments))
    options = ["--disable-protocol", "nasdaq_itch", "-T", "fields", "-e", "nasdaq-soup.packet_type"]
    options += ["-e", "nasdaq-soup.message", "-e", "_ws.expert.message", "-e", "_ws.malformed"]
    rows = [line.split("\t") for line in dissect(tshark, path, "nasdaq_soup", *options).splitlines()]
    types = "".join(row[0] for row in rows).translate(QUOTING)
    assert types == "LJASS+U+RHSO"  # the second-last is the end of the session
    assert [row[2:] for row in rows] == [["", ""]] * len(rows)
    text = dissect(tshark, path, "nasdaq_soup", "--disable-protocol", "nasdaq_itch", "-V")
    for line in (
        "User Name: USER",
        "Password: PASSWORD",
        "Session:     SESS01",
        "Login Reject Code: Not authorized",
    ):
        assert line in text, line


def test_what_wireshark_knows_of_soup_tcp_3(tshark: str, tmp_path: Path) -> None:
    server = active_server(SOUPTCP_3)
    server.send_sequenced([b"one", b""])
    server.send_debug("text")
    data = server.take_output(0) + SOUPTCP_3.frame(PacketType.SERVER_HEARTBEAT)
    path = tmp_path / "soup.pcap"
    write_pcap(path, tcp_frames([("server", data)]))
    options = ["--disable-protocol", "nasdaq_itch", "-T", "fields", "-e", "nasdaq-soup.packet_type"]
    (row,) = dissect(tshark, path, "nasdaq_soup", *options, "-e", "_ws.expert.message").splitlines()
    types, expert = row.split("\t")
    assert (types.translate(QUOTING), expert) == ("SS+H", "")
