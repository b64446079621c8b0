"""The control plane over TCP: who has a key gets an answer, anybody else a refusal, and the node does not notice."""

from __future__ import annotations

import json
import select
import socket
import stat
import threading
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random

import pytest
import zmq
from attrs import evolve
from click.testing import CliRunner

from rewinder import curve
from rewinder.control import VERSION, ControlServer
from rewinder.counters import Counters
from rewinder.curve import KeyRole, read_key
from rewinder.users import AccessError
from seqcast.cli import main
from seqcast.config import Configuration, read_configuration
from seqcast.control import (
    CommandRefused,
    ControlClient,
    KeyRefused,
    NoAnswer,
    NobodyListening,
    VersionMismatch,
    where_of,
)
from seqcast.keys import (
    KeysError,
    add_client,
    keys_directory,
    list_clients,
    list_nodes,
    make_node_keys,
    remote_control,
    remote_node,
    remove_client,
)
from seqcast.template import choose_base_port, render
from seqcast.watch import Watch

SERVED = {
    "status": lambda arguments: {"name": "SEQ1", **arguments},
    "promote": lambda _arguments: {"done": True},
}


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    """One with keys, on ports that are free: those of the nodes, and behind them those of the control plane."""
    base = choose_base_port(Random(), 5)
    path = tmp_path / "seqcast.toml"
    path.write_text(render(session="S", group="239.192.1.1", base_port=base), encoding="ascii")
    made = read_configuration(path)
    make_node_keys(made, None)
    add_client(made, "admin", KeyRole.ADMIN)
    return made


def place(configuration: Configuration):
    where = remote_node(configuration, configuration.node("SEQ1"), {})
    assert where is not None
    return where


@contextmanager
def serving(configuration: Configuration, handlers=SERVED):
    """A control server of SEQ1 with its turns; its Unix socket is where nobody looks for it."""
    counters = Counters()
    path = configuration.path.parent / "elsewhere" / "control.sock"
    remote = remote_control(configuration, configuration.node("SEQ1"))
    assert remote is not None
    with closing(ControlServer(path, handlers, remote=remote, counters=counters)) as server:
        stopping = threading.Event()

        def turns() -> None:
            while not stopping.is_set():
                if select.select([server.fileno()], [], [], 0.02)[0]:
                    server.turn()
                server.publish({"name": "SEQ1", "turns": 1})

        thread = threading.Thread(target=turns)
        thread.start()
        try:
            yield counters
        finally:
            stopping.set()
            thread.join(10)


def test_commands_and_counters_over_tcp(configuration):
    with serving(configuration):
        where = where_of(configuration, configuration.node("SEQ1"))
        assert str(where).startswith("127.0.0.1:")
        client = ControlClient(where)
        for _ in range(5):
            assert client.request("status", verbose=True) == {"name": "SEQ1", "verbose": True}
        assert client.request("promote") == {"done": True}
        with pytest.raises(
            CommandRefused, match=r"the node at 127\.0\.0\.1:\d+ refused stop: there is no command"
        ):
            client.request("stop")
        with Watch(configuration, [configuration.node("SEQ1")]) as watch:
            while not watch.sightings()["SEQ1"].up:
                assert watch.wait(10_000)
            assert watch.sightings()["SEQ1"].status == {"name": "SEQ1", "turns": 1}


def test_who_may_only_look(configuration):
    add_client(configuration, "grafana", KeyRole.OBSERVE)
    with serving(configuration):
        where = remote_node(configuration, configuration.node("SEQ1"), {"SEQCAST_KEY": "grafana"})
        assert ControlClient(where).request("status")["name"] == "SEQ1"
        with pytest.raises(CommandRefused, match="refused promote: the key grafana may only look"):
            ControlClient(where).request("promote")


def test_a_key_that_is_removed_is_turned_away(configuration):
    where = place(configuration)
    with serving(configuration) as counters:
        assert ControlClient(where).request("status")
        remove_client(configuration, "admin")
        with pytest.raises(KeyRefused, match="does not know the key admin"):
            ControlClient(where).request("status")
        assert counters["control.refused_key"] >= 1
        add_client(configuration, "night-shift", KeyRole.ADMIN)
        assert ControlClient(place(configuration)).request("status"), "and a new one is let in at once"


def test_a_connection_that_was_open_when_its_key_was_removed_gives_no_commands(configuration):
    where = place(configuration)
    context = zmq.Context()
    with serving(configuration):
        asking = context.socket(zmq.REQ)
        asking.setsockopt(zmq.RCVTIMEO, 10_000)
        connect(asking, where)
        body = json.dumps({"version": VERSION, "command": "status"}).encode()
        asking.send(body)
        assert json.loads(asking.recv())["ok"]
        remove_client(configuration, "admin")
        asking.send(body)
        assert json.loads(asking.recv())["error"] == "the key admin was removed here"
        context.destroy(linger=0)


def connect(asking, where):
    asking.setsockopt(zmq.CURVE_SERVERKEY, where.server.public)
    asking.setsockopt(zmq.CURVE_PUBLICKEY, where.ours.public)
    asking.setsockopt(zmq.CURVE_SECRETKEY, where.ours.secret)
    asking.connect(f"tcp://{where.host}:{where.port}")


def test_strangers_are_refused_and_the_node_does_not_notice(configuration):
    where = place(configuration)
    public, secret = zmq.curve_keypair()
    wrong = evolve(where, client="mine", ours=evolve(where.ours, public=public, secret=secret))
    other = evolve(where, server=evolve(where.server, public=public))
    with serving(configuration) as counters:
        with pytest.raises(KeyRefused, match="does not know the key mine"):
            ControlClient(wrong).request("status")
        with pytest.raises(KeyRefused, match="is not SEQ1 by its key, or speaks no CURVE"):
            ControlClient(other).request("status")
        context = zmq.Context()
        bare = context.socket(zmq.REQ)  # without any key
        events = bare.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
        bare.connect(f"tcp://{where.host}:{where.port}")
        bare.send(json.dumps({"version": VERSION, "command": "status"}).encode())
        assert events.poll(10_000), "it is sent away"
        assert not bare.poll(0)
        context.destroy(linger=0)
        for garbage in (
            b"",
            b"GET / HTTP/1.1\r\n\r\n",
            bytes(300),
            b"\xff" * 5000,
            Random(1).randbytes(9000),
        ):
            for port in (where.port, where.port + 1):
                with closing(socket.create_connection((where.host, port))) as peer:
                    peer.sendall(garbage)
        assert ControlClient(where).request("status")["name"] == "SEQ1"
        assert counters["control.refused_key"] >= 1
        assert counters["control.handshake_failed"] >= 2


def test_those_who_connect_and_say_nothing_are_let_go(configuration, monkeypatch):
    monkeypatch.setattr(curve, "HANDSHAKE_MS", 200)
    where = place(configuration)
    with serving(configuration) as counters:
        idle = [socket.create_connection((where.host, where.port)) for _ in range(200)]
        assert ControlClient(where).request("status")["name"] == "SEQ1"
        for each in idle:
            each.settimeout(10)
            while each.recv(4096):  # the greeting, and then the end
                pass
            each.close()
        assert ControlClient(where).request("status")["name"] == "SEQ1"
        assert counters["control.refused_key"] == 0


def test_nobody_is_there(configuration):
    with pytest.raises(NobodyListening, match=r"nobody listens at 127\.0\.0\.1:\d+: SEQ1 is not running"):
        ControlClient(place(configuration)).request("status")


def test_who_is_there_says_nothing(configuration):
    where = place(configuration)
    with (
        closing(socket.create_server((where.host, where.port))),
        pytest.raises(NoAnswer, match=r"did not answer in 0\.1 s"),
    ):
        ControlClient(where, timeout_ms=100).request("status")


def test_another_version(configuration):
    where = place(configuration)
    secret = read_key(keys_directory(configuration) / "SEQ1.secret").secret
    context = zmq.Context()
    newer = context.socket(zmq.REP)
    newer.setsockopt(zmq.CURVE_SERVER, 1)
    newer.setsockopt(zmq.CURVE_SECRETKEY, secret)
    newer.bind(f"tcp://{where.host}:{where.port}")

    def answer() -> None:
        newer.recv()
        newer.send(b'{"ok": true, "version": 2}')

    thread = threading.Thread(target=answer)
    thread.start()
    with pytest.raises(
        VersionMismatch, match=rf"the node at {where} speaks version 2, this program {VERSION}"
    ):
        ControlClient(where).request("status")
    thread.join(10)
    context.destroy(linger=0)


def test_keys_in_files(configuration):
    directory = keys_directory(configuration)
    names = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    nodes = {f"{node.name}.{kind}" for node in configuration.nodes for kind in ("key", "secret")}
    assert names == nodes | {"clients/admin.key", "clients/admin.secret"}
    for path in directory.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert "secret" not in (directory / "SEQ1.key").read_text(encoding="ascii").split("public =")[1]
    before = (directory / "SEQ1.key").read_text(encoding="ascii")
    assert make_node_keys(configuration, None) == []
    assert (directory / "SEQ1.key").read_text(encoding="ascii") == before
    ports = [key.port for key in list_nodes(configuration).values()]
    used = [port for node in configuration.nodes for port in node.ports.values()]
    assert len({*ports, *(port + 1 for port in ports), *used}) == 2 * len(ports) + len(used)
    assert list(list_clients(configuration)) == ["admin"]
    assert remote_control(configuration, configuration.node("SEQ1")).port == ports[0]
    (directory / "SEQ1.secret").unlink()
    assert remote_control(configuration, configuration.node("SEQ1")) is None, "no secret, no port"


def test_keys_that_cannot_be_used_are_named(configuration):
    directory = keys_directory(configuration)
    node, secret = configuration.node("SEQ1"), directory / "SEQ1.secret"
    secret.chmod(0o640)
    with pytest.raises(AccessError, match=r"SEQ1\.secret: others may read this secret: chmod 600"):
        remote_control(configuration, node)
    secret.chmod(0o600)
    for text, what in (
        ("", "public must be a key"),
        ("\xff", "not a key file"),
        ("public = 1", "public must be"),
        (f'public = "{"x" * 40}"\nport = 0', "port must be"),
        (f'public = "{"x" * 40}"\nport = true', "port must be"),
        (f'public = "{"x" * 40}"\nrole = "king"', "role must be"),
        (f'public = "{"x" * 40}"\nsecret = "short"', "secret must be"),
    ):
        (directory / "x.key").write_text(text, encoding="latin-1")
        (directory / "x.key").chmod(0o600)
        with pytest.raises(AccessError, match=rf"x\.key: .*{what}"):
            read_key(directory / "x.key")
    with pytest.raises(AccessError, match=r"y\.key: cannot be read"):
        read_key(directory / "y.key")
    public = directory / "SEQ1.key"
    right = public.read_text(encoding="ascii")
    public.write_text((directory / "REW1.key").read_text(encoding="ascii"), encoding="ascii")
    with pytest.raises(KeysError, match=r"SEQ1\.secret: does not belong to SEQ1\.key"):
        remote_control(configuration, node)
    port = list_nodes(configuration)["REW1"].port
    public.write_text(right.replace(f"port = {port - 2}", f"port = {node.node_port}"), encoding="ascii")
    with pytest.raises(
        KeysError, match=rf"SEQ1\.key: port = {node.node_port} takes .*: nodes\.SEQ1\.node_port uses"
    ):
        remote_node(configuration, node, {})
    for name in ("", "A", "../x", "a/b", "x" * 33):
        with pytest.raises(KeysError, match="the name of a key"):
            add_client(configuration, name, KeyRole.ADMIN)
    with pytest.raises(KeysError, match="there is a key admin already"):
        add_client(configuration, "admin", KeyRole.ADMIN)
    with pytest.raises(KeysError, match="there is no key nobody"):
        remove_client(configuration, "nobody")
    add_client(configuration, "one", KeyRole.OBSERVE)
    remove_client(configuration, "admin")
    add_client(configuration, "two", KeyRole.OBSERVE)
    public.write_text(right, encoding="ascii")
    with pytest.raises(KeysError, match=r"several keys in .*: name one in SEQCAST_KEY"):
        remote_node(configuration, node, {})
    with pytest.raises(KeysError, match=r"three\.secret, named by SEQCAST_KEY, does not exist"):
        remote_node(configuration, node, {"SEQCAST_KEY": "three"})


def test_a_bad_key_of_a_client_is_passed_over(configuration):
    check = ["config", "check", "--config", str(configuration.path)]
    assert CliRunner().invoke(main, check).exit_code == 0
    (keys_directory(configuration) / "clients" / "bad.key").write_text("nonsense", encoding="ascii")
    checked = CliRunner().invoke(main, check)
    assert checked.exit_code == 2
    assert "clients/bad.key: is not a key file" in checked.output
    with serving(configuration):
        assert ControlClient(place(configuration)).request("status")


def test_a_port_that_is_taken_is_named(configuration, tmp_path):
    remote = remote_control(configuration, configuration.node("SEQ1"))
    with (
        closing(socket.create_server((remote.host, remote.port + 1))),
        pytest.raises(OSError, match=rf"control plane at 127\.0\.0\.1:{remote.port + 1}: .*in use"),
    ):
        ControlServer(tmp_path / "control.sock", {}, remote=remote)


def test_the_command(configuration, monkeypatch):
    monkeypatch.chdir(configuration.path.parent)

    def run(*arguments: str):
        return CliRunner().invoke(main, ["keys", *arguments])

    assert run("add", "grafana").output.splitlines()[:2] == [
        "made keys/clients/grafana.secret",
        "made keys/clients/grafana.key",
    ]
    listed = json.loads(run("list", "--json").output)
    assert {name: row["role"] for name, row in listed["clients"].items()} == {
        "admin": "admin",
        "grafana": "observe",
    }
    assert set(listed["nodes"]) == {"SEQ1", "REW1"}
    secret = read_key(keys_directory(configuration) / "SEQ1.secret").secret.decode("ascii")
    assert secret not in run("list").output
    assert run("remove", "grafana").exit_code == 0
    assert run("remove", "grafana").exit_code == 2
    assert "every node of seqcast.toml has its key" in run("make").output
    for path in keys_directory(configuration).rglob("*.*"):
        if path.is_file():
            path.unlink()
    assert "there are no keys" in run("list").output
    assert run("make", "--port", "65533").exit_code == 2
    made = json.loads(run("make", "--port", "40000", "--json").output)["made"]
    assert len(made) == 6
    assert list_nodes(configuration)["REW1"].port == 40_002
