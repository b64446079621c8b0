"""The network of the simulator: TCP streams and multicast between hosts, with delay, loss and partitions.

A stream delivers its bytes in order or breaks; a path that is cut holds them back until it is whole again, as
TCP's retransmissions do. A datagram can be lost, come twice, late, or before an earlier one.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Protocol

from seqcast.testing.datagrams import SimDatagrams, SimLine
from seqcast.testing.streams import Pipe, SimListener, SimSocket
from seqcast.testing.world import MICROSECOND, MILLISECOND

if TYPE_CHECKING:
    from collections.abc import Callable

    from seqcast.testing.machine import Machine
    from seqcast.testing.world import World

SYN_AGAIN_NS = 100 * MILLISECOND
"""A connection that got no answer tries again."""

READ_DATAGRAMS = 64
"""Datagrams taken in one read, as many as a real receiver takes."""


FIRST_NUMBER = 1 << 20
"""Descriptors of the simulator are above all that a process can have of its own."""


class Pollable(Protocol):
    """What a pump can wait for."""

    closed: bool

    def readable(self) -> bool:
        """Whether a read would find something."""

    def writable(self) -> bool:
        """Whether a write would be taken."""


class SimNetwork:
    """The network as one machine sees it: `rewinder.network.Network`.

    Its sockets look like those of the system to whoever uses them, and are none, hence `Any`.
    """

    def __init__(self, fabric: Fabric, machine: Machine) -> None:
        self.fabric, self.machine = fabric, machine

    def listen(self, host: str, port: int) -> Any:  # noqa: ARG002  (a machine has one address, its name)
        """Listen for streams."""
        return SimListener(self.fabric, self.machine, port)

    def connect(self, host: str, port: int) -> Any:
        """Begin to connect."""
        return self.fabric.connect(self.machine, host, port)

    def multicast(self, group: str, port: int, interface: str, ttl: int) -> Any:  # noqa: ARG002
        """A socket that sends to a group."""
        return SimLine(self.fabric, self.machine, (group, port))

    def datagrams(self, host: str, port: int) -> Any:  # noqa: ARG002
        """A bound UDP socket."""
        return SimDatagrams(self.fabric, self.machine, port)

    def join(self, group: str, port: int, interface: str, receive_buffer: int) -> Any:  # noqa: ARG002
        """A socket that receives what is multicast to a group."""
        return SimDatagrams(self.fabric, self.machine, port, (group, port))

    def read(self, source: Any, receiver: Any, now_ns: int, line: int) -> int:
        """Hand one batch of the datagrams that wait to a receiver machine."""
        count = 0
        while count < READ_DATAGRAMS and source.waiting:
            datagram, _ = source.recvfrom(0)
            receiver.receive_datagram(datagram, now_ns, line)
            count += 1
        return count


class Fabric:
    """All hosts and what connects them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.machines: dict[str, Machine] = {}
        self.listeners: dict[tuple[str, int], SimListener] = {}
        self.bound: dict[tuple[str, int], SimDatagrams] = {}
        self.numbered: dict[int, Pollable] = {}
        self.members: list[SimDatagrams] = []  # of groups
        self.cuts: dict[tuple[str, str], int] = {}
        self.held: list[Pipe] = []
        self.loss = self.duplicates = self.reorder = 0.0
        self.line_loss: dict[tuple[str, int], float] = {}  # of one group, where it is more than that of all
        self.slow = 1
        self.stalls = 0.002  # part of the packets that take very much longer
        self.lost_bytes = 0
        self.on_multicast: Callable[[Machine, bytes], None] = lambda _machine, _packet: None
        self.on_datagram: Callable[[SimDatagrams, bytes], None] = lambda _source, _data: None
        self.on_stream: Callable[[SimSocket, SimSocket, int], None] = lambda _client, _server, _port: None
        self._next_number = FIRST_NUMBER

    def number(self, thing: Pollable) -> int:
        """A descriptor."""
        self._next_number += 1
        self.numbered[self._next_number] = thing
        return self._next_number

    def delay(self) -> int:
        """How long a packet takes: mostly some tens of microseconds, sometimes very much longer."""
        random = self.world.random
        base = random.randrange(20, 120) * MICROSECOND
        if random.random() < self.stalls:
            base += random.randrange(1, 30) * MILLISECOND
        return base * self.slow

    # partitions

    def is_cut(self, source: Machine, target: Machine) -> bool:
        """Whether nothing gets from one to the other."""
        return self.cuts.get((source.name, target.name), 0) > 0

    def cut(self, source: str, target: str) -> None:
        """Nothing goes from one to the other any more. Cuts add up."""
        self.cuts[source, target] = self.cuts.get((source, target), 0) + 1

    def mend(self, source: str, target: str) -> None:
        """Take one cut back."""
        self.cuts[source, target] -= 1
        held, self.held = self.held, []
        for pipe in held:
            pipe.start()

    # streams

    def connect(self, machine: Machine, host: str, port: int) -> SimSocket:
        """Begin to connect; it is tried again as long as there is no answer."""
        socket = SimSocket(self, machine)

        def knock() -> None:
            target = self.machines[host]
            if socket.closed or socket.dead:
                return
            if not target.on or self.is_cut(machine, target) or self.is_cut(target, machine):
                self.world.after(SYN_AGAIN_NS, knock)
                return
            listener = self.listeners.get((host, port))
            if listener is None:
                socket.fail_later(errno.ECONNREFUSED)
                return
            server = SimSocket(self, target)
            socket.out, server.out = Pipe(self, socket, server), Pipe(self, server, socket)
            server.connected = socket.connected = True
            self.on_stream(socket, server, port)
            listener.waiting.append(server)
            if listener.wake is not None:
                listener.wake()
            self.world.after(self.delay(), socket.rouse)

        self.world.after(self.delay() + machine.spent, knock)
        return socket

    # datagrams

    def datagram(self, source: SimDatagrams, address: tuple[str, int], data: bytes) -> None:
        """A datagram to one socket: lost like those to the group."""
        self.on_datagram(source, data)
        target_machine = self.machines[address[0]]
        if self.world.random.random() < self.loss or self.is_cut(source.machine, target_machine):
            return

        def arrive() -> None:
            target = self.bound.get(address)
            if target is not None:
                target.take(data, source.getsockname())

        self.world.after(self.delay() + source.machine.spent, arrive)

    def unbind(self, socket: SimDatagrams) -> None:
        """A UDP socket is closed."""
        if socket.group is None:
            self.bound.pop((socket.machine.name, socket.port), None)
        else:
            self.members.remove(socket)

    def multicast(self, source: Machine, group: tuple[str, int], packet: bytes) -> None:
        """A datagram to whoever has joined."""
        self.on_multicast(source, packet)
        random = self.world.random
        address = (source.name, group[1])
        loss = max(self.loss, self.line_loss.get(group, 0.0))
        for member in self.members:
            if member.group != group:
                continue
            copies = 2 if random.random() < self.duplicates else 1
            for _ in range(copies):
                if random.random() < loss or self.is_cut(source, member.machine):
                    self.lost_bytes += len(packet)
                    continue
                delay = self.delay()
                if random.random() < self.reorder:
                    delay += random.randrange(1, 5) * MILLISECOND

                def arrive(member: SimDatagrams = member) -> None:
                    if not member.take(packet, address):
                        self.lost_bytes += len(packet)

                self.world.after(delay + source.spent, arrive)
