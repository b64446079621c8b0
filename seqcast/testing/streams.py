"""TCP in the simulator: streams between hosts. A stream delivers its bytes in order or breaks."""

from __future__ import annotations

import errno
import os
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from seqcast.testing.fabric import Fabric
    from seqcast.testing.machine import Machine

WINDOW_BYTES = 64 * 1024
"""What may be on its way and unread in one direction of a stream."""

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
        """The descriptor; -1 when closed."""
        return -1 if self.closed else self.number

    def getpeername(self) -> tuple[str, int]:
        """The machine at the other end, and the number of the socket there."""
        if self.out is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        return self.out.target.machine.name, self.out.target.number

    def recv_into(self, view: memoryview) -> int:
        """Take what has come."""
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
        """Send what the window holds."""
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

    def sendmsg(self, buffers: Iterable[memoryview]) -> int:
        """Send several pieces as if they were one."""
        return self.send(memoryview(b"".join(buffers)))

    def shutdown(self, _how: int) -> None:
        """End our direction."""
        if not self.connected or self.error:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        self.shut = True
        assert self.out is not None
        self.out.push(END)

    def close(self) -> None:
        """Close; with something unread that is a reset."""
        if self.closed:
            return
        if self.connected and self.out is not None and not self.error:
            if self.unread:
                self.out.push(None)
            elif not self.shut:
                self.out.push(END)
        self.closed = True
        self.machine.sockets.pop(self.number, None)
        self.fabric.numbered.pop(self.number, None)

    # the network's side

    def readable(self) -> bool:
        """Whether there is something to read, be it an end."""
        return bool(self.unread or self.error or self.ended)

    def writable(self) -> bool:
        """Whether something may be sent."""
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
        """Tell whoever waits."""
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
        """The descriptor; -1 when closed."""
        return -1 if self.closed else self.number

    def accept(self) -> Iterator[SimSocket]:
        """Take the connections that wait."""
        while self.waiting:
            yield self.waiting.popleft()

    def close(self) -> None:
        """Stop listening."""
        if not self.closed:
            self.closed = True
            self.fabric.listeners.pop((self.machine.name, self.port), None)
            self.machine.sockets.pop(self.number, None)
            self.fabric.numbered.pop(self.number, None)
            for socket in self.waiting:
                socket.close()

    def readable(self) -> bool:
        """Whether a connection waits."""
        return bool(self.waiting)

    def writable(self) -> bool:
        """Never."""
        return False
