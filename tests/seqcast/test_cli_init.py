"""`seqcast`, `seqcast init`, `seqcast config` and `seqcast users`: what needs no running node."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from rewinder.access import Authority, Granted
from rewinder.errors import LogError, StorageFull
from rewinder.users import AccessError, Role
from seqcast import cli
from seqcast.cli import COMMANDS, main
from seqcast.cli.common import columns
from seqcast.config import ConfigError, read_configuration
from seqcast.errors import SeqcastError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEQCAST_CONFIG", raising=False)
    return tmp_path


def run(*arguments: str, stdin: str | None = None):
    return CliRunner().invoke(main, arguments, input=stdin, catch_exceptions=False)


def all_commands() -> list[tuple[str, ...]]:
    found = []
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        found.append((name,))
        if isinstance(command, click.Group):
            found += [(name, inner) for inner in command.commands]
    return found


class TestMain:
    def test_help_lists_every_command_and_imports_none(self):
        """So that `seqcast --help` is quick: no native module, no pyzmq, no TOML."""
        program = (
            "import sys\n"
            "from seqcast.cli import main\n"
            "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
            "print(sorted({'zmq', 'tomllib', 'native', 'rich', 'attr', 'rewinder'} & set(sys.modules)))"
        )
        output = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for name, (_, line) in COMMANDS.items():
            assert f"  {name} " in output
            assert line in output
        assert output.splitlines()[-1] == "[]"

    def test_the_line_of_each_command_says_what_it_does(self):
        for _, line in COMMANDS.values():
            assert line[0].isupper()
            assert line.endswith(".")
            assert len(line) < 70

    @pytest.mark.parametrize("arguments", all_commands(), ids=" ".join)
    def test_every_command_has_a_help_text_with_an_example(self, arguments):
        for option in ("--help", "-h"):
            result = run(*arguments, option)
            assert result.exit_code == 0
            assert "Example" in result.output
            assert f"seqcast {arguments[0]}" in result.output.partition("Example")[2]

    def test_version(self):
        result = run("--version")
        assert result.exit_code == 0
        assert result.output.startswith("seqcast")

    def test_as_a_module(self):
        """The way in which `seqcast up` starts nodes."""
        done = subprocess.run(
            [sys.executable, "-P", "-m", "seqcast.cli", "config", "check"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("Error: there is no seqcast.toml here: make one with `seqcast init`")

    def test_wrong_usage(self):
        assert run("nonsense").exit_code == 2
        assert run("init", "--nonsense").exit_code == 2

    @pytest.mark.parametrize(
        ("error", "status", "sentence"),
        [
            (ConfigError("C"), 2, "Error: C\n"),
            (AccessError("A"), 2, "Error: A\n"),
            (SeqcastError("S"), 1, "Error: S\n"),
            (LogError("L"), 1, "Error: L\n"),
            (StorageFull("file", 7), 1, "Error: file: no space left: 7 bytes wanted\n"),
            (PermissionError(errno.EACCES, "Permission denied", "/f"), 1, "Error: /f: Permission denied\n"),
            (OSError("control socket X: another process"), 1, "Error: control socket X: another process\n"),
        ],
    )
    def test_what_is_no_fault_of_ours_is_a_sentence(self, monkeypatch, error, status, sentence):
        @click.command()
        def failing():
            raise error

        monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: failing)
        result = run("init")
        assert (result.exit_code, result.output) == (status, sentence)

    def test_a_mistake_of_ours_is_a_traceback(self, monkeypatch):
        @click.command()
        def failing():
            raise ZeroDivisionError

        monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: failing)
        with pytest.raises(ZeroDivisionError):
            run("init")

    def test_columns(self):
        rows = [("name", "n", "note"), ("a", 7, None), ("long", 1000, "x")]
        assert columns(rows) == "name     n  note\na        7\nlong  1000  x"


class TestInit:
    def test_it_writes_a_configuration_that_is_correct(self, directory):
        result = run("init", "--dir", "run")
        assert result.exit_code == 0
        assert "next: seqcast up --config run/seqcast.toml" in result.output
        configuration = read_configuration(directory / "run" / "seqcast.toml")
        assert [node.name for node in configuration.nodes] == ["SEQ1", "REW1"]
        assert configuration.access.open
        assert configuration.session in result.output
        assert (
            "\nnodes: SEQ1 (voter), REW1; a record is committed when 1 of 1 voters hold it\n" in result.output
        )
        assert run("config", "check", "--config", "run").exit_code == 0

    @pytest.mark.parametrize(
        ("voters", "names", "quorum"),
        [
            (1, "SEQ1 (voter), REW1", "1 of 1"),
            (2, "SEQ1 (voter), SEQ2 (voter), REW1", "2 of 2"),
            (3, "SEQ1 (voter), SEQ2 (voter), REW1 (voter), REW2", "2 of 3"),
            (5, "SEQ1 (voter), SEQ2 (voter), REW1 (voter), REW2 (voter), REW3 (voter), REW4", "3 of 5"),
        ],
    )
    def test_several_voters(self, voters, names, quorum):
        result = run("init", "--nodes", str(voters))
        assert result.exit_code == 0
        assert f"nodes: {names}; a record is committed when {quorum} voters hold it" in result.output
        checked = json.loads(run("config", "check", "--json").output)
        assert len(checked["voters"]) == voters
        shown = json.loads(run("config", "show", "--json").output)
        assert list(shown["nodes"]) == [name.removesuffix(" (voter)") for name in names.split(", ")]

    def test_the_help_says_how_many_ports(self):
        words = " ".join(run("init", "--help").output.split())
        assert "First of 6, 8, 11 or 17 ports in a row, for 1, 2, 3 or 5 voters" in words

    def test_in_the_working_directory_no_option_is_needed(self):
        assert "next: seqcast up\n" in run("init").output
        assert run("config", "check").exit_code == 0

    def test_the_secret_of_the_nodes_is_for_the_owner_alone_and_works(self, directory):
        before = os.umask(0)
        try:
            run("init")
        finally:
            os.umask(before)
        secret = directory / "node.secret"
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        password = secret.read_text(encoding="ascii").strip()
        assert len(password) == 10
        assert password.isalnum()
        access = read_configuration("seqcast.toml").access
        assert access.node_secret == secret
        authority = Authority(access.open, access.users, {"REW1"}, password)
        assert isinstance(authority.check("rew1", password.lower(), Role.REPLICATE), Granted)

    def test_options(self):
        result = run("init", "--session", "Demo7", "--port", "23000", "--group", "239.1.2.3", "--json")
        plain = json.loads(result.output)
        assert (plain["session"], plain["multicast"]["group"], plain["multicast"]["port"]) == (
            "Demo7",
            "239.1.2.3",
            23000,
        )
        assert plain == read_configuration("seqcast.toml").as_plain()

    def test_two_directories_do_not_meet(self):
        lines = set()
        for name in ("a", "b", "c"):
            run("init", "--dir", name)
            configuration = read_configuration(Path(name) / "seqcast.toml")
            lines.add((configuration.session, configuration.multicast.group))
        assert len({group for _, group in lines}) == len({session for session, _ in lines}) == 3

    def test_it_does_not_overwrite_unless_told_to(self, directory):
        run("init", "--session", "FIRST")
        secret = (directory / "node.secret").read_bytes()
        result = run("init", "--session", "SECOND")
        assert result.exit_code == 1
        assert "seqcast.toml is there already; --force overwrites it" in result.output
        assert read_configuration("seqcast.toml").session == "FIRST"
        assert run("init", "--session", "SECOND", "--force").exit_code == 0
        assert read_configuration("seqcast.toml").session == "SECOND"
        assert (directory / "node.secret").read_bytes() == secret, "other machines may have a copy"
        assert sorted(path.name for path in directory.iterdir()) == ["node.secret", "seqcast.toml"]

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (("--session", "not a name"), 'session = "not a name": must be 1 to 10'),
            (("--session", ""), 'session = "": must not be blank'),
            (("--port", "0"), "multicast.port = 0: must be 1 to 65535"),
            (("--port", "65533"), "must be 1 to 65535"),
            (("--group", "10.0.0.1"), "is not a multicast group"),
            (("--group", "nonsense"), "is not an IPv4 address"),
            (("--session", 'A"\n# '), "seqcast.toml: session = 'A"),
            (("--nodes", "0"), "--nodes: 0: must be 1, 2, 3 or 5: somebody has to vote"),
            (("--nodes", "4"), "must be 1, 2, 3 or 5: 4 voters survive no more losses than 3"),
            (("--nodes", "6"), "must be 1, 2, 3 or 5: 6 voters survive no more losses than 5"),
            (("--nodes", "7"), "7: must be 1, 2, 3 or 5: each more makes every commit wait for more copies"),
            (("--nodes", "5", "--port", "65520"), "nodes.REW4.request_port = 65536: must be 1 to 65535"),
            (("--nodes", "x"), "--nodes"),
        ],
    )
    def test_what_is_refused_writes_nothing(self, directory, arguments, sentence):
        result = run("init", "--dir", "run", *arguments)
        assert result.exit_code == 2
        assert sentence in result.output
        assert list(directory.iterdir()) == []

    def test_a_directory_that_cannot_be_made(self, directory):
        (directory / "file").write_text("", encoding="ascii")
        result = run("init", "--dir", "file/run")
        assert result.exit_code == 1
        assert "cannot be written: Not a directory" in result.output


class TestConfig:
    def test_check(self):
        run("init", "--session", "DEMO")
        result = run("config", "check")
        assert "seqcast.toml is correct: session DEMO, 2 nodes, 1 of them voting" in result.output
        values = json.loads(run("config", "check", "--json").output)
        assert values["ok"] is True
        assert (values["session"], values["voters"], values["write_quorum"]) == ("DEMO", ["SEQ1"], 1)

    def test_check_of_a_wrong_one(self, directory):
        run("init")
        path = directory / "seqcast.toml"
        path.write_text(path.read_text(encoding="ascii").replace("ttl = 1", "ttl = -1"), encoding="ascii")
        result = run("config", "check")
        assert result.exit_code == 2
        assert result.output == "Error: seqcast.toml: multicast.ttl = -1: must be 0 to 255\n"

    def test_show(self, monkeypatch, directory):
        run("init", "--dir", "run")
        monkeypatch.setenv("SEQCAST_CONFIG", "run/seqcast.toml")
        shown = run("config", "show").output
        assert "multicast.group_b " in shown
        assert "nodes.SEQ1.submit_port" in shown
        assert "derived.write_quorum" in shown
        plain = json.loads(run("config", "show", "--json").output)
        assert plain["path"] == str(directory / "run" / "seqcast.toml")


class TestUsers:
    @pytest.fixture(autouse=True)
    def configured(self, directory):
        run("init")

    def test_add_list_and_remove(self, directory):
        result = run(
            "users", "add", "alice", "--role", "replay", "--role", "publish", stdin="secret\nsecret\n"
        )
        assert result.exit_code == 0
        assert "user ALICE may publish, replay; written to users" in result.output
        assert "secret" not in result.output.replace("Password", "")
        added = run("users", "add", "bob", "--role", "admin", "--password-stdin", "--json", stdin="s3cret\n")
        assert json.loads(added.output) == {"name": "BOB", "roles": ["admin"]}
        listed = CliRunner().invoke(main, ["users", "list"])
        assert listed.stdout == "user   roles\nALICE  publish, replay\nBOB    admin\n"
        assert "access is open" in listed.stderr
        assert json.loads(CliRunner().invoke(main, ["users", "list", "--json"]).stdout) == [
            {"name": "ALICE", "roles": ["publish", "replay"]},
            {"name": "BOB", "roles": ["admin"]},
        ]
        authority = Authority(False, directory / "users")
        assert isinstance(authority.check("bob", "S3CRET", Role.PUBLISH), Granted)
        assert "user ALICE is removed from users" in run("users", "remove", "Alice").output
        assert "ALICE" not in run("users", "list").output

    def test_none_yet(self):
        assert "there are no users in users" in run("users", "list").output

    @pytest.mark.parametrize(
        ("arguments", "status", "sentence"),
        [
            (("add", "alice", "--password-stdin"), 2, "--role"),
            (("add", "alice", "--role", "king", "--password-stdin"), 2, "king"),
            (("add", "toolong", "--role", "replay", "--password-stdin"), 1, "user name 'toolong': must be"),
            (("add", "seq1", "--role", "replay", "--password-stdin"), 1, "SEQ1 is the name of a node"),
            (("remove", "alice"), 1, "there is no user ALICE"),
        ],
    )
    def test_what_is_refused(self, directory, arguments, status, sentence):
        result = run("users", *arguments, stdin="secret\n")
        assert result.exit_code == status
        assert sentence in result.output
        assert not (directory / "users").exists()

    @pytest.mark.parametrize("password", ["", "elevenchars", "x" * 5000, "caf\xe9"])
    def test_passwords_that_fit_no_login(self, directory, password):
        result = run("users", "add", "alice", "--role", "replay", "--password-stdin", stdin=password + "\n")
        assert result.exit_code == 1
        assert result.output == "Error: the password must be 1 to 10 printable ASCII characters\n"

    def test_replacing(self):
        for options in ((), ("--replace",)):
            run("users", "add", "alice", "--role", "replay", "--password-stdin", *options, stdin="one\n")
        result = run("users", "add", "alice", "--role", "replay", "--password-stdin", stdin="two\n")
        assert result.exit_code == 1
        assert "--replace changes it" in result.output

    def test_without_a_users_file_in_the_configuration(self, directory):
        path = directory / "seqcast.toml"
        path.write_text(path.read_text(encoding="ascii").replace('users = "users"', ""), encoding="ascii")
        result = run("users", "list")
        assert result.exit_code == 2
        assert "access.users is missing" in result.output
