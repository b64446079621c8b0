"""Against what others wrote: Nasdaq's own SoupBinTCP client on our ports, tshark on our wire."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from pcap import udp_frame, write_pcap

import moldudp
from moldudp.sockets import multicast_receiver
from rewinder.record import STAMP_BYTES, check_record

if TYPE_CHECKING:
    from pathlib import Path

    from bus import Bus

REQUIRED = bool(os.environ.get("SEQCAST_REQUIRE_PEERS"))


def peer(name: str, *, present: bool) -> pytest.MarkDecorator:
    """Skip visibly where a peer is not installed, unless peers are required."""
    return pytest.mark.skipif(not present and not REQUIRED, reason=f"{name} is not installed")


nasdaq = peer("nasdaq-protocols", present=importlib.util.find_spec("nasdaq_protocols") is not None)
tshark = peer("tshark", present=shutil.which("tshark") is not None)

CLIENT = """
import asyncio, sys
from nasdaq_protocols import soup

async def main(port, user, password, sequence, count):
    done = asyncio.Event()
    seen = []
    async def on_message(message):
        if isinstance(message, soup.SequencedData):
            seen.append(message.data)
            if len(seen) == count:
                done.set()
    async def on_close():
        print("closed")
        done.set()
    try:
        session = await soup.connect_async(
            ("127.0.0.1", port), user, password, "", sequence, on_msg_coro=on_message,
            on_close_coro=on_close, client_heartbeat_interval=1, server_heartbeat_interval=5)
    except Exception as error:
        print("refused", type(error).__name__, error)
        return
    print("accepted", session.session_id.session, session.sequence + 1, flush=True)
    await asyncio.wait_for(done.wait(), 20)
    for data in seen:
        print("data", data.hex())

asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
"""


class Client:
    """Nasdaq's client in a process of its own; `lines` are what it printed."""

    def __init__(
        self, port: int, user: str = "foo", password: str = "bar", sequence: int = 1, count: int = 0
    ) -> None:
        arguments = [sys.executable, "-c", CLIENT, str(port), user, password, str(sequence), str(count)]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)

    def wait_accepted(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def lines(self) -> list[str]:
        # Not `communicate`: it would pass over what `wait_accepted` has read already, beyond its line.
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            lines = stdout.read().splitlines()
        self.process.wait(timeout=30)
        return lines


def replay_port(bus: Bus) -> int:
    port = bus.configuration.node("REW1").replay_port
    assert port is not None
    return port


def fill(bus: Bus, first: int, count: int) -> None:
    with bus.sender() as sender:
        for n in range(first, first + count):
            sender.send(b"message %d" % n)


def payloads(lines: list[str], first_number: int) -> list[bytes]:
    """The messages of sequenced data, after each record was checked at its number."""
    records = [bytes.fromhex(line.split()[1]) for line in lines if line.startswith("data")]
    for position, record in enumerate(records):
        check_record(record, first_number + position)
    return [record[:-STAMP_BYTES] for record in records]


@nasdaq
def test_nasdaqs_client_replays_from_the_first_and_from_a_number(bus: Bus) -> None:
    fill(bus, 0, 50)
    whole = Client(replay_port(bus), count=51)
    assert whole.wait_accepted() == f"accepted {bus.configuration.session} 1"
    assert payloads(whole.lines(), 1)[1:] == [b"message %d" % n for n in range(50)]
    part = Client(replay_port(bus), sequence=40, count=12)
    assert part.wait_accepted().endswith(" 40")
    assert payloads(part.lines(), 40) == [b"message %d" % n for n in range(38, 50)]


@nasdaq
def test_nasdaqs_client_listens_live_and_hears_the_end(bus: Bus) -> None:
    fill(bus, 0, 5)
    live = Client(replay_port(bus), sequence=0)
    assert live.wait_accepted().endswith(" 7")
    fill(bus, 5, 5)
    assert bus.run("end-session").returncode == 0
    lines = live.lines()
    assert payloads(lines, 7)[:5] == [b"message %d" % n for n in range(5, 10)]
    assert lines[0] == "closed"


@nasdaq
def test_nasdaqs_client_with_a_wrong_password_is_rejected(quiet_bus: Bus) -> None:
    added = subprocess.run(
        [sys.executable, "-m", "seqcast.cli", "users", "add", "foo", "--role", "replay", "--password-stdin",
         "--config", str(quiet_bus.config_path)],
        input="right\n", text=True, capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    assert added.returncode == 0, added.stderr
    quiet_bus.start_all()
    fill(quiet_bus, 0, 3)
    wrong = Client(replay_port(quiet_bus), password="wrong").lines()
    assert [line for line in wrong if line.startswith("refused")]
    right = Client(replay_port(quiet_bus), password="right", count=4)
    assert right.wait_accepted().startswith("accepted")
    assert len(payloads(right.lines(), 1)) == 4


@tshark
def test_tshark_reads_the_live_stream(bus: Bus, tmp_path: Path) -> None:
    """Every packet that a listener gets, end of session among them, without an expert's complaint.

    Not a capture on loopback: that may show datagrams before the kernel has cut them.
    """
    multicast = bus.configuration.multicast
    capture = tmp_path / "live.pcap"
    frames: list[bytes] = []
    with multicast_receiver(multicast.group, multicast.port, multicast.interface) as listener:
        listener.settimeout(20)
        fill(bus, 0, 2000)
        assert bus.run("end-session").returncode == 0
        session = bus.configuration.session_field
        end = moldudp.MOLDUDP64.end_of_session(session, bus.ask("SEQ1", "status")["commit"] + 1)
        packet = b""
        while packet != end:
            packet = listener.recv(65536)
            frames.append(udp_frame(packet, multicast.port))
    write_pcap(capture, frames)
    fields = [
        "moldudp64.session",
        "moldudp64.sequence",
        "moldudp64.count",
        "_ws.expert.message",
        "_ws.col.Info",
    ]
    read = subprocess.run(
        ["tshark", "-r", str(capture), "-d", f"udp.port=={multicast.port},moldudp64", "-T", "fields"]
        + [argument for field in fields for argument in ("-e", field)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    rows = [line.split("\t") for line in read.stdout.splitlines()]
    rows = [row for row in rows if row[0].strip() == bus.configuration.session.strip()]
    following = None
    kinds = set()
    for _, sequence, count, complaint, info in rows:
        # A MoldUDP64 packet of 20 bytes that says end of session also gets a note on the count: cosmetic.
        assert not complaint or "MoldUDP64 End Of Session" in info, complaint
        messages = 0 if int(count) == 0xFFFF else int(count)
        if following is not None:
            assert int(sequence) <= following
        following = max(following or 0, int(sequence) + messages)
        kinds.add("end" if int(count) == 0xFFFF else "data" if messages else "heartbeat")
    assert kinds >= {"data", "end"}
    assert following == bus.ask("SEQ1", "status")["commit"] + 1
