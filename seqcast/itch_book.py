"""The displayed orders of one stock, as the generator keeps them: never crossed, best order first."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

BUY, SELL = b"B", b"S"

TICK = 100
"""Smallest price step: one cent, at 4 implied decimals."""

SPREAD_TICKS = 20
"""New orders rest at most this far from the middle price; most rest much nearer."""

LOWEST_MIDDLE = 2_0000
"""The middle price turns back here, so that no order comes near 0."""

HIGHEST_MIDDLE = 2_000_0000
"""The middle price turns back here: far below the 200,000.0000 that a price field may carry."""

STALE_ENTRIES = 64
"""Dead entries that a heap may hold beyond the living ones before it is rebuilt: bounds its memory."""


class Order:
    """A displayed order. One with no shares left is dead, and its heap entry is dropped when it is met."""

    __slots__ = ("place", "price", "reference", "shares", "side")

    def __init__(self, reference: int, side: bytes, shares: int, price: int) -> None:
        self.reference = reference
        self.side = side
        self.shares = shares
        self.price = price
        self.place = -1  # in Book.orders


class Book:
    """All living orders of a stock, in no order, and two heaps that give the best of each side.

    Orders of one price stand in the order of their references, which is the order of their arrival.
    """

    __slots__ = ("_buys", "_sells", "locate", "middle", "orders", "stock")

    def __init__(self, locate: int, stock: bytes, middle: int) -> None:
        self.locate = locate
        self.stock = stock
        self.middle = middle
        """The price that new orders are placed around; a whole number of ticks."""
        self.orders: list[Order] = []
        self._buys: list[tuple[int, int, Order]] = []  # (-price, reference, order)
        self._sells: list[tuple[int, int, Order]] = []  # (price, reference, order)

    def add(self, order: Order) -> None:
        """Enter an order, whose price does not cross the book (see `passive_price`)."""
        order.place = len(self.orders)
        self.orders.append(order)
        if order.side == BUY:
            heappush(self._buys, (-order.price, order.reference, order))
        else:
            heappush(self._sells, (order.price, order.reference, order))

    def remove(self, order: Order) -> None:
        """Take an order out, whatever is left of it."""
        order.shares = 0
        last = self.orders.pop()
        if last is not order:
            self.orders[order.place] = last
            last.place = order.place

    def best(self, side: bytes) -> Order | None:
        """Return the first order to trade on a side: the best price, and there the oldest."""
        heap = self._buys if side == BUY else self._sells
        if len(heap) > 2 * len(self.orders) + STALE_ENTRIES:
            heap[:] = [entry for entry in heap if entry[2].shares > 0]
            heapify(heap)
        while heap:
            order = heap[0][2]
            if order.shares > 0:
                return order
            heappop(heap)
        return None

    def any(self, random: Random) -> Order:
        """Return a living order by chance, one that came late more likely than one that came early."""
        chance = random.random()
        return self.orders[-1 - int(chance * chance * len(self.orders))]

    def passive_price(self, side: bytes, random: Random) -> int:
        """Draw the price of a new order, near the middle and short of the best order of the other side."""
        chance = random.random()
        distance = TICK * (1 + int(chance * chance * SPREAD_TICKS))
        if side == BUY:
            seller = self.best(SELL)
            price = self.middle - distance
            return price if seller is None else min(price, seller.price - TICK)
        buyer = self.best(BUY)
        price = self.middle + distance
        return price if buyer is None else max(price, buyer.price + TICK)

    def next_to_trade(self, random: Random) -> Order | None:
        """Return the order that an incoming one would meet: where the middle has gone, else by chance."""
        buyer, seller = self.best(BUY), self.best(SELL)
        if buyer is None or seller is None:
            return buyer or seller
        if buyer.price >= self.middle:
            return buyer
        if seller.price <= self.middle:
            return seller
        return buyer if random.getrandbits(1) else seller

    def inside_price(self) -> int:
        """Return a price between the best orders of both sides, or as near the middle as they allow."""
        buyer, seller = self.best(BUY), self.best(SELL)
        price = self.middle
        if buyer is not None:
            price = max(price, buyer.price)
        if seller is not None:
            price = min(price, seller.price)
        return price

    def drift(self, random: Random) -> None:
        """Let the middle price take a step now and then."""
        step = random.getrandbits(4)
        if step == 0 and self.middle < HIGHEST_MIDDLE:
            self.middle += TICK
        elif step == 1 and self.middle > LOWEST_MIDDLE:
            self.middle -= TICK
