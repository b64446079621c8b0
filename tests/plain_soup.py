"""A SoupBinTCP client in plain Python, from the specification alone: logs in, and takes packets apart."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field

PATIENCE_SECONDS = 20


def login(session: bytes, number: int, user: bytes = b"ALPHA", password: bytes = b"") -> bytes:
    """A Login Request of SoupBinTCP 3.00."""
    fields = user.ljust(6) + password.ljust(10) + session.rjust(10) + str(number).encode().rjust(20)
    return struct.pack(">Hc", 1 + len(fields), b"L") + fields


@dataclass
class Packets:
    """What a server sends: (type, payload) of each whole packet, heartbeats left out."""

    buffer: bytearray = field(default_factory=bytearray)
    found: list[tuple[bytes, bytes]] = field(default_factory=list)

    def feed(self, data: bytes) -> None:
        self.buffer += data
        while len(self.buffer) >= 2:
            (length,) = struct.unpack_from(">H", self.buffer)
            if len(self.buffer) < 2 + length:
                return
            packet = bytes(self.buffer[2 : 2 + length])
            del self.buffer[: 2 + length]
            if packet[:1] != b"H":
                self.found.append((packet[:1], packet[1:]))

    @property
    def kinds(self) -> bytes:
        """The types alone."""
        return b"".join(kind for kind, _ in self.found)

    @property
    def records(self) -> list[bytes]:
        return [payload for kind, payload in self.found if kind == b"S"]

    @property
    def accepted(self) -> tuple[bytes, int] | None:
        """(session, number) of Login Accepted."""
        kind, payload = self.found[0]
        return (payload[:10], int(payload[10:])) if kind == b"A" else None


def replay(address: tuple[str, int], session: bytes, number: int, **who: bytes) -> Packets:
    """Log in, and take everything until the server closes."""
    packets = Packets()
    with socket.create_connection(address, timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(login(session, number, **who))
        while data := connection.recv(1 << 16):
            packets.feed(data)
            if packets.found and packets.found[-1][0] in b"ZJ":
                connection.shutdown(socket.SHUT_WR)
    assert not packets.buffer, "a packet was cut short"
    return packets
