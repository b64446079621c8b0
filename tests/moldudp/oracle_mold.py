"""A second MoldUDP64 and MoldUDP, in plain Python and with nothing of the package: the judge of the first.

Slow and direct on purpose: packets are taken apart with slices, and the receiver is a dictionary.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Rules:
    """What sets the two protocols apart."""

    order: str
    number_bytes: int
    end_count: int | None
    end_by_empty: bool

    @property
    def header_bytes(self) -> int:
        return 12 + self.number_bytes


RULES = {"MoldUDP64": Rules("big", 8, 0xFFFF, False), "MoldUDP": Rules("little", 4, None, True)}


def header(name: str, session: bytes, number: int, count: int) -> bytes:
    rules = RULES[name]
    return session + number.to_bytes(rules.number_bytes, rules.order) + count.to_bytes(2, rules.order)


def encode(name: str, session: bytes, number: int, messages: list[bytes]) -> bytes:
    data = header(name, session, number, len(messages))
    for message in messages:
        data += len(message).to_bytes(2, RULES[name].order) + message
    return data


def decode(name: str, data: bytes) -> tuple[bytes, int, int, list[bytes], bool] | None:
    """(session, number, count, messages, whether it ends the session), or None when malformed."""
    rules = RULES[name]
    if len(data) < rules.header_bytes:
        return None
    number = int.from_bytes(data[10 : 10 + rules.number_bytes], rules.order)
    count = int.from_bytes(data[10 + rules.number_bytes : rules.header_bytes], rules.order)
    if count == rules.end_count:
        return data[:10], number, count, [], True
    rest = data[rules.header_bytes :]
    messages = []
    for _ in range(count):
        length = int.from_bytes(rest[:2], rules.order)
        if len(rest) < 2 + length:
            return None
        messages.append(rest[2 : 2 + length])
        rest = rest[2 + length :]
    if rules.end_by_empty and b"" in messages:
        return data[:10], number, count, messages[: messages.index(b"")], True
    return data[:10], number, count, messages, False


@dataclass
class Reception:
    """A receiver of good packets, without limits: everything heard, and how far it was delivered."""

    next_number: int = 1
    highest: int = 1
    heard: dict[int, bytes] = field(default_factory=dict)

    def take(self, number: int, messages: list[bytes]) -> None:
        for position, message in enumerate(messages):
            self.heard.setdefault(number + position, message)
        self.highest = max(self.highest, number + len(messages))

    def advance(self, number: int) -> None:
        self.next_number = max(self.next_number, number)
        self.highest = max(self.highest, number)

    def deliver(self) -> list[tuple[int, bytes]]:
        delivered = []
        while self.next_number in self.heard:
            delivered.append((self.next_number, self.heard[self.next_number]))
            self.next_number += 1
        return delivered

    def gaps(self) -> list[tuple[int, int]]:
        gaps: list[tuple[int, int]] = []
        for number in range(self.next_number, self.highest):
            if number in self.heard:
                continue
            if gaps and sum(gaps[-1]) == number:
                gaps[-1] = (gaps[-1][0], gaps[-1][1] + 1)
            else:
                gaps.append((number, 1))
        return gaps
