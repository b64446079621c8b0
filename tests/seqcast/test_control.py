"""The control plane: client and server over real Unix sockets, and a server that survives what it is sent."""

from __future__ import annotations

import json
import os
import select
import socket
import stat
import struct
import threading
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rewinder.control import (
    DEFERRED_LIMIT,
    REQUEST_BYTES,
    REQUESTS_PER_TURN,
    VERSION,
    ControlServer,
    Deferred,
    Refusal,
)
from rewinder.endpoint import Endpoint, counters_path
from seqcast.control import (
    CommandRefused,
    ControlClient,
    ControlError,
    NoAnswer,
    NobodyListening,
    VersionMismatch,
)


class Loop:
    """The pump of a node, as small as it gets: waits for the server's descriptor only, and calls `turn`."""

    def __init__(self, server: ControlServer) -> None:
        self.server = server
        self.epoll = select.epoll()
        self.epoll.register(server.fileno(), select.EPOLLIN)
        self.wake = os.eventfd(0)
        self.epoll.register(self.wake, select.EPOLLIN)
        self.after_turn = lambda: None
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while True:
            for fileno, _ in self.epoll.poll(30):
                if fileno == self.wake:
                    return
                self.server.turn()
                self.after_turn()

    def stop(self) -> None:
        os.eventfd_write(self.wake, 1)
        self.thread.join(10)
        self.epoll.close()
        os.close(self.wake)


@contextmanager
def serving(path: Path, handlers, **options):
    with closing(ControlServer(path, handlers, **options)) as server:
        loop = Loop(server)
        try:
            yield loop
        finally:
            loop.stop()


@contextmanager
def asking(path: Path, kind: int = zmq.REQ):
    """A raw libzmq socket connected to the server."""
    context = zmq.Context()
    raw = context.socket(kind)
    raw.setsockopt(zmq.RCVTIMEO, 10_000)
    raw.connect(f"ipc://{path}")
    try:
        yield raw
    finally:
        context.destroy(linger=0)


@contextmanager
def hearing(path: Path):
    """What takes the next publication of the counters, or None when none comes in so many milliseconds."""
    context = zmq.Context()
    raw = context.socket(zmq.SUB)
    raw.setsockopt(zmq.SUBSCRIBE, b"")
    with closing(Endpoint(counters_path(path))) as endpoint:
        raw.connect(endpoint.address)
        try:
            yield lambda timeout_ms: json.loads(raw.recv()) if raw.poll(timeout_ms) else None
        finally:
            context.destroy(linger=0)


def status(arguments):
    return {"state": "primary", "asked": arguments}


def test_a_command_is_answered_with_its_result(tmp_path):
    with serving(tmp_path / "control.sock", {"status": status}):
        client = ControlClient(tmp_path / "control.sock")
        assert client.request("status", verbose=True) == {"state": "primary", "asked": {"verbose": True}}


def test_many_requests_one_after_another_and_at_once(tmp_path):
    path = tmp_path / "control.sock"
    with serving(path, {"double": lambda arguments: {"number": 2 * arguments["number"]}}):
        client = ControlClient(path)
        assert [client.request("double", number=n)["number"] for n in range(20)] == list(range(0, 40, 2))
        with asking(path, zmq.DEALER) as raw:  # more than one turn takes, in one burst: no edge may get lost
            count = 3 * REQUESTS_PER_TURN
            for number in range(count):
                body = {"version": VERSION, "command": "double", "number": number}
                raw.send_multipart([b"", json.dumps(body).encode()])
            replies = [json.loads(raw.recv_multipart()[1]) for _ in range(count)]
    assert [reply["number"] for reply in replies] == list(range(0, 2 * count, 2))


def test_a_path_longer_than_the_kernel_allows(tmp_path):
    directory = tmp_path / ("d" * 120)
    path = directory / "control.sock"
    assert len(str(path)) > 108
    with serving(path, {"status": status}) as loop:
        assert ControlClient(path).request("status")["state"] == "primary"
        with hearing(path) as following:
            counters = None
            while counters is None:
                loop.server.publish({"turns": 7})
                counters = following(20)
        assert counters == {"turns": 7}
    with pytest.raises(NobodyListening):
        ControlClient(path).request("status")
    with pytest.raises(NobodyListening):
        ControlClient(tmp_path / ("e" * 120) / "control.sock").request("status")


def test_only_the_user_of_the_node_may_connect(tmp_path):
    path = tmp_path / "NODE" / "control.sock"
    before = os.umask(0)
    try:
        with serving(path, {}):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
            assert stat.S_IMODE(counters_path(path).stat().st_mode) & 0o077 == 0
    finally:
        assert os.umask(before) == 0, "the server gives the umask back"


def test_sockets_are_gone_after_close_and_close_may_be_repeated(tmp_path):
    path = tmp_path / "control.sock"
    server = ControlServer(path, {})
    assert path.exists()
    server.close()
    server.close()
    assert list(tmp_path.iterdir()) == []


def test_a_second_server_is_refused_and_a_stale_socket_is_not(tmp_path):
    path = tmp_path / "control.sock"
    with closing(ControlServer(path, {})):
        with pytest.raises(OSError, match=r"control\.sock: another process is listening"):
            ControlServer(path, {})
        assert Endpoint(path).listening()
    left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    left.bind(str(path))
    left.close()
    assert path.exists()
    assert not Endpoint(path).listening()
    with serving(path, {"status": status}):
        assert ControlClient(path).request("status")["state"] == "primary"


def test_a_path_that_cannot_be_bound_is_named(tmp_path):
    (tmp_path / "control.sock").mkdir()
    with pytest.raises(OSError, match=r"control\.sock"):
        ControlServer(tmp_path / "control.sock", {})


def test_nobody_listens(tmp_path):
    path = tmp_path / "control.sock"
    with pytest.raises(NobodyListening, match=r"nobody listens at .*control\.sock"):
        ControlClient(path).request("status")


def test_no_answer_in_time(tmp_path):
    path = tmp_path / "control.sock"
    client = ControlClient(path, timeout_ms=50)
    with (
        serving(path, {"wait": lambda _arguments: Deferred()}),
        pytest.raises(NoAnswer, match=r"did not answer in 0\.05 s"),
    ):
        client.request("wait")


def test_a_node_that_dies_is_noticed_before_the_time_is_up(tmp_path):
    """A peer that closes its connection without a word, as a killed node does."""
    path = tmp_path / "control.sock"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as listener:
        listener.bind(str(path))
        listener.listen(2)

        def greet_and_die() -> None:
            probe, _ = listener.accept()
            probe.close()
            peer, _ = listener.accept()
            listener.close()
            with peer:  # ZMTP 3.0: greeting, then READY as a ROUTER; then the end, once the request is there
                peer.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32))
                ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", 6) + b"ROUTER"
                peer.sendall(b"\x04" + bytes([len(ready)]) + ready)
                seen = b""
                while b"status" not in seen:
                    seen += peer.recv(4096)

        thread = threading.Thread(target=greet_and_die)
        thread.start()
        with pytest.raises(NobodyListening, match="stopped before it answered"):
            ControlClient(path, timeout_ms=60_000).request("status")
        thread.join(10)


def test_a_deferred_answer(tmp_path):
    """As end-session does it: owed by the handler, given at the end of a later turn."""
    path = tmp_path / "control.sock"
    waiting: list[Deferred] = []

    def end_session(_arguments):
        waiting.append(Deferred())
        return waiting[-1]

    with serving(path, {"end-session": end_session, "status": status}) as loop:

        def answer() -> None:
            while waiting:
                deferred = waiting.pop()
                deferred.reply({"number": 42})
                deferred.reply({"number": 43})
                deferred.refuse("too late")
                assert deferred.answered

        loop.after_turn = answer
        for _ in range(30):  # sending an answer can swallow the edge of the next request
            assert ControlClient(path).request("end-session") == {"number": 42}
            assert ControlClient(path).request("status")["state"] == "primary"
        assert not loop.server._owed


def test_a_deferred_answer_given_before_the_handler_returns(tmp_path):
    path = tmp_path / "control.sock"

    def refused(_arguments):
        deferred = Deferred()
        deferred.refuse("this node is a standby")
        return deferred

    with serving(path, {"promote": refused}):
        with pytest.raises(CommandRefused, match="refused promote: this node is a standby") as caught:
            ControlClient(path).request("promote")
        assert caught.value.code == "refused"


def test_what_is_owed_at_the_end_is_answered(tmp_path):
    path = tmp_path / "control.sock"
    server = ControlServer(path, {"wait": lambda _arguments: Deferred()})
    with asking(path) as raw:
        raw.send(json.dumps({"version": VERSION, "command": "wait"}).encode())
        while not server.turn():
            select.select([server.fileno()], [], [], 10)
        server.close()
        assert json.loads(raw.recv())["code"] == "stopping"


def test_no_more_than_so_many_answers_are_owed(tmp_path):
    path = tmp_path / "control.sock"
    with serving(path, {"wait": lambda _arguments: Deferred()}) as loop, asking(path, zmq.DEALER) as raw:
        for _ in range(DEFERRED_LIMIT + 1):
            raw.send_multipart([b"", json.dumps({"version": VERSION, "command": "wait"}).encode()])
        reply = json.loads(raw.recv_multipart()[1])
        assert reply["code"] == "busy"
        assert len(loop.server._owed) == DEFERRED_LIMIT


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed"),
        (b"\xff\xfe", "malformed"),
        (b"null", "malformed"),
        (b"[1]", "malformed"),
        (b"[" * 50_000, "malformed"),
        (b"1" * 10_000, "malformed"),
        (b"{}", "version"),
        (b'{"version": 2, "command": "status"}', "version"),
        (b'{"version": "1", "command": "status"}', "version"),
        (b'{"version": [[[[1]]]], "command": "status"}', "version"),
        (b'{"version": 1}', "malformed"),
        (b'{"version": 1, "command": ["status"]}', "malformed"),
        (b'{"version": 1, "command": "stop"}', "unknown"),
        (b'{"version": 1, "command": "fail"}', "internal"),
        (b'{"version": 1, "command": "refuse"}', "refused"),
        (b'{"version": 1, "command": "strange"}', "internal"),
        (b'{"version": 1, "command": "infinite"}', "internal"),
    ],
)
def test_a_bad_request_is_answered_with_what_is_wrong(tmp_path, body, code):
    path = tmp_path / "control.sock"
    reported = []

    def refuse(_arguments):
        raise Refusal("not now")

    handlers = {
        "status": status,
        "fail": lambda arguments: arguments["missing"],
        "refuse": refuse,
        "strange": lambda _arguments: {"value": object()},
        "infinite": lambda _arguments: {"value": float("inf")},
    }
    with serving(path, handlers, report=lambda command, error: reported.append(error)), asking(path) as raw:
        raw.send(body)
        reply = json.loads(raw.recv())
        assert (reply["ok"], reply["code"], reply["version"]) == (False, code, VERSION)
        assert reply["error"]
        assert len(reported) == (code == "internal")
        raw.send(json.dumps({"version": VERSION, "command": "status"}).encode())
        assert json.loads(raw.recv())["ok"] is True, "the next request is served"


def test_requests_without_an_envelope_are_counted_and_dropped(tmp_path):
    path = tmp_path / "control.sock"
    with serving(path, {"status": status}) as loop, asking(path, zmq.DEALER) as raw:
        raw.send(b"no delimiter")
        raw.send_multipart([b"not blank", b"{}"])
        raw.send_multipart([b"", b"{}", b"one more"])
        raw.send_multipart([b"x"] * 1000)
        raw.send_multipart([b"", json.dumps({"version": VERSION, "command": "status"}).encode()])
        assert json.loads(raw.recv_multipart()[1])["ok"] is True
        assert (loop.server.requests, loop.server.failures) == (5, 4)


def test_a_request_over_the_limit_costs_its_peer_the_connection_and_nobody_else(tmp_path):
    path = tmp_path / "control.sock"
    with serving(path, {"status": status}) as loop, asking(path) as raw:
        raw.setsockopt(zmq.RCVTIMEO, 200)
        raw.send(b"x" * (REQUEST_BYTES + 1))
        with pytest.raises(zmq.Again):
            raw.recv()
        assert ControlClient(path).request("status")["state"] == "primary"
        assert loop.server.requests == 1


def test_bytes_that_are_not_zmtp(tmp_path):
    path = tmp_path / "control.sock"
    with serving(path, {"status": status}):
        for garbage in (b"", b"GET / HTTP/1.1\r\n\r\n", bytes(200), b"\xff" * 5000):
            with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as peer:
                peer.connect(str(path))
                peer.sendall(garbage)
        assert ControlClient(path).request("status")["state"] == "primary"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    path = tmp_path_factory.mktemp("served") / "control.sock"
    with serving(path, {"status": status}), asking(path) as raw:
        yield raw


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_request_gets_an_answer(served, body):
    served.send(body)
    reply = json.loads(served.recv())
    assert reply["version"] == VERSION
    assert reply["ok"] is False


def answering(path: Path, reply: bytes) -> threading.Thread:
    """A stand-in for a node that answers one request with the bytes given."""
    context = zmq.Context()
    raw = context.socket(zmq.REP)
    raw.setsockopt(zmq.RCVTIMEO, 10_000)
    raw.bind(f"ipc://{path}")

    def run() -> None:
        raw.recv()
        raw.send(reply)
        context.destroy(linger=1000)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("reply", "kind", "sentence"),
    [
        (b"\xff", ControlError, "not JSON"),
        (b"[]", ControlError, "not a JSON object"),
        (b'{"ok": true}', VersionMismatch, "speaks version None, this program 1"),
        (b'{"ok": true, "version": 2}', VersionMismatch, "speaks version 2, this program 1"),
        (
            b'{"ok": false, "version": 1, "code": "version", "error": "E"}',
            VersionMismatch,
            "refused status: E",
        ),
        (b'{"ok": false, "version": 1, "code": "busy", "error": "E"}', CommandRefused, "refused status: E"),
        (b'{"version": 1}', CommandRefused, "refused"),
    ],
)
def test_what_the_client_makes_of_an_answer(tmp_path, reply, kind, sentence):
    path = tmp_path / "control.sock"
    thread = answering(path, reply)
    with pytest.raises(kind, match=sentence) as caught:
        ControlClient(path).request("status")
    assert str(path) in str(caught.value)
    thread.join(10)


def test_an_unanswered_publication_costs_nothing(tmp_path):
    path = tmp_path / "control.sock"
    with closing(ControlServer(path, {})) as server:
        for number in range(1000):
            server.publish({"number": number})
        with hearing(path) as following:
            assert following(0) is None
            counters = None
            while counters is None:
                server.publish({"number": 1000})
                counters = following(20)
    assert counters == {"number": 1000}
