"""Express turns: while nothing happens but messages, a primary takes its turns in C (`native/src/express.h`).

It is for a primary whose own copy commits a record, under durability `memory`: then a turn is to read, to order, to
publish and to answer, and in Python it would cost more than all of these. The turns in Python stay what they are; an
express turn does the same for connections in their most frequent state, the lanes, and leaves everything else to them.
Between two turns in Python there are at most `STAY_NS` with messages: so followers, timers and counters get theirs.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from attrs import define, field

from rewinder._native import Ready
from sequencer._native import ExpressKernel, LaneKernel

if TYPE_CHECKING:
    from rewinder.pump import Pump
    from rewinder.service import Client
    from sequencer.primary import Primary

STAY_NS = 500_000
"""Longest time from the first message of express turns to the next turn in Python. It is half of what a follower that
no commit waits for may be behind."""

ROWS = 4096
"""Messages that are ordered in one go: more than the smallest that fit a receive buffer would be split up."""


@define(eq=False)
class Lane:
    """A sender's connection that is read and answered in express turns; see `rewinder.service.Bypass`."""

    client: Client
    kernel: LaneKernel

    def close(self, closed: bool) -> None:
        """Leave it alone, or do not."""
        self.kernel.close(closed)

    @property
    def traffic(self) -> tuple[int, int]:
        """When something was heard last, and sent last."""
        return self.kernel.traffic


@define(eq=False)
class Express:
    """The express turns of one primary: its pump waits by `wait`."""

    primary: Primary
    pump: Pump
    lanes: dict[int, Lane] = field(factory=dict, init=False)
    turns: int = field(default=0, init=False)
    """Express turns in which messages came, as far as they are accounted for; so are the records and datagrams."""
    _kernel: ExpressKernel = field(init=False)
    _ready: Ready = field(factory=Ready, init=False)
    _stamped: int = field(default=0, init=False)
    _datagrams: list[int] = field(init=False)

    def __attrs_post_init__(self) -> None:
        primary = self.primary
        lines = [line.socket.fileno() for line in primary.publisher.lines]
        self._datagrams = [0] * len(lines)
        self._kernel = ExpressKernel(
            primary.log.senders,
            primary.publisher.outgoing,
            primary.submit.answers,
            primary.stages,
            lines,
            primary.submit.ordering.payload_limit,
            ROWS,
        )

    @classmethod
    def install(cls, primary: Primary, pump: Pump) -> None:
        """Let a primary have express turns, if it is one that can."""
        if (
            primary.write_quorum == 1
            and primary.log.durability == "memory"
            and all(isinstance(line.socket, socket.socket) for line in primary.publisher.lines)
        ):
            express = primary.submit.express = cls(primary, pump)
            pump.wait_by(express.wait)

    def admit(self, client: Client) -> None:
        """Take up a sender's connection whose answers leave nothing out, if nothing waits in it."""
        connection = client.connection
        if (
            isinstance(connection.socket, socket.socket)
            and connection.fileno() < ExpressKernel.LANE_LIMIT
            and client.steady
        ):
            lane = Lane(client, LaneKernel(connection.fileno(), client.state.slot, client.session.space()))
            self._kernel.set(lane.kernel, on=True)
            self.lanes[id(client)] = client.bypass = lane

    def drop(self, client: Client) -> None:
        """Its connection is about to be closed."""
        lane = self.lanes.pop(id(client), None)
        if lane is not None:
            client.bypass = None
            self._kernel.set(lane.kernel, on=False)

    def wait(self, epoll: int, timeout_ns: int, spin_ns: int) -> list[tuple[int, int]]:
        """Find out what is ready, as the pump would, and take what express turns there are."""
        primary = self.primary
        if not (self.lanes and primary.calm):
            return self._ready.wait(epoll, timeout_ns, spin_ns)
        segmented = [line.segmented for line in primary.publisher.lines]
        ready = self._kernel.run(primary.log.tail, segmented, epoll, timeout_ns, spin_ns, STAY_NS)
        x = self._kernel.cdata
        if x.turns != self.turns or x.exceptions:
            self._account(self.pump.clock.read())
        return ready

    def _account(self, now_ns: int) -> None:
        """Bring everybody up to date."""
        x, primary = self._kernel.cdata, self.primary
        self.pump.turns += x.turns - self.turns
        primary.submit.ordering.stamped += x.stamped - self._stamped
        self.turns, self._stamped = x.turns, x.stamped
        publisher = primary.publisher
        for index, line in enumerate(publisher.lines):
            line.datagrams += x.datagrams[index] - self._datagrams[index]
            line.sent = x.sent[index]
            self._datagrams[index] = x.datagrams[index]
        if x.published_ns:
            publisher.published(x.next_number, x.published_ns, behind=bool(x.behind))
        primary.log.commit = x.number
        if x.exceptions:
            for lane in list(self.lanes.values()):
                self._settle(lane, now_ns)
        primary.submit.committed(x.told + 1, x.number, now_ns)

    def _settle(self, lane: Lane, now_ns: int) -> None:
        """What an express turn has left of a connection."""
        client, submit = lane.client, self.primary.submit
        begin, end = lane.kernel.untold()
        if begin < end:
            client.send(submit.answers.packets[begin:end], now_ns)
        start, end, duplicates = lane.kernel.left()
        if start < end:
            client.session.received_elsewhere(start, end, now_ns)
        if duplicates:
            submit.note_duplicates(client, duplicates)
            client.flush(now_ns)
