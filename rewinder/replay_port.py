"""The application of a replay port: the present session, and old ones by name.

Each login is for one session, and is served by the `LogServer` of that session from then on. The present one has
a server for all its clients, who wait for what comes next; a client of an old session has one of its own, because
it never waits.
"""

from __future__ import annotations

from heapq import nlargest
from typing import TYPE_CHECKING, Any

from attrs import define, field

from rewinder.errors import NotServed
from rewinder.peer import peer_of
from rewinder.replay import LogServer
from rewinder.service import Denied, Granted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from native.messages import Messages
    from rewinder.archive import Archive
    from rewinder.log import MessageLog
    from rewinder.old_session import OldSession
    from rewinder.pump import Timers
    from rewinder.reading import LogReader
    from rewinder.service import Client
    from souptcp import LoginRequest

SLOWEST_SHOWN = 20
"""Receivers that a status tells of one by one."""


@define(eq=False)
class ReplayPort:
    """Serves `present`, and the sessions of `archive`, whose timer it starts in `timers`."""

    present: LogServer[MessageLog]
    archive: Archive
    timers: Timers
    _old: dict[int, tuple[LogServer[LogReader], OldSession]] = field(factory=dict, init=False)

    def login(self, client: Client, request: LoginRequest, now_ns: int) -> Granted | Denied:
        """Let in who may replay: to the present session if it is named, or none is; else to the one that is named."""
        present = self.present
        if present.admission.covers(request):
            return present.login(client, request, now_ns)
        return present.admission.check_user(client, request) or self._enter(client, request, now_ns)

    def started(self, client: Client, now_ns: int) -> None:
        """Begin to serve."""
        self._server_of(client).started(client, now_ns)

    def unsequenced(self, client: Client, messages: Messages, now_ns: int) -> None:
        """Receivers have nothing to say here."""
        self._server_of(client).unsequenced(client, messages, now_ns)

    def writable(self, client: Client, now_ns: int) -> None:
        """The client took what it had been sent: go on."""
        self._server_of(client).writable(client, now_ns)

    def ended(self, client: Client) -> None:
        """Forget a client."""
        self._server_of(client).ended(client)
        _, session = self._old.pop(id(client), (None, None))
        if session is not None:
            self._leave(session, client.service.pump.clock.now_ns)

    # for people

    def receivers(self, clients: Iterable[Client]) -> dict[str, Any]:
        """How many of `clients` read, how many of them lack something, and where the slowest of those are.

        A receiver counts as having what was handed to its connection, to within a stretch.
        """
        lags = [
            (self._server_of(client).visible + 1 - client.state.number, client)
            for client in clients
            if client.logged_in
        ]
        behind = [each for each in lags if each[0] > 0]
        slowest = nlargest(SLOWEST_SHOWN, behind, key=lambda each: each[0])
        return {
            "count": len(lags),
            "behind": len(behind),
            "slowest": [
                {
                    "user": client.user,
                    "peer": peer_of(client),
                    "session": self._session_of(client),
                    "next": client.state.number,
                    "lag": lag,
                }
                for lag, client in slowest
            ],
        }

    def _session_of(self, client: Client) -> str:
        _, old = self._old.get(id(client), (None, None))
        return self.present.log.session.decode("ascii").strip() if old is None else old.name

    def _server_of(self, client: Client) -> LogServer[Any]:
        old = self._old.get(id(client))
        return self.present if old is None else old[0]

    def _enter(self, client: Client, request: LoginRequest, now_ns: int) -> Granted | Denied:
        present = self.present
        try:
            session = self.archive.take(request.session, now_ns)
        except NotServed as error:
            self.timers.watch(self.archive)
            return Denied(b"S", str(error), "not_served")
        server = LogServer(session.log, present.admission, present.counters, name=present.name, final=True)
        server.visible = session.shown
        answer = server.enter(client, request.sequence_number)
        if isinstance(answer, Denied):
            self._leave(session, now_ns)
        else:
            self._old[id(client)] = server, session
        return answer

    def _leave(self, session: OldSession, now_ns: int) -> None:
        self.archive.leave(session, now_ns)
        self.timers.watch(self.archive)
