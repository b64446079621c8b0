"""UDP in the simulator: sockets that send to a group, and sockets that take datagrams."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from seqcast.testing.fabric import Fabric
    from seqcast.testing.machine import Machine

DATAGRAMS_WAITING = 100
"""What the buffer of a UDP socket holds; what comes beyond it is lost."""


class SimLine:
    """A socket that sends to a multicast group."""

    def __init__(self, fabric: Fabric, machine: Machine, group: tuple[str, int]) -> None:
        self.fabric, self.machine, self.group = fabric, machine, group

    def fileno(self) -> int:
        """There is nothing to wait for."""
        return -1

    def send(self, packet: bytes) -> int:
        """Multicast a datagram."""
        self.fabric.multicast(self.machine, self.group, packet)
        return len(packet)

    def close(self) -> None:
        """Nothing to let go of."""


class SimDatagrams:
    """A UDP socket: bound to a port of its machine, or to a group."""

    def __init__(
        self, fabric: Fabric, machine: Machine, port: int, group: tuple[str, int] | None = None
    ) -> None:
        self.fabric, self.machine, self.group = fabric, machine, group
        self.number = fabric.number(self)
        self.port = port or self.number
        self.closed = self.dead = False
        self.waiting: deque[tuple[bytes, tuple[str, int]]] = deque()
        self.wake: Callable[[], None] | None = None
        if group is None:
            fabric.bound[machine.name, self.port] = self
        else:
            fabric.members.append(self)
        machine.sockets[self.number] = self

    def fileno(self) -> int:
        """The descriptor; -1 when closed."""
        return -1 if self.closed else self.number

    def getsockname(self) -> tuple[str, int]:
        """Where it is bound."""
        return self.machine.name, self.port

    def recvfrom(self, _size: int) -> tuple[bytes, tuple[str, int]]:
        """The datagram that waits longest, and where it came from."""
        if not self.waiting:
            raise BlockingIOError
        return self.waiting.popleft()

    def sendto(self, data: bytes, address: tuple[str, int]) -> int:
        """Send a datagram to one socket."""
        self.fabric.datagram(self, address, bytes(data))
        return len(data)

    def take(self, data: bytes, source: tuple[str, int]) -> bool:
        """A datagram arrives; False when the buffer is full."""
        if self.closed or self.dead or len(self.waiting) >= DATAGRAMS_WAITING:
            return False
        self.waiting.append((data, source))
        if self.wake is not None:
            self.wake()
        return True

    def close(self) -> None:
        """Unbind, and leave the group."""
        if self.closed:
            return
        self.closed = True
        self.machine.sockets.pop(self.number, None)
        self.fabric.numbered.pop(self.number, None)
        self.fabric.unbind(self)

    def readable(self) -> bool:
        """Whether a datagram waits."""
        return bool(self.waiting)

    def writable(self) -> bool:
        """Always."""
        return True
