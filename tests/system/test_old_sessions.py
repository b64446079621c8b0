"""Old sessions replayed from rewinders by name, on real processes, by a plain socket client."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from bus import Bus, new_bus, wait_for
from plain_soup import replay

import moldudp
from rewinder.log import MessageLog
from rewinder.storage import FileStorage
from seqcast.config import read_configuration

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

MESSAGES = 500


def records_of(bus: Bus, name: str, session: str) -> list[bytes]:
    """All records of a session in the log of a node, as they are in its files."""
    path = bus.configuration.node_directory(name) / session
    log = MessageLog.open_readonly(FileStorage(path, writable=False))
    found: list[bytes] = []
    while len(found) < log.last:
        found += log.messages(1 + len(found), MESSAGES).payloads()
    log.close()
    return found


def address_of(bus: Bus, name: str) -> tuple[str, int]:
    node = bus.configuration.node(name)
    assert node.replay_port is not None
    return node.host, node.replay_port


def old_session(bus: Bus, name: str) -> dict[str, Any]:
    """What a rewinder says of its one old session, when it has looked at it."""

    def look() -> dict[str, Any] | None:
        (row,) = bus.ask(name, "status")["old_sessions"]
        return row if row["problem"] is None else None

    return dict(wait_for(look, f"{name} has looked at its old session"))


def test_a_session_that_ended_is_replayed_in_the_next_one(tmp_path: Path) -> None:
    with new_bus(tmp_path / "run", "--session", "OLD", nodes=3) as bus:
        bus.start_all()
        bus.primary()
        with bus.sender() as sender:
            for n in range(MESSAGES):
                sender.send(b"old %d" % n)
            sender.flush(20)
        ended = bus.run("end-session", "--json")
        assert ended.returncode == 0, ended.stderr
        last = json.loads(ended.stdout)["number"]
        assert bus.wait_level() == last
        before = replay(address_of(bus, "REW1"), b"OLD", 1)
        bus.stop()

        text = bus.config_path.read_text(encoding="ascii")
        bus.config_path.write_text(text.replace('session = "OLD"', 'session = "NEW"'), encoding="ascii")
        bus.configuration = read_configuration(bus.config_path)
        bus.start_all()
        bus.primary()
        with bus.sender() as sender, bus.receiver(lines=()) as receiver:
            sender.send(b"new")
            sender.flush(20)
            assert next(iter(receiver)).payload == b"new"

            stored = records_of(bus, "SEQ1", "OLD")
            assert len(stored) == last
            for name in ("REW1", "REW2"):
                address = address_of(bus, name)
                packets = replay(address, b"OLD", 1)
                assert packets.accepted == (b"       OLD", 1)
                assert packets.records == records_of(bus, name, "OLD") == stored
                assert packets.kinds == b"A" + last * b"S" + b"Z"
                if name == "REW1":
                    assert packets == before, "as when the session was the present one"
                assert replay(address, b"OLD", last - 2).records == stored[-3:]
                assert replay(address, b"NEVER", 1).found == [(b"J", b"S")]
                assert old_session(bus, name) == {
                    "session": "OLD",
                    "first": 1,
                    "shown": last,
                    "last": last,
                    "ended": True,
                    "problem": None,
                }
                counters = bus.ask(name, "status")["counters"]
                assert (counters["archive.opened"], counters["archive.unknown"]) == (1, 1)
                assert "there is no session b'NEVER' here" in bus.nodes[name].log

            with bus.receiver(session="OLD", lines=()) as old:
                assert [message.payload for message in old] == [b"old %d" % n for n in range(MESSAGES)]
            sender.send(b"and on")
            sender.flush(20)
            assert next(iter(receiver)).payload == b"and on"
        check_requests(bus)
        listed = bus.run("log", "sessions", "--node", "REW1")
        assert listed.returncode == 0, listed.stderr
        assert f"OLD          1  {last:>5}  {last:>4}  it ended" in listed.stdout
        assert "\nNEW " in listed.stdout


def check_requests(bus: Bus) -> None:
    """A re-request for the old session is met with silence, and counted."""
    node = bus.configuration.node("REW1")
    assert node.request_port is not None
    before = bus.ask("REW1", "status")["requests"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(20)
        for session in (b"OLD", b"NEW"):
            request = moldudp.MOLDUDP64.header(session.ljust(10), 1, 1)
            asker.sendto(request, (node.host, node.request_port))
        assert asker.recv(2048)[:10] == b"NEW       "
    after = bus.ask("REW1", "status")["requests"]
    assert {key: after[key] - before[key] for key in after if after[key] != before[key]} == {
        "requests": 2,
        "unknown_session": 1,
        "replies": 1,
        "messages": 1,
    }


def test_of_a_session_that_was_left_behind_only_what_was_committed_is_replayed(tmp_path: Path) -> None:
    """Of five voters three are lost: the primary stamps on, a rewinder copies it, and nothing of that commits."""
    with new_bus(tmp_path / "run", "--session", "OLD", nodes=5) as bus:
        for name in ("SEQ1", "REW1", "REW2", "REW3", "SEQ2"):
            bus.start(name)
        bus.wait_voters()
        assert bus.primary() == "SEQ1"
        with bus.sender() as sender:
            for n in range(MESSAGES):
                sender.send(b"old %d" % n)
            committed = sender.flush(20)
            wait_for(lambda: bus.ask("REW3", "status")["commit"] == committed, "REW3 knows what is committed")
            for name in ("SEQ2", "REW1", "REW2"):
                bus.nodes.pop(name).kill()
            wait_for(lambda: bus.ask("SEQ1", "status")["in_contact"] == ["REW3"], "SEQ1 has lost its quorum")
            for n in range(50):
                sender.send(b"lost %d" % n)
            wait_for(
                lambda: bus.ask("REW3", "status")["last"] == committed + 50, "REW3 holds what cannot commit"
            )
            assert bus.ask("REW3", "status")["commit"] == committed
            force_new_session(bus, "SEQ1")
            sender.close()  # its messages are never acknowledged
        bus.configuration = read_configuration(bus.config_path)
        wait_for(lambda: bus.ask("REW3", "status")["session"] == "NEW", "REW3 is in the new session")

        stored = records_of(bus, "REW3", "OLD")
        assert len(stored) == committed + 50
        packets = replay(address_of(bus, "REW3"), b"OLD", 1)
        assert packets.records == stored[:committed]
        assert packets.kinds == b"A" + committed * b"S" + b"Z"
        beyond = replay(address_of(bus, "REW3"), b"OLD", committed + 2)
        assert beyond.accepted == (b"       OLD", committed + 1)
        assert beyond.kinds == b"AZ"
        with bus.receiver(session="OLD", lines=()) as old:
            assert [message.payload for message in old] == [b"old %d" % n for n in range(MESSAGES)]
        row = old_session(bus, "REW3")
        assert (row["shown"], row["last"], row["ended"]) == (committed, committed + 50, False)


def force_new_session(bus: Bus, target: str) -> None:
    """`seqcast promote --force`, and start what asks to be started again."""
    arguments = ["promote", "--force", target, "--session", "NEW", "--yes", "--config", str(bus.config_path)]
    with subprocess.Popen([sys.executable, "-m", "seqcast.cli", *arguments]) as promotion:

        def over() -> bool:
            bus.start_missing()
            return promotion.poll() is not None

        wait_for(over, "the new session is open")
    assert promotion.returncode == 0
