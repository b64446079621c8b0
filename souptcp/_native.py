"""Adapter of the packet kernels (native/src/soup.h): runs of packets in, batches of packets out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from native import ffi, lib
from native.messages import MessageTable, address_of
from souptcp.errors import LocalProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from native.messages import Messages

PAYLOAD_LIMIT: int = lib.SC_SOUP_PAYLOAD_LIMIT
"""Longest payload of a packet in bytes: the length field has 16 bits and counts the type byte too."""

HEADER_BYTES: int = lib.SC_SOUP_HEADER_BYTES
LINE_OVERHEAD: int = lib.SC_SOUP_LINE_OVERHEAD

REFUSALS: dict[int, str] = {
    lib.SC_SOUP_OVERLONG: f"a payload has at most {PAYLOAD_LIMIT} bytes",
    lib.SC_SOUP_LINE_FEED: "a payload that holds a line feed would read as two packets of SoupTCP",
}

_packed = ffi.new("uint32_t *")


class RunReader:
    """Reads runs of packets out of one fixed buffer into one table of `rows` messages."""

    __slots__ = ("_address", "_consumed", "_table", "_view", "consumed")

    def __init__(self, view: memoryview, rows: int) -> None:
        self._view = view
        self._address = address_of(view)
        self._table = MessageTable(rows)
        self._consumed = ffi.new("uint32_t *")
        self.consumed = 0
        """Bytes of the buffer that the last run took."""

    def binary(self, kind: int, start: int, end: int, first_number: int) -> Messages:
        """Take the SoupBinTCP packets of type `kind` that follow each other from `start`."""
        address = self._address + start
        table = self._table
        count = lib.sc_soup_run(
            address, end - start, kind, first_number, table.rows, table.capacity, self._consumed
        )
        return self._messages(address, start, count)

    def lines(self, kind: int, start: int, end: int, first_number: int, *, stop_at_empty: bool) -> Messages:
        """Take the SoupTCP packets of type `kind` that follow each other from `start`."""
        address = self._address + start
        table = self._table
        count = lib.sc_soup_line_run(
            address,
            end - start,
            kind,
            first_number,
            stop_at_empty,
            table.rows,
            table.capacity,
            self._consumed,
        )
        return self._messages(address, start, count)

    def _messages(self, address: Any, start: int, count: int) -> Messages:
        self.consumed = self._consumed[0]
        return self._table.view(self._view[start : start + self.consumed], count, address)


def pack_binary(out: bytearray, kind: int, messages: Messages) -> None:
    """Append the messages to `out` as SoupBinTCP packets of type `kind`; all of them or none.

    Raises LocalProtocolError when one cannot be carried.
    """
    _pack(lib.sc_soup_pack, HEADER_BYTES, out, kind, messages)


def pack_lines(out: bytearray, kind: int, messages: Messages) -> None:
    """Append the messages to `out` as SoupTCP packets of type `kind`; all of them or none.

    Raises LocalProtocolError when one cannot be carried.
    """
    _pack(lib.sc_soup_line_pack, LINE_OVERHEAD, out, kind, messages)


def packed_bytes(messages: Messages, overhead: int) -> int:
    """Bytes that the messages take when each gets `overhead` bytes of framing."""
    size: int = lib.sc_soup_packed_bytes(messages.rows_address, len(messages), overhead)
    return size


def _pack(kernel: Callable[..., int], overhead: int, out: bytearray, kind: int, messages: Messages) -> None:
    start = len(out)
    room = packed_bytes(messages, overhead)
    if room == 0:
        return
    out.extend(bytes(room))
    with ffi.from_buffer("uint8_t[]", out, require_writable=True) as address:
        rows = messages.rows_address
        count = len(messages)
        kernel(kind, messages.address, rows, count, address + start, room, _packed)
        taken: int = _packed[0]
        if taken == count:
            return
        code = kernel(kind, messages.address, rows + taken, 1, address + start, room, _packed)
    del out[start:]
    raise LocalProtocolError(f"message {taken} of {count}: {REFUSALS[code]}")
