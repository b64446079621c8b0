"""A small order book that knows nothing of the generator: it takes ITCH messages by their byte offsets alone
and fails on the first that contradicts what went before."""

from __future__ import annotations

from collections import defaultdict


def number(message: bytes, start: int, end: int) -> int:
    return int.from_bytes(message[start:end], "big")


class Book:
    """Living orders by reference: [locate, side, shares, price]; and by stock and side."""

    def __init__(self) -> None:
        self.orders: dict[int, list] = {}
        self.sides: dict[tuple[int, bytes], set[int]] = defaultdict(set)
        self.stocks: dict[int, bytes] = {}
        self.highest_reference = 0
        self.highest_match = 0
        self.volume: dict[str, int] = defaultdict(int)
        self.takes = {
            "R": self.stock,
            "A": self.add,
            "F": self.add,
            "U": self.replace,
            "D": self.delete,
            "X": self.cancel,
            "E": self.execute,
            "C": self.execute_with_price,
            "P": self.trade,
            "Q": self.cross,
        }

    def feed(self, message: bytes) -> None:
        take = self.takes.get(chr(message[0]))
        if take is not None:
            take(message, number(message, 1, 3))

    def feed_all(self, messages: list[bytes]) -> None:
        for message in messages:
            self.feed(message)

    def stock(self, message: bytes, locate: int) -> None:
        assert locate not in self.stocks
        self.stocks[locate] = message[11:19]

    def add(self, message: bytes, locate: int) -> None:
        assert self.stocks[locate] == message[24:32]
        self.enter(
            number(message, 11, 19), locate, message[19:20], number(message, 20, 24), number(message, 32, 36)
        )

    def replace(self, message: bytes, locate: int) -> None:
        reference = number(message, 11, 19)
        side = self.orders[reference][1]
        self.leave(reference, locate)
        self.enter(number(message, 19, 27), locate, side, number(message, 27, 31), number(message, 31, 35))

    def delete(self, message: bytes, locate: int) -> None:
        self.leave(number(message, 11, 19), locate)

    def cancel(self, message: bytes, locate: int) -> None:
        reference, shares = number(message, 11, 19), number(message, 19, 23)
        assert 0 < shares < self.orders[reference][2]  # what takes all is a delete
        self.reduce(reference, locate, shares)

    def execute_with_price(self, message: bytes, locate: int) -> None:
        assert message[31:32] in (b"Y", b"N")
        displayed = self.orders[number(message, 11, 19)][3]
        assert 0 < abs(number(message, 32, 36) - displayed) <= displayed // 10
        self.execute(message, locate)

    def trade(self, message: bytes, locate: int) -> None:
        assert (number(message, 11, 19), message[19:20]) == (0, b"B")
        assert number(message, 20, 24) > 0
        assert message[24:32] == self.stocks[locate]
        price = number(message, 32, 36)
        for side, sign in ((b"B", 1), (b"S", -1)):
            assert all(sign * (price - self.orders[each][3]) >= 0 for each in self.sides[locate, side])
        self.matched(number(message, 36, 44))

    def cross(self, message: bytes, locate: int) -> None:
        assert number(message, 11, 19) > 0
        assert message[19:27] == self.stocks[locate]
        assert message[39:40] in (b"O", b"C")
        self.matched(number(message, 31, 39))

    def execute(self, message: bytes, locate: int) -> None:
        reference, shares = number(message, 11, 19), number(message, 19, 23)
        _, side, _, price = self.orders[reference]
        for each in self.sides[locate, side]:  # nobody stands before it: better price, or earlier at the same
            other = self.orders[each][3]
            better = other > price if side == b"B" else other < price
            assert not better
            assert other != price or each >= reference
        self.reduce(reference, locate, shares)
        self.matched(number(message, 23, 31))
        self.volume[chr(message[0])] += shares

    def enter(self, reference: int, locate: int, side: bytes, shares: int, price: int) -> None:
        assert reference > self.highest_reference
        self.highest_reference = reference
        assert side in (b"B", b"S")
        assert shares > 0
        assert 0 < price <= 2_000_000_000  # section 4: price(4) has a maximum of 200,000.0000
        assert price % 100 == 0
        self.orders[reference] = [locate, side, shares, price]
        self.sides[locate, side].add(reference)
        buys = [self.orders[each][3] for each in self.sides[locate, b"B"]]
        sells = [self.orders[each][3] for each in self.sides[locate, b"S"]]
        assert not buys or not sells or max(buys) < min(sells)

    def reduce(self, reference: int, locate: int, shares: int) -> None:
        order = self.orders[reference]
        assert order[0] == locate
        assert 0 < shares <= order[2]
        order[2] -= shares
        if order[2] == 0:
            self.leave(reference, locate)

    def leave(self, reference: int, locate: int) -> None:
        order = self.orders.pop(reference)
        assert order[0] == locate
        self.sides[locate, order[1]].remove(reference)

    def matched(self, match: int) -> None:
        assert match > self.highest_match
        self.highest_match = match
