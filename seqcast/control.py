"""Asking a node: commands over its control socket, or over TCP with keys.

    client = ControlClient(where_of(configuration, configuration.node("SEQ1")))
    print(client.request("status")["commit"])

Every failure is a `ControlError` with a sentence that names the place. The server, and the form of requests and
replies, is `rewinder.control`; live counters are `seqcast.watch`.
"""

from __future__ import annotations

import contextlib
import json
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq
from attrs import define, field
from zmq.utils.monitor import recv_monitor_message

from rewinder.control import VERSION, Code
from rewinder.endpoint import Endpoint
from seqcast.config import shown
from seqcast.errors import SeqcastError
from seqcast.keys import RemoteNode, remote_node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seqcast.settings import Configuration, Node

TIMEOUT_MS = 5000
"""How long an answer may take unless the caller says otherwise. Nodes answer at the end of a turn."""

REPLY_BYTES = 16 << 20
"""Largest reply: a status with the counters of very many clients."""

ENDS = (
    zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CONNECT_RETRIED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
"""What libzmq tells of a connection that was not made, or has ended."""


class ControlError(SeqcastError):
    """A node could not be asked, or did not do what it was asked."""


class NobodyListening(ControlError):
    """No process listens at the control socket, or it went away before it answered."""


class NoAnswer(ControlError):
    """The answer did not come in time: the command may or may not be carried out."""


class VersionMismatch(ControlError):
    """The node is of another version of seqcast."""


class CommandRefused(ControlError):
    """The node answered that it did not do it; `code` is one of `rewinder.control.Code`."""

    def __init__(self, sentence: str, code: str) -> None:
        super().__init__(sentence)
        self.code = code


class KeyRefused(ControlError):
    """A node on TCP does not take our key, or is not who its key says."""


def where_of(configuration: Configuration, node: Node) -> Path | RemoteNode:
    """Where a node is asked: at its socket when it runs here, else on TCP where there are keys."""
    path = configuration.control_path(node.name)
    try:
        with contextlib.closing(Endpoint(path)) as endpoint:
            here = endpoint.listening()
    except OSError:  # a long path whose directory is not there
        here = False
    return path if here else remote_node(configuration, node) or path


def where_shown(where: Path | RemoteNode) -> str:
    """The same for people."""
    return str(where) if isinstance(where, RemoteNode) else shown(where)


@contextlib.contextmanager
def opened(where: Path | RemoteNode) -> Iterator[Callable[[zmq.Socket[bytes]], None]]:
    """What connects a socket to a node; the socket has to be closed inside. Raises NobodyListening."""
    if isinstance(where, RemoteNode):
        yield lambda asking: connect_remote(asking, where, where.port)
        return
    try:
        endpoint = Endpoint(where)
    except OSError:  # a long path whose directory is not there
        raise _nobody(where) from None
    with contextlib.closing(endpoint):
        if not endpoint.listening():
            raise _nobody(where)
        yield partial(_connect_local, endpoint=endpoint)


def _connect_local(asking: zmq.Socket[bytes], endpoint: Endpoint) -> None:
    asking.connect(endpoint.address)


def connect_remote(asking: zmq.Socket[bytes], where: RemoteNode, port: int) -> None:
    """Connect a socket to a node on TCP, as the owner of our key."""
    asking.setsockopt(zmq.CURVE_SERVERKEY, where.server.public)
    asking.setsockopt(zmq.CURVE_PUBLICKEY, where.ours.public)
    asking.setsockopt(zmq.CURVE_SECRETKEY, where.ours.secret or b"")
    asking.connect(f"tcp://{where.host}:{port}")


def _where(where: str | Path | RemoteNode) -> Path | RemoteNode:
    return where if isinstance(where, RemoteNode) else Path(where)


def _nobody(path: Path) -> NobodyListening:
    return NobodyListening(
        f"nobody listens at {shown(path)}: the node is not running (`seqcast up` starts it)"
    )


@define(eq=False)
class ControlClient:
    """Asks the node at `where`, its control socket or a place on TCP; waits at most `timeout_ms` for each answer."""

    where: Path | RemoteNode = field(converter=_where)
    timeout_ms: int = TIMEOUT_MS

    def request(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Return the result of a command. Raises `ControlError`."""
        body = json.dumps({**arguments, "version": VERSION, "command": command}).encode("ascii")
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            with opened(self.where) as connect, context.socket(zmq.REQ) as asking:
                asking.setsockopt(zmq.LINGER, 0)
                answer = self._ask(asking, connect, body)
        finally:
            context.term()
        return self._result(command, answer)

    def _ask(
        self, asking: zmq.Socket[bytes], connect: Callable[[zmq.Socket[bytes]], None], body: bytes
    ) -> bytes:
        asking.setsockopt(zmq.MAXMSGSIZE, REPLY_BYTES)
        monitor = asking.get_monitor_socket(ENDS | zmq.EVENT_HANDSHAKE_SUCCEEDED)
        try:
            connect(asking)
            asking.send(body)
            return self._wait(asking, monitor)
        finally:
            asking.disable_monitor()
            monitor.close(0)

    def _wait(self, asking: zmq.Socket[bytes], monitor: zmq.Socket[bytes]) -> bytes:
        poller = zmq.Poller()
        poller.register(asking, zmq.POLLIN)
        poller.register(monitor, zmq.POLLIN)
        limit_ns = time.monotonic_ns() + self.timeout_ms * 1_000_000
        known = False  # the handshake is over
        while True:
            left_ms = -((time.monotonic_ns() - limit_ns) // 1_000_000)
            ready = dict(poller.poll(max(left_ms, 0)))
            if asking in ready:
                return asking.recv()
            if monitor in ready:
                event = recv_monitor_message(monitor)["event"]
                if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                    known = True
                elif not asking.poll(0):  # else the answer came first
                    raise self._end(event, known=known)
            elif left_ms <= 0:
                raise NoAnswer(f"{self._named} did not answer in {self.timeout_ms / 1000:g} s")

    def _end(self, event: int, *, known: bool) -> ControlError:
        """What it means that the connection was not made, or has ended."""
        where = self.where
        if isinstance(where, RemoteNode) and not known:
            if event == zmq.EVENT_CONNECT_RETRIED:
                return NobodyListening(
                    f"nobody listens at {where}: {where.name} is not running, or has no keys"
                )
            if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                return KeyRefused(f"{self._named} does not know the key {where.client}")
            return KeyRefused(f"{self._named} is not {where.name} by its key, or speaks no CURVE")
        return NobodyListening(f"{self._named} stopped before it answered")

    @property
    def _named(self) -> str:
        return f"the node at {where_shown(self.where)}"

    def _result(self, command: str, answer: bytes) -> dict[str, Any]:
        where = self._named
        try:
            result = json.loads(answer)
        except (ValueError, RecursionError):
            raise ControlError(f"{where} answered something that is not JSON") from None
        if not isinstance(result, dict):
            raise ControlError(f"{where} answered something that is not a JSON object")
        version = result.pop("version", None)
        if version != VERSION:
            raise VersionMismatch(f"{where} speaks version {version!r:.20}, this program {VERSION}")
        if result.pop("ok", None) is True:
            return result
        code, error = str(result.get("code")), str(result.get("error"))
        if code == Code.VERSION.value:
            raise VersionMismatch(f"{where} refused {command}: {error}")
        raise CommandRefused(f"{where} refused {command}: {error}", code)
