"""Order books of a whole market from ITCH 5.0 messages, the same in every process that listens.

    python examples/order_book.py run/seqcast.toml
    python examples/order_book.py run/seqcast.toml --rewinders                  # without multicast
    python examples/order_book.py run/seqcast.toml --checkpoint run/books.saved

It reads until the session ends and prints a digest of all levels and orders. With `--checkpoint`, books and
position are saved together every few thousand messages, and whoever is killed goes on from there. However it was
started, and whatever it missed, the digest is the same. For messages: `seqcast send --format binaryfile FILE`.
"""

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from decimal import Decimal

from seqcast import Checkpoint, Receiver
from seqcast.itch import ItchError, decode

SAVE_MESSAGES = 4000
"""Messages between checkpoints."""


@dataclass
class Order:
    """A displayed order."""

    stock: str
    side: str
    shares: int
    price: Decimal


class OrderBooks:
    """All displayed orders by their reference, in the order of their arrival."""

    def __init__(self) -> None:
        self.orders: dict[int, Order] = {}
        self.refused = 0  # messages that are not ITCH, or speak of an order that is not there

    def apply(self, payload: bytes) -> None:
        """Take the next message."""
        try:
            self._apply(*decode(payload))
        except (ItchError, KeyError):
            self.refused += 1

    def _apply(self, name: str, values: dict) -> None:
        match name:
            case "Add Order" | "Add Order with MPID":
                self.orders[values["reference"]] = Order(
                    values["stock"], values["side"], values["shares"], values["price"]
                )
            case "Order Executed" | "Order Executed With Price" | "Order Cancel":
                order = self.orders[values["reference"]]
                order.shares -= values["shares"]
                if order.shares <= 0:
                    del self.orders[values["reference"]]
            case "Order Delete":
                del self.orders[values["reference"]]
            case "Order Replace":  # a new order behind all others, of the same stock and side
                old = self.orders.pop(values["reference"])
                new = Order(old.stock, old.side, values["shares"], values["price"])
                self.orders[values["new_reference"]] = new

    def levels(self, stock: str, side: str) -> list[tuple[Decimal, int]]:
        """Prices and their shares, the best price first."""
        shares: Counter[Decimal] = Counter()
        for order in self.orders.values():
            if (order.stock, order.side) == (stock, side):
                shares[order.price] += order.shares
        return sorted(shares.items(), reverse=side == "B")

    def lines(self) -> Iterator[str]:
        """Every level and every order, one a line."""
        for stock, side in sorted({(order.stock, order.side) for order in self.orders.values()}):
            for price, shares in self.levels(stock, side):
                yield f"{stock} {side} {price} {shares}"
        for reference, order in self.orders.items():
            yield f"{reference} {order.stock} {order.side} {order.shares} {order.price}"

    @property
    def digest(self) -> str:
        """Equal for equal books."""
        return hashlib.sha256("\n".join(self.lines()).encode()).hexdigest()

    def snapshot(self) -> bytes:
        """The books as bytes."""
        orders = [(reference, *astuple(order)) for reference, order in self.orders.items()]
        return json.dumps({"orders": orders, "refused": self.refused}, default=str).encode()

    def restore(self, snapshot: bytes) -> None:
        """Take on what an earlier snapshot holds."""
        saved = json.loads(snapshot)
        self.refused = saved["refused"]
        self.orders = {
            reference: Order(stock, side, shares, Decimal(price))
            for reference, stock, side, shares, price in saved["orders"]
        }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("configuration")
    parser.add_argument("--rewinders", action="store_true", help="read from the rewinders alone")
    parser.add_argument("--checkpoint", type=Checkpoint, help="file to go on from")
    arguments = parser.parse_args()

    books = OrderBooks()
    lines = () if arguments.rewinders else ("a", "b")
    with Receiver(arguments.configuration, arguments.checkpoint or 1, lines) as receiver:
        if receiver.snapshot is not None:
            books.restore(receiver.snapshot)
        print(f"reads {receiver.session_name} from record {receiver.position}", flush=True)
        unsaved = 0
        while not receiver.ended:
            batch = receiver.poll(timeout=1.0)
            for message in batch:
                books.apply(message.payload)
            unsaved += len(batch)
            if arguments.checkpoint and unsaved >= SAVE_MESSAGES:
                receiver.save(arguments.checkpoint, books.snapshot())
                print(f"saved at record {receiver.position}", flush=True)
                unsaved = 0
        print(f"{receiver.delivered} messages, {receiver.rewound} records from rewinders")
    print(f"{len(books.orders)} orders, {books.refused} messages refused, digest {books.digest}")


if __name__ == "__main__":
    main()
