"""`seqcast roll` on real processes: who listens gets all of both sessions, who sends is told and goes on."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
import uuid
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import pytest
from bus import Bus, new_bus, wait_for
from click.testing import CliRunner
from old_logs import make_log

import moldudp
from moldudp.sockets import multicast_receiver, read_datagrams
from seqcast import Sender
from seqcast.cli import main
from seqcast.config import read_configuration
from seqcast.errors import SessionEnded

if TYPE_CHECKING:
    from pathlib import Path

MESSAGES = 300


def roll(bus: Bus, *options: str) -> dict[str, Any]:
    """Roll, and start the nodes again that ask for it, as `seqcast up` does."""
    command = ["roll", "--yes", "--json", "--config", str(bus.config_path), *options]
    with subprocess.Popen(
        [sys.executable, "-m", "seqcast.cli", *command], stdout=subprocess.PIPE, text=True
    ) as process:

        def over() -> bool:
            bus.start_missing()
            return process.poll() is not None

        wait_for(over, "the roll is over")
        assert process.stdout is not None
        assert process.returncode == 0
        bus.configuration = read_configuration(bus.config_path)
        return dict(json.loads(process.stdout.read()))


class Plain:
    """A listener that knows nothing of the bus: what it heard of each session, in order."""

    def __init__(self, group: str, port: int) -> None:
        self.socket = multicast_receiver(group, port, "127.0.0.1")
        self.streams: dict[bytes, moldudp.Receiver] = {}
        self.heard: dict[bytes, list[bytes]] = {}

    def close(self) -> None:
        self.socket.close()

    def listen(self) -> None:
        """Take what has come."""
        while True:
            try:
                datagrams = read_datagrams(self.socket.fileno())
            except BlockingIOError:
                return
            for datagram in datagrams:
                session = datagram[:10]
                stream = self.streams.setdefault(
                    session, moldudp.Receiver(session=session, random=random.Random(1))
                )
                stream.receive_datagram(datagram, 0)
                while messages := stream.messages():
                    self.heard.setdefault(session, []).extend(messages.payloads())


def free_port() -> int:
    """A UDP port that nobody has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ended(process: subprocess.Popen[str]) -> None:
    """Whatever happened, it does not outlive the test."""
    process.kill()
    process.communicate()


def request(address: tuple[str, int], session: bytes, first: int) -> tuple[bytes, ...]:
    """The messages that a request server sends again."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(20)
        asker.sendto(moldudp.MOLDUDP64.request(session, first, 3), address)
        return moldudp.MOLDUDP64.decode(asker.recv(2048)).messages


def test_everybody_goes_on_in_the_next_session(tmp_path: Path) -> None:
    token = uuid.uuid4().bytes
    group = f"239.{token[0]}.{token[1]}.{token[2] % 254 + 1}"
    with new_bus(tmp_path / "run", "--session", "DAY07", nodes=3) as bus, ExitStack() as stack:
        before = bus.configuration
        text = bus.config_path.read_text(encoding="ascii")
        bus.config_path.write_text(text.replace('keep = "all"', 'keep = "1 session"'), encoding="ascii")
        kept = [before.node_directory("REW1") / name for name in ("OLDEST", "OLDER")]
        for number, path in enumerate(kept):
            make_log(path.parent, path.name, 10, begin_ns=number)
        (bus.directory / "before.toml").write_bytes(bus.config_path.read_bytes())
        bus.start_all()
        bus.primary()
        wait_for(lambda: not kept[0].exists(), "the oldest session is removed")
        assert kept[1].exists()
        heard: list[bytes] = []
        plain = stack.enter_context(closing(Plain(group, before.multicast.port)))
        server = "127.0.0.1", free_port()
        command = [
            "feed",
            "--to",
            f"{group}:{before.multicast.port}",
            "--from",
            "begin",
            "--follow",
            "--json",
        ]
        command += [
            "--linger",
            "0.1",
            "--request-port",
            str(server[1]),
            "--state",
            tmp_path / "state",
        ]
        feed = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "seqcast.cli",
                *map(str, command),
                "--config",
                str(bus.directory / "before.toml"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(ended, feed)
        lines = tmp_path / "lines.txt"
        command = ["listen", "--follow", "--count", str(2 * MESSAGES), "--output", str(lines), "--json"]
        listener = subprocess.Popen(
            [sys.executable, "-m", "seqcast.cli", *command, "--config", str(bus.directory / "before.toml")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        stack.callback(ended, listener)
        with bus.receiver() as receiver:
            wait_for(lambda: plain.listen() or plain.streams, "the plain feed is there")
            sender = bus.sender()
            for n in range(MESSAGES):
                sender.send(b"old %d" % n)
            last = sender.flush(20)
            rolled = roll(bus, "--pattern", "DAY##")
            assert (rolled["old_session"], rolled["session"], rolled["number"]) == (
                "DAY07",
                "DAY08",
                last + 1,
            )
            assert rolled["left"] == []
            assert bus.configuration.session == "DAY08"
            for node in bus.configuration.nodes:
                assert bus.ask(node.name, "status")["fingerprint"] == rolled["fingerprint"]

            with pytest.raises(SessionEnded, match="nothing of 'ALPHA' did not enter it"):
                wait_for(lambda: sender.poll(0.1), "the sender is told")
            sender.close()
            # With a configuration of the day before, as on a machine where nobody has changed it yet.
            with Sender(before, "ALPHA", after=sender.session_name) as following:
                for n in range(MESSAGES):
                    following.send(b"new %d" % n)
                assert following.flush(20) == MESSAGES + 1
                assert following.session_name == "DAY08"

            heard += [message.payload for message in receiver]
            assert receiver.next_session(20) == "DAY08"
            heard += [message.payload for message in receiver.take(MESSAGES, 20)]
            assert heard == [b"%s %d" % (day, n) for day in (b"old", b"new") for n in range(MESSAGES)]

        told, said = listener.communicate(timeout=20)
        assert (listener.returncode, said) == (0, "session DAY08 has begun\n")
        assert json.loads(told)["delivered"] == 2 * MESSAGES
        assert lines.read_bytes().splitlines() == heard

        def fed() -> bool:
            plain.listen()
            return len(plain.heard.get(b"DAY08     ", ())) == MESSAGES

        wait_for(fed, "the plain feed has brought all of the next session")
        assert plain.heard == {b"DAY07     ": heard[:MESSAGES], b"DAY08     ": heard[MESSAGES:]}
        assert plain.streams[b"DAY07     "].ended
        assert request(server, b"DAY08     ", 299) == (b"new 298", b"new 299")
        feed.send_signal(signal.SIGTERM)
        summary = json.loads(feed.communicate(timeout=20)[0])
        assert feed.returncode == 0
        assert (summary["session"], summary["messages"], summary["next_number"]) == (
            "DAY08",
            2 * MESSAGES,
            MESSAGES + 1,
        )

        # Another message, a feed that goes on where the first stopped, and one that counts from the beginning.
        with bus.sender("BETA") as late:
            late.send(b"late")
        for count, options in (
            (1, ("--state", str(tmp_path / "state"))),
            (MESSAGES + 1, ("--from", "begin")),
        ):
            command = [
                "feed",
                "--to",
                f"{group}:{before.multicast.port}",
                "--count",
                str(count),
                *options,
                "--json",
            ]
            fed_again = CliRunner().invoke(main, [*command, "--config", str(bus.config_path)])
            assert json.loads(fed_again.stdout)["messages"] == count, fed_again.output
            assert json.loads(fed_again.stdout)["next_number"] == MESSAGES + 2
        plain.listen()
        assert plain.heard[b"DAY08     "] == [*heard[MESSAGES:], b"late"]

        # The old session once more, for somebody else, from rewinders.
        again = stack.enter_context(closing(Plain(group, before.multicast.port + 1)))
        to = ("--to", f"{group}:{before.multicast.port + 1}", "--speed", "max", "--linger", "0")
        replayed = bus.run("replay", "--session", "DAY07", *to, "--json")
        assert replayed.returncode == 0, replayed.stderr
        assert json.loads(replayed.stdout)["records"] == last + 1
        again.listen()
        (records,) = again.heard.values()
        assert [record[:-28] for record in records[1:-1]] == heard[:MESSAGES]
        assert again.streams[b"DAY07     "].ended
        wait_for(lambda: not kept[1].exists(), "the one before has become too old")
        retention = bus.ask("REW1", "status")["retention"]
        assert (retention["keep"], retention["sessions"], retention["protected"]) == ("1 session", 1, {})
        # Exported, and imported under another name into the directory of a rewinder that runs.
        captured = tmp_path / "day.pcap"
        node = before.node_directory("REW1")
        for arguments in (
            ("export", captured, node / "DAY07"),
            ("import", captured, node, "--as", "COPY"),
        ):
            assert CliRunner().invoke(main, ["log", *map(str, arguments)]).exit_code == 0
        for session in ("DAY07", "COPY"):
            with bus.receiver(session=session, lines=()) as old:
                assert [message.payload for message in old] == heard[:MESSAGES]
