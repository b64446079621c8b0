"""A made-up day of TotalView-ITCH 5.0, to have realistic traffic of any length where no real file is.

`generate` gives the messages, `binaryfile` the same as a BinaryFILE. A day opens with its system events and
the directory of its stocks, runs through order flow in the proportions of a real day and the crosses at the
open and at the close, and ends with the closing system events. Orders live consistently: what is executed,
cancelled, replaced or deleted is there, the book of a stock is never crossed, executions meet its best order.
Orders still there at the end stay, as good-till-cancelled orders do.

The same arguments give the same bytes on any machine and any Python: of the random source only `random()` and
`getrandbits()` are used, and of floating point only products and truncation.

Messages are declared, encoded and decoded in `seqcast.itch_messages`.
"""

from __future__ import annotations

from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING

from seqcast.itch_book import TICK, Book
from seqcast.itch_flow import MARKET_MAKERS, Flow
from seqcast.itch_messages import MESSAGE_TYPES, ItchError, decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ItchError", "binaryfile", "binaryfile_chunks", "decode", "encode", "generate"]

MESSAGES_PER_STOCK = 2_000
"""Without a number of stocks given, a day has one for so many messages, so that books have depth."""

STOCKS_DEFAULT_LIMIT = 200
"""... and never more than this."""

STOCKS_LIMIT = 26**3
"""Stock names are a Z and three letters; that is more than any real day has."""

CHUNK_MESSAGES = 8_192
"""Messages joined into one chunk of a BinaryFILE."""

_SECOND = 1_000_000_000
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE

_BURST_LIMIT = 200  # messages; a fifth of it on average
_BURST_GAP_BITS = 11  # gaps of 200 to 2247 ns inside a burst: 0.8 million messages a second
_BURST_GAP_NS = 200
_BURST_MEAN = _BURST_LIMIT // 5

# Order flow in parts of the day: when it ends, and how many messages in 100 it has. Crosses and system
# events stand between the parts.
_BEFORE_OPEN = (9 * _HOUR + 28 * _MINUTE, 3)
_LAST_MINUTES = (9 * _HOUR + 30 * _MINUTE, 2)
_FIRST_MINUTE = (9 * _HOUR + 31 * _MINUTE, 8)
_THROUGH_THE_DAY = (15 * _HOUR + 50 * _MINUTE, 72)
_BEFORE_CLOSE = (16 * _HOUR, 12)
_AFTER_HOURS = (20 * _HOUR, 3)
_PARTS = (_BEFORE_OPEN, _LAST_MINUTES, _FIRST_MINUTE, _THROUGH_THE_DAY, _BEFORE_CLOSE, _AFTER_HOURS)

_POSITIONS_PER_STOCK = 2
_MESSAGES_ONCE = 7  # six system events and the decline levels
_MESSAGES_EACH_STOCK = 3 + _POSITIONS_PER_STOCK + 2 * 2  # directory, state, Reg SHO, positions, two crosses

_pack_event = MESSAGE_TYPES["S"].layout.pack
_pack_directory = MESSAGE_TYPES["R"].layout.pack
_pack_state = MESSAGE_TYPES["H"].layout.pack
_pack_restriction = MESSAGE_TYPES["Y"].layout.pack
_pack_position = MESSAGE_TYPES["L"].layout.pack
_pack_decline = MESSAGE_TYPES["V"].layout.pack
_pack_imbalance = MESSAGE_TYPES["I"].layout.pack
_pack_cross = MESSAGE_TYPES["Q"].layout.pack


def generate(messages: int, seed: int, *, stocks: int | None = None) -> Iterator[bytes]:
    """Give the messages of a day, exactly `messages` of them, without framing.

    `stocks` is by default one for each MESSAGES_PER_STOCK messages, at least 1 and at most
    STOCKS_DEFAULT_LIMIT. Raises ValueError when `messages` cannot hold what every day and every stock has.
    """
    if stocks is None:
        stocks = min(max(messages // MESSAGES_PER_STOCK, 1), STOCKS_DEFAULT_LIMIT)
    if not 1 <= stocks <= STOCKS_LIMIT:
        raise ValueError(f"a day has 1 to {STOCKS_LIMIT} stocks, not {stocks}")
    flow = messages - _MESSAGES_ONCE - stocks * _MESSAGES_EACH_STOCK
    if flow < 0:
        raise ValueError(
            f"a day with {stocks} stocks has at least {messages - flow} messages, not {messages}"
        )
    return _Day(flow, stocks, Random(seed)).messages()  # noqa: S311  (reproducible on purpose, no secret)


def binaryfile_chunks(messages: int, seed: int, *, stocks: int | None = None) -> Iterator[bytes]:
    """Give a day as a BinaryFILE in pieces of CHUNK_MESSAGES, in bounded memory; arguments as of `generate`.

    The end-of-session marker comes last.
    """
    pieces: list[bytes] = []
    for message in generate(messages, seed, stocks=stocks):
        pieces.append(_PREFIXES[len(message)])
        pieces.append(message)
        if len(pieces) == 2 * CHUNK_MESSAGES:
            yield b"".join(pieces)
            pieces.clear()
    pieces.append(_PREFIXES[0])
    yield b"".join(pieces)


def binaryfile(messages: int, seed: int, *, stocks: int | None = None) -> bytes:
    """Return a day as one BinaryFILE, end-of-session marker included; arguments as of `generate`."""
    return b"".join(binaryfile_chunks(messages, seed, stocks=stocks))


_PREFIXES = [length.to_bytes(2, "big") for length in range(64)]


class _Clock:
    """Timestamps that always increase: bursts of messages, and idle time spread over what a part has left."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.now = 3 * _HOUR
        self._burst = 0

    def words(self) -> tuple[int, int]:
        """Return the time as messages have it: its high 16 and its low 32 bits."""
        return self.now >> 32, self.now & 0xFFFFFFFF

    def step(self) -> None:
        """Go on by a short gap."""
        self.now += _BURST_GAP_NS + self._random.getrandbits(_BURST_GAP_BITS)

    def reach(self, time: int) -> None:
        """Go on to a time of day, or just go on where it has passed."""
        self.now = max(self.now, time)
        self.step()

    def flow(self, left: int, end: int) -> None:
        """Go on to the next of `left` messages that are to be spread until `end`."""
        if self._burst == 0:
            chance = self._random.random()
            self._burst = 1 + int(chance * chance * chance * chance * _BURST_LIMIT)
            idle = max(end - self.now, 0) // (1 + left // _BURST_MEAN)
            self.now += int(idle * 2 * self._random.random()) if left > _BURST_MEAN else 0
        self._burst -= 1
        self.step()


class _Day:
    """One run of the generator: `messages` may be called once."""

    def __init__(self, flow: int, stocks: int, random: Random) -> None:
        self._flow_messages = flow
        self._random = random
        self._clock = _Clock(random)
        self._books = [
            Book(locate, _stock_name(locate), 5_0000 + TICK * int(random.random() * 40_000))
            for locate in range(1, stocks + 1)
        ]
        self._flow = Flow(self._books, random)

    def messages(self) -> Iterator[bytes]:
        """Give the whole day, part after part."""
        parts = self._parts()
        yield self._event(b"O", 3 * _HOUR)
        yield from self._directory()
        yield self._event(b"S", 4 * _HOUR)
        yield from next(parts)
        yield from self._imbalances(b"O", 9 * _HOUR + 28 * _MINUTE)
        yield from next(parts)
        yield self._event(b"Q", 9 * _HOUR + 30 * _MINUTE)
        yield from self._crosses(b"O")
        yield from next(parts)
        yield from next(parts)
        yield from self._imbalances(b"C", 15 * _HOUR + 50 * _MINUTE)
        yield from next(parts)
        yield self._event(b"M", 16 * _HOUR)
        yield from self._crosses(b"C")
        yield from next(parts)
        yield self._event(b"E", 20 * _HOUR)
        yield self._event(b"C", 20 * _HOUR + 5 * _MINUTE)

    def _parts(self) -> Iterator[Iterator[bytes]]:
        """Divide the order flow over the parts of the day, without losing a message to rounding."""
        done = 0
        for (end, _), percent in zip(_PARTS, accumulate(share for _, share in _PARTS), strict=True):
            until = self._flow_messages * percent // 100
            yield self._flowing(until - done, end)
            done = until

    def _event(self, code: bytes, time: int) -> bytes:
        self._clock.reach(time)
        return _pack_event(b"S", 0, 0, *self._clock.words(), code)

    def _directory(self) -> Iterator[bytes]:
        """Give what is known before the day: stocks, their states, market makers, decline levels."""
        clock = self._clock
        clock.reach(3 * _HOUR + 4 * _MINUTE)
        for book in self._books:
            clock.step()
            head = (book.locate, 0, *clock.words(), book.stock)
            tier = b"1" if book.locate % 4 == 0 else b"2"
            yield _pack_directory(
                b"R", *head, b"Q", b"N", 100, b"N", b"C", b"Z ", b"P", b"N", b"N", tier, b"N", 0, b"N"
            )
        for book in self._books:
            clock.step()
            yield _pack_state(b"H", book.locate, 0, *clock.words(), book.stock, b"T", b" ", b"    ")
            clock.step()
            yield _pack_restriction(b"Y", book.locate, 0, *clock.words(), book.stock, b"0")
        clock.reach(3 * _HOUR + 10 * _MINUTE)
        for book in self._books:
            for turn in range(_POSITIONS_PER_STOCK):
                clock.step()
                maker = MARKET_MAKERS[(book.locate + turn) % len(MARKET_MAKERS)]
                head = (book.locate, 0, *clock.words(), maker)
                yield _pack_position(b"L", *head, book.stock, b"Y" if turn == 0 else b"N", b"N", b"A")
        clock.reach(3 * _HOUR + 30 * _MINUTE)
        index = 2_800 * 10**8
        yield _pack_decline(
            b"V",
            0,
            0,
            *clock.words(),
            *(index * percent // 100 for percent in (93, 87, 80)),
        )

    def _imbalances(self, cross: bytes, time: int) -> Iterator[bytes]:
        clock = self._clock
        clock.reach(time)
        for book in self._books:
            clock.step()
            paired, imbalance = 100 * self._random.getrandbits(10), 100 * self._random.getrandbits(6)
            direction = b"N" if imbalance == 0 else (b"B", b"S")[self._random.getrandbits(1)]
            price = book.inside_price()
            yield _pack_imbalance(
                b"I",
                book.locate,
                0,
                *clock.words(),
                paired,
                imbalance,
                direction,
                book.stock,
                price,
                price,
                price,
                cross,
                b"L",
            )

    def _crosses(self, cross: bytes) -> Iterator[bytes]:
        """Trade what was entered for the cross alone; such orders are never displayed."""
        clock = self._clock
        for book in self._books:
            clock.step()
            shares = 100 * (1 + self._random.getrandbits(12))
            yield _pack_cross(
                b"Q",
                book.locate,
                0,
                *clock.words(),
                shares,
                book.stock,
                book.inside_price(),
                self._flow.next_match(),
                cross,
            )

    def _flowing(self, count: int, end: int) -> Iterator[bytes]:
        """Give `count` messages of order flow, spread until the time `end`."""
        clock, flow = self._clock, self._flow
        for left in range(count, 0, -1):
            clock.flow(left, end)
            yield flow.message(*clock.words())


def _stock_name(locate: int) -> bytes:
    """Make up the name of a stock: Z first, as Nasdaq's own test stocks have it, so that few are real."""
    left, third = divmod(locate - 1, 26)
    first, second = divmod(left, 26)
    return b"Z" + bytes(ord("A") + letter for letter in (first, second, third)) + b"    "
