"""UDP sockets for the protocols: multicast in, multicast out, and one for requests. All are non-blocking.

Groups, interfaces and sources are IPv4 addresses as text; `interface` is the address of the network card to
use, 127.0.0.1 for streams that stay on the machine. What the operating system refuses comes out as OSError
that says which group, port and interface it was about.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING

from moldudp._native import SEGMENTS
from moldudp.errors import LocalProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "RECEIVE_BUFFER",
    "SEGMENTS",
    "SEND_BUFFER",
    "granted_receive_buffer",
    "multicast_receiver",
    "multicast_sender",
    "read_datagrams",
    "request_socket",
]

RECEIVE_BUFFER = 8 * 1024 * 1024
"""Bytes asked of the kernel for a receiving socket: some 5000 full frames, 40 ms of a 1 Gbit/s line."""

SEND_BUFFER = 1024 * 1024
"""Bytes asked of the kernel for a multicast sender: a batch of full packets for several lines."""

# linux/in.h and asm-generic/socket.h; Python 3.11 does not name them.
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
_IP_ADD_SOURCE_MEMBERSHIP = 39
_IP_MULTICAST_ALL = 49
_UDP_GRO = 104

_GRO_BYTES = struct.calcsize("i")
_BUFFER_BYTES = 65536  # more than any datagram, or all that are coalesced


def multicast_receiver(
    group: str,
    port: int,
    interface: str,
    *,
    source: str | None = None,
    receive_buffer: int = RECEIVE_BUFFER,
    coalesced: bool = False,
) -> socket.socket:
    """A socket that receives what is multicast to `group`:`port` on `interface`, and nothing else.

    With `coalesced`, a read may bring many datagrams of one size, where the kernel can do it (UDP_GRO) and their
    sender or the network card has them so: `Receiver.receive_from` and `read_datagrams` take them apart; others must
    not read from it. With `source`, only packets that this host sent. Several sockets may receive one group on one
    machine. What the kernel granted of `receive_buffer` bytes is told by `granted_receive_buffer`.
    """
    what = f"cannot receive multicast {group}:{port} on interface {interface}"
    if source is not None:
        what += f" from source {source}"
    group_bytes, interface_bytes = _multicast(group), _address(interface)
    with _named(what), _opened() as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _set_buffer(receiver, _SO_RCVBUFFORCE, socket.SO_RCVBUF, receive_buffer)
        if coalesced:
            with contextlib.suppress(OSError):  # Linux before 5.0: they come one by one
                receiver.setsockopt(socket.IPPROTO_UDP, _UDP_GRO, 1)
        # Bound to the group: a unicast packet, or another group's, to this port is not ours.
        receiver.bind((group, port))
        # Only what this socket joined, on the interface where it joined it.
        receiver.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        if source is None:
            membership = group_bytes + interface_bytes
            receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        else:
            membership = group_bytes + interface_bytes + _address(source)
            receiver.setsockopt(socket.IPPROTO_IP, _IP_ADD_SOURCE_MEMBERSHIP, membership)
        return receiver


def multicast_sender(
    group: str,
    port: int,
    interface: str,
    *,
    ttl: int = 1,
    loopback: bool = True,
    send_buffer: int = SEND_BUFFER,
) -> socket.socket:
    """A socket connected to `group`:`port`: `send` multicasts on `interface`.

    `ttl` is the number of networks a packet may enter; `loopback` lets receivers on this machine hear it.
    """
    group_bytes, interface_bytes = _multicast(group), _address(interface)
    with _named(f"cannot multicast to {group}:{port} on interface {interface}"), _opened() as sender:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface_bytes)
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, struct.pack("i", ttl))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, struct.pack("i", loopback))
        _set_buffer(sender, _SO_SNDBUFFORCE, socket.SO_SNDBUF, send_buffer)
        sender.connect((socket.inet_ntoa(group_bytes), port))
        return sender


def request_socket(interface: str, port: int = 0, *, receive_buffer: int = RECEIVE_BUFFER) -> socket.socket:
    """A UDP socket bound to `interface`, at a port of the kernel's choice unless one is given.

    A receiver sends its requests and takes the replies with it; a request server binds its known port with
    it.
    """
    _address(interface)
    with _named(f"cannot bind UDP port {port} on interface {interface}"), _opened() as unicast:
        _set_buffer(unicast, _SO_RCVBUFFORCE, socket.SO_RCVBUF, receive_buffer)
        unicast.bind((interface, port))
        return unicast


def read_datagrams(fileno: int) -> list[bytes]:
    """One datagram, or several that were coalesced, from a socket; raises BlockingIOError when none waits."""
    reader = socket.socket(fileno=fileno)
    try:
        data, control, _flags, _sender = reader.recvmsg(_BUFFER_BYTES, socket.CMSG_SPACE(_GRO_BYTES))
    finally:
        reader.detach()
    for level, kind, value in control:
        if (level, kind) == (socket.IPPROTO_UDP, _UDP_GRO):
            (size,) = struct.unpack("i", value)
            if 0 < size < len(data):
                return [data[at : at + size] for at in range(0, len(data), size)]
    return [data]


def granted_receive_buffer(receiver: socket.socket) -> int:
    """The size that the kernel gave the socket's receive buffer, in the bytes that were asked for.

    Without the privilege to force it, `net.core.rmem_max` is the limit. A burst that does not fit is lost.
    """
    doubled = receiver.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)  # the kernel counts its own use, too
    return doubled // 2


def _set_buffer(owner: socket.socket, force: int, plain: int, size: int) -> None:
    """Set a buffer size past the system's limit where we may, and up to it where we may not."""
    try:
        owner.setsockopt(socket.SOL_SOCKET, force, size)
    except PermissionError:
        owner.setsockopt(socket.SOL_SOCKET, plain, size)


def _address(text: str) -> bytes:
    try:
        return IPv4Address(text).packed
    except AddressValueError:
        raise LocalProtocolError(f"{text!r} is not an IPv4 address") from None


def _multicast(text: str) -> bytes:
    packed = _address(text)
    if not IPv4Address(packed).is_multicast:
        raise LocalProtocolError(f"{text} is not a multicast group: those are 224.0.0.0 to 239.255.255.255")
    return packed


@contextlib.contextmanager
def _opened() -> Iterator[socket.socket]:
    """A new non-blocking UDP socket, closed again when setting it up fails."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        opened.setblocking(False)
        yield opened
    except BaseException:
        opened.close()
        raise


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    """Say in an operating system error, and an impossible port, what could not be done."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"{what}: {error.strerror}") from error
    except OverflowError as error:
        raise LocalProtocolError(f"{what}: {error}") from error
