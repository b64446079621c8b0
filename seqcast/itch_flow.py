"""Order flow: what happens to the displayed orders of the generator's stocks, one message at a time."""

from __future__ import annotations

from bisect import bisect
from itertools import accumulate
from typing import TYPE_CHECKING

from seqcast.itch_book import BUY, SELL, TICK, Book, Order
from seqcast.itch_messages import MESSAGE_TYPES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

DAY_MIX = {
    "add": 136_520,
    "add_attributed": 2_720,
    "delete": 133_810,
    "replace": 21_940,
    "execute": 6_690,
    "cancel": 5_090,
    "trade": 1_120,
    "execute_with_price": 157,
}
"""Order flow of 2018-03-29 by type, in thousands of messages."""

SHALLOW = 8
"""In a book with at most so many orders, what needs an order waits for a deeper one and one is added."""

DEEP = 16
"""In a book with more orders than that, what waits goes ahead of a new order."""

MARKET_MAKERS = (b"ATSM", b"NORD", b"PIER", b"QUAY", b"RUDD", b"SOLE", b"TIDE", b"VANE")
"""Made-up participants: eight, because three random bits choose one."""

_ACTIONS = tuple(DAY_MIX)
_ACTION_LIMITS = list(accumulate(DAY_MIX.values()))

_pack_add = MESSAGE_TYPES["A"].layout.pack
_pack_add_attributed = MESSAGE_TYPES["F"].layout.pack
_pack_execute = MESSAGE_TYPES["E"].layout.pack
_pack_execute_with_price = MESSAGE_TYPES["C"].layout.pack
_pack_cancel = MESSAGE_TYPES["X"].layout.pack
_pack_delete = MESSAGE_TYPES["D"].layout.pack
_pack_replace = MESSAGE_TYPES["U"].layout.pack
_pack_trade = MESSAGE_TYPES["P"].layout.pack


class Flow:
    """Random but consistent order flow over a few books."""

    def __init__(self, books: Sequence[Book], random: Random) -> None:
        self._books = books
        self._random = random
        self._reference = 0
        self._match = 0
        # Actions that found a shallow book and are made up for in a deep one. They stay few, because the mix
        # takes away about as many orders as it adds.
        self._waiting: list[str] = []
        self._actions = {
            "add": self._add,
            "add_attributed": self._add_attributed,
            "delete": self._delete,
            "replace": self._replace,
            "execute": self._execute,
            "cancel": self._cancel,
            "trade": self._trade,
            "execute_with_price": self._execute_with_price,
        }

    def message(self, high: int, low: int) -> bytes:
        """Let one thing happen at the time `high << 32 | low`."""
        random, books = self._random, self._books
        action = _ACTIONS[bisect(_ACTION_LIMITS, int(random.random() * _ACTION_LIMITS[-1]))]
        chance = random.random()
        book = books[int(chance * chance * len(books))]  # few stocks have most of the traffic
        return self._actions[self._fit(action, book)](book, high, low)

    def next_match(self) -> int:
        """Return a new match number, above all before."""
        self._match += 1 + self._random.getrandbits(2)
        return self._match

    def _fit(self, action: str, book: Book) -> str:
        """Keep books from running dry and from growing, without changing the mix of the day."""
        if action == "add":
            if self._waiting and len(book.orders) > DEEP:
                return self._waiting.pop()
        elif len(book.orders) <= SHALLOW and action not in {"add_attributed", "trade"}:
            self._waiting.append(action)
            return "add"
        return action

    def _new_order(self, book: Book) -> Order:
        random = self._random
        side = BUY if random.getrandbits(1) else SELL
        order = Order(self._next_reference(), side, self._shares(), book.passive_price(side, random))
        book.add(order)
        book.drift(random)
        return order

    def _next_reference(self) -> int:
        self._reference += 1 + self._random.getrandbits(3)
        return self._reference

    def _shares(self) -> int:
        """Draw a size: an odd lot one time in eight, else 1 to 10 round lots, few more often than many."""
        random = self._random
        if random.getrandbits(3) == 0:
            return 1 + int(random.random() * 99)
        chance = random.random()
        return 100 * (1 + int(chance * chance * 10))

    def _add(self, book: Book, high: int, low: int) -> bytes:
        order = self._new_order(book)
        return _pack_add(
            b"A",
            book.locate,
            0,
            high,
            low,
            order.reference,
            order.side,
            order.shares,
            book.stock,
            order.price,
        )

    def _add_attributed(self, book: Book, high: int, low: int) -> bytes:
        order = self._new_order(book)
        maker = MARKET_MAKERS[self._random.getrandbits(3)]
        head = (book.locate, 0, high, low, order.reference)
        return _pack_add_attributed(b"F", *head, order.side, order.shares, book.stock, order.price, maker)

    def _delete(self, book: Book, high: int, low: int) -> bytes:
        order = book.any(self._random)
        book.remove(order)
        return _pack_delete(b"D", book.locate, 0, high, low, order.reference)

    def _replace(self, book: Book, high: int, low: int) -> bytes:
        old = book.any(self._random)
        book.remove(old)
        price = book.passive_price(old.side, self._random)
        new = Order(self._next_reference(), old.side, self._shares(), price)
        book.add(new)
        return _pack_replace(
            b"U", book.locate, 0, high, low, old.reference, new.reference, new.shares, new.price
        )

    def _cancel(self, book: Book, high: int, low: int) -> bytes:
        order = book.any(self._random)
        if order.shares < 2:  # nothing can be taken from it and something left
            return self._delete(book, high, low)
        shares = 1 + int(self._random.random() * (order.shares - 1))
        order.shares -= shares
        return _pack_cancel(b"X", book.locate, 0, high, low, order.reference, shares)

    def _fill(self, book: Book) -> tuple[Order, int]:
        """Execute the next order in line: all of it three times in four."""
        order = book.next_to_trade(self._random)
        assert order is not None
        shares = order.shares
        if self._random.getrandbits(2) == 0 and shares > 1:
            shares = 1 + int(self._random.random() * (shares - 1))
        if shares == order.shares:
            book.remove(order)
        else:
            order.shares -= shares
        return order, shares

    def _execute(self, book: Book, high: int, low: int) -> bytes:
        order, shares = self._fill(book)
        return _pack_execute(b"E", book.locate, 0, high, low, order.reference, shares, self.next_match())

    def _execute_with_price(self, book: Book, high: int, low: int) -> bytes:
        """Execute at another price than the displayed one: a tick better for the incoming order."""
        order, shares = self._fill(book)
        price = order.price + (TICK if order.side == BUY else -TICK)
        return _pack_execute_with_price(
            b"C", book.locate, 0, high, low, order.reference, shares, self.next_match(), b"Y", price
        )

    def _trade(self, book: Book, high: int, low: int) -> bytes:
        """Trade against an order that was never displayed: no reference, and always said to be a buy."""
        head = (book.locate, 0, high, low, 0)
        return _pack_trade(
            b"P", *head, BUY, self._shares(), book.stock, book.inside_price(), self.next_match()
        )
