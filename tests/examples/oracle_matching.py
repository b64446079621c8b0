"""What a matching engine should do, the slow way: every order is looked at for every trade."""

from __future__ import annotations

from collections.abc import Iterable

from seqcast import Message

Trade = tuple[int, int, int, int, int]
"""Number of the message, number of the order it met, shares, price, time."""


def trades_of(messages: Iterable[Message]) -> list[Trade]:
    """All trades of a stream in which every message is an order."""
    orders: list[dict] = []
    trades: list[Trade] = []
    for message in messages:
        words = message.payload.decode().split()
        if words[0] == "cancel":
            for order in orders:
                if order["number"] == int(words[1]) and order["owner"] == message.sender:
                    order["left"] = 0
            continue
        ends = message.time_ns + int(words[3]) * 1_000_000_000 if len(words) == 4 else float("inf")
        new = {
            "number": message.number,
            "owner": message.sender,
            "side": words[0],
            "left": int(words[1]),
            "price": int(words[2]),
            "ends": ends,
        }
        while new["left"]:
            sign = 1 if new["side"] == "buy" else -1
            candidates = [
                order
                for order in orders
                if order["side"] != new["side"]
                and order["left"]
                and order["ends"] > message.time_ns
                and sign * order["price"] <= sign * new["price"]
            ]
            if not candidates:
                break
            best = min(candidates, key=lambda order: (sign * order["price"], order["number"]))
            shares = min(best["left"], new["left"])
            best["left"] -= shares
            new["left"] -= shares
            trades.append((message.number, best["number"], shares, best["price"], message.time_ns))
        orders.append(new)
    return trades
