"""`seqcast roll` on real processes: who listens gets all of both sessions, who sends is told and goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from bus import Bus, new_bus, wait_for

from seqcast import Sender
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


def test_everybody_goes_on_in_the_next_session(tmp_path: Path) -> None:
    with new_bus(tmp_path / "run", "--session", "DAY07", nodes=3) as bus:
        before = bus.configuration
        bus.start_all()
        bus.primary()
        heard: list[bytes] = []
        with bus.receiver() as receiver:
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
        with bus.receiver(session="DAY07", lines=()) as old:
            assert [message.payload for message in old] == heard[:MESSAGES]
