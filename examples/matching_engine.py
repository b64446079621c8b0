"""A matching engine that any number of machines run, all with the same trades: a replicated state machine.

    python examples/matching_engine.py run/seqcast.toml run/engine.saved
    (echo sell 100 1005; echo buy 60 1010) | seqcast send --user ALPHA -

A message is an order: `buy SHARES PRICE`, `sell SHARES PRICE`, either with a third number, the seconds it is good
for, or `cancel NUMBER`. The stream does the hard parts: its numbers name the orders, its order is their priority, its
stamps are the time. So two engines agree without ever talking to each other, and one that was killed goes on at its
checkpoint. It prints the trades after that again: a trade has the same number each time, which is how to know it.
"""

import json
import sys
from bisect import insort
from collections.abc import Callable
from dataclasses import asdict, dataclass

from seqcast import Checkpoint, Message, Receiver, Replica, StateMachine

NEVER_NS = 1 << 63
"""When an order expires that says nothing about it."""


@dataclass
class Order:
    """An order in the book. `number` is that of its message in the stream."""

    number: int
    owner: str
    side: str
    shares: int
    price: int
    expires_ns: int

    @property
    def rank(self) -> tuple[int, int]:
        """Rises with priority: the better price, and at one price the earlier number."""
        return (self.price if self.side == "buy" else -self.price, -self.number)


@dataclass(frozen=True)
class Trade:
    """`number` is the stream number of the message that brought it about, `resting` that of the order it met."""

    number: int
    resting: int
    shares: int
    price: int
    time_ns: int


class MatchingEngine(StateMachine):
    """Price first, then time. `report` is told of each trade."""

    def __init__(self, report: Callable[[Trade], object] = lambda _trade: None) -> None:
        self.book: dict[str, list[Order]] = {"buy": [], "sell": []}  # the best order last
        self.trades = self.refused = 0
        self.report = report

    def apply(self, message: Message) -> None:
        """Take one order. What is none is counted: anybody may have sent it, and an engine must not stop."""
        match message.payload.split():
            case [b"cancel", number] if _is_number(number):
                self._cancel(int(number), message.sender)
            case [b"buy" | b"sell" as side, *numbers] if len(numbers) in {2, 3} and all(
                map(_is_number, numbers)
            ):
                shares, price, *seconds = map(int, numbers)
                expires_ns = message.time_ns + seconds[0] * 10**9 if seconds else NEVER_NS
                order = Order(message.number, message.sender, side.decode(), shares, price, expires_ns)
                self._enter(order, message.time_ns)
            case _:
                self.refused += 1

    def _enter(self, order: Order, now_ns: int) -> None:
        """Trade with whoever is there, the best first, and wait in the book with the rest."""
        others = self.book["sell" if order.side == "buy" else "buy"]
        while order.shares and others:
            best = others[-1]
            if best.expires_ns <= now_ns:
                others.pop()
                continue
            if (order.price < best.price) if order.side == "buy" else (order.price > best.price):
                break
            shares = min(order.shares, best.shares)
            order.shares -= shares
            best.shares -= shares
            if not best.shares:
                others.pop()
            self.trades += 1
            self.report(Trade(order.number, best.number, shares, best.price, now_ns))
        if order.shares:
            insort(self.book[order.side], order, key=lambda each: each.rank)

    def _cancel(self, number: int, owner: str) -> None:
        """Take an order out; only its owner may."""
        for orders in self.book.values():
            for order in orders:
                if (order.number, order.owner) == (number, owner):
                    orders.remove(order)
                    return
        self.refused += 1

    def snapshot(self) -> bytes:
        """The whole state, as JSON."""
        orders = [asdict(order) for side in ("buy", "sell") for order in self.book[side]]
        return json.dumps({"orders": orders, "trades": self.trades, "refused": self.refused}).encode()

    def restore(self, snapshot: bytes) -> None:
        """Take on an earlier snapshot's state."""
        saved = json.loads(snapshot)
        self.trades, self.refused = saved["trades"], saved["refused"]
        self.book = {"buy": [], "sell": []}
        for values in saved["orders"]:
            self.book[values["side"]].append(Order(**values))


def _is_number(word: bytes) -> bool:
    """A whole number above 0, of at most nine digits."""
    return word.isdigit() and len(word) <= 9 and int(word) > 0


def show(trade: Trade) -> None:
    """Print a trade as one line."""
    print(f"{trade.number} trades {trade.shares} at {trade.price} with {trade.resting}", flush=True)


def main() -> None:
    checkpoint = Checkpoint(sys.argv[2])
    with Receiver(sys.argv[1], start=checkpoint) as receiver:
        engine = MatchingEngine(show)
        replica = Replica(engine, receiver, checkpoint, every=1000)
        print(f"begins at record {replica.position}", flush=True)
        replica.run()
        replica.save()
        orders = len(engine.book["buy"]) + len(engine.book["sell"])
        print(f"{engine.trades} trades, {orders} orders left, {engine.refused} messages refused")


if __name__ == "__main__":
    main()
