"""The order books of examples/order_book.py, beside a book that reads the messages by their byte offsets."""

from __future__ import annotations

from decimal import Decimal

import pytest
from oracle_itch import Book
from order_book import OrderBooks

from seqcast.itch import generate

DAY = list(generate(6000, seed=3, stocks=4))


def books_of(messages: list[bytes]) -> OrderBooks:
    books = OrderBooks()
    for message in messages:
        books.apply(message)
    return books


@pytest.mark.parametrize("count", [100, 2999, 6000])
def test_orders_and_levels_are_those_of_the_oracle(count: int) -> None:
    books, oracle = books_of(DAY[:count]), Book()
    oracle.feed_all(DAY[:count])
    expected = {
        reference: (oracle.stocks[locate].decode().rstrip(), side.decode(), shares, Decimal(price).scaleb(-4))
        for reference, (locate, side, shares, price) in oracle.orders.items()
    }
    got = {reference: (o.stock, o.side, o.shares, o.price) for reference, o in books.orders.items()}
    assert list(got.items()) == list(expected.items())
    assert len(got) > 10
    assert books.refused == 0
    for stock, side in {order[:2] for order in expected.values()}:
        orders = [order for order in expected.values() if order[:2] == (stock, side)]
        prices = sorted({order[3] for order in orders}, reverse=side == "B")
        assert books.levels(stock, side) == [
            (price, sum(order[2] for order in orders if order[3] == price)) for price in prices
        ]


@pytest.mark.parametrize("cut", [0, 1, 1234, 5999])
def test_a_snapshot_holds_the_books(cut: int) -> None:
    whole, restored = books_of(DAY), OrderBooks()
    restored.restore(books_of(DAY[:cut]).snapshot())
    for message in DAY[cut:]:
        restored.apply(message)
    assert restored.digest == whole.digest
    assert restored.snapshot() == whole.snapshot()


def test_the_digest_tells_books_apart() -> None:
    assert len({books_of(DAY[:count]).digest for count in range(1000, 1020)}) > 10


@pytest.mark.parametrize("payload", [b"", b"A", b"hello", b"\xff" * 40, b"D" + bytes(18), b"U" + bytes(34)])
def test_what_is_no_message_of_the_feed_is_counted_and_changes_nothing(payload: bytes) -> None:
    books = books_of(DAY)
    before = books.digest
    books.apply(payload)
    assert (books.refused, books.digest) == (1, before)
