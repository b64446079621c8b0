"""The followers of a primary: what they hold, which of them count, and who has to be admitted again.

Each send to a follower costs a system call here and wakes a process there. So only as many voters as a commit needs get
every record at once: those that have been holding the most. The others, and the news that something is committed, may
wait for `PATIENCE_NS` and come in larger pieces. A voter that has become slow is overtaken by one of the others after
that time, and they change places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field

from rewinder.replication import Answer, Go, VoterState, commit_packet

if TYPE_CHECKING:
    from collections.abc import Callable

    from rewinder.counters import Counters
    from rewinder.log import MessageLog
    from rewinder.node_port import NodePort
    from rewinder.service import Client
    from sequencer.commit import Commit


PATIENCE_NS = 1_000_000
"""How long records may wait for a follower that no commit waits for, and a commit number for records to travel with:
far below what a receiver with a hole waits before it asks a rewinder, and a thousand wake-ups a second at most."""


@define(eq=False)
class FollowerState:
    """One follower that is connected. `told` is the commit number it knows."""

    client: Client
    state: VoterState | None = None
    held: int = 0
    told: int = -1


@define(eq=False)
class Followers:
    """The primary's side of the node port, for one epoch; see `rewinder.node_port.Primary`.

    `admit(voter, incarnation)` is asked to write an admission into the stream. `deposed(reason)` is told when a
    follower has promised a higher epoch.
    """

    epoch: int
    commit: Commit
    port: NodePort
    voters: frozenset[str]
    admit: Callable[[str, int], None]
    deposed: Callable[[str], None]
    counters: Counters
    _connected: dict[int, FollowerState] = field(factory=dict, init=False)
    _eager: dict[str, FollowerState] = field(
        factory=dict, init=False
    )  # by name, those a commit is expected from
    _due_ns: int | None = field(default=None, init=False)  # when the others get what they lack
    _overdue: int = field(default=0, init=False)  # commit number that everybody is to know by then

    # the port's side

    def serves(self, name: str) -> bool:
        """Whether the node `name` may follow."""
        return name in self.voters or self.quorate

    def follower_started(self, client: Client) -> None:
        """Take it up."""
        self._connected[id(client)] = FollowerState(client)

    def follower_ended(self, client: Client) -> None:
        """Forget the connection; what a voter said it holds stays true."""
        self._connected.pop(id(client), None)
        if self._is_eager(client):
            del self._eager[client.user]

    def hurries(self, client: Client) -> bool:
        """Whether a follower gets every record at once: a commit is expected from it, or may be."""
        follower = self._eager.get(client.user)
        if follower is not None and follower.client is client:
            return True
        return len(self._eager) < self.commit.write_quorum - 1 and client.user in self.voters

    def follower_holds(self, client: Client, epoch: int, number: int) -> None:
        """What a follower holds."""
        follower = self._connected.get(id(client))
        if follower is None or epoch != self.epoch or number > self._log.last:
            self.counters.add("node.stale")
            return
        follower.held = number
        if self._counts(follower):
            self.commit.held(client.user, number)
            self._rank(follower)
        else:
            self._consider(follower)

    def follower_said(self, client: Client, packet: VoterState | Answer, _now_ns: int) -> None:
        """Whether a follower votes, or why it does not follow."""
        follower = self._connected.get(id(client))
        match packet:
            case Answer(epoch=epoch, owner=owner) if epoch >= self.epoch and client.user in self.voters:
                # Of the same epoch, to another: it would never follow us in this one.
                self.deposed(f"{client.user} has promised epoch {epoch} to {owner}")
            case VoterState() if follower is not None:
                follower.state = packet
                if not packet.votes:
                    self.commit.forget(client.user)
                    if self._is_eager(client):
                        del self._eager[client.user]
            case _:
                self.counters.add("node.stale")

    def follower_at_edge(self, client: Client) -> None:
        """Tell the commit number where the follower does not know it yet."""
        follower = self._connected.get(id(client))
        number = self._log.commit
        if follower is not None and follower.told != number:
            follower.told = number
            client.session.send_framed(commit_packet(self.epoch, number))

    # the primary's side

    def moved(self, now_ns: int) -> None:
        """The log or the commit number moved: who was not told at once is told when it is due."""
        if self._due_ns is None and self._connected:
            self._due_ns = now_ns + PATIENCE_NS
            self._overdue = self._log.commit

    def deadline_ns(self) -> int | None:
        """When `tell` has something to do."""
        return self._due_ns

    def tell(self, now_ns: int) -> int:
        """Bring those up to date who had to wait, if it is time; returns bytes of the log sent."""
        if self._due_ns is None or now_ns < self._due_ns:
            return 0
        self._due_ns = None
        sent = 0
        for follower in list(self._connected.values()):
            if follower.told < self._overdue or not self._is_eager(follower.client):
                sent += self.port.pour(follower.client, now_ns)
        if any(follower.told < self._log.commit for follower in self._connected.values()):
            self.moved(now_ns)
        return sent

    def send_go(self, name: str, number: int, now_ns: int) -> bool:
        """Hand over to the voter `name`, if it holds `number`; False while it does not."""
        for follower in list(self._connected.values()):
            client = follower.client
            if (
                (client.user, follower.held) == (name, number)
                and self._counts(follower)
                and not client.mid_packet
            ):
                self.follower_at_edge(client)
                client.send_unsequenced(Go(self.epoch, number).encode())
                return client.flush(now_ns)
        return False

    @property
    def quorate(self) -> bool:
        """Whether a write quorum is in contact, ourselves among it."""
        enough = len(self._eager) >= self.commit.write_quorum - 1
        if enough and all(each.held and self._counts(each) for each in self._eager.values()):
            return True  # asked every turn: this is mostly so, and quickly seen
        return len(self.in_contact) + 1 >= self.commit.write_quorum

    @property
    def in_contact(self) -> set[str]:
        """The voters among those connected that count, and have promised this epoch: they say what they hold."""
        return {each.client.user for each in self._connected.values() if each.held and self._counts(each)}

    def status(self) -> dict[str, dict[str, Any]]:
        """What each follower that is connected holds, by name."""
        last = self._log.last
        return {
            each.client.user: {
                "held": each.held,
                "lag": last - each.held,
                "votes": self._counts(each),
                "voter": each.client.user in self.voters,
            }
            for each in self._connected.values()
        }

    def obstacle(self, name: str) -> str | None:
        """Why the voter `name` adds nothing to a commit now; None when it does, or will when it has caught up."""
        connected = [each for each in self._connected.values() if each.client.user == name]
        if not connected:
            return "it is not connected"
        if any(self._counts(each) for each in connected):
            return None
        silent = all(each.state is None for each in connected)
        return "it has not said yet whether it votes" if silent else "it does not vote"

    @property
    def _log(self) -> MessageLog:
        return self.port.log

    def _counts(self, follower: FollowerState) -> bool:
        """Whether its word counts: it votes, and is the incarnation that the stream knows."""
        name, state = follower.client.user, follower.state
        if state is None or name not in self.voters:
            return False
        admission = self._log.admissions.get(name)
        if admission is not None and admission[0] != state.incarnation:
            return False
        if state.votes:
            return True
        # Where every voter must hold a record, nobody else can commit its admission: its own copy has to do,
        # and may, because each write quorum there ever was has everybody else in it (docs/FAILURES.md).
        everybody = self.commit.write_quorum == len(self.voters)
        return everybody and admission is not None and 0 < admission[1] <= follower.held

    def _is_eager(self, client: Client) -> bool:
        follower = self._eager.get(client.user)
        return follower is not None and follower.client is client

    def _rank(self, follower: FollowerState) -> None:
        """A voter that holds more than one from whom a commit was expected takes its place."""
        eager, name = self._eager, follower.client.user
        rival = eager.get(name)
        if rival is None and len(eager) >= self.commit.write_quorum - 1:
            rival = min(eager.values(), key=lambda each: each.held, default=follower)
        if rival is not None:
            if rival.held >= follower.held:
                return
            del eager[rival.client.user]
        eager[name] = follower

    def _consider(self, follower: FollowerState) -> None:
        """Admit a voter that has lost its vote, once it has caught up."""
        name, state = follower.client.user, follower.state
        if state is None or name not in self.voters or state.votes or follower.held < self._log.commit:
            return
        if self._log.admissions.get(name, (None, 0))[0] != state.incarnation:
            self.admit(name, state.incarnation)
