"""The supervisor over real processes: readiness, restarts, giving up, the orderly end, and dying together."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from seqcast import relay as relay_module
from seqcast import supervisor as supervisor_module
from seqcast.child import Child, ChildCommand, node_commands
from seqcast.config import parse_configuration
from seqcast.relay import Relay
from seqcast.supervisor import (
    DEPOSED_STATUS,
    QUICK_DEATH_NS,
    QUICK_RENEWAL_NS,
    RESTART_STATUS,
    Restarts,
    Supervisor,
)

ROOT = Path(__file__).resolve().parents[2]

FAKE_NODE = """
import os, signal, socket, sys, time
mode, place = sys.argv[1], sys.argv[2]
def notify(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(text.encode(), "\\0" + os.environ["NOTIFY_SOCKET"][1:])
def note(event):
    with open(place, "a") as stream:
        stream.write(event + "\\n")
note(f"start {os.getpid()}")
def orderly(number, frame):
    note("stop")
    print("stopping by myself")
    sys.exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN if mode == "deaf" else orderly)
if mode.startswith("exit"):
    print("last words", end="")
    sys.exit(int(mode[4:]))
if mode.startswith("flaky"):  # flaky2:3 ends with status 3 in its first two lives
    lives, _, status = mode[5:].partition(":")
    if len(open(place).readlines()) <= int(lives):
        sys.exit(int(status or 1))
if mode == "removed" and len(open(place).readlines()) > 1:  # from the configuration, while it served
    sys.exit(2)
if mode == "mute":
    notify("STATUS=opening the log")
else:
    notify("STATUS=serving\\nREADY=1")
print("serving")
if mode == "once":
    sys.exit(0)
if mode in ("killed", "removed"):
    os.kill(os.getpid(), signal.SIGKILL)
while True:
    signal.pause()
"""


class Run:
    """A supervisor over fake nodes; `on` names what to do when an event arrives."""

    def __init__(self, directory: Path, *modes: str, log_to: int | None = None) -> None:
        self.directory = directory
        script = directory / "fake_node.py"
        script.write_text(FAKE_NODE, encoding="ascii")
        self.names = [f"N{position}" for position in range(1, len(modes) + 1)]
        self.events: list[dict] = []
        self.on = {}
        self.log = directory / "log"
        with self.log.open("wb") as stream:
            self.log_to = os.dup(stream.fileno()) if log_to is None else log_to
        commands = [
            ChildCommand(
                name, "fake", (sys.executable, str(script), mode, str(self.place(name))), {"submit": 7}
            )
            for name, mode in zip(self.names, modes, strict=True)
        ]
        self.supervisor = Supervisor(commands, self.note, self.log_to)

    def place(self, name: str) -> Path:
        return self.directory / f"place-{name}"

    def note(self, event: dict) -> None:
        self.events.append(json.loads(json.dumps(event)))
        action = self.on.get(event["event"])
        if action:
            action(event)

    def run(self) -> int:
        try:
            return self.supervisor.run()
        finally:
            os.close(self.log_to)

    def of(self, *kinds: str) -> list[tuple]:
        return [(e["event"], e.get("name")) for e in self.events if e["event"] in kinds]

    def pids(self, name: str) -> list[int]:
        lines = self.place(name).read_text(encoding="ascii").splitlines()
        return [int(line.split()[1]) for line in lines if line.startswith("start")]

    def stop_at(self, event: str) -> None:
        self.on[event] = lambda _event: self.supervisor.stop("the test is over")


def alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return False
    return status.rpartition(") ")[2][0] != "Z"


def test_readiness_and_the_orderly_end(tmp_path):
    run = Run(tmp_path, "serve", "serve", "serve")
    run.stop_at("all-ready")
    assert run.run() == 0
    assert run.of("starting") == [("starting", name) for name in run.names]
    assert sorted(run.of("ready")) == [("ready", name) for name in run.names]
    ready = next(event for event in run.events if event["event"] == "ready")
    assert (ready["role"], ready["ports"]) == ("fake", {"submit": 7})
    assert ready["took_ms"] >= 0
    assert run.of("stopped") == [("stopped", name) for name in reversed(run.names)], "last in, first out"
    assert [event["event"] for event in run.events][-5:] == [
        "stopping",
        "stopped",
        "stopped",
        "stopped",
        "end",
    ]
    assert run.events[-1]["status"] == 0
    for name in run.names:
        assert run.place(name).read_text(encoding="ascii").splitlines()[-1] == "stop"
        assert not alive(run.pids(name)[0])


def test_what_children_write_is_passed_on_with_their_names(tmp_path):
    run = Run(tmp_path, "serve", "exit0")
    run.on["ready"] = run.on["finished"] = lambda _event: (
        len(run.of("ready", "finished")) == 2 and run.supervisor.stop("the test is over")
    )
    run.run()
    lines = run.log.read_text(encoding="ascii").splitlines()
    assert [line for line in lines if line.startswith("N1")] == ["N1 | serving", "N1 | stopping by myself"]
    assert [line for line in lines if line.startswith("N2")] == ["N2 | last words"], (
        "even without an end of line"
    )


def test_what_dies_is_started_again(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor_module, "RESTART_NS", 1_000_000)
    run = Run(tmp_path, "flaky2")
    run.stop_at("all-ready")
    assert run.run() == 0
    died = [event for event in run.events if event["event"] == "died"]
    assert [(event["status"], event["restart_ms"]) for event in died] == [(1, 1), (1, 2)]
    assert len(run.pids("N1")) == 3


def test_what_is_killed_is_started_again_and_says_by_what(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor_module, "RESTART_NS", 1_000_000)
    run = Run(tmp_path, "killed")
    run.on["ready"] = lambda _event: len(run.of("ready")) > 1 and run.supervisor.stop("enough")
    run.run()
    died = next(event for event in run.events if event["event"] == "died")
    assert died["signal"] == "SIGKILL"
    assert "status" not in died
    assert run.of("all-ready") == [("all-ready", None)], "said once"


def test_quick_deaths_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor_module, "RESTART_NS", 1_000_000)
    run = Run(tmp_path, "serve", "exit1")
    assert run.run() == 1
    assert len(run.pids("N2")) == supervisor_module.QUICK_DEATHS_LIMIT + 1
    assert run.of("gave-up", "stopping", "stopped", "end") == [
        ("gave-up", "N2"),
        ("stopping", None),
        ("stopped", "N1"),
        ("end", None),
    ]


@pytest.mark.parametrize("status", [DEPOSED_STATUS, RESTART_STATUS])
def test_what_was_deposed_or_asked_for_it_is_started_again_without_blame(tmp_path, monkeypatch, status):
    monkeypatch.setattr(supervisor_module, "RENEWAL_NS", 2_000_000)
    renewals = supervisor_module.QUICK_DEATHS_LIMIT + 2
    run = Run(tmp_path, f"flaky{renewals}:{status}")
    run.stop_at("all-ready")
    assert run.run() == 0
    died = [event for event in run.events if event["event"] == "died"]
    assert [(event["status"], event["restart_ms"]) for event in died] == [(status, 2)] * renewals
    assert len(run.pids("N1")) == renewals + 1


@pytest.mark.parametrize("status", [DEPOSED_STATUS, RESTART_STATUS])
def test_what_is_always_deposed_at_once_is_given_up(tmp_path, monkeypatch, status):
    for name, value in (
        ("RENEWAL_NS", 1_000_000),
        ("RESTART_NS", 3_000_000),
        ("QUICK_RENEWAL_NS", supervisor_module.QUICK_DEATH_NS),  # a busy machine is slow to start Python
        ("QUICK_RENEWALS_LIMIT", 2),
        ("QUICK_DEATHS_LIMIT", 2),
    ):
        monkeypatch.setattr(supervisor_module, name, value)
    run = Run(tmp_path, f"exit{status}")
    assert run.run() == 1
    died = [event for event in run.events if event["event"] == "died"]
    assert [event.get("restart_ms") for event in died] == [1, 1, 3, 6, None]
    assert {event["status"] for event in died} == {status}
    (given_up,) = [event for event in run.events if event["event"] == "gave-up"]
    assert given_up["reason"] == "it was deposed or asked to restart 5 times, soon after its start"


def test_what_was_deposed_while_all_stops_is_not_started_again(tmp_path):
    run = Run(tmp_path, f"exit{DEPOSED_STATUS}")
    run.stop_at("died")
    assert run.run() == 0
    assert len(run.pids("N1")) == 1


def test_a_wrong_configuration_is_not_tried_again(tmp_path):
    run = Run(tmp_path, "exit2")
    assert run.run() == 2
    assert len(run.pids("N1")) == 1
    (died,) = [event for event in run.events if event["event"] == "died"]
    assert died["status"] == 2
    assert "restart_ms" not in died
    assert run.of("gave-up") == [("gave-up", "N1")]


def test_what_was_taken_out_of_the_configuration_while_it_served_stops_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor_module, "RESTART_NS", 1_000_000)
    run = Run(tmp_path, "serve", "removed")
    run.on["gave-up"] = lambda _event: os.kill(run.pids("N1")[-1], signal.SIGKILL)
    run.on["ready"] = lambda event: (
        event["name"] == "N1" and len(run.pids("N1")) == 2 and run.supervisor.stop("the test is over")
    )
    assert run.run() == 2
    assert run.of("gave-up") == [("gave-up", "N2")]
    assert len(run.pids("N1")) == 2, "it is still looked after"
    assert next(event for event in run.events if event["event"] == "stopping")["reason"] == "the test is over"


def test_a_command_that_cannot_be_started(tmp_path):
    events = []
    missing = ChildCommand("N1", "fake", (str(tmp_path / "none"),))
    assert Supervisor([missing], events.append).run() == 1
    assert [event["event"] for event in events] == ["gave-up", "end"]
    assert "cannot be started" in events[0]["reason"]


def test_what_finishes_is_not_started_again(tmp_path):
    run = Run(tmp_path, "once", "exit0")
    assert run.run() == 0
    assert sorted(run.of("finished")) == [("finished", "N1"), ("finished", "N2")]
    assert len(run.pids("N1")) == len(run.pids("N2")) == 1


def test_a_child_that_does_not_stop_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor_module, "STOP_LIMIT_NS", 50_000_000)
    run = Run(tmp_path, "serve", "deaf")
    run.stop_at("all-ready")
    assert run.run() == 0
    assert [(event["name"], event["killed"]) for event in run.events if event["event"] == "stopped"] == [
        ("N2", True),
        ("N1", False),
    ]
    assert not alive(run.pids("N2")[0])


def test_a_second_stop_kills_at_once(tmp_path):
    run = Run(tmp_path, "deaf", "deaf", "deaf")
    run.stop_at("all-ready")
    run.on["stopping"] = lambda _event: run.supervisor.stop("hurry")
    assert run.run() == 0
    stopped = [event for event in run.events if event["event"] == "stopped"]
    assert len(stopped) == 3
    assert all(event["killed"] for event in stopped)


def test_a_child_in_its_pause_is_not_started_after_a_stop(tmp_path):
    run = Run(tmp_path, "exit1")
    run.stop_at("died")
    assert run.run() == 0
    assert len(run.pids("N1")) == 1


def test_a_child_that_takes_long_is_mentioned_with_its_status(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor_module, "SLOW_NS", 300_000_000)
    run = Run(tmp_path, "mute")
    run.on["slow"] = lambda event: event["status"] and run.supervisor.stop("enough")
    run.run()
    slow = [event for event in run.events if event["event"] == "slow"]
    assert slow[-1]["status"] == "opening the log"
    assert slow[-1]["waited_ms"] >= 300


def test_a_log_that_nobody_reads_holds_nobody_up(tmp_path, monkeypatch):
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(4096))
    os.set_blocking(writing, True)
    run = Run(tmp_path, "serve", "serve", log_to=writing)
    run.stop_at("all-ready")
    assert run.run() == 0
    os.close(reading)


class TestRestarts:
    def test_the_pause_doubles_up_to_a_limit(self):
        restarts = Restarts()
        pauses = [restarts.died(1, 0) for _ in range(6)]
        assert pauses == [250_000_000, 500_000_000, 10**9, 2 * 10**9, 4 * 10**9, None]

    def test_a_long_life_forgives(self):
        restarts = Restarts()
        for _ in range(5):
            restarts.died(-9, 0)
        assert restarts.died(1, QUICK_DEATH_NS) == 250_000_000
        assert restarts.died(1, 0) == 500_000_000

    def test_the_longest_pause(self, monkeypatch):
        monkeypatch.setattr(supervisor_module, "QUICK_DEATHS_LIMIT", 20)
        restarts = Restarts()
        assert max(restarts.died(1, 0) for _ in range(20)) == supervisor_module.RESTART_LIMIT_NS

    @pytest.mark.parametrize("status", [DEPOSED_STATUS, RESTART_STATUS])
    def test_a_renewal_is_quick_and_neither_blames_nor_forgives(self, status):
        restarts = Restarts()
        assert restarts.died(status, 0) == 50_000_000
        assert restarts.died(1, 0) == 250_000_000
        for lived_ns in (0, QUICK_RENEWAL_NS, QUICK_DEATH_NS):
            assert restarts.died(status, lived_ns) == 50_000_000
        assert restarts.died(1, 0) == 500_000_000

    def test_quick_renewals_in_a_row_count_as_quick_deaths_in_the_end(self):
        restarts = Restarts()
        statuses = [DEPOSED_STATUS, RESTART_STATUS] * 10
        assert {restarts.died(status, QUICK_RENEWAL_NS - 1) for status in statuses} == {50_000_000}
        pauses = [restarts.died(DEPOSED_STATUS, 0) for _ in range(6)]
        assert pauses == [250_000_000, 500_000_000, 10**9, 2 * 10**9, 4 * 10**9, None]

    @pytest.mark.parametrize(("status", "lived_ns"), [(DEPOSED_STATUS, QUICK_RENEWAL_NS), (1, 0)])
    def test_what_ends_a_row_of_quick_renewals(self, status, lived_ns):
        restarts = Restarts()
        for _ in range(20):
            restarts.died(DEPOSED_STATUS, 0)
        restarts.died(status, lived_ns)
        assert {restarts.died(DEPOSED_STATUS, 0) for _ in range(20)} == {50_000_000}
        assert restarts.died(DEPOSED_STATUS, 0) != 50_000_000

    def test_configuration_errors_are_final(self):
        assert Restarts().died(2, QUICK_DEATH_NS) is None


class TestRelay:
    @pytest.fixture
    def pipe(self):
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        yield reading, writing
        for descriptor in (reading, writing):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def test_lines_are_put_together_from_pieces(self, pipe):
        relay = Relay(pipe[1], width=4)
        text = b"first\nsecond\n\nlast"
        for position in range(len(text)):
            relay.add("SEQ1", text[position : position + 1])
        relay.add("R", b"other\n")
        relay.end("SEQ1")
        relay.end("SEQ1")
        relay.flush()
        assert not relay.waiting
        expected = b"SEQ1 | first\nSEQ1 | second\nSEQ1 | \nR    | other\nSEQ1 | last\n"
        assert os.read(pipe[0], 4096) == expected

    def test_a_line_without_an_end_is_cut(self, pipe):
        relay = Relay(pipe[1])
        relay.add("A", b"x" * (2 * relay_module.LINE_BYTES + 5))
        relay.end("A")
        relay.flush()
        lines = os.read(pipe[0], 65_536).splitlines()
        assert [len(line) - len("A | ") for line in lines] == [relay_module.LINE_BYTES] * 2 + [5]

    def test_what_does_not_fit_is_counted_and_said(self, pipe):
        relay = Relay(pipe[1])
        line = b"x" * 1000 + b"\n"
        for _ in range(3000):
            relay.add("A", line)
            relay.flush()
        assert relay.waiting
        assert relay.lost > 0
        lost = relay.lost
        data = b""
        while relay.waiting:
            data += os.read(pipe[0], 65_536)
            relay.flush()
        with contextlib.suppress(BlockingIOError):
            while True:
                data += os.read(pipe[0], 65_536)
        lines = data.splitlines()
        assert lines[-1] == b" | %d lines were lost because nobody read them" % lost
        assert len(lines) - 1 + lost == 3000
        assert set(lines[:-1]) == {b"A | " + line[:-1]}
        assert relay.lost == 0

    def test_a_reader_that_is_gone_is_forgotten(self, pipe, monkeypatch):
        relay = Relay(pipe[1])
        os.close(pipe[0])
        relay.add("A", b"x\n")
        relay.flush()
        relay.add("A", b"y\n")
        assert not relay.waiting


class TestChild:
    def test_notifications_of_other_users_do_not_count(self, tmp_path, monkeypatch):
        """An abstract socket is open to every user of the machine: the kernel says who sent."""
        run = Run(tmp_path, "serve")
        os.close(run.log_to)
        child = Child(run.supervisor.commands[0])
        try:
            select.select([child.notifications], [], [], 10)
            monkeypatch.setattr(os, "getuid", lambda: 12345)
            assert not child.read_notifications()
            assert not child.ready
            monkeypatch.undo()
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"STATUS=a\x1b[2Jb\nREADY=1\n\xff", child.notifications.getsockname())
            assert child.read_notifications()
            assert child.ready
            assert child.status == r"'a\x1b[2Jb'"
            assert not child.read_notifications(), "ready once"
        finally:
            child.signal(signal.SIGKILL)
            select.select([child.pidfd], [], [], 10)
            child.signal(signal.SIGTERM)  # ended, not yet reaped: no error
            assert child.close() == -signal.SIGKILL

    def test_commands_of_a_configuration(self):
        text = (
            'session = "A"\n[multicast]\ngroup = "239.1.1.1"\nport = 1\n[access]\nopen = true\n'
            '[nodes.R]\nrole = "rewinder"\nnode_port = 2\nreplay_port = 3\nrequest_port = 4\n'
            '[nodes.S]\nrole = "sequencer"\nnode_port = 5\nsubmit_port = 6\n'
        )
        commands = node_commands(parse_configuration(text, Path("/etc/seqcast.toml")))
        assert [(command.name, command.role, dict(command.ports)) for command in commands] == [
            ("S", "sequencer", {"node": 5, "submit": 6}),
            ("R", "rewinder", {"node": 2, "replay": 3, "request": 4}),
        ]
        assert commands[1].arguments == (
            *(sys.executable, "-P", "-m", "seqcast.cli"),
            *("rewinder", "R", "--config", "/etc/seqcast.toml"),
        )


PROGRAM = """
import json, sys
from seqcast.child import ChildCommand
from seqcast.supervisor import Supervisor
script, mode, *places = sys.argv[1:]
commands = [ChildCommand(f"N{n}", "fake", (sys.executable, script, mode, p)) for n, p in enumerate(places, 1)]
sys.exit(Supervisor(commands, lambda event: print(json.dumps(event), flush=True)).run())
"""


@contextlib.contextmanager
def running(directory: Path, mode: str):
    """A supervisor in a process of its own, up to the moment when all is ready."""
    script = directory / "fake_node.py"
    script.write_text(FAKE_NODE, encoding="ascii")
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            PROGRAM,
            str(script),
            mode,
            str(directory / "place-1"),
            str(directory / "place-2"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    )
    try:
        pids = []
        for line in process.stdout:
            event = json.loads(line)
            pids += [event["pid"]] if event["event"] == "starting" else []
            if event["event"] == "all-ready":
                break
        yield process, pids
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_everything_in_order(tmp_path, number):
    with running(tmp_path, "serve") as (process, pids):
        assert all(alive(pid) for pid in pids)
        process.send_signal(number)
        events = [json.loads(line) for line in process.stdout]
        assert process.wait(30) == 0
    assert [(event["event"], event.get("name")) for event in events] == [
        ("stopping", None),
        ("stopped", "N2"),
        ("stopped", "N1"),
        ("end", None),
    ]
    assert events[0]["reason"] == signal.Signals(number).name
    assert not any(alive(pid) for pid in pids)


def test_a_signal_that_comes_twice_at_once_is_one(tmp_path):
    """As timeout(1) sends it: to the process, and to its group."""
    with running(tmp_path, "serve") as (process, _):
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        events = [json.loads(line) for line in process.stdout]
        assert process.wait(30) == 0
    assert [event["killed"] for event in events if event["event"] == "stopped"] == [False, False]


def test_children_die_with_their_supervisor_however_it_dies(tmp_path):
    with running(tmp_path, "deaf") as (process, pids):
        descriptors = [os.pidfd_open(pid) for pid in pids]
        process.kill()
        process.wait()
        for descriptor in descriptors:
            ready, _, _ = select.select([descriptor], [], [], 30)
            assert ready, "a child outlived its supervisor"
            os.close(descriptor)


def test_ctrl_c_in_the_terminal_reaches_the_supervisor_alone(tmp_path):
    """Children have process groups of their own."""
    with running(tmp_path, "serve") as (process, pids):
        assert len({os.getpgid(pid) for pid in (process.pid, *pids)}) == 3
