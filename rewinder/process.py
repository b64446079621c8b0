"""The rewinder process: follows the primary, keeps the stream, serves gap fill and replay."""

from __future__ import annotations

from typing import Any

from attrs import define, field, frozen

from moldudp import MOLDUDP64, RequestServer
from rewinder.access import Role
from rewinder.admission import Admission
from rewinder.node import Node, NodeSettings
from rewinder.replay import LogServer
from rewinder.requests import LogStore, RequestPort


@frozen
class RewinderSettings(NodeSettings):
    """What a rewinder needs beside what every node needs.

    `request_port` is the UDP port of MoldUDP64 re-requests, None for none.
    """

    replay_port: int = 0
    request_port: int | None = None
    datagram_bytes: int = 1472


@define(eq=False)
class RewinderProcess(Node):
    """The process. `run` is all that a caller needs."""

    settings: RewinderSettings
    replay: LogServer = field(init=False)
    requests: RequestPort | None = field(default=None, init=False)

    role = "rewinder"

    def open_ports(self) -> None:
        """Replay over SoupBinTCP, re-requests over MoldUDP64, and the link to the primary."""
        settings = self.settings
        admission = Admission(settings.authority, Role.REPLAY, self.log.session)
        self.replay = LogServer(self.log, admission, self.counters)
        self.replay.visible = self.log.commit
        self.serve("replay", settings.replay_port, self.replay)
        if settings.request_port is not None:
            store = LogStore(self.log, settings.datagram_bytes)
            server = RequestServer(MOLDUDP64, store, capacity=settings.datagram_bytes)
            socket = self.surroundings.network.datagrams(settings.host, settings.request_port)
            self.requests = RequestPort(server, socket)
            self.pump.watch(self.requests.fileno(), self.requests.on_ready)
        self.pump.timers.watch(self.link)

    def finish(self, now_ns: int) -> int:
        """Show what has become committed, and tell the primary what is held."""
        work = 0
        self.log.sync()
        if self.log.commit > self.replay.visible:
            work += self.replay.show(self.log.commit, now_ns)
        self.link.answer(now_ns)
        return work + super().finish(now_ns)

    def ports(self) -> dict[str, int]:
        """Node port, replay, and requests where they are served."""
        ports = super().ports()
        if self.requests is not None:
            ports["request"] = self.requests.port
        return ports

    def status(self) -> dict[str, Any]:
        """The node's status, with what was asked for again."""
        return {**super().status(), "requests": self.requests.counters() if self.requests is not None else {}}

    def close(self) -> None:
        """Let go of the request port first."""
        if self.requests is not None:
            self.pump.forget(self.requests.fileno())
            self.requests.close()
        super().close()
