"""Wireshark reads what we send: every kind of packet of both protocols, without one expert warning."""

from __future__ import annotations

import os
import random
import select
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from pcap import udp_frame, write_pcap

from moldudp import MOLDUDP, MOLDUDP64, Codec, Downstream, multicast_receiver, multicast_sender

if TYPE_CHECKING:
    from pathlib import Path

PORT = 30001
SESSION = b"SESS000001"
LOOPBACK = "127.0.0.1"
CAPTURE_SECONDS = 30


def dissect(tshark: str, path: Path, codec: Codec, *fields: str) -> list[list[str]]:
    """One row for each packet: the fields asked for, and what the expert says, which must be nothing."""
    name = codec.name.lower()
    command = [tshark, "-r", str(path), "-d", f"udp.port=={PORT},{name}", "-T", "fields"]
    for field in ("_ws.col.Info", "_ws.expert.message", *(f"{name}.{field}" for field in fields)):
        command += ["-e", field]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    return [line.split("\t") for line in output.splitlines()]


def test_every_packet_of_a_session(tshark: str, codec: Codec, tmp_path: Path) -> None:
    messages = [b"%d" % number * (number % 40 + 1) for number in range(1, 301)]
    sender = Downstream(codec, SESSION)
    packets = sender.due(0) + sender.send(messages, 0) + sender.due(10**9) + sender.end(2 * 10**9)
    path = tmp_path / "session.pcap"
    write_pcap(path, [udp_frame(packet, PORT) for packet in packets])
    rows = dissect(tshark, path, codec, "session", "sequence", "count", "msglen", "msgdata")
    assert len(rows) == len(packets)
    kinds, delivered = [], []
    for packet, (info, expert, session, number, count, lengths, data) in zip(packets, rows, strict=True):
        assert session.encode() == SESSION
        header = codec.decode_header(packet)
        assert (int(number), int(count, 0)) == (header.sequence_number, header.count)
        kinds.append(info)
        blocks = [bytes.fromhex(block) for block in data.split(",")] if data not in {"", "<MISSING>"} else []
        if header.count == 1 and not blocks:
            assert lengths == "0"  # MoldUDP: the marker
        else:
            assert [int(length) for length in lengths.split(",") if length] == list(map(len, blocks))
        delivered += blocks
        if codec.decode(packet).end_of_session and codec is MOLDUDP64:
            # Wireshark remarks on every end of session that its count field is also that of a request.
            assert expert in {"", "Number of Requested Messages"}
        else:
            assert expert == ""
    assert delivered == messages
    assert "Heartbeat" in kinds[0]
    assert "End Of Session" in kinds[-1]
    assert "Heartbeat" in kinds[-2]


def test_empty_messages_and_numbers_of_64_bits(tshark: str, tmp_path: Path) -> None:
    packet, _ = MOLDUDP64.pack(SESSION, 2**40, [b"", b"x", b""], 1472)
    path = tmp_path / "empty.pcap"
    write_pcap(path, [udp_frame(packet, PORT)])
    ((_, expert, number, lengths),) = dissect(tshark, path, MOLDUDP64, "sequence", "msglen")
    assert (expert, int(number), lengths) == ("", 2**40, "0,1,0")


def test_request(tshark: str, tmp_path: Path) -> None:
    path = tmp_path / "request.pcap"
    write_pcap(path, [udp_frame(MOLDUDP64.request(SESSION, 77, 5), PORT)])
    ((info, expert, number, count),) = dissect(tshark, path, MOLDUDP64, "sequence", "count")
    assert "Request" in info
    assert (int(number), int(count, 0)) == (77, 5)
    assert expert in {"", "Number of Requested Messages"}


def test_our_oracle_hears_a_broken_packet(tshark: str, tmp_path: Path) -> None:
    """The expert is not silent as such: a packet that claims too much makes it speak."""
    packet = MOLDUDP.pack(SESSION, 1, [b"x"], 100)[0]
    path = tmp_path / "broken.pcap"
    write_pcap(path, [udp_frame(packet[:14] + b"\3\0" + packet[16:], PORT)])
    ((_, expert),) = dissect(tshark, path, MOLDUDP)
    assert expert != ""


def test_live_capture_on_loopback(tshark: str, codec: Codec, group: str) -> None:
    """tshark listens to a live multicast line; a stop packet that it must see ends the capture."""
    chance = random.Random(1)
    with multicast_receiver(group, 0, LOOPBACK) as line:
        port = line.getsockname()[1]
        name = codec.name.lower()
        command = [tshark, "-l", "-n", "-i", "lo", "-f", f"dst host {group} and udp port {port}"]
        command += ["-d", f"udp.port=={port},{name}", "-a", f"duration:{CAPTURE_SECONDS}", "-T", "fields"]
        for field in ("sequence", "count"):
            command += ["-e", f"{name}.{field}"]
        command += ["-e", "_ws.expert.message"]
        sender = Downstream(codec, SESSION)
        packets = sender.send([bytes(chance.randint(1, 300)) for _ in range(50)], 0) + sender.due(10**9)
        wanted = [codec.decode_header(packet) for packet in packets]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as capture:
            try:
                rows = _capture(capture, group, port, packets)
            finally:
                capture.terminate()
                capture.communicate()
        if rows is None:
            if os.environ.get("SEQCAST_REQUIRE_PEERS") == "1":
                pytest.fail("tshark cannot capture on loopback")
            pytest.skip("tshark cannot capture on loopback")
        assert [(int(number), int(count, 0), expert) for number, count, expert in rows] == [
            (header.sequence_number, header.count, "") for header in wanted
        ]


def _capture(
    capture: subprocess.Popen[bytes], group: str, port: int, packets: list[bytes]
) -> list[list[str]] | None:
    """Probe with heartbeats numbered 0 until one is seen, then send the packets; their rows, or None."""
    assert capture.stdout is not None
    probe = packets[-1][:10] + bytes(len(packets[-1]) - 10)
    rows: list[list[str]] = []
    sent = False
    unread = b""
    deadline = time.monotonic() + CAPTURE_SECONDS
    with multicast_sender(group, port, LOOPBACK) as sender:
        while len(rows) < len(packets) and time.monotonic() < deadline:
            if not sent:
                sender.send(probe)
            if not select.select([capture.stdout], [], [], 0.2)[0]:
                continue
            output = os.read(capture.stdout.fileno(), 65536)
            if not output:
                return None
            *lines, unread = (unread + output).split(b"\n")
            found = [line.decode().split("\t") for line in lines]
            rows += [row for row in found if row[0] != "0"]
            if found and not sent:
                sent = True
                for packet in packets:
                    sender.send(packet)
    return rows
