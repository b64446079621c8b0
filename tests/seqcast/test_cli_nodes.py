"""`seqcast status`, `end-session`, `up` and `log`: what talks to nodes, starts them, or reads what they left."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path

import pytest
from stand_in import node, nodes, run, status_of

from rewinder.control import Deferred, Refusal
from rewinder.log import MessageLog
from rewinder.record import Kind, Stamp
from rewinder.storage import FileStorage
from seqcast.child import ChildCommand
from seqcast.cli import up
from seqcast.config import read_configuration


@pytest.fixture(autouse=True)
def configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEQCAST_CONFIG", raising=False)
    assert run("init", "--session", "DEMO").exit_code == 0
    return read_configuration(tmp_path / "seqcast.toml")


def status(configuration, name, **more):
    return lambda _arguments: status_of(configuration, name, **more)


class TestStatus:
    def test_all_nodes(self, configuration):
        with nodes(
            configuration,
            SEQ1={"status": status(configuration, "SEQ1")},
            REW1={"status": status(configuration, "REW1")},
        ):
            result = run("status")
            assert result.exit_code == 0
            head, *rows = result.output.splitlines()
            line = configuration.multicast.lines[0]
            assert head == (
                f"session DEMO on {line.group}:{line.port}; "
                "committed when 1 of 1 voters hold it (durability: memory)"
            )
            assert [row.split() for row in rows] == [
                ["node", "role", "epoch", "last", "commit", "held", "lag", "note"],
                ["SEQ1", "primary", "3", "12", "12", "12", "0"],
                ["REW1", "rewinder", "3", "12", "12", "12", "0", "follows", "SEQ1"],
            ]
            values = json.loads(run("status", "--json", "rew1").output)
        assert values == {
            "session": "DEMO",
            "nodes": {"REW1": {"up": True, **status_of(configuration, "REW1")}},
        }

    def test_what_a_follower_holds_is_asked_of_the_primary(self, configuration):
        followers = {"REW1": {"held": 5, "lag": 7, "votes": False, "voter": False}}
        with nodes(
            configuration,
            SEQ1={"status": status(configuration, "SEQ1", followers=followers)},
            REW1={"status": status(configuration, "REW1", last=5, commit=5)},
        ):
            (_, _, row) = run("status", "REW1").output.splitlines()
        assert row.split() == ["REW1", "rewinder", "3", "5", "5", "5", "7", "follows", "SEQ1"]

    def test_a_table_of_great_numbers_stays_narrow(self, configuration):
        great = dict.fromkeys(("last", "commit"), 9_999_999_999)
        note = "promised " + "much " * 30
        with node(configuration, "SEQ1", status=status(configuration, "SEQ1", refusing=note, **great)):
            lines = run("status", "SEQ1").output.splitlines()
        assert max(map(len, lines)) <= 100
        assert " ".join(" ".join(lines[2:]).split()).endswith("refuses messages: " + note.strip())

    def test_a_head_with_two_lines_of_multicast_stays_narrow(self, configuration):
        text = configuration.path.read_text()
        for key in ("group_b", "port_b"):
            text = text.replace(f"# {key} = ", f"{key} = ")
        configuration.path.write_text(text)
        with node(configuration, "SEQ1", status=status(configuration, "SEQ1")):
            first, second, *_ = run("status", "SEQ1").output.splitlines()
        assert first.count(":") == 2
        assert second == "committed when 1 of 1 voters hold it (durability: memory)"

    def test_a_node_that_is_not_running(self, configuration):
        with node(configuration, "SEQ1", status=status(configuration, "SEQ1")):
            result = run("status")
            assert result.exit_code == 1
            row = result.output.splitlines()[-1]
            assert row.split() == ["REW1", "rewinder", "12", "0", "is", "not", "running"]
            values = json.loads(run("status", "--json").output)
            assert (values["nodes"]["SEQ1"]["up"], values["nodes"]["REW1"]["up"]) == (True, False)
            error = (
                "nobody listens at log/REW1/control.sock: the node is not running (`seqcast up` starts it)"
            )
            assert values["nodes"]["REW1"]["error"] == error
            assert run("status", "SEQ1").exit_code == 0

    def test_a_node_that_does_not_answer(self, configuration):
        with node(configuration, "SEQ1", status=lambda _arguments: Deferred()):
            result = run("status", "SEQ1", "--timeout", "0.05")
        assert result.exit_code == 1
        assert "did not answer in 0.05 s" in result.output

    @pytest.mark.parametrize(
        ("name", "values", "note"),
        [
            ("SEQ1", {"session": "OTHER"}, "serves another session, OTHER"),
            ("SEQ1", {"fingerprint": "0"}, "runs with another configuration"),
            ("SEQ1", {"ended": 12}, "the session ended at 12"),
            ("SEQ1", {"refusing": "the disk is full"}, "refuses messages: the disk is full"),
            ("SEQ1", {"handover": "SEQ2"}, "hands over to SEQ2"),
            ("SEQ1", {"following": None}, "0"),
            ("REW1", {"following": None}, "follows nobody"),
            ("REW1", {"following": None, "suspicion": "gone"}, "follows nobody (gone)"),
            (
                "REW1",
                {"promised": {"epoch": 4, "owner": "SEQ2"}},
                "has promised epoch 4 to SEQ2; follows SEQ1",
            ),
            ("REW1", {"vote_missing": "no log"}, "does not vote: no log; follows SEQ1"),
            ("REW1", {"votes": True}, "does not count for SEQ1; follows SEQ1"),
            ("REW1", {"role": "standby", "refusing": "not the primary"}, "0  follows SEQ1"),
        ],
    )
    def test_notes(self, configuration, name, values, note):
        own = {"SEQ1": {}, "REW1": {}} | {name: values}
        with nodes(
            configuration,
            SEQ1={"status": status(configuration, "SEQ1", **own["SEQ1"])},
            REW1={"status": status(configuration, "REW1", **own["REW1"])},
        ):
            row = " ".join(line.strip() for line in run("status", name).output.splitlines()[2:])
        assert row.endswith(note)

    def test_of_two_that_say_they_are_primary_the_higher_epoch_is_believed(self, configuration):
        assert run("init", "--nodes", "2", "--session", "DEMO", "--force").exit_code == 0
        configuration = read_configuration(configuration.path)
        late = status(configuration, "SEQ1", last=99, commit=12)
        present = status(configuration, "SEQ1", epoch=4)
        with nodes(configuration, SEQ1={"status": late}, SEQ2={"status": present}):
            rows = [line for line in run("status", "SEQ1", "SEQ2").output.splitlines() if "SEQ" in line]
        assert rows[0].endswith("does not know yet that SEQ2 is primary of epoch 4")
        assert rows[1].split() == ["SEQ2", "primary", "4", "12", "12", "12", "0"]

    def test_a_node_that_the_configuration_does_not_know(self):
        result = run("status", "SEQ9")
        assert result.exit_code == 2
        assert "there is no node 'SEQ9'; the nodes are SEQ1, REW1" in result.output


class TestEndSession:
    def test_it_answers_with_the_number_of_the_end(self, configuration):
        with node(configuration, "SEQ1", end_session=lambda _arguments: {"number": 42}):
            assert run("end-session").output == "session DEMO ended at number 42\n"
            assert json.loads(run("end-session", "--json", "--yes").output) == {
                "session": "DEMO",
                "number": 42,
            }

    def test_it_asks_when_there_is_a_terminal(self, configuration, monkeypatch):
        monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _self: True, raising=False)
        with node(configuration, "SEQ1", end_session=lambda _arguments: {"number": 42}):
            result = run("end-session", stdin="n\n")
            assert result.exit_code == 1
            assert "End session DEMO? This cannot be undone." in result.output
            assert "ended" not in result.output
            assert "ended at number 42" in run("end-session", stdin="y\n").output
            assert "undone" not in run("end-session", "--yes").output

    def test_a_node_that_refuses(self, configuration):
        def refuse(_arguments):
            raise Refusal("this node is a standby")

        with node(configuration, "SEQ1", end_session=refuse):
            result = run("end-session")
        assert result.exit_code == 1
        assert "refused end-session: this node is a standby" in result.output

    def test_nobody_there(self):
        result = run("end-session")
        assert result.exit_code == 1
        assert "nobody listens at log/SEQ1/control.sock" in result.output


FAKE_NODE = (
    "import os, socket, signal, sys\n"
    "print('a line of the log')\n"
    "if sys.argv[1] == 'wrong': sys.exit(2)\n"
    "if sys.argv[1] == 'done':\n"
    "    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:\n"
    "        s.sendto(b'READY=1', chr(0) + os.environ['NOTIFY_SOCKET'][1:])\n"
)


class TestUp:
    @pytest.fixture(autouse=True)
    def fake_nodes(self, monkeypatch):
        self.mode = "done"

        def commands(configuration, *options):
            assert options == ("--log-format", "text")
            arguments = (sys.executable, "-c", FAKE_NODE, self.mode)
            return [
                ChildCommand(node.name, node.role.value, arguments, {"submit": 7})
                for node in configuration.nodes
            ]

        monkeypatch.setattr(up, "node_commands", commands)

    def test_lines_for_people(self, capfd):
        result = run("up")
        assert result.exit_code == 0
        text = result.output
        assert "SEQ1 is starting: sequencer, process " in text
        assert "SEQ1 is ready: sequencer, ports: submit 7; took " in text
        assert "REW1 has finished\n" in text
        assert text.endswith("done, exit status 0\n")
        errors = capfd.readouterr().err
        assert "SEQ1 | a line of the log\n" in errors
        assert "development" in result.stderr

    def test_lines_for_programs(self):
        events = [json.loads(line) for line in run("up", "--json").output.splitlines()]
        assert {event["event"] for event in events} >= {"starting", "ready", "finished", "end"}

    def test_some_nodes_only(self):
        result = run("up", "rew1", "--json")
        names = {json.loads(line).get("name") for line in result.output.splitlines()}
        assert names == {"REW1", None}
        assert run("up", "SEQ9").exit_code == 2

    def test_a_wrong_configuration_of_a_node(self):
        self.mode = "wrong"
        result = run("up", "SEQ1")
        assert result.exit_code == 2
        assert "SEQ1 ended with status 2 after" in result.output
        assert "SEQ1 is given up: its configuration is wrong" in result.output

    def test_every_event_has_a_sentence(self):
        died = {"event": "died", "name": "N", "lived_ms": 70_000}
        sentences = {
            "N was ended by SIGKILL after 70.0 s; starting again in 250 ms": died
            | {"signal": "SIGKILL", "restart_ms": 250},
            "N ended with status 5 after 70.0 s": died | {"status": 5},
            "N was deposed after 70.0 s; starting again in 50 ms as a standby": died
            | {"status": 3, "restart_ms": 50},
            "N was deposed after 70.0 s": died | {"status": 3},
            "N restarts after 70.0 s; starting again in 50 ms": died | {"status": 4, "restart_ms": 50},
            "N asked to restart after 70.0 s": died | {"status": 4},
            "N is not ready after 10.0 s: opening": {
                "event": "slow",
                "name": "N",
                "waited_ms": 10_000,
                "status": "opening",
            },
            "N is not ready after 1 ms": {"event": "slow", "name": "N", "waited_ms": 1, "status": ""},
            "N was killed: it did not stop in time": {"event": "stopped", "name": "N", "killed": True},
            "N stopped": {"event": "stopped", "name": "N", "killed": False},
            "stopping: SIGTERM": {"event": "stopping", "reason": "SIGTERM"},
            "N is given up: R": {"event": "gave-up", "name": "N", "reason": "R"},
            "all nodes are ready (2, took 5 ms); ctrl-C stops them": {
                "event": "all-ready",
                "nodes": 2,
                "took_ms": 5,
            },
            "N is ready: r, ports: none; took 1.0 s": {
                "event": "ready",
                "name": "N",
                "role": "r",
                "ports": {},
                "took_ms": 1000,
            },
        }
        assert [up.sentence(event) for event in sentences.values()] == list(sentences)


@pytest.fixture
def log(configuration):
    """A small log of REW1: an epoch, two messages, the end."""
    directory = configuration.node_directory("REW1") / "DEMO"
    with closing(FileStorage(directory)) as storage:
        message_log = MessageLog.create(
            storage, configuration.session_field, segment_bytes=1 << 20, durability="memory"
        )
        second = 1_700_000_000_000_000_000
        epoch = (1).to_bytes(8, "big") + b"SEQ1  "
        message_log.append(epoch, Stamp(second, 1, b"SEQ1  ", Kind.EPOCH))
        message_log.append(b'hello "you"', Stamp(second + 1, 1, b"ALICE "))
        message_log.append(b"\x00\xff", Stamp(second + 2, 2, b"ALICE "))
        message_log.close()
    return directory


class TestLog:
    def test_ls(self, log):
        result = run("log", "ls", "--epochs")
        assert result.exit_code == 0
        head, names, row = result.output.splitlines()
        assert head == "log/REW1/DEMO: segments: 1"
        assert names.split() == ["first", "last", "records", "bytes", "from", "to", "note"]
        assert row.split()[:3] == ["1", "3", "3"]
        assert "2023-11-14T22:13:20.000000002Z" in row
        assert row.endswith("being written; epoch 1 begins at 1")
        values = json.loads(run("log", "ls", "--json").output)
        assert values["directory"] == str(log)
        assert [(row["first"], row["last"]) for row in values["segments"]] == [(1, 3)]

    def test_verify(self, log):
        result = run("log", "verify")
        assert result.exit_code == 0
        assert result.output.startswith("log/REW1/DEMO: no problems; records: 3, 1 to 3; bytes: ")
        values = json.loads(run("log", "verify", "--json").output)
        assert (values["session"], values["records"], values["problems"]) == ("DEMO", 3, [])

    def test_verify_of_a_damaged_log(self, log):
        (segment,) = log.glob("*.seg")
        data = segment.read_bytes()
        position = data.index(b"hello")
        segment.write_bytes(data[:position] + b"J" + data[position + 1 :])
        result = run("log", "verify")
        assert result.exit_code == 1
        assert "record 2 at offset" in result.output
        assert "problems: 1" in result.output
        assert json.loads(run("log", "verify", "--json").output)["problems"][0]["number"] == 2
        dumped = run("log", "dump")
        assert dumped.exit_code == 1
        assert "record 2 at offset" in dumped.output

    def test_dump(self, log):
        result = run("log", "dump")
        assert result.exit_code == 0
        assert result.output.splitlines()[1:] == [
            r'2 2023-11-14T22:13:20.000000001Z data ALICE:1 "hello \"you\""',
            "3 2023-11-14T22:13:20.000000002Z data ALICE:2 00ff",
        ]
        assert run("log", "dump", "--first", "3", "--count", "5").output.startswith("3 ")
        assert run("log", "dump", "--count", "0").output == ""
        rows = [json.loads(line) for line in run("log", "dump", "--json").output.splitlines()]
        assert [(row["number"], row["kind"], row["payload"]) for row in rows[1:]] == [
            (2, "data", b'hello "you"'.hex()),
            (3, "data", "00ff"),
        ]

    def test_which_log(self, log, configuration):
        for arguments in (("log/REW1/DEMO",), ("log/REW1",), ("--node", "rew1"), ()):
            assert run("log", "verify", *arguments).exit_code == 0
        for arguments, sentence in [
            (
                ("--node", "SEQ1"),
                "no node has a log yet: looked in log/SEQ1/DEMO; there are logs of session DEMO",
            ),
            (("nonsense",), "nonsense: there is no log"),
        ]:
            result = run("log", "verify", *arguments)
            assert result.exit_code == 1
            assert sentence in result.output
        assert run("log", "verify", "--node", "SEQ9").exit_code == 2
        other = log.parent / "OTHER"
        other.mkdir()
        (other / Path(next(iter(log.glob("*.seg"))).name)).write_bytes(b"")
        result = run("log", "ls", "log/REW1")
        assert result.exit_code == 1
        assert "log/REW1 holds several logs: DEMO, OTHER; name one" in result.output

    def test_a_time_that_no_calendar_has(self):
        from seqcast.cli.log import _time  # noqa: PLC0415

        assert _time(2**64 - 1) == "2554-07-21T23:34:33.709551615Z"
        assert _time(10**21) == str(10**21)
        assert _time(None) == ""
