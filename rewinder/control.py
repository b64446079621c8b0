"""The control plane of a node: commands from people and scripts, and live counters.

Two pyzmq sockets lie in the directory of the node, readable by its user alone. With keys they are reached over TCP
too, by whoever has one of those (`rewinder.curve`):

- `control.sock` (ROUTER): a request is one JSON object `{"version": 1, "command": NAME, ...arguments}`, sent
  by a REQ socket. The reply is `{"version": 1, "ok": true, ...result}`, or `{"version": 1, "ok": false,
  "code": CODE, "error": SENTENCE}` with a code of `Code`.
- `counters.sock` (PUB): one JSON object whenever the node publishes its counters; who is slow loses some.

Whatever arrives here, nothing is raised: a bad request is answered with what is wrong with it. A handler that
fails is reported as an `internal` error, because a question about a node must not end the node.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

import zmq
from attrs import define, field

from rewinder.counters import Counters
from rewinder.curve import Doorkeeper, user_of
from rewinder.endpoint import Endpoint, counters_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from rewinder.curve import RemoteControl

VERSION = 1
"""Version of the requests and replies."""

REQUEST_BYTES = 64 * 1024
"""Largest request. libzmq cuts off a peer that sends more."""

REQUEST_FRAMES = 3
"""Identity, delimiter, body: what a ROUTER receives from a REQ socket."""

QUEUE_MESSAGES = 64
"""Requests and replies of one peer that wait at most (ZMQ_RCVHWM, ZMQ_SNDHWM)."""

REQUESTS_PER_TURN = 32
"""Requests handled in one turn: more wait for the next, because the stream goes first."""

DEFERRED_LIMIT = 256
"""Requests that wait for their answer at once."""

LINGER_MS = 200
"""How long a closing server tries to get rid of its last answers."""


class Code(Enum):
    """Why a request failed."""

    MALFORMED = "malformed"
    """Not a request: no JSON object, or no command."""
    VERSION = "version"
    """The peer speaks another version; the reply names this one."""
    UNKNOWN = "unknown"
    """No such command on this node."""
    REFUSED = "refused"
    """The node will not do it, and says why."""
    BUSY = "busy"
    """Too many requests wait already."""
    STOPPING = "stopping"
    """The node stopped before it could answer."""
    INTERNAL = "internal"
    """A mistake in the node itself."""


class Refusal(Exception):
    """Raised by a handler: the command is refused, for the reason given."""

    def __init__(self, reason: str, code: Code = Code.REFUSED) -> None:
        super().__init__(reason)
        self.code = code


@define(eq=False)
class Deferred:
    """An answer that a handler owes: it returns one of these, keeps it, and calls `reply` or `refuse` later.

    Calls after the first are ignored. A node that stops answers for those who did not.
    """

    _send: Callable[[dict[str, Any]], None] | None = field(default=None, init=False)
    _answer: dict[str, Any] | None = field(default=None, init=False)

    def reply(self, result: Mapping[str, Any]) -> None:
        """Answer with the values of `result`."""
        self._settle(_accepted(result))

    def refuse(self, reason: str) -> None:
        """Answer that the command is refused."""
        self._settle(_failure(Code.REFUSED, reason))

    @property
    def answered(self) -> bool:
        """True when the answer was given."""
        return self._answer is not None

    def _settle(self, answer: dict[str, Any]) -> None:
        if self._answer is None:
            self._answer = answer
            if self._send is not None:
                self._send(answer)

    def _attach(self, send: Callable[[dict[str, Any]], None]) -> None:
        """Say where the answer goes; one that was given already goes there at once."""
        self._send = send
        if self._answer is not None:
            send(self._answer)


Handler: TypeAlias = "Callable[[dict[str, Any]], Mapping[str, Any] | Deferred]"
"""Gets the arguments of a request; returns the result, or a `Deferred`; raises `Refusal`."""


@define(eq=False)
class ControlServer:
    """Answers requests at `path` with `handlers`, by command. Raises OSError naming the path.

    `fileno()` is readable while there is something for `turn` to do, as an epoll loop wants it. libzmq's own
    descriptor signals changes only, and an answer that is sent can swallow one; this one does not.

    `report(command, error)` is told of a handler that failed. `remote` says where to listen on TCP, and for whom.
    """

    path: Path
    handlers: Mapping[str, Handler]
    report: Callable[[str, Exception], None] = field(default=lambda _command, _error: None)
    remote: RemoteControl | None = None
    counters: Counters = field(factory=Counters)
    requests: int = field(default=0, init=False)
    failures: int = field(default=0, init=False)
    _context: zmq.Context[zmq.Socket[bytes]] = field(init=False)
    _router: zmq.Socket[bytes] = field(init=False)
    _publisher: zmq.Socket[bytes] = field(init=False)
    _endpoints: list[Endpoint] = field(factory=list, init=False)
    _bound: list[Path] = field(factory=list, init=False)
    _doorkeeper: Doorkeeper | None = field(default=None, init=False)
    _poll: select.epoll = field(init=False)
    _wake: int = field(init=False)
    _awake: bool = field(default=False, init=False)
    _owed: dict[int, Deferred] = field(factory=dict, init=False)
    _closed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._context = zmq.Context(io_threads=1)
        self._poll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            if self.remote is not None:  # before anybody can connect: without a doorkeeper libzmq lets all in
                self._doorkeeper = Doorkeeper(self.remote, self._context, self.counters)
            self._router = self._bind(zmq.ROUTER, self.path, LINGER_MS)
            self._publisher = self._bind(zmq.PUB, counters_path(self.path), 0)
            self._poll.register(self._router.fileno(), select.EPOLLIN)
            self._poll.register(self._wake, select.EPOLLIN)
            if self._doorkeeper is not None:
                self._doorkeeper.open((self._router, self._publisher))
                for fileno in self._doorkeeper.filenos():
                    self._poll.register(fileno, select.EPOLLIN)
        except BaseException:
            self._release()
            raise
        self._rouse()  # the edge of a request that came before the descriptor was watched

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._poll.fileno()

    def turn(self) -> int:
        """Answer what has arrived, within a bound; returns how many requests that was."""
        if self._awake:
            self._awake = False
            os.eventfd_read(self._wake)
        if self._doorkeeper is not None and self._doorkeeper.turn():
            self._rouse()
        for done in range(REQUESTS_PER_TURN):
            if not int(self._router.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                return done
            self._take()
        self._rouse()
        return REQUESTS_PER_TURN

    def publish(self, counters: Mapping[str, Any]) -> None:
        """Send live counters to whoever listens."""
        with contextlib.suppress(zmq.Again):
            self._publisher.send(_encode(counters), zmq.NOBLOCK)

    def close(self) -> None:
        """Answer what is still owed, and let go of the sockets and their files."""
        if self._closed:
            return
        self._closed = True
        for deferred in list(self._owed.values()):
            deferred._settle(_failure(Code.STOPPING, "the node stopped before it could answer"))
        self._release()

    def _bind(self, kind: int, path: Path, linger_ms: int) -> zmq.Socket[bytes]:
        endpoint = Endpoint(path)
        self._endpoints.append(endpoint)
        if endpoint.listening():
            raise OSError(f"control socket {path}: another process is listening there")
        created = self._context.socket(kind)
        created.setsockopt(zmq.MAXMSGSIZE, REQUEST_BYTES)
        created.setsockopt(zmq.RCVHWM, QUEUE_MESSAGES)
        created.setsockopt(zmq.SNDHWM, QUEUE_MESSAGES)
        created.setsockopt(zmq.LINGER, linger_ms)
        mask = os.umask(0o077)  # who may connect may end the session
        try:
            created.bind(endpoint.address)
        except zmq.ZMQError as error:
            raise OSError(f"control socket {path}: {error.strerror}") from None
        finally:
            os.umask(mask)
        self._bound.append(path)
        return created

    def _release(self) -> None:
        for path in self._bound:  # before closing: afterwards the name may be another process's
            path.unlink(missing_ok=True)
        self._context.destroy()  # closes the sockets, each with its own linger
        for endpoint in self._endpoints:
            endpoint.close()
        self._poll.close()
        os.close(self._wake)

    def _rouse(self) -> None:
        """Have `fileno()` readable, whatever libzmq's descriptor says."""
        if not self._awake:
            self._awake = True
            os.eventfd_write(self._wake, 1)

    def _take(self) -> None:
        """Receive one request and see to its answer."""
        frames: list[bytes] = []
        user, more = None, True
        while more:
            frame = self._router.recv(zmq.NOBLOCK, copy=False)
            more = frame.more
            if len(frames) <= REQUEST_FRAMES:  # one too many tells enough
                frames.append(frame.bytes)
                user = user_of(frame) if len(frames) == REQUEST_FRAMES and self._doorkeeper else None
        self.requests += 1
        if len(frames) != REQUEST_FRAMES or frames[1]:
            self.failures += 1  # not from a REQ socket: there is no telling where an answer would go
            return
        identity = frames[0]
        answer = self._answer(frames[2], user)
        if not isinstance(answer, Deferred):
            self._send(identity, answer)
        elif not answer.answered and len(self._owed) >= DEFERRED_LIMIT:
            self._send(identity, _failure(Code.BUSY, f"{DEFERRED_LIMIT} requests wait already"))
        else:
            self._owed[id(answer)] = answer
            answer._attach(lambda reply: self._settled(answer, identity, reply))

    def _settled(self, deferred: Deferred, identity: bytes, reply: dict[str, Any]) -> None:
        del self._owed[id(deferred)]
        self._send(identity, reply)
        self._rouse()  # sending may have swallowed the edge of the next request

    def _answer(self, body: bytes, user: str | None) -> dict[str, Any] | Deferred:
        command = ""
        try:
            command, arguments = _parse(body)
            if user is not None and self._doorkeeper is not None:
                why_not = self._doorkeeper.why_not(user, command)
                if why_not is not None:
                    raise Refusal(why_not)
            handler = self.handlers.get(command)
            if handler is None:
                known = ", ".join(sorted(self.handlers))
                raise Refusal(f"there is no command {command[:40]!r} here, only {known}", Code.UNKNOWN)
            result = handler(arguments)
            return result if isinstance(result, Deferred) else _accepted(result)
        except Refusal as refusal:
            return _failure(refusal.code, str(refusal))
        except Exception as error:  # noqa: BLE001  (a question about a node must not end the node)
            self.report(command, error)
            return _failure(Code.INTERNAL, f"{type(error).__name__}: {error}")

    def _send(self, identity: bytes, answer: dict[str, Any]) -> None:
        if answer["ok"] is not True:
            self.failures += 1
        try:
            body = _encode(answer)
        except (TypeError, ValueError) as error:
            self.failures += 1
            self.report("", error)
            body = _encode(_failure(Code.INTERNAL, f"the answer cannot be written as JSON: {error}"))
        with contextlib.suppress(zmq.ZMQError):  # gone, or it does not read: nobody else can mend that
            self._router.send_multipart([identity, b"", body], zmq.NOBLOCK)


def _parse(body: bytes) -> tuple[str, dict[str, Any]]:
    """Return command and arguments. Raises `Refusal`."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal("the request is not JSON", Code.MALFORMED) from None
    if not isinstance(request, dict):
        raise Refusal("the request is not a JSON object", Code.MALFORMED)
    version, command = request.pop("version", None), request.pop("command", None)
    if version != VERSION:
        asked = f"version {version}"[:30] if isinstance(version, int) else "no version"
        raise Refusal(f"this node speaks version {VERSION}, the request {asked}", Code.VERSION)
    if not isinstance(command, str):
        raise Refusal("the request has no command", Code.MALFORMED)
    return command, request


def _encode(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, separators=(",", ":"), allow_nan=False).encode("ascii")


def _accepted(result: Mapping[str, Any]) -> dict[str, Any]:
    return {**result, "version": VERSION, "ok": True}


def _failure(code: Code, reason: str) -> dict[str, Any]:
    return {"version": VERSION, "ok": False, "code": code.value, "error": reason}
