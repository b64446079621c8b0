"""Listening to the live counters of nodes, which may be down, and come and go.

Every node publishes its status once a second on its counters socket, whoever listens; so watching costs a node
nothing, and asks it nothing. Nodes on other machines are listened to over TCP, where there are keys.

    with Watch(configuration) as watch:
        while True:
            watch.wait(1000)
            print(watch.sightings())
"""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any, Self

import zmq
from attrs import define, field, frozen

from rewinder.endpoint import Endpoint, counters_path
from seqcast.control import REPLY_BYTES, connect_remote
from seqcast.keys import remote_node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from seqcast.settings import Configuration, Node

STALE_SECONDS = 3.0
"""A node that has published nothing for so long is taken for down: it does so every second."""

COUNTERS_QUEUE = 16
"""Publications that wait for a slow reader; older ones go."""

RECONNECT_MS = 100
"""How soon after a failure libzmq connects again."""

PUBLICATIONS_PER_TURN = 1000
"""Publications taken at once: a flood of them must not hold up whoever watches."""


@frozen
class Sighting:
    """A node as it was seen last: its `status`, when that came, and how old it is now; None if it never was.

    `up` is False when that is too long ago.
    """

    name: str
    role: str
    status: dict[str, Any] | None = None
    seen_ns: int = 0
    age_seconds: float | None = None

    @property
    def up(self) -> bool:
        """Whether the node publishes."""
        return self.age_seconds is not None and self.age_seconds < STALE_SECONDS

    @property
    def trouble(self) -> str | None:
        """What there is to say of a node that is not up."""
        if self.up:
            return None
        if self.age_seconds is None:
            return "has not been heard of"
        return f"has been silent for {self.age_seconds:.0f} s"


@define(eq=False)
class Watch:
    """Subscribes to the counters of `nodes`, or all of a configuration. `bad` counts what was no status of theirs."""

    configuration: Configuration
    nodes: Iterable[Node] | None = None
    clock_ns: Callable[[], int] = time.monotonic_ns
    bad: int = field(default=0, init=False)
    _context: zmq.Context[zmq.Socket[bytes]] = field(factory=zmq.Context, init=False)
    _poller: zmq.Poller = field(factory=zmq.Poller, init=False)
    _sockets: dict[zmq.Socket[bytes], Node] = field(factory=dict, init=False)
    _endpoints: list[Endpoint] = field(factory=list, init=False)
    _unreached: list[Node] = field(init=False)
    _seen: dict[str, tuple[int, dict[str, Any]]] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.nodes = tuple(self.configuration.nodes if self.nodes is None else self.nodes)
        self._unreached = list(self.nodes)
        try:
            self._connect_remote()
        except BaseException:
            self.close()
            raise
        self._connect()

    def wait(self, timeout_ms: int) -> bool:
        """Take what comes within `timeout_ms`, and return at the first of it; False when nothing came."""
        self._connect()
        ready = self._poller.poll(timeout_ms)
        for subscriber, _ in ready:
            self._take(subscriber)
        return bool(ready)

    def wait_until(self, due_ns: int) -> None:
        """Take all that comes until `due_ns`, by `clock_ns`."""
        while (left_ns := due_ns - self.clock_ns()) > 0:
            self.wait(-(-left_ns // 1_000_000))

    def wait_for_all(self, due_ns: int) -> None:
        """Take what comes until every node was heard of, or it is `due_ns`."""
        while (left_ns := due_ns - self.clock_ns()) > 0 and len(self._seen) < len(tuple(self.nodes or ())):
            self.wait(-(-left_ns // 1_000_000))

    def sightings(self) -> dict[str, Sighting]:
        """Every node that is watched, by name."""
        now_ns, found = self.clock_ns(), {}
        for node in self.nodes or ():
            seen = self._seen.get(node.name)
            found[node.name] = (
                Sighting(node.name, node.role.value)
                if seen is None
                else Sighting(node.name, node.role.value, seen[1], seen[0], (now_ns - seen[0]) / 1e9)
            )
        return found

    def close(self) -> None:
        """Stop listening."""
        self._context.destroy(linger=0)
        for endpoint in self._endpoints:
            endpoint.close()
        self._endpoints.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()

    def _connect(self) -> None:
        """Subscribe to those who could not be yet; libzmq itself waits for a socket that is not there."""
        for node in list(self._unreached):
            try:
                endpoint = Endpoint(counters_path(self.configuration.control_path(node.name)))
            except OSError:  # a long path whose directory is not there yet
                continue
            self._endpoints.append(endpoint)
            self._subscriber(node).connect(endpoint.address)
            self._unreached.remove(node)

    def _connect_remote(self) -> None:
        """Subscribe over TCP to those of whom there are keys; one that runs here too is then heard twice."""
        for node in self.nodes or ():
            where = remote_node(self.configuration, node)
            if where is not None:
                connect_remote(self._subscriber(node), where, where.port + 1)

    def _subscriber(self, node: Node) -> zmq.Socket[bytes]:
        subscriber = self._context.socket(zmq.SUB)
        subscriber.setsockopt(zmq.MAXMSGSIZE, REPLY_BYTES)
        subscriber.setsockopt(zmq.RCVHWM, COUNTERS_QUEUE)
        subscriber.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        subscriber.setsockopt(zmq.SUBSCRIBE, b"")
        self._sockets[subscriber] = node
        self._poller.register(subscriber, zmq.POLLIN)
        return subscriber

    def _take(self, subscriber: zmq.Socket[bytes]) -> None:
        """Take what a node has published: the last of it counts."""
        node, body = self._sockets[subscriber], None
        with contextlib.suppress(zmq.Again):
            for _ in range(PUBLICATIONS_PER_TURN):
                body = subscriber.recv(zmq.NOBLOCK)
        if body is None:
            return
        try:
            status = json.loads(body)
        except (ValueError, RecursionError):
            status = None
        if not isinstance(status, dict) or status.get("name") != node.name:
            self.bad += 1
        elif node.name not in self._seen or self._seen[node.name][1] != status:  # else it came two ways
            self._seen[node.name] = self.clock_ns(), status
