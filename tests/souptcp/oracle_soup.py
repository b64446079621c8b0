"""A second, plain codec of the three framings, written from the specification and not from the package."""

from __future__ import annotations

import struct

LIMIT = 65534


def frame(framing: str, kind: bytes, payload: bytes) -> bytes:
    """One packet; `framing` is "binary", "line 2.00" or "line 3.00"."""
    if framing == "binary":
        return struct.pack(">Hc", 1 + len(payload), kind) + payload
    if framing == "line 2.00" and kind == b"Z":
        return b"S\n"
    return kind + payload + b"\n"


def split(framing: str, data: bytes) -> tuple[list[tuple[bytes, bytes]], int, bool]:
    """The whole packets at the start of `data`, the bytes they take, and whether what follows is broken.

    Broken is what can be seen not to be a packet; an unknown type is broken as soon as it is seen.
    """
    packets: list[tuple[bytes, bytes]] = []
    position = 0
    while position < len(data):
        rest = data[position:]
        if framing == "binary":
            if len(rest) < 2:
                return packets, position, False
            (length,) = struct.unpack(">H", rest[:2])
            if length == 0:
                return packets, position, True
            kind = rest[2:3]
            if kind and kind not in b"+AJSUHZLRO":
                return packets, position, True
            if len(rest) < 2 + length:
                return packets, position, False
            packets.append((kind, rest[3 : 2 + length]))
            position += 2 + length
        else:
            kind = rest[:1]
            if kind not in b"+AJSUHZLRO" or (framing == "line 2.00" and kind == b"Z"):
                return packets, position, True
            line, found, _ = rest.partition(b"\n")
            if len(line) > LIMIT + 1:
                return packets, position, True
            if not found:
                return packets, position, len(line) == LIMIT + 2
            payload = line[1:]
            if framing == "line 2.00" and kind == b"S" and not payload:
                kind = b"Z"
            packets.append((kind, payload))
            position += len(line) + 1
    return packets, position, False


def login(framing: str, user: str, password: str, session: str, number: int, timeout: str = "") -> bytes:
    digits = 10 if framing == "line 2.00" else 20
    text = f"{user:<6}{password:<10}{session:>10}{number:>{digits}}{timeout:>{5 if timeout else 0}}"
    return frame(framing, b"L", text.encode())


def accepted(framing: str, session: str, number: int) -> bytes:
    digits = 10 if framing == "line 2.00" else 20
    return frame(framing, b"A", f"{session:>10}{number:>{digits}}".encode())
