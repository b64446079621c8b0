"""The node port of a primary: followers get the log as it is stamped, and say what they hold.

A follower is shown records before they are committed; it shows them to nobody until it is told the commit
number, which travels beside the log in an unsequenced packet, as do the epoch table and what it holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from rewinder.replay import LogServer
from rewinder.replication import Committed, Epochs, Held, decode

if TYPE_CHECKING:
    from native.messages import Messages
    from rewinder.service import Client
    from sequencer.commit import Commit


@define(eq=False)
class ReplicationPort(LogServer):
    """Serves followers. `commit` gets what the voters among them hold; `epoch` is the primary's own."""

    commit: Commit | None = None
    epoch: int = 0
    voters: frozenset[str] = frozenset()
    _followers: dict[int, Client] = field(factory=dict, init=False)
    _told: dict[int, int] = field(factory=dict, init=False)

    def started(self, client: Client, now_ns: int) -> None:
        """The epoch table goes first: a follower appends nothing before it has compared it with its own."""
        self._followers[id(client)] = client
        client.send_unsequenced(Epochs(self.epoch, tuple(self.log.epochs)).encode())
        super().started(client, now_ns)

    def ended(self, client: Client) -> None:
        """Forget a follower; what it said it holds stays true."""
        self._followers.pop(id(client), None)
        self._told.pop(id(client), None)
        super().ended(client)

    def unsequenced(self, client: Client, messages: Messages, _now_ns: int) -> None:
        """What a follower holds."""
        for message in messages:
            match decode(bytes(message)):
                case Held(epoch, number) if epoch == self.epoch and number <= self.log.last:
                    if client.user in self.voters and self.commit is not None:
                        self.commit.held(client.user, number)
                case Held():
                    self.counters.add(f"{self.name}.stale_held")
                case _:
                    self.counters.add(f"{self.name}.unknown")

    def at_edge(self, client: Client) -> None:
        """Tell the commit number where the follower does not know it yet."""
        number = self.log.commit
        if self._told.get(id(client)) != number:
            self._told[id(client)] = number
            client.send_unsequenced(Committed(self.epoch, number).encode())

    def committed(self, now_ns: int) -> None:
        """The commit number moved: tell those who have the whole log; the others hear it on their way."""
        for client in list(self._followers.values()):
            if not client.mid_packet:
                self.at_edge(client)
                client.flush(now_ns)

    def followers(self) -> list[str]:
        """The names of the followers that are connected."""
        return sorted(client.user for client in self._followers.values())
