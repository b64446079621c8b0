"""`seqcast log export`, `import` and `keep`: round trips byte for byte, and what only captures have."""

from __future__ import annotations

import json
import random
import signal
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from old_logs import make_log, records_of
from pcap import read_pcap, udp_frame, udp_payload, write_pcap
from stand_in import run

from moldudp import MOLDUDP64
from rewinder.log import MessageLog
from rewinder.old_session import open_old_session
from rewinder.record import Flags, Kind, Stamp, check_record, read_stamp
from rewinder.segment import SEGMENT_BYTES_MINIMUM
from rewinder.storage import FileStorage
from seqcast.exporting import PacketFile

PORT = 26477
SESSION = b"000010059B"


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEQCAST_CONFIG", raising=False)
    return tmp_path


@pytest.fixture
def node(directory: Path) -> Path:
    path = directory / "NODE"
    path.mkdir()
    return path


def done(*arguments: str | Path) -> dict[str, Any]:
    """What a command tells programs."""
    result = run(*map(str, arguments), "--json")
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def stream_log(directory: Path, name: str = "OURS", records: int = 3000) -> Path:
    """A log like those of a sequencer: an epoch, messages of several senders and sizes, fragments, an end."""
    log = MessageLog.create(
        FileStorage(directory / name),
        name.encode().ljust(10),
        durability="memory",
        segment_bytes=SEGMENT_BYTES_MINIMUM,
    )
    log.append(struct.pack(">Q6s", 1, b"SEQ1  "), Stamp(5, 1, b"SEQ1  ", Kind.EPOCH, 0))
    for number in range(2, records):
        time_ns = 1_700_000_000_000_000_000 + number // 7 * 1_000
        flags = (Flags.FIRST, Flags.MIDDLE, Flags.LAST)[number % 100] if number % 100 < 3 else Flags.WHOLE
        sender = b"FRAGS " if number % 100 < 3 else b"BETA  " if number % 2 else b"ALPHA "
        log.append(
            b"%d:" % number + bytes([number % 256]) * (number * 7 % 300),
            Stamp(time_ns, number, sender, 0, flags),
        )
    log.append(b"", Stamp(log.last_time_ns, 0, b"      ", Kind.END))
    log.commit = log.last
    log.close()
    return directory / name


def same_bytes(one: Path, other: Path) -> bool:
    return records_of(one) == records_of(other)


@pytest.mark.parametrize("suffix", ["pcap", "records"])
def test_a_log_comes_back_as_it_was(directory: Path, node: Path, suffix: str) -> None:
    path = stream_log(directory)
    file = directory / f"all.{suffix}"
    content = ["--content", "records"] if suffix == "records" else []
    exported = done("log", "export", file, path, *content)
    assert (exported["exported"], exported["last"], exported["ended"]) == (3000, 3000, True)
    name = ["--as", "OURS"] if suffix == "records" else []
    (imported,) = done("log", "import", file, node, *name)["sessions"]
    assert (imported["session"], imported["records"], imported["messages"], imported["ended"]) == (
        "OURS",
        True,
        3000,
        True,
    )
    assert imported["gaps"] == []
    assert same_bytes(path, node / "OURS")
    session = open_old_session("OURS", FileStorage(node / "OURS", writable=False))
    assert (session.shown, session.ended, session.log.first) == (3000, True, 1)
    session.close()
    again = directory / f"again.{suffix}"
    done("log", "export", again, node / "OURS", *content)
    assert again.read_bytes() == file.read_bytes()
    assert run("log", "verify", str(node / "OURS")).exit_code == 0


def test_messages_come_back_as_they_were(directory: Path, node: Path) -> None:
    path = stream_log(directory)
    first, second = directory / "one.itch", directory / "two.itch"
    exported = done("log", "export", first, path)
    assert exported["exported"] == 2998 - 1 - 2 * 29, (
        "an epoch, an end, a stray; three fragments are one message"
    )
    (imported,) = done(
        "log", "import", first, node, "--as", "COPY", "--time", "2026-11-25", "--sender", "me"
    )["sessions"]
    assert (imported["records"], imported["first"], imported["ended"]) == (False, 1, True)
    done("log", "export", second, node / "COPY")
    assert first.read_bytes() == second.read_bytes()
    stamp = read_stamp(records_of(node / "COPY")[0])
    assert (stamp.sender, stamp.time_ns, stamp.sender_sequence) == (b"ME    ", 1_795_564_800_000_000_000, 1)


def test_long_messages_are_imported_in_fragments(directory: Path, node: Path) -> None:
    message = bytes(range(256)) * 40
    (directory / "long").write_bytes(struct.pack(">H", len(message)) + message + b"\0\1x")
    (imported,) = done("log", "import", "long", node, "--as", "LONG")["sessions"]
    assert (imported["messages"], imported["last"], imported["ended"]) == (2, 9, False)
    done("log", "export", "again", node / "LONG")
    assert Path("again").read_bytes() == Path("long").read_bytes()


def test_packets_have_the_times_of_their_records(directory: Path) -> None:
    path = stream_log(directory)
    done("log", "export", "all.pcap", path, "--to", "239.7.7.7:7777", "--datagram-bytes", "600")
    number = 1
    data = Path("all.pcap").read_bytes()
    position, frames = 24, read_pcap("all.pcap")
    for frame in frames[:-1]:
        seconds, nanoseconds = struct.unpack_from("<II", data, position)
        position += 16 + len(frame)
        packet = MOLDUDP64.decode(udp_payload(frame))
        assert (packet.header.session, packet.header.sequence_number) == (b"OURS      ", number)
        assert len(udp_payload(frame)) <= 600
        assert {read_stamp(record).time_ns for record in packet.messages} == {seconds * 10**9 + nanoseconds}
        number += len(packet.messages)
    assert udp_payload(frames[-1]) == MOLDUDP64.end_of_session(b"OURS      ", 3001)
    assert number == 3001


def test_what_is_not_known_to_be_committed_is_not_exported(directory: Path) -> None:
    path = make_log(directory, "OLD", 10, 7)
    assert done("log", "export", "seven", path)["last"] == 7
    assert Path("seven").read_bytes().count(b"OLD ") == 7
    assert done("log", "export", "some", path, "--first", "3", "--count", "2")["exported"] == 2
    result = run("log", "export", "none", str(path), "--first", "8")
    assert result.exit_code == 1
    assert "no record from 8 on is known to be committed; 7 is the last" in result.output


def test_a_file_is_there_whole_or_not_at_all(directory: Path) -> None:
    path = make_log(directory, "OLD", 3, size=0)
    log = MessageLog.open(FileStorage(path), durability="memory")
    assert log.ended == 3
    log.close()
    empty = MessageLog.create(FileStorage(directory / "EMPTY"), b"EMPTY     ", durability="memory")
    empty.append(b"", Stamp(1, 1, b"ALPHA "))
    empty.commit = 1
    empty.close()
    result = run("log", "export", "file", "EMPTY")
    assert result.exit_code == 1
    assert "message 1 at byte 0" in result.output
    assert sorted(each.name for each in directory.iterdir()) == ["EMPTY", "OLD"]


def test_an_export_that_is_interrupted_leaves_nothing(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stream_log(directory)

    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(PacketFile, "take", interrupted)
    result = run("log", "export", "all.pcap", str(path))
    assert result.exit_code == 1
    assert "interrupted; nothing was written" in result.output
    assert [each.name for each in directory.iterdir()] == ["OURS"]


class TestCaptures:
    """Of a stream that is not ours."""

    def packets(self, *rows: tuple[int, list[bytes]], session: bytes = SESSION) -> list[bytes]:
        return [MOLDUDP64.pack(session, first, messages, 1472)[0] for first, messages in rows]

    def imported(self, node: Path, packets: list[bytes], *options: str) -> dict[str, Any]:
        write_pcap("x.pcap", [udp_frame(packet, PORT) for packet in packets])
        return done("log", "import", "x.pcap", node, *options)

    def payloads(self, path: Path) -> list[bytes]:
        return [bytes(record[:-28]) for record in records_of(path) if read_stamp(record).kind == Kind.DATA]

    def test_order_and_repeats_do_not_matter(self, node: Path) -> None:
        packets = self.packets(
            (1, [b"one", b"two"]), (3, [b"three"]), (4, [b"four", b"", b"six"]), (2, [b"two", b"three"])
        )
        end = MOLDUDP64.end_of_session(SESSION, 7)
        order = [packets[index] for index in (2, 0, 1, 1, 3, 2)]
        (done_,) = self.imported(node, [*order, end, MOLDUDP64.heartbeat(SESSION, 7)])["sessions"]
        assert (done_["messages"], done_["repeats"], done_["conflicts"], done_["out_of_order"]) == (
            6,
            6,
            0,
            2,
        )
        assert (done_["first"], done_["last"], done_["ended"], done_["gaps"]) == (1, 7, True, [])
        assert self.payloads(node / "000010059B") == [b"one", b"two", b"three", b"four", b"", b"six"]
        for number, record in enumerate(records_of(node / "000010059B"), 1):
            check_record(record, number)

    def test_repeats_that_differ_are_told(self, node: Path) -> None:
        rows = self.packets((1, [b"one", b"two"]), (1, [b"one", b"TWO"]), (2, [b"zwei", b"three"]))
        result = self.imported(node, rows)
        (done_,) = result["sessions"]
        assert (done_["repeats"], done_["conflicts"]) == (3, 2)
        assert self.payloads(node / "000010059B") == [b"one", b"two", b"three"]

    def test_a_stream_that_was_joined_late_keeps_its_numbers(self, node: Path) -> None:
        first = 3_466_217
        (done_,) = self.imported(node, self.packets((first, [b"a"]), (first + 1, [b"b"])))["sessions"]
        assert (done_["first"], done_["last"], done_["gaps"]) == (first, first + 1, [])
        session = open_old_session("000010059B", FileStorage(node / "000010059B", writable=False))
        assert (session.log.first, session.shown) == (first, first + 1)
        session.close()
        log = MessageLog.open_readonly(FileStorage(node / "000010059B", writable=False))
        assert log.messages(first, 5).numbers == [first, first + 1]
        log.close()

    def test_gaps(self, node: Path) -> None:
        packets = [*self.packets((1, [b"a", b"b"]), (5, [b"e"])), MOLDUDP64.heartbeat(SESSION, 8)]
        write_pcap("x.pcap", [udp_frame(packet, PORT) for packet in packets])
        result = run("log", "import", "x.pcap", str(node))
        assert result.exit_code == 1
        assert "session 000010059B: 4 messages are missing: 3 to 4, 6 to 7; --on-gap stop" in result.output
        assert list(node.iterdir()) == []
        (stopped,) = self.imported(node, packets, "--on-gap", "stop", "--as", "STOPPED")["sessions"]
        assert (stopped["last"], stopped["ended"], stopped["gaps"]) == (2, False, [[3, 4], [6, 7]])
        (filled,) = self.imported(node, packets, "--on-gap", "fill", "--as", "FILLED")["sessions"]
        assert (filled["last"], filled["messages"], filled["filled"]) == (7, 3, 4)
        assert self.payloads(node / "FILLED") == [b"a", b"b", b"e"]
        assert [read_stamp(record).kind for record in records_of(node / "FILLED")] == [
            0,
            0,
            255,
            255,
            0,
            255,
            255,
        ]
        exported = done("log", "export", "filled.itch", node / "FILLED")
        assert exported["exported"] == 3, "what stands for nothing is no message"

    def test_a_number_out_of_the_blue_is_not_filled(self, node: Path) -> None:
        packets = self.packets((1, [b"a"]), (1 << 62, [b"b"]))
        write_pcap("x.pcap", [udp_frame(packet, PORT) for packet in packets])
        result = run("log", "import", "x.pcap", str(node), "--on-gap", "fill")
        assert result.exit_code == 1
        assert "more than 1048576 are not filled" in result.output

    def test_sessions_in_one_capture_are_told_apart(self, node: Path) -> None:
        ours = self.packets((1, [b"a"]), (2, [b"b"]), session=b"ALPHA     ")
        theirs = self.packets((7, [b"x"]), session=b"  BETA    ")
        broken = self.packets((1, [b"x"]), (5, [b"x"]), session=b"GAMMA     ")
        nameless = self.packets((1, [b"n"]), session=bytes(10))
        noise = [b"GET / HTTP/1.1\r\n", bytes(8), b"\xff" * 40, MOLDUDP64.request(SESSION, 1, 5)]
        write_pcap(
            "x.pcap",
            [udp_frame(each, PORT) for each in (ours[0], theirs[0], *noise, ours[1], *broken, *nameless)]
            + [udp_frame(b"elsewhere", 53)],
        )
        result = run("log", "import", "x.pcap", str(node), "--port", str(PORT), "--json")
        assert result.exit_code == 1
        told = json.loads(result.stdout)
        assert [(each["session"], each["messages"]) for each in told["sessions"]] == [
            ("ALPHA", 2),
            ("BETA", 1),
        ]
        assert [problem.partition(":")[0] for problem in told["problems"]] == [
            "session GAMMA",
            "a session without a name",
        ]
        assert (told["datagrams"], told["other"], told["elsewhere"]) == (11, 4, 1)
        assert sorted(path.name for path in node.iterdir()) == ["ALPHA", "BETA"]
        (one,) = done("log", "import", "x.pcap", node, "--session", "BETA", "--as", "OTHER")["sessions"]
        assert one["session"] == "OTHER"
        assert (
            "there are: ALPHA, BETA, GAMMA, one without"
            in run("log", "import", "x.pcap", "NODE", "--session", "X").output
        )
        assert "--session chooses" in run("log", "import", "x.pcap", "NODE", "--as", "X").output

    def test_packets_that_the_kernel_had_not_taken_apart(self, node: Path) -> None:
        """What a capture on the sending machine shows of UDP segmentation."""
        packets = self.packets((1, [b"a", b"bb"]), (3, [b"c", b"dd"]), (5, [b"e"]))
        (done_,) = self.imported(node, [b"".join(packets) + bytes(4)])["sessions"]
        assert (done_["messages"], done_["gaps"]) == (5, [])
        assert self.payloads(node / "000010059B") == [b"a", b"bb", b"c", b"dd", b"e"]

    def test_damaged_packets_are_counted_or_refused(self, node: Path) -> None:
        """Whatever the bytes are, an import says what it made of them, and leaves no half of a session."""
        chance = random.Random(1)
        packets = self.packets((1, [b"one", b"two"]), (3, [b"three"]), (4, [b"four", b"five"]))
        packets.append(MOLDUDP64.end_of_session(SESSION, 6))
        for turn in range(60):
            damaged = [bytearray(packet) for packet in packets]
            for _ in range(chance.randint(1, 6)):
                packet = chance.choice(damaged)
                packet[chance.randrange(len(packet))] = chance.randrange(256)
            write_pcap("x.pcap", [udp_frame(bytes(packet), PORT) for packet in damaged])
            target = node / str(turn)
            target.mkdir()
            result = run(
                "log",
                "import",
                "x.pcap",
                str(target),
                "--on-gap",
                chance.choice(["refuse", "stop"]),
                "--json",
            )
            assert result.exit_code in (0, 1), result.output
            for path in target.iterdir():
                open_old_session(path.name, FileStorage(path, writable=False)).close()

    def test_a_session_that_is_there_is_not_replaced(self, node: Path) -> None:
        packets = self.packets((1, [b"a"]))
        self.imported(node, packets)
        before = records_of(node / "000010059B")
        result = run("log", "import", "x.pcap", str(node))
        assert result.exit_code == 1
        assert "session 000010059B is there already" in result.output
        assert records_of(node / "000010059B") == before
        assert (node / "000010059B" / "keep").exists(), "old as it is, it is not to be removed"

    def test_records_of_ours_are_not_made_up(self, directory: Path, node: Path) -> None:
        done("log", "export", "all.pcap", stream_log(directory))
        frames = read_pcap("all.pcap")
        write_pcap("cut.pcap", frames[:10] + frames[11:])
        for option, words in (
            ("refuse", "--on-gap stop takes"),
            ("fill", "its records are on the nodes it came from"),
        ):
            result = run("log", "import", "cut.pcap", str(node), "--on-gap", option)
            assert result.exit_code == 1
            assert words in result.output
        (stopped,) = done("log", "import", "cut.pcap", node, "--on-gap", "stop")["sessions"]
        assert records_of(node / "OURS") == records_of(directory / "OURS")[: stopped["last"]]

    def test_a_record_of_ours_that_is_damaged_is_refused(self, directory: Path, node: Path) -> None:
        done("log", "export", "all.pcap", stream_log(directory))
        data = bytearray(Path("all.pcap").read_bytes())
        data[len(data) // 2] ^= 1
        Path("all.pcap").write_bytes(data)
        result = run("log", "import", "all.pcap", str(node))
        assert result.exit_code == 1
        assert "Error: " in result.output
        assert list(node.iterdir()) == []


def test_what_a_killed_import_has_left_goes_with_the_next(directory: Path, node: Path) -> None:
    for name in ("killed", "running"):
        log = MessageLog.create(FileStorage(node / f".import-{name}-7"), b"X         ", durability="memory")
        if name == "killed":
            log.close()
    Path("one").write_bytes(b"\0\1x")
    done("log", "import", "one", node, "--as", "ONE")
    assert sorted(path.name for path in node.iterdir()) == [".import-running-7", "ONE"]
    log.close()


def test_what_cannot_be_imported_says_so(directory: Path, node: Path) -> None:
    Path("empty.pcap").touch()
    Path("empty").touch()
    Path("cut").write_bytes(b"\0\3ab")
    for file, options, words in (
        ("empty.pcap", [], "empty.pcap: the file is empty"),
        ("empty", [], "a BinaryFILE does not say which session it is: --as names it"),
        ("empty", ["--as", "X"], "empty: there is no message in it"),
        ("cut", ["--as", "X"], "cut: message 1 at byte 0: cut off"),
        ("cut", ["--as", "no-name"], "'no-name' cannot be a session's name"),
        ("cut", ["--as", "X", "--format", "parquet"], "'parquet' is not one of"),
    ):
        result = run("log", "import", file, str(node), *options)
        assert result.exit_code in (1, 2)
        assert words in result.output
    assert "say where it is to go" in run("log", "import", "cut").output
    write_pcap("x.pcap", [])
    assert (
        "'nowhere' is not an IPv4 address"
        in run("log", "import", "x.pcap", "NODE", "--group", "nowhere").output
    )
    assert (
        "between 1970 and 2262"
        in run("log", "import", "cut", "NODE", "--as", "X", "--time", "1969-01-01").output
    )
    assert list(node.iterdir()) == []


def test_marks_are_set_and_taken_away(directory: Path) -> None:
    assert run("init", "--session", "NOW").exit_code == 0
    for name in ("SEQ1", "REW1"):
        make_log(directory / "log" / name, "OLD", 3)
    assert done("log", "keep", "OLD") == {"session": "OLD", "nodes": ["SEQ1", "REW1"], "kept": True}
    assert (directory / "log" / "SEQ1" / "OLD" / "keep").exists()
    assert "it ended; it is kept" in run("log", "sessions", "log/REW1").output
    assert done("log", "keep", "OLD", "--release", "--node", "rew1")["nodes"] == ["REW1"]
    assert not (directory / "log" / "REW1" / "OLD" / "keep").exists()
    assert "there is no session GONE at SEQ1, REW1" in run("log", "keep", "GONE").output


@pytest.mark.parametrize("format_name", ["parquet", "arrow"])
def test_columns(directory: Path, format_name: str) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    path = stream_log(directory)
    exported = done("log", "export", f"all.{format_name}", path)
    if format_name == "parquet":
        table = pytest.importorskip("pyarrow.parquet").read_table(f"all.{format_name}")
    else:
        with pyarrow.memory_map(f"all.{format_name}") as source:
            table = pytest.importorskip("pyarrow.ipc").open_file(source).read_all()
    assert table.num_rows == exported["exported"]
    assert table.schema.metadata[b"session"] == b"OURS"
    assert [str(each) for each in table.schema.types] == [
        "uint64",
        "timestamp[ns, tz=UTC]",
        "string",
        "uint64",
        "binary",
    ]
    done("log", "export", "all.itch", path)
    data = b"".join(struct.pack(">H", len(each)) + each for each in table["payload"].to_pylist())
    assert Path("all.itch").read_bytes() == data + b"\0\0"
    records = records_of(path)
    for number, time_ns, sender, sequence in zip(
        table["number"].to_pylist(),
        table["time"].cast("int64").to_pylist(),
        table["sender"].to_pylist(),
        table["sender_sequence"].to_pylist(),
        strict=True,
    ):
        stamp = read_stamp(records[number - 1])
        assert (time_ns, sender, sequence) == (
            stamp.time_ns,
            stamp.sender.decode().strip(),
            stamp.sender_sequence,
        )


def test_real_captures(shared_data: Path, node: Path) -> None:
    for path in sorted((shared_data / "pcap" / "moldudp64").glob("*.pcap")):
        packets = [MOLDUDP64.decode(udp_payload(frame)) for frame in read_pcap(path)]
        messages = [message for packet in packets for message in packet.messages]
        target = node / path.stem
        target.mkdir()
        if not messages:
            assert (
                "no message of session any in it; there are: none"
                in run("log", "import", str(path), str(target)).output
            )
            continue
        told = done("log", "import", path, target, "--on-gap", "stop")
        (session,) = told["sessions"]
        messages = messages[: session["messages"]] if session["gaps"] else messages
        assert told["problems"] == []
        assert (session["messages"], session["records"]) == (len(messages), False)
        assert session["first"] == min(packet.header.sequence_number for packet in packets)
        done("log", "export", f"{path.stem}.bin", target / session["session"])
        assert Path(f"{path.stem}.bin").read_bytes() == b"".join(
            struct.pack(">H", len(each)) + each for each in messages
        )


def test_a_real_file(shared_data: Path, node: Path) -> None:
    source = shared_data / "synthetic_itch50_12012.itch"
    (imported,) = done("log", "import", source, node, "--as", "ITCH")["sessions"]
    assert imported["messages"] == 12012
    done("log", "export", "again.itch", node / "ITCH")
    assert Path("again.itch").read_bytes() == source.read_bytes()


def test_tshark_reads_what_is_exported(directory: Path, tshark: str) -> None:
    done("log", "export", "all.pcap", stream_log(directory, records=400), "--to", "239.7.7.7:26477")
    fields = (
        "frame.time_epoch",
        "ip.checksum.status",
        "udp.checksum.status",
        "moldudp64.session",
        "moldudp64.sequence",
    )
    command = [tshark, "-r", "all.pcap", "-d", "udp.port==26477,moldudp64", "-o", "ip.check_checksum:TRUE"]
    command += [
        "-o",
        "udp.check_checksum:TRUE",
        "-T",
        "fields",
        *(each for name in fields for each in ("-e", name)),
    ]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    frames = read_pcap("all.pcap")
    assert len(shown) == len(frames)
    for line, frame in zip(shown, frames, strict=True):
        packet = MOLDUDP64.decode(udp_payload(frame))
        time, ip, udp, session, sequence = line.split("\t")
        assert (ip, udp, session.strip()) == ("1", "1", "OURS")
        assert int(sequence) == packet.header.sequence_number
        if packet.messages:
            seconds, _, part = time.partition(".")
            assert int(seconds) * 10**9 + int(part.ljust(9, "0")) == read_stamp(packet.messages[0]).time_ns
