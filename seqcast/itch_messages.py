"""The messages of TotalView-ITCH 5.0, declared once as a table; encode and decode work from it.

Every message starts with its type (1 byte), stock locate (2), tracking number (2) and timestamp (6,
nanoseconds since midnight). Integers are big-endian and unsigned; text is ASCII, left-justified and padded
with spaces; prices are integers with 4 or 8 implied decimals. Names and widths are those of the
specification, section 1 ("Message Formats").
"""

from __future__ import annotations

import struct
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

Value = int | str | Decimal
"""Of a field, as people see it: an integer, text without its padding, or an exact price."""

TIMESTAMP_LIMIT_NS = 1 << 48
"""Timestamps have 6 bytes."""


class ItchError(ValueError):
    """Bytes that are no ITCH 5.0 message, or values that no message can carry."""


class Kind(Enum):
    """How the bytes of a field are read."""

    INTEGER = "integer"
    TEXT = "text"
    PRICE = "price"
    """4 implied decimals, or 8 where the field has 8 bytes."""


@frozen
class Field:
    """One field of a message: its name, its width in bytes, how it is read."""

    name: str
    width: int
    kind: Kind

    @property
    def format(self) -> str:
        """The field in the language of `struct`."""
        return f"{self.width}s" if self.kind is Kind.TEXT else _INTEGER_FORMATS[self.width]


_INTEGER_FORMATS = {1: "B", 2: "H", 4: "I", 8: "Q"}
_HEAD = ">cHHHI"  # type, stock locate, tracking number, timestamp as its high 16 and low 32 bits


@frozen
class MessageType:
    """One type of message: its letter, its name, and the fields after the timestamp."""

    letter: str
    name: str
    fields: tuple[Field, ...]
    layout: struct.Struct = field(init=False, eq=False, repr=False)
    """Packs (letter, stock locate, tracking number, timestamp >> 32, timestamp & 0xffffffff, fields...)."""

    @layout.default
    def _layout(self) -> struct.Struct:
        return struct.Struct(_HEAD + "".join(each.format for each in self.fields))

    @property
    def length(self) -> int:
        """Of the whole message, in bytes."""
        return self.layout.size


def _declare(letter: str, name: str, fields: str) -> MessageType:
    """Read a declaration: `name:width` is an integer, `name:width:text` text, `name:width:price` a price."""
    parts = [declaration.split(":") for declaration in fields.split()]
    return MessageType(
        letter,
        name,
        tuple(
            Field(part[0], int(part[1]), Kind(part[2]) if len(part) > 2 else Kind.INTEGER) for part in parts
        ),
    )


_ADD = "reference:8 side:1:text shares:4 stock:8:text price:4:price"

MESSAGE_TYPES: Mapping[str, MessageType] = {
    declared.letter: declared
    for declared in (
        _declare("S", "System Event", "event:1:text"),
        _declare(
            "R",
            "Stock Directory",
            "stock:8:text market_category:1:text financial_status:1:text round_lot_size:4 "
            "round_lots_only:1:text issue_classification:1:text issue_subtype:2:text authenticity:1:text "
            "short_sale_threshold:1:text ipo:1:text luld_tier:1:text etp:1:text etp_leverage:4 "
            "inverse:1:text",
        ),
        _declare("H", "Stock Trading Action", "stock:8:text state:1:text reserved:1:text reason:4:text"),
        _declare("Y", "Reg SHO Restriction", "stock:8:text action:1:text"),
        _declare(
            "L",
            "Market Participant Position",
            "mpid:4:text stock:8:text primary:1:text mode:1:text state:1:text",
        ),
        _declare("V", "MWCB Decline Level", "level_1:8:price level_2:8:price level_3:8:price"),
        _declare("W", "MWCB Status", "breached_level:1:text"),
        _declare("K", "IPO Quoting Period Update", "stock:8:text time_s:4 qualifier:1:text price:4:price"),
        _declare(
            "J",
            "LULD Auction Collar",
            "stock:8:text reference_price:4:price upper_price:4:price lower_price:4:price extension:4",
        ),
        _declare("h", "Operational Halt", "stock:8:text market:1:text action:1:text"),
        _declare("A", "Add Order", _ADD),
        _declare("F", "Add Order with MPID", _ADD + " mpid:4:text"),
        _declare("E", "Order Executed", "reference:8 shares:4 match:8"),
        _declare(
            "C",
            "Order Executed With Price",
            "reference:8 shares:4 match:8 printable:1:text price:4:price",
        ),
        _declare("X", "Order Cancel", "reference:8 shares:4"),
        _declare("D", "Order Delete", "reference:8"),
        _declare("U", "Order Replace", "reference:8 new_reference:8 shares:4 price:4:price"),
        _declare("P", "Trade", _ADD + " match:8"),
        _declare("Q", "Cross Trade", "shares:8 stock:8:text price:4:price match:8 cross:1:text"),
        _declare("B", "Broken Trade", "match:8"),
        _declare(
            "I",
            "Net Order Imbalance Indicator",
            "paired_shares:8 imbalance_shares:8 direction:1:text stock:8:text far_price:4:price "
            "near_price:4:price reference_price:4:price cross:1:text variation:1:text",
        ),
        _declare("N", "Retail Interest", "stock:8:text flag:1:text"),
        _declare(
            "O",
            "Direct Listing with Capital Raise Price Discovery",
            "stock:8:text open:1:text minimum_price:4:price maximum_price:4:price near_price:4:price "
            "near_time_ns:8 lower_price:4:price upper_price:4:price",
        ),
    )
}
"""All types of message, by their letter."""

_BY_BYTE = {ord(letter): declared for letter, declared in MESSAGE_TYPES.items()}


def decode(message: bytes | memoryview) -> tuple[str, dict[str, Value]]:
    """Read one message: its name, and its fields from `stock_locate` on in their order.

    Times are integers in nanoseconds since midnight, prices exact decimals, text loses its padding. Raises
    ItchError for a type that is not in MESSAGE_TYPES, a length that is not the type's, or text that is not
    ASCII.
    """
    data = bytes(message)
    declared = _BY_BYTE.get(data[0]) if data else None
    if declared is None:
        raise ItchError(f"no ITCH 5.0 message starts with {data[:1]!r}")
    if len(data) != declared.length:
        raise ItchError(f"{declared.name} has {declared.length} bytes, not {len(data)}")
    _, stock_locate, tracking_number, high, low, *raw = declared.layout.unpack(data)
    values: dict[str, Value] = {
        "stock_locate": stock_locate,
        "tracking_number": tracking_number,
        "timestamp_ns": high << 32 | low,
    }
    for each, value in zip(declared.fields, raw, strict=True):
        values[each.name] = _shown(each, value)
    return declared.name, values


def encode(letter: str, values: Mapping[str, Value]) -> bytes:
    """Make one message of type `letter` from what `decode` shows: `encode(letter, decode(m)[1]) == m`.

    (For a message whose text is padded with spaces on the right, as the specification has it.) Raises
    ItchError for an unknown letter, a missing or unknown field, and a value that does not fit its field.
    """
    declared = MESSAGE_TYPES.get(letter)
    if declared is None:
        raise ItchError(f"ITCH 5.0 has no message type {letter!r}")
    names = ["stock_locate", "tracking_number", "timestamp_ns", *(each.name for each in declared.fields)]
    if set(values) != set(names):
        raise ItchError(f"{declared.name} has the fields {', '.join(names)}")
    timestamp = values["timestamp_ns"]
    if not isinstance(timestamp, int) or not 0 <= timestamp < TIMESTAMP_LIMIT_NS:
        raise ItchError(f"timestamp_ns has 6 bytes: {timestamp!r}")
    raw = [_raw(each, values[each.name]) for each in declared.fields]
    try:
        return declared.layout.pack(
            letter.encode("ascii"),
            values["stock_locate"],
            values["tracking_number"],
            timestamp >> 32,
            timestamp & 0xFFFFFFFF,
            *raw,
        )
    except struct.error as error:
        raise ItchError(f"{declared.name}: {error}") from error


def _decimals(each: Field) -> int:
    return 4 if each.width == 4 else 8


def _shown(each: Field, value: int | bytes) -> Value:
    if isinstance(value, bytes):
        try:
            return value.decode("ascii").rstrip(" ")
        except UnicodeDecodeError as error:
            raise ItchError(f"{each.name} is not ASCII: {value!r}") from error
    return Decimal(value).scaleb(-_decimals(each)) if each.kind is Kind.PRICE else value


def _raw(each: Field, value: Value) -> int | bytes:
    """Turn a value into what `struct` packs, which itself refuses an integer that is too large."""
    if each.kind is Kind.TEXT:
        if not isinstance(value, str) or not value.isascii() or len(value) > each.width:
            raise ItchError(f"{each.name} is ASCII text of at most {each.width} bytes: {value!r}")
        return value.encode("ascii").ljust(each.width)
    if isinstance(value, str):
        raise ItchError(f"{each.name} is a number: {value!r}")
    if each.kind is Kind.INTEGER:
        if not isinstance(value, int):
            raise ItchError(f"{each.name} is a whole number: {value!r}")
        return value
    scaled = Decimal(value).scaleb(_decimals(each))
    if not scaled.is_finite() or scaled != int(scaled):
        raise ItchError(f"{each.name} has {_decimals(each)} decimals: {value}")
    return int(scaled)
