"""The rewinder process: follows the primary, keeps the stream, serves gap fill and replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from moldudp import MOLDUDP64, RequestServer
from rewinder.access import Role
from rewinder.admission import Admission
from rewinder.archive import Archive
from rewinder.listing import Listing
from rewinder.node import Node
from rewinder.node_settings import NodeSettings
from rewinder.replay import LogServer
from rewinder.replay_port import ReplayPort
from rewinder.requests import LogStore, RequestPort

if TYPE_CHECKING:
    from rewinder.log import MessageLog
    from rewinder.service import Client
    from rewinder.storage import Storage


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
    replay: LogServer[MessageLog] = field(init=False)
    replay_port: ReplayPort = field(init=False)
    archive: Archive = field(init=False)
    listing: Listing = field(init=False)
    requests: RequestPort | None = field(default=None, init=False)

    role = "rewinder"

    def open_ports(self) -> None:
        """Replay over SoupBinTCP, re-requests over MoldUDP64, and the link to the primary."""
        settings = self.settings
        admission = Admission(settings.authority, Role.REPLAY, self.log.session)
        self.replay = LogServer(self.log, admission, self.counters)
        self.replay.visible = self.log.commit
        self._open_archive()
        self.replay_port = ReplayPort(self.replay, self.archive, self.pump.timers)
        self.serve("replay", settings.replay_port, self.replay_port)
        if settings.request_port is not None:
            store = LogStore(self.log, settings.datagram_bytes)
            server = RequestServer(MOLDUDP64, store, capacity=settings.datagram_bytes)
            socket = self.surroundings.network.datagrams(settings.host, settings.request_port)
            self.requests = RequestPort(server, socket)
            self.pump.watch(self.requests.fileno(), self.requests.on_ready)
        self.pump.timers.watch(self.link)

    def _open_archive(self) -> None:
        """Old sessions, which are served by name."""
        settings, surroundings = self.settings, self.surroundings

        def find(session: str) -> Storage | None:
            return None if session == settings.session_name else surroundings.old_storage(settings, session)

        self.archive = Archive(
            find, self.counters, lambda sentence: self.report("not served", detail=sentence)
        )
        self.listing = Listing(lambda: surroundings.old_sessions(settings), find)
        self._refresh_listing()

    def _refresh_listing(self) -> None:
        self.listing.refresh(self.pump.clock.now_ns)
        self.pump.timers.watch(self.listing)

    def reads_old(self, session: str) -> bool:
        """Whether a client reads an old session, or has just done so."""
        return session in self.archive.open

    def old_removed(self, session: str) -> None:
        """The list of the old sessions is not right any more."""
        self.listing.forget(session)

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
        """The node's status, with what was asked for again, and the old sessions that can be replayed."""
        self._refresh_listing()
        return {
            **super().status(),
            "requests": self.requests.counters() if self.requests is not None else {},
            "receivers": self.replay_port.receivers(self._replay_clients()),
            "old_sessions": self.listing.rows(),
        }

    def _replay_clients(self) -> list[Client]:
        return [
            client
            for service in self.services
            if service.name == "replay"
            for client in service.clients.values()
        ]

    def close(self) -> None:
        """Let go of the request port and the old sessions first."""
        if self.requests is not None:
            self.pump.forget(self.requests.fileno())
            self.requests.close()
        for part in (getattr(self, "archive", None), getattr(self, "listing", None)):
            if part is not None:
                part.close()
        super().close()
