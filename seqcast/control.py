"""Asking a node: commands over its control socket, and its live counters.

    client = ControlClient(configuration.control_path("SEQ1"))
    print(client.request("status")["commit"])

Every failure is a `ControlError` with a sentence that names the socket. The server, and the form of requests
and replies, is `rewinder.control`.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import zmq
from attrs import define, field
from zmq.utils.monitor import recv_monitor_message

from rewinder.control import VERSION, Code, Endpoint, counters_path
from seqcast.config import shown
from seqcast.errors import SeqcastError

if TYPE_CHECKING:
    from types import TracebackType

TIMEOUT_MS = 5000
"""How long an answer may take unless the caller says otherwise. Nodes answer at the end of a turn."""

REPLY_BYTES = 16 << 20
"""Largest reply: a status with the counters of very many clients."""

COUNTERS_QUEUE = 16
"""Publications of counters that wait for a slow reader; older ones go."""


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


@define(eq=False)
class ControlClient:
    """Asks the node whose control socket is `path`; waits at most `timeout_ms` for each answer."""

    path: Path = field(converter=Path)
    timeout_ms: int = TIMEOUT_MS

    def request(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Return the result of a command. Raises `ControlError`."""
        body = json.dumps({**arguments, "version": VERSION, "command": command}).encode("ascii")
        endpoint = _endpoint(self.path)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            if not endpoint.listening():
                raise _nobody(self.path)
            answer = self._exchange(context, endpoint, body)
        finally:
            context.term()
            endpoint.close()
        return self._result(command, answer)

    def _exchange(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: Endpoint, body: bytes) -> bytes:
        with context.socket(zmq.REQ) as asking:
            asking.setsockopt(zmq.LINGER, 0)
            return self._ask(asking, endpoint, body)

    def _ask(self, asking: zmq.Socket[bytes], endpoint: Endpoint, body: bytes) -> bytes:
        asking.setsockopt(zmq.MAXMSGSIZE, REPLY_BYTES)
        monitor = asking.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        try:
            asking.connect(endpoint.address)
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
        while True:
            left_ms = -((time.monotonic_ns() - limit_ns) // 1_000_000)
            ready = dict(poller.poll(max(left_ms, 0)))
            if asking in ready:
                return asking.recv()
            if monitor in ready:
                recv_monitor_message(monitor)
                if not asking.poll(0):  # else the answer came first
                    raise NobodyListening(f"the node at {shown(self.path)} stopped before it answered")
            elif left_ms <= 0:
                raise NoAnswer(
                    f"the node at {shown(self.path)} did not answer in {self.timeout_ms / 1000:g} s"
                )

    def _result(self, command: str, answer: bytes) -> dict[str, Any]:
        where = f"the node at {shown(self.path)}"
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


@define(eq=False)
class CounterFeed:
    """The live counters of the node whose control socket is `path`; a context manager."""

    path: Path = field(converter=Path)
    _endpoint: Endpoint = field(init=False)
    _context: zmq.Context[zmq.Socket[bytes]] = field(init=False)
    _subscriber: zmq.Socket[bytes] = field(init=False)

    def __attrs_post_init__(self) -> None:
        path = counters_path(self.path)
        self._endpoint = _endpoint(path)
        if not self._endpoint.listening():
            self._endpoint.close()
            raise _nobody(path)
        self._context = zmq.Context()
        self._subscriber = self._context.socket(zmq.SUB)
        self._subscriber.setsockopt(zmq.MAXMSGSIZE, REPLY_BYTES)
        self._subscriber.setsockopt(zmq.RCVHWM, COUNTERS_QUEUE)
        self._subscriber.setsockopt(zmq.SUBSCRIBE, b"")
        self._subscriber.connect(self._endpoint.address)

    def next(self, timeout_ms: int = TIMEOUT_MS) -> dict[str, Any] | None:
        """Return the next publication, None when none came in time. Raises `ControlError`."""
        if not self._subscriber.poll(timeout_ms):
            return None
        try:
            counters = json.loads(self._subscriber.recv())
        except (ValueError, RecursionError):
            counters = None
        if not isinstance(counters, dict):
            raise ControlError(
                f"the node at {shown(self.path)} published something that is not a JSON object"
            )
        return counters

    def close(self) -> None:
        """Stop listening."""
        self._context.destroy(linger=0)
        self._endpoint.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _endpoint(path: Path) -> Endpoint:
    try:
        return Endpoint(path)
    except OSError:  # a long path whose directory is not there
        raise _nobody(path) from None


def _nobody(path: Path) -> NobodyListening:
    return NobodyListening(
        f"nobody listens at {shown(path)}: the node is not running (`seqcast up` starts it)"
    )
