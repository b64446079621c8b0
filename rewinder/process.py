"""The rewinder process: follows the primary, keeps the stream, serves gap fill and replay."""

from __future__ import annotations

from random import Random
from typing import Any

from attrs import define, field, frozen

from moldudp import MOLDUDP64, RequestServer
from rewinder.access import Role
from rewinder.admission import Admission
from rewinder.follower import Follower
from rewinder.link import Link
from rewinder.node import Node, NodeSettings
from rewinder.replay import LogServer
from rewinder.requests import LogStore, RequestPort
from rewinder.service import Service
from souptcp import Listener


@frozen
class RewinderSettings(NodeSettings):
    """What a rewinder needs beside what every node needs.

    `primaries` are the node ports of the sequencers; `node_password` lets this node in there. `request_port`
    is the UDP port of MoldUDP64 re-requests, None for none.
    """

    replay_port: int = 0
    request_port: int | None = None
    voter: bool = False
    primaries: tuple[tuple[str, int], ...] = ()
    node_password: str = ""
    datagram_bytes: int = 1472


@define(eq=False)
class RewinderProcess(Node):
    """The process. `run` is all that a caller needs."""

    settings: RewinderSettings
    replay: LogServer = field(init=False)
    follower: Follower = field(init=False)
    link: Link = field(init=False)
    requests: RequestPort | None = field(default=None, init=False)

    role = "rewinder"

    def open_ports(self) -> None:
        """Replay over SoupBinTCP, re-requests over MoldUDP64, and the link to the primary."""
        settings = self.settings
        admission = Admission(settings.authority, Role.REPLAY, self.log.session)
        self.replay = LogServer(self.log, admission, self.counters)
        self.replay.visible = self.log.commit
        self.services.append(
            Service(
                "replay", self.pump, Listener(settings.host, settings.replay_port), self.replay, self.counters
            )
        )
        if settings.request_port is not None:
            store = LogStore(self.log, settings.datagram_bytes)
            server = RequestServer(MOLDUDP64, store, capacity=settings.datagram_bytes)
            self.requests = RequestPort.open(settings.host, settings.request_port, server)
            self.pump.watch(self.requests.fileno(), self.requests.on_ready)
        self.follower = Follower(self.log, self.counters, settings.voter)
        self.link = Link(
            self.pump,
            self.follower,
            list(settings.primaries),
            settings.name,
            settings.node_password,
            self.counters,
            Random(),  # noqa: S311  (jitter)
            lambda sentence: self.report("upstream", detail=sentence),
        )
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
        """Replay, and requests where they are served."""
        ports = super().ports()
        if self.requests is not None:
            ports["request"] = self.requests.port
        return ports

    def status(self) -> dict[str, Any]:
        """The node's status, with whom it follows."""
        following = self.link.following
        return {
            **super().status(),
            "following": f"{following[0]}:{following[1]}" if following else None,
            "requests": self.requests.counters() if self.requests is not None else {},
        }

    def close(self) -> None:
        """Let go of the primary and of the request port first."""
        link = getattr(self, "link", None)
        if link is not None:
            link.close()
        if self.requests is not None:
            self.pump.forget(self.requests.fileno())
            self.requests.close()
        super().close()
