"""The seam between the bus and the network: how nodes and apps listen, connect, multicast, and take datagrams.

`SocketNetwork` is the network of the machine. A simulator has another one, whose connections and listeners look
the same to `souptcp.Connection` and to the services, so that everything above runs unchanged.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from moldudp.sockets import granted_receive_buffer, multicast_receiver, multicast_sender, request_socket
from souptcp import Listener, connect

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    import moldudp

logger = logging.getLogger("seqcast")


class Listening(Protocol):
    """A listening port; see `souptcp.Listener`."""

    @property
    def port(self) -> int:
        """The port."""

    def fileno(self) -> int:
        """The descriptor to wait on."""

    def accept(self) -> Iterator[socket.socket]:
        """Take the connections that wait."""

    def close(self) -> None:
        """Stop listening."""


class Network(Protocol):
    """Where ports and connections come from. Everything raises OSError naming the address."""

    def listen(self, host: str, port: int) -> Listening:
        """Listen for TCP connections; port 0 takes a free one."""

    def connect(self, host: str, port: int) -> socket.socket:
        """Begin to connect; a failure may show later, when the connection is used."""

    def multicast(self, group: str, port: int, interface: str, ttl: int) -> socket.socket:
        """A socket that sends to a group."""

    def datagrams(self, host: str, port: int) -> socket.socket:
        """A bound UDP socket; port 0 takes a free one."""

    def join(self, group: str, port: int, interface: str, receive_buffer: int) -> socket.socket:
        """A socket that receives what is multicast to a group; `receive_buffer` in bytes."""

    def read(
        self, source: socket.socket, receiver: moldudp.Receiver | moldudp.Faults, now_ns: int, line: int
    ) -> int:
        """Hand one batch of the datagrams that wait in a socket to a receiver machine; returns how many."""


class SocketNetwork:
    """The network of this machine. Says once when it gives less room for datagrams than was asked for."""

    def __init__(self) -> None:
        self._warned = False

    def listen(self, host: str, port: int) -> Listening:
        """Listen for TCP connections; port 0 takes a free one."""
        return Listener(host, port)

    def connect(self, host: str, port: int) -> socket.socket:
        """Begin to connect."""
        return connect(host, port)

    def multicast(self, group: str, port: int, interface: str, ttl: int) -> socket.socket:
        """A socket that sends to a group."""
        return multicast_sender(group, port, interface, ttl=ttl)

    def datagrams(self, host: str, port: int) -> socket.socket:
        """A bound UDP socket; port 0 takes a free one."""
        return request_socket(host, port)

    def join(self, group: str, port: int, interface: str, receive_buffer: int) -> socket.socket:
        """A socket that receives what is multicast to a group."""
        joined = multicast_receiver(group, port, interface, receive_buffer=receive_buffer, coalesced=True)
        granted = granted_receive_buffer(joined)
        if granted < receive_buffer and not self._warned:
            self._warned = True
            logger.warning(
                "the kernel gives a line %d KiB of the %d that were asked for: bursts may be lost, and have to be "
                "repaired; sysctl -w net.core.rmem_max=%d allows more",
                granted // 1024,
                receive_buffer // 1024,
                receive_buffer,
            )
        return joined

    def read(
        self, source: socket.socket, receiver: moldudp.Receiver | moldudp.Faults, now_ns: int, line: int
    ) -> int:
        """Hand one batch of datagrams to a receiver machine."""
        return receiver.receive_from(source.fileno(), now_ns, line)
