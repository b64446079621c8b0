"""The node port of every node: talk about promises, and the log for followers (docs/PROTOCOL.md).

A login at number 0 is for talk: queries and promises, each of which is answered. A login at a number is for the
log, and is let in by a primary, or by a node that has promised an epoch to whoever asks: a candidate fetches what
it lacks that way. A follower is shown records before they are committed; it shows them to nobody until it is told
the commit number, which travels beside the log, as do the epoch table and what it holds.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from attrs import define, field

from rewinder.log import MessageLog
from rewinder.replay import LogServer
from rewinder.replication import (
    HELD_PACKET_BYTES,
    Answer,
    Epochs,
    Held,
    Opened,
    PromiseRequest,
    Query,
    VoterState,
    decode,
    read_held,
)
from rewinder.service import Denied, Granted

if TYPE_CHECKING:
    from native.messages import Messages
    from rewinder.service import Client
    from rewinder.voter import Voter
    from souptcp import LoginRequest


class Primary(Protocol):
    """What a node port asks of the primary that its node is."""

    def serves(self, name: str) -> bool:
        """Whether the node `name` may follow: who does not vote has to look elsewhere while there is no quorum."""

    def follower_started(self, client: Client) -> None:
        """A follower was let in; what it needs to know first is queued."""

    def follower_ended(self, client: Client) -> None:
        """A follower is gone."""

    def hurries(self, client: Client) -> bool:
        """Whether a follower gets every record at once; the others are poured to when the primary sees fit."""

    def follower_said(self, client: Client, packet: VoterState | Answer, now_ns: int) -> None:
        """Whether a follower votes, or why it does not follow."""

    def follower_holds(self, client: Client, epoch: int, number: int) -> None:
        """What a follower holds."""

    def follower_at_edge(self, client: Client) -> None:
        """A packet's edge on the way to a follower: what else it is to be told may be queued now."""


class Listener(Protocol):
    """The node around the port."""

    @property
    def hears(self) -> bool:
        """Whether it follows a primary now, or is one."""

    def promised(self, owner: str, now_ns: int) -> None:
        """A higher epoch was promised, to `owner`, than was before."""

    def opened(self, owner: str, now_ns: int) -> None:
        """`owner`, to whom the present epoch is promised, is primary now."""


@define(eq=False)
class NodePort(LogServer[MessageLog]):
    """The application of a node port. `primary` is set while the node is one."""

    voter: Voter = field(kw_only=True)
    node: Listener = field(kw_only=True)
    primary: Primary | None = field(default=None, init=False)
    _following: dict[int, Client] = field(factory=dict, init=False)

    # Application

    def login(self, client: Client, request: LoginRequest, now_ns: int) -> Granted | Denied:
        """Let in who may replicate: for talk at number 0, for the log where it may be had."""
        if request.sequence_number == 0:
            denied = self.admission.check(client, request)
            client.state = None
            return denied or Granted(self.log.session, self.log.commit + 1)
        if self.primary is None:
            self.visible = self.log.last  # a log that is handed to a candidate does not grow
        answer = super().login(client, request, now_ns)
        if isinstance(answer, Denied):
            return answer
        if self.primary is not None:
            return (
                answer
                if self.primary.serves(client.user)
                else Denied(b"S", "there is no quorum here", "no_quorum")
            )
        if client.user != self.voter.promise.owner or client.user == self.voter.name:
            return Denied(b"S", f"{self.voter.name} is not the primary", "not_primary")
        return answer

    def started(self, client: Client, now_ns: int) -> None:
        """The epoch table goes first: a follower appends nothing before it has compared it with its own."""
        if client.state is None:
            return
        self._following[id(client)] = client
        promise = self.voter.promise
        client.send_unsequenced(Epochs(promise.epoch, promise.owner, tuple(self.log.epochs)).encode())
        if self.primary is not None:
            self.primary.follower_started(client)
            client.session.skim = partial(self._skim, client)
        super().started(client, now_ns)

    def writable(self, client: Client, now_ns: int) -> None:
        """A follower takes more of the log; talk needs no help."""
        if client.state is not None:
            super().writable(client, now_ns)

    def ended(self, client: Client) -> None:
        """Forget a client; what a follower said it holds stays true."""
        client.session.skim = None
        if self._following.pop(id(client), None) is not None and self.primary is not None:
            self.primary.follower_ended(client)
        super().ended(client)

    def unsequenced(self, client: Client, messages: Messages, now_ns: int) -> None:
        """Talk, and what followers say."""
        for message in messages:
            match decode(bytes(message)):
                case Query():
                    self._answer(client)
                case PromiseRequest(epoch, owner, incarnation) if owner == client.user:
                    given = self._promise(client, epoch, now_ns, incarnation)
                    self.counters.add(f"{self.name}.{'promised' if given else 'refused'}")
                    self._answer(client)
                case Opened(epoch) if self._promise(client, epoch, now_ns):
                    self.node.opened(client.user, now_ns)
                case Held(epoch, number) if self.primary is not None:
                    self.primary.follower_holds(client, epoch, number)
                case VoterState() | Answer() as packet if self.primary is not None:
                    self.primary.follower_said(client, packet, now_ns)
                case _:
                    self.counters.add(f"{self.name}.unknown")

    def _skim(self, client: Client, view: memoryview, start: int, end: int) -> tuple[int, int]:
        """What followers say all the time, taken out of the receive buffer; see `Session.skim`."""
        while end - start >= HELD_PACKET_BYTES and self.primary is not None:
            found = read_held(view, start)
            if found is None:
                break
            self.primary.follower_holds(client, *found)
            start += HELD_PACKET_BYTES
        return start, 0

    def at_edge(self, client: Client) -> None:
        """What else a follower is to be told."""
        if self.primary is not None:
            self.primary.follower_at_edge(client)

    def show(self, number: int, now_ns: int) -> int:
        """The log has grown to `number`: serve the followers that get it at once. Returns bytes sent."""
        self.visible = number
        primary = self.primary
        waiting = [each for each in self._caught_up.values() if primary is None or primary.hurries(each)]
        return sum(self.pour(client, now_ns) for client in waiting)

    # the node's side

    def hang_up(self, reason: str, now_ns: int, keep: frozenset[str] = frozenset()) -> None:
        """Let go of everybody who gets the log, but for those named: it is not ours to give any more."""
        for client in list(self._following.values()):
            if client.user not in keep:
                client.close(reason, now_ns)

    def followers(self) -> list[Client]:
        """Who gets the log now."""
        return list(self._following.values())

    def _promise(self, client: Client, epoch: int, now_ns: int, incarnation: int = 0) -> bool:
        """Promise an epoch to who asks for it, or has opened it; False when it is not to be had."""
        owner = client.user
        if owner == self.voter.name:
            return False
        before = self.voter.epoch
        given = self.voter.seal(epoch, owner, incarnation)
        if self.voter.epoch > before:
            self.hang_up(f"epoch {epoch} is promised to {owner}", now_ns)
            self.node.promised(owner, now_ns)
        return given

    def _answer(self, client: Client) -> None:
        client.send_unsequenced(self.voter.answer(hears=self.node.hears).encode())
