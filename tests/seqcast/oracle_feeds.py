"""The feed formats a second time, in the plainest Python: the oracle of the feed tests."""

from __future__ import annotations


def binaryfile(messages: list[bytes], *, ended: bool = True) -> bytes:
    framed = b"".join(len(message).to_bytes(2, "big") + message for message in messages)
    return framed + (b"\x00\x00" if ended else b"")


def split_binaryfile(data: bytes, limit: int = 65535) -> tuple[list[bytes], int, str]:
    """Messages, the bytes they take with their framing, and how it ends: "" or ended, cut, long, trailing."""
    messages: list[bytes] = []
    position = 0
    while position < len(data):
        rest = memoryview(data)[position:]
        length = int.from_bytes(rest[:2], "big")
        if len(rest) < 2:
            return messages, position, "cut"
        if length == 0:
            return messages, position + 2, "ended" if len(rest) == 2 else "trailing"
        if length > limit:
            return messages, position, "long"
        if len(rest) < 2 + length:
            return messages, position, "cut"
        messages.append(bytes(rest[2 : 2 + length]))
        position += 2 + length
    return messages, position, ""


def split_lines(data: bytes, limit: int) -> tuple[list[bytes], int, str]:
    messages: list[bytes] = []
    position = 0
    for line in data.split(b"\n")[:-1]:
        if len(line) > limit:
            return messages, position, "long"
        messages.append(line)
        position += len(line) + 1
    last = data[position:]
    if len(last) > limit:
        return messages, position, "long"
    return messages + [last] * bool(last), len(data), ""
