"""The replay port over real sockets: the present session as ever, and old ones by name."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
from old_logs import firsts_of, make_log, records_of, session_field
from plain_soup import Packets, login

from rewinder.access import Authority, Role
from rewinder.admission import Admission
from rewinder.archive import IDLE_NS, Archive
from rewinder.counters import Counters
from rewinder.dial import Patience
from rewinder.log import MessageLog
from rewinder.marks import MARKS_FILE
from rewinder.network import SocketNetwork
from rewinder.pump import EpollPump
from rewinder.record import Stamp
from rewinder.replay import TURN_BYTES, LogServer
from rewinder.replay_port import ReplayPort
from rewinder.segment import SEGMENT_BYTES_MINIMUM, segment_name
from rewinder.service import Service
from rewinder.storage import FileStorage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rewinder.service import Client

SECOND = 1_000_000_000
TURNS = 20_000


class Port:
    """A replay port whose present session is NEW with 3 committed records; a test runs its turns."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = MessageLog.create(
            FileStorage(directory / "NEW"), session_field("NEW"), durability="memory", segment_bytes=1 << 17
        )
        for number in range(1, 6):
            self.log.append(b"new %d" % number, Stamp(number, number, b"ALPHA "))
        self.log.commit = 3
        self.pump = EpollPump()
        self.counters = Counters()
        self.said: list[str] = []
        self.archive = Archive(self.find, self.counters, self.said.append)
        admission = Admission(
            Authority(True, None, frozenset({"SEQ1"}), "SECRET"), Role.REPLAY, self.log.session
        )
        self.present = LogServer(self.log, admission, self.counters)
        self.present.visible = self.log.commit
        listener = SocketNetwork().listen("127.0.0.1", 0)
        self.address = ("127.0.0.1", listener.port)
        self.port = ReplayPort(self.present, self.archive, self.pump.timers)
        patience = Patience(SECOND, 15 * SECOND)
        self.service = Service("replay", self.pump, listener, self.port, self.counters, patience)
        self.service.open()

    def find(self, name: str) -> FileStorage | None:
        path = self.directory / name
        return FileStorage(path, writable=False) if path.is_dir() else None

    def connect(self, session: bytes, number: int, **who: bytes) -> Peer:
        return Peer(self, login(session, number, **who))

    def replay(self, session: bytes, number: int, **who: bytes) -> Packets:
        """Take everything until the server closes."""
        return self.connect(session, number, **who).finish()

    def close(self) -> None:
        self.service.listener.close()
        for client in list(self.service.clients.values()):
            self.service.drop(client, "the test is over")
        self.archive.close()
        self.log.close()
        self.pump.close()


class Peer:
    """A client of the port."""

    def __init__(self, port: Port, request: bytes) -> None:
        self.port, self.packets, self.over = port, Packets(), False
        self.socket = socket.create_connection(port.address)
        self.socket.sendall(request)
        self.socket.setblocking(False)

    def take(self) -> int:
        """Read once; returns how many bytes there were."""
        try:
            data = self.socket.recv(1 << 18)
        except BlockingIOError:
            return 0
        self.packets.feed(data)
        if not data:
            self.over = True
            self.socket.close()
        return len(data)

    def finish(self, until: int | None = None) -> Packets:
        """Read until the server closes, or there are so many records."""
        for _ in range(TURNS):
            if self.over or (until is not None and len(self.packets.records) >= until):
                return self.packets
            self.port.pump.turn(0)
            self.take()
            if self.packets.kinds[-1:] in (b"Z", b"J") and not self.over:
                self.socket.shutdown(socket.SHUT_WR)
        raise AssertionError(f"it does not end: {self.packets.kinds!r}")


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Port]:
    port = Port(tmp_path)
    yield port
    port.close()


def test_the_present_session_is_served_as_ever(port: Port) -> None:
    for session in (b"NEW", b""):
        peer = port.connect(session, 2)
        packets = peer.finish(until=2)
        assert packets.accepted == (b"       NEW", 2)
        assert packets.records == port.log.messages(2, 2).payloads()
        peer.socket.close()
    peer = port.connect(b"NEW", 1)
    peer.finish(until=3)
    assert peer.packets.kinds == b"ASSS"
    port.log.commit = 5
    port.present.show(5, port.pump.clock.now_ns)
    assert peer.finish(until=5).kinds == b"ASSSSS"
    peer.socket.close()
    assert port.archive.open == []


def test_an_old_session_that_ended(port: Port, tmp_path: Path) -> None:
    directory = make_log(tmp_path, "OLD", 1000, size=500)
    assert len(firsts_of(directory)) > 5
    packets = port.replay(b"OLD", 1)
    assert packets.accepted == (b"       OLD", 1)
    assert packets.records == records_of(directory)
    assert packets.kinds == b"A" + 1000 * b"S" + b"Z"
    assert port.counters == {
        "archive.opened": 1,
        "replay.connects": 1,
        "replay.logins": 1,
        "replay.disconnects": 1,
    }
    assert port.said == []


@pytest.mark.parametrize(
    ("number", "accepted", "records"),
    [(1, 1, 7), (5, 5, 3), (7, 7, 1), (8, 8, 0), (9, 8, 0), (2**63 - 1, 8, 0), (0, 8, 0)],
)
def test_one_without_an_end_up_to_what_is_committed(
    port: Port, tmp_path: Path, number: int, accepted: int, records: int
) -> None:
    directory = make_log(tmp_path, "OLD", 10, 7)
    packets = port.replay(b"OLD", number)
    assert packets.accepted == (b"       OLD", accepted)
    assert packets.records == records_of(directory)[accepted - 1 : 7]
    assert packets.kinds == b"A" + records * b"S" + b"Z"


def test_records_that_are_no_longer_kept(port: Port, tmp_path: Path) -> None:
    directory = make_log(tmp_path, "OLD", 1000, size=500)
    first = firsts_of(directory)[1]
    (directory / segment_name(1)).unlink()
    assert port.replay(b"OLD", first - 1).found == [(b"J", b"S")]
    assert port.replay(b"OLD", first).accepted == (b"       OLD", first)
    assert port.archive.deadline_ns() is not None, "who is refused is no reader"


def test_a_stranger_is_refused_before_any_session_is_looked_for(port: Port, tmp_path: Path) -> None:
    make_log(tmp_path, "OLD", 10)
    for who in ({"user": b"SEQ1", "password": b"WRONG"}, {"user": b"?!"}):
        for session in (b"OLD", b"NEVER", b"NEW"):
            assert port.replay(session, 1, **who).found == [(b"J", b"A")]
    assert port.counters["replay.login_rejected.not_authorized"] == 6
    assert not any(name.startswith("archive.") for name in port.counters)
    assert port.replay(b"OLD", 10, user=b"SEQ1", password=b"SECRET").kinds == b"ASZ"


@pytest.mark.parametrize("name", [b"NEVER", b"../NEW", b"new", b"NEW.damage"])
def test_a_session_that_is_not_there(port: Port, tmp_path: Path, name: bytes) -> None:
    make_log(tmp_path, "X", 3).rename(tmp_path / "NEW.damaged-1")
    assert port.replay(name, 1).found == [(b"J", b"S")]
    counted = port.counters["replay.login_rejected.not_served"], port.counters["archive.unknown"]
    assert counted == (1, 1)
    assert port.said == [f"there is no session {name!r} here"]


def test_one_that_cannot_be_trusted(port: Port, tmp_path: Path) -> None:
    (make_log(tmp_path, "OLD", 10) / MARKS_FILE).unlink()
    assert port.replay(b"OLD", 1).found == [(b"J", b"S")]
    assert "session OLD cannot be trusted" in port.said[0]


def test_damage_further_on_ends_the_replay_without_an_end_of_session(port: Port, tmp_path: Path) -> None:
    directory = make_log(tmp_path, "OLD", 1000, size=500)
    whole = records_of(directory)
    damaged = firsts_of(directory)[2]
    with (directory / segment_name(damaged)).open("r+b") as file:
        file.seek(5000)
        file.write(b"\xff")
    packets = port.replay(b"OLD", 1)
    assert packets.records == whole[: damaged - 1]
    assert packets.kinds[-1:] == b"+"
    assert b"the checksum is wrong" in packets.found[-1][1]
    assert port.counters["replay.unreadable"] == 1
    assert port.replay(b"OLD", damaged).found == [(b"J", b"S")]


def test_a_file_that_is_cut_short_under_a_reader_ends_the_replay(port: Port, tmp_path: Path) -> None:
    directory = make_log(tmp_path, "OLD", 600, size=20_000, segment_bytes=16 << 20)
    peer = port.connect(b"OLD", 1)
    while not (peer.take() and len(peer.packets.found) > 1):
        port.pump.turn(0)
    (directory / segment_name(1)).write_bytes(b"")
    while not peer.over:
        port.pump.turn(0)
        peer.take()
    assert len(peer.packets.records) < 600
    assert b"Z" not in peer.packets.kinds
    assert port.counters["replay.unreadable"] == 1


def test_slow_and_quick_readers_share_a_log_which_is_closed_some_time_after_them(
    port: Port, tmp_path: Path
) -> None:
    directory = make_log(tmp_path, "OLD", 600, size=20_000)
    size = sum(map(len, records_of(directory)))
    assert size > 10 * TURN_BYTES
    slow = port.connect(b"OLD", 1)
    for _ in range(100):
        port.pump.turn(0)
    packets = port.replay(b"OLD", 1)
    assert packets.kinds == b"A" + 600 * b"S" + b"Z"
    assert port.archive.deadline_ns() is None, "the slow one still reads"
    assert slow.finish().records == packets.records
    assert port.counters["archive.opened"] == 1
    deadline_ns = port.archive.deadline_ns()
    assert deadline_ns is not None
    assert deadline_ns <= port.pump.clock.now_ns + IDLE_NS
    port.pump.timers.run(deadline_ns)
    assert port.archive.open == []
    assert port.pump.timers.next_ns() is None or port.archive.deadline_ns() is None


def test_a_reader_gets_its_share_of_a_turn_and_no_more(
    port: Port, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_log(tmp_path, "OLD", 600, size=20_000)
    shares: list[int] = []
    pour = LogServer.pour

    def noting(server: LogServer[Any], client: Client, now_ns: int) -> int:
        shares.append(pour(server, client, now_ns))
        return shares[-1]

    monkeypatch.setattr(LogServer, "pour", noting)
    assert port.replay(b"OLD", 1).kinds == b"A" + 600 * b"S" + b"Z"
    assert len(shares) > 10
    assert max(shares) <= TURN_BYTES + SEGMENT_BYTES_MINIMUM


def test_what_a_client_says_is_counted(port: Port, tmp_path: Path) -> None:
    make_log(tmp_path, "OLD", 600, size=20_000)
    peer = port.connect(b"OLD", 1)
    peer.socket.setblocking(True)
    peer.socket.sendall(b"\0\4Uhey")
    peer.socket.setblocking(False)
    assert peer.finish().kinds[-1:] == b"Z"
    assert port.counters["replay.unsequenced"] == 1


def test_who_reads_and_how_far_they_are(port: Port, tmp_path: Path) -> None:
    make_log(tmp_path, "OLD", 8_000, size=1200)  # more than the buffers between the two hold
    quick, slow = port.connect(b"NEW", 1), port.connect(b"OLD", 1)
    quick.finish(until=3)
    for _ in range(20):
        port.pump.turn(0)
    found = port.port.receivers(port.service.clients.values())
    assert (found["count"], found["behind"]) == (2, 1)
    (row,) = found["slowest"]
    host, number = slow.socket.getsockname()
    assert (row["user"], row["peer"], row["session"]) == ("ALPHA", f"{host}:{number}", "OLD")
    assert row["next"] > 1
    assert 0 < row["lag"] == 8_001 - row["next"]
    port.port.present.visible += 2  # as if more had been committed than was shown
    assert port.port.receivers(port.service.clients.values())["behind"] == 2
    quick.socket.close()
    slow.socket.close()
