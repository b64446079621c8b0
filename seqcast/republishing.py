"""Multicasting a stream again: the lines that it goes to, and the port where what was lost is requested."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

from attrs import define, field

from moldudp import MOLDUDP64, RequestServer, multicast_sender, request_socket
from rewinder.requests import RequestPort

if TYPE_CHECKING:
    import socket

    from seqcast.recent import RecentPackets
    from seqcast.settings import Line

WAIT_MS = 10
"""How long one wait for a full socket is."""

WAITS_MOST = 100
"""Waits for one packet; then it is lost on that line, as it would be on any other network."""


@define(eq=False)
class Lines:
    """Sockets to the groups `lines`; every packet goes to all of them.

    `waits` counts how often a socket was full, `lost` the packets that a line refused. Making it raises OSError.
    """

    lines: tuple[Line, ...]
    interface: str
    ttl: int
    datagrams: int = field(default=0, init=False)
    waits: int = field(default=0, init=False)
    lost: int = field(default=0, init=False)
    _sockets: list[socket.socket] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        try:
            for line in self.lines:
                self._sockets.append(multicast_sender(line.group, line.port, self.interface, ttl=self.ttl))
        except BaseException:
            self.close()
            raise

    def send(self, packet: bytes) -> None:
        """Multicast a packet."""
        for line in self._sockets:
            self._send(line, packet)

    def close(self) -> None:
        """Let go of the sockets."""
        for line in self._sockets:
            line.close()
        self._sockets.clear()

    def _send(self, line: socket.socket, packet: bytes) -> None:
        for _ in range(WAITS_MOST):
            try:
                line.send(packet)
            except BlockingIOError:
                self.waits += 1
                poll = select.poll()
                poll.register(line, select.POLLOUT)
                poll.poll(WAIT_MS)
            except OSError:  # no route, no buffers: who misses it asks for it
                break
            else:
                self.datagrams += 1
                return
        self.lost += 1


def open_requests(store: RecentPackets, interface: str, port: int, capacity: int) -> RequestPort:
    """A request server for what was sent last. Raises OSError naming the port."""
    server = RequestServer(MOLDUDP64, store, capacity=capacity)
    return RequestPort(server, request_socket(interface, port))
