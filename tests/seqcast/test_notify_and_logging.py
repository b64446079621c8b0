"""`rewinder.notify`: messages to a supervisor. `rewinder.logging`: one line for each event."""

from __future__ import annotations

import io
import json
import logging
import socket
from contextlib import closing

import pytest

from rewinder import logging as log_lines
from rewinder import notify


@pytest.fixture(params=["abstract", "path"])
def supervisor(request, tmp_path, monkeypatch):
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as receiver:
        if request.param == "abstract":
            receiver.bind("")
            name = "@" + receiver.getsockname()[1:].decode("ascii")
        else:
            name = str(tmp_path / "notify.sock")
            receiver.bind(name)
        receiver.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield receiver


class TestNotify:
    def test_messages(self, supervisor):
        assert notify.ready()
        assert notify.ready("opening\nthe log")
        assert notify.status("x" * 5000)
        assert notify.stopping()
        assert notify.watchdog()
        assert notify.watchdog("primary")
        received = [supervisor.recv(4096) for _ in range(6)]
        assert received[0] == b"READY=1"
        assert received[1] == b"READY=1\nSTATUS=opening the log", "a status cannot forge another message"
        assert received[2] == b"STATUS=" + b"x" * 1000
        assert received[3:] == [b"STOPPING=1", b"WATCHDOG=1", b"WATCHDOG=1\nSTATUS=primary"]

    def test_without_a_supervisor_nothing_is_sent(self, monkeypatch):
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
        assert not notify.ready()

    @pytest.mark.parametrize("name", ["", "relative", "@", "/does/not/exist", "/" + "x" * 300, "vsock:2:3"])
    def test_a_supervisor_that_cannot_be_reached_is_no_reason_to_stop(self, monkeypatch, name):
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        assert not notify.ready()

    def test_a_supervisor_that_does_not_read_does_not_hold_anybody_up(self, supervisor):
        sent = 0
        while notify.watchdog():
            sent += 1
            assert sent < 100_000
        assert not notify.watchdog()


@pytest.fixture
def logger():
    logger = logging.getLogger(log_lines.LOGGER)
    before = list(logger.handlers), logger.level, logger.propagate
    yield logger
    logger.handlers[:], level, logger.propagate = before
    logger.setLevel(level)


class TestLogging:
    def test_lines_for_people(self, logger):
        stream = io.StringIO()
        log_lines.configure(stream=stream)
        logger.info("ready", extra={"node": "SEQ1", "values": {"port": 1, "text": 'a "b"', "none": ""}})
        logger.debug("hidden")
        logger.warning("without anything")
        lines = stream.getvalue().splitlines()
        assert len(lines) == 2
        when, rest = lines[0].split(" ", 1)
        assert len(when) == len("2026-01-31T09:30:00.123456Z")
        assert rest == r'info SEQ1 ready port=1 text="a \"b\"" none=""'
        assert lines[1].endswith(" warning without anything")

    def test_a_line_is_one_line(self, logger):
        stream = io.StringIO()
        log_lines.configure(stream=stream)
        logger.info("a\nb", extra={"values": {"peer": "x\n2026 info forged\x1b[2J\u2028"}})
        try:
            raise ValueError("bad")
        except ValueError:
            logger.exception("failed")
        lines = stream.getvalue().split("\n")
        assert len(lines) == 3
        assert lines[0].isascii()
        assert "\x1b" not in lines[0]
        assert "ValueError: bad" in lines[1]

    def test_lines_for_programs(self, logger):
        stream = io.StringIO()
        log_lines.configure(stream=stream, as_json=True)
        logger.info("ready", extra={"node": "SEQ1", "values": {"port": 1, "session": b"A"}})
        logger.info("bare")
        first, second = map(json.loads, stream.getvalue().splitlines())
        assert (first["level"], first["node"], first["event"]) == ("info", "SEQ1", "ready")
        assert first["values"] == {"port": 1, "session": "b'A'"}
        assert (second["node"], second["values"]) == (None, {})

    def test_configuring_again_replaces_the_first(self, logger):
        first, second = io.StringIO(), io.StringIO()
        log_lines.configure(stream=first)
        log_lines.configure(stream=second)
        logger.info("once")
        assert first.getvalue() == ""
        assert second.getvalue().count("once") == 1

    def test_repeats_are_held_back_and_counted(self):
        repeats = log_lines.Repeats(limit=3)

        def record(event: str, at: float) -> logging.LogRecord:
            made = logging.makeLogRecord({"msg": event, "values": {"peer": 1}})
            made.created = at
            return made

        assert [repeats.filter(record("reject", 1.5)) for _ in range(6)] == [True] * 3 + [False] * 3
        assert repeats.filter(record("other", 1.5)), "each event for itself"
        following = record("reject", 2.0)
        assert repeats.filter(following)
        assert following.values == {"peer": 1, "held_back": 3}
        quiet = record("reject", 3.0)
        assert repeats.filter(quiet)
        assert quiet.values == {"peer": 1}

    def test_memory_for_repeats_is_bounded(self):
        repeats = log_lines.Repeats()
        for number in range(5000):
            repeats.filter(logging.makeLogRecord({"msg": f"event {number}"}))
        assert len(repeats._second) <= log_lines.EVENTS_LIMIT
