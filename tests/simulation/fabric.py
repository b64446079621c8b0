"""The network of the simulator: TCP streams and multicast between hosts, with delay, loss and partitions.

A stream delivers its bytes in order or breaks; a path that is cut holds them back until it is whole again, as
TCP's retransmissions do. A datagram can be lost, come twice, late, or before an earlier one.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from typing import TYPE_CHECKING

from simulation.world import MICROSECOND, MILLISECOND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulation.machine import Machine
    from simulation.world import World

WINDOW_BYTES = 64 * 1024
"""What may be on its way and unread in one direction of a stream."""

SYN_AGAIN_NS = 100 * MILLISECOND
"""A connection that got no answer tries again."""

DATAGRAMS_WAITING = 100
"""What the buffer of a UDP socket holds."""

END = b""
"""In a pipe: the sender has closed its direction."""


class Pipe:
    """One direction of a stream. `tap` sees every byte that enters."""

    def __init__(self, fabric: Fabric, source: SimSocket, target: SimSocket) -> None:
        self.fabric, self.source, self.target = fabric, source, target
        self.queue: deque[tuple[int, bytes | None]] = deque()  # when it arrives, and what; None: a reset
        self.bytes = 0
        self.busy = False
        self.last_ns = 0
        self.tap: Callable[[bytes], None] | None = None

    def push(self, item: bytes | None) -> None:
        """Something leaves the source."""
        if item:
            self.bytes += len(item)
            if self.tap is not None:
                self.tap(item)
        fabric = self.fabric
        self.last_ns = max(self.last_ns, fabric.world.now_ns + self.source.machine.spent + fabric.delay())
        self.queue.append((self.last_ns, item))
        self.start()

    def start(self) -> None:
        """Have the next item arrive when it is due."""
        if not self.busy and self.queue:
            self.busy = True
            self.fabric.world.at(self.queue[0][0], self._arrive)

    def _arrive(self) -> None:
        self.busy = False
        fabric, target = self.fabric, self.target
        if fabric.is_cut(self.source.machine, target.machine):
            fabric.held.append(self)
            return
        while self.queue and self.queue[0][0] <= fabric.world.now_ns:
            _, item = self.queue.popleft()
            if item:
                self.bytes -= len(item)
            if not target.machine.on or target.dead:
                continue  # nobody there to say so
            if target.closed:
                if item is not None:
                    self.source.fail_later(errno.ECONNRESET)
                continue
            target.take(item)
        self.start()


class SimSocket:
    """One end of a stream, with the methods of a socket that the bus uses."""

    def __init__(self, fabric: Fabric, machine: Machine) -> None:
        self.fabric, self.machine = fabric, machine
        self.number = fabric.number(self)
        self.connected = self.closed = self.dead = False
        self.error = 0
        self.ended = self.shut = False
        self.unread = bytearray()
        self.out: Pipe | None = None
        self.wake: Callable[[], None] | None = None
        machine.sockets[self.number] = self

    # socket

    def setblocking(self, _flag: bool) -> None:
        """It never blocks."""

    def fileno(self) -> int:
        return -1 if self.closed else self.number

    def recv_into(self, view: memoryview) -> int:
        if self.closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if self.unread:
            count = min(len(view), len(self.unread))
            view[:count] = self.unread[:count]
            del self.unread[:count]
            self._peer_room()
            return count
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        if self.ended:
            return 0
        raise BlockingIOError

    def send(self, data: memoryview, _flags: int = 0) -> int:
        if self.closed or self.shut:
            raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        room = self._room()
        if room <= 0:
            raise BlockingIOError
        assert self.out is not None
        count = min(room, len(data))
        self.out.push(bytes(data[:count]))
        return count

    def shutdown(self, _how: int) -> None:
        if not self.connected or self.error:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        self.shut = True
        assert self.out is not None
        self.out.push(END)

    def close(self) -> None:
        if self.closed:
            return
        if self.connected and self.out is not None and not self.error:
            if self.unread:
                self.out.push(None)
            elif not self.shut:
                self.out.push(END)
        self.closed = True
        self.machine.sockets.pop(self.number, None)

    # the network's side

    def readable(self) -> bool:
        return bool(self.unread or self.error or self.ended)

    def writable(self) -> bool:
        return bool(self.error) or self._room() > 0

    def take(self, item: bytes | None) -> None:
        """Something arrives."""
        if item is None:
            self.error = errno.ECONNRESET
            self.unread.clear()
        elif item:
            self.unread += item
        else:
            self.ended = True
        self.rouse()

    def fail_later(self, code: int) -> None:
        """The other end says that there is nobody."""

        def fail() -> None:
            if not self.closed and not self.dead and not self.error:
                self.error = code
                self.rouse()

        self.fabric.world.after(self.fabric.delay(), fail)

    def rouse(self) -> None:
        if self.wake is not None:
            self.wake()

    def _room(self) -> int:
        if not self.connected or self.out is None:
            return 0
        return WINDOW_BYTES - self.out.bytes - len(self.out.target.unread)

    def _peer_room(self) -> None:
        if self.out is not None:
            self.out.target.rouse()


class SimListener:
    """A listening port."""

    def __init__(self, fabric: Fabric, machine: Machine, port: int) -> None:
        if (machine.name, port) in fabric.listeners:
            raise OSError(errno.EADDRINUSE, f"cannot listen on {machine.name}:{port}")
        self.fabric, self.machine, self.port = fabric, machine, port
        self.closed = False
        self.number = fabric.number(self)
        self.waiting: deque[SimSocket] = deque()
        self.wake: Callable[[], None] | None = None
        fabric.listeners[machine.name, port] = self
        machine.sockets[self.number] = self

    def fileno(self) -> int:
        return -1 if self.closed else self.number

    def accept(self) -> Iterator[SimSocket]:
        while self.waiting:
            yield self.waiting.popleft()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.fabric.listeners.pop((self.machine.name, self.port), None)
            self.machine.sockets.pop(self.number, None)
            for socket in self.waiting:
                socket.close()

    def readable(self) -> bool:
        return bool(self.waiting)

    def writable(self) -> bool:
        return False


class SimLine:
    """A socket that sends to the multicast group."""

    def __init__(self, fabric: Fabric, machine: Machine, group: str) -> None:
        self.fabric, self.machine, self.group = fabric, machine, group

    def fileno(self) -> int:
        return -1

    def send(self, packet: bytes) -> int:
        self.fabric.multicast(self.machine, self.group, packet)
        return len(packet)

    def close(self) -> None:
        """Nothing to let go of."""


class SimDatagrams:
    """A UDP socket."""

    def __init__(self, fabric: Fabric, machine: Machine, port: int) -> None:
        self.fabric, self.machine = fabric, machine
        self.number = fabric.number(self)
        self.port = port or self.number
        self.closed = self.dead = False
        self.waiting: deque[tuple[bytes, tuple[str, int]]] = deque()
        self.wake: Callable[[], None] | None = None
        fabric.bound[machine.name, self.port] = self
        machine.sockets[self.number] = self

    def fileno(self) -> int:
        return -1 if self.closed else self.number

    def getsockname(self) -> tuple[str, int]:
        return self.machine.name, self.port

    def recvfrom(self, _size: int) -> tuple[bytes, tuple[str, int]]:
        if not self.waiting:
            raise BlockingIOError
        return self.waiting.popleft()

    def sendto(self, data: bytes, address: tuple[str, int]) -> int:
        self.fabric.datagram(self, address, bytes(data))
        return len(data)

    def close(self) -> None:
        self.closed = True
        self.fabric.bound.pop((self.machine.name, self.port), None)
        self.machine.sockets.pop(self.number, None)

    def readable(self) -> bool:
        return bool(self.waiting)

    def writable(self) -> bool:
        return True


class Host:
    """The network as one machine sees it: `rewinder.network.Network`."""

    def __init__(self, fabric: Fabric, machine: Machine) -> None:
        self.fabric, self.machine = fabric, machine

    def listen(self, _host: str, port: int) -> SimListener:
        return SimListener(self.fabric, self.machine, port)

    def connect(self, host: str, port: int) -> SimSocket:
        return self.fabric.connect(self.machine, host, port)

    def multicast(self, group: str, _port: int, _interface: str, _ttl: int) -> SimLine:
        return SimLine(self.fabric, self.machine, group)

    def datagrams(self, _host: str, port: int) -> SimDatagrams:
        return SimDatagrams(self.fabric, self.machine, port)


class Fabric:
    """All hosts and what connects them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.machines: dict[str, Machine] = {}
        self.listeners: dict[tuple[str, int], SimListener] = {}
        self.bound: dict[tuple[str, int], SimDatagrams] = {}
        self.numbered: dict[int, SimSocket | SimListener | SimDatagrams] = {}
        self.members: list[tuple[Machine, str, Callable[[bytes], None]]] = []
        self.cuts: dict[tuple[str, str], int] = {}
        self.held: list[Pipe] = []
        self.loss = self.duplicates = self.reorder = 0.0
        self.slow = 1
        self.lost_bytes = 0
        self.on_multicast: Callable[[Machine, bytes], None] = lambda _machine, _packet: None
        self.on_datagram: Callable[[SimDatagrams, bytes], None] = lambda _source, _data: None
        self.on_stream: Callable[[SimSocket, SimSocket, int], None] = lambda _client, _server, _port: None
        self._next_number = 100

    def number(self, thing: SimSocket | SimListener | SimDatagrams) -> int:
        """A descriptor."""
        self._next_number += 1
        self.numbered[self._next_number] = thing
        return self._next_number

    def delay(self) -> int:
        """How long a packet takes: mostly some tens of microseconds, sometimes very much longer."""
        random = self.world.random
        base = random.randrange(20, 120) * MICROSECOND
        if random.random() < 0.002:
            base += random.randrange(1, 30) * MILLISECOND
        return base * self.slow

    # partitions

    def is_cut(self, source: Machine, target: Machine) -> bool:
        return self.cuts.get((source.name, target.name), 0) > 0

    def cut(self, source: str, target: str) -> None:
        """Nothing goes from one to the other any more. Cuts add up."""
        self.cuts[source, target] = self.cuts.get((source, target), 0) + 1

    def mend(self, source: str, target: str) -> None:
        self.cuts[source, target] -= 1
        held, self.held = self.held, []
        for pipe in held:
            pipe.start()

    # streams

    def connect(self, machine: Machine, host: str, port: int) -> SimSocket:
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
            if target is not None and len(target.waiting) < DATAGRAMS_WAITING:
                target.waiting.append((data, source.getsockname()))
                if target.wake is not None:
                    target.wake()

        self.world.after(self.delay() + source.machine.spent, arrive)

    def join(self, machine: Machine, group: str, take: Callable[[bytes], None]) -> None:
        self.members.append((machine, group, take))

    def leave(self, machine: Machine) -> None:
        self.members = [member for member in self.members if member[0] is not machine]

    def multicast(self, source: Machine, group: str, packet: bytes) -> None:
        """A datagram to whoever has joined."""
        self.on_multicast(source, packet)
        random = self.world.random
        for machine, joined, take in self.members:
            if joined != group:
                continue
            copies = 2 if random.random() < self.duplicates else 1
            for _ in range(copies):
                if random.random() < self.loss or self.is_cut(source, machine):
                    self.lost_bytes += len(packet)
                    continue
                delay = self.delay()
                if random.random() < self.reorder:
                    delay += random.randrange(1, 5) * MILLISECOND
                self.world.after(delay + source.spent, lambda take=take: take(packet))
