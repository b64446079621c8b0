"""Adapter of the MoldUDP kernels (`mold.h`, `window.h`): the only place where this package touches cffi."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from moldudp.errors import LocalProtocolError
from native import ffi, lib
from native.messages import Messages, MessageTable

if TYPE_CHECKING:
    from collections.abc import Iterable

PROTOCOL_MOLDUDP64: int = lib.SC_MOLDUDP64
PROTOCOL_MOLDUDP: int = lib.SC_MOLDUDP
LINES: int = lib.SC_WINDOW_LINES
SEGMENTS: int = lib.SC_WINDOW_SEGMENTS
"""Most datagrams that the kernel coalesces into one buffer."""

_SLAB_MAX = 2**32 - 1
"""Offsets in a message table are 32 bits."""


def decode(protocol: int, data: bytes | bytearray | memoryview) -> tuple[Messages, bool] | None:
    """The messages of one packet and whether it ends the session; None when it is malformed."""
    address = ffi.from_buffer("uint8_t[]", data)
    header = ffi.new("sc_mold_header *")
    count = lib.sc_mold_decode(protocol, address, len(data), header, ffi.NULL, 0)
    if count < 0:
        return None
    table = MessageTable(count)
    lib.sc_mold_decode(protocol, address, len(data), header, table.rows, count)
    return table.view(memoryview(data), count), bool(header.ends)


def pack(
    protocol: int, session: bytes, first: int, messages: Messages, *, start: int, capacity: int
) -> tuple[bytes, int]:
    """One downstream packet of messages from `start` on; the caller has checked the first of them."""
    out = ffi.new("uint8_t[]", max(capacity, 0))
    packed = ffi.new("uint32_t *")
    length = lib.sc_mold_pack(
        protocol,
        session,
        first,
        messages.address,
        messages.rows_address + start,
        len(messages) - start,
        out,
        max(capacity, 0),
        packed,
    )
    if length < 0:
        raise AssertionError(f"sc_mold_pack refused a message that was checked: {length}")
    return ffi.buffer(out, length)[:], packed[0]


class Window:
    """The reorder window; what its numbers and counters mean is told by window.h and by `Receiver`."""

    def __init__(
        self,
        *,
        protocol: int,
        blocks: int,
        block_bytes: int,
        batch: int,
        rows: int,
        start: int,
        session: bytes | None,
        max_jump: int,
        check: Any,
    ) -> None:
        if min(blocks, block_bytes, rows) < 1 or blocks * block_bytes > _SLAB_MAX:
            raise LocalProtocolError(f"no window: {blocks=} {block_bytes=} {rows=}, or 4 GiB and more")
        # The slab belongs to Python, so that the memoryview of a message keeps it alive.
        self._slab = ffi.new("uint8_t[]", blocks * block_bytes)
        self._buffer = memoryview(ffi.buffer(self._slab)).toreadonly()
        window = lib.sc_window_new(
            protocol,
            self._slab,
            blocks,
            block_bytes,
            batch,
            start,
            ffi.NULL if session is None else session,
            max_jump,
            ffi.NULL if check is None else check,
        )
        if window == ffi.NULL:
            raise LocalProtocolError(f"no window: {blocks=} {block_bytes=} {batch=} {start=}")
        self._window = ffi.gc(window, lib.sc_window_free)
        self._state = lib.sc_window_state_of(self._window)
        self._table = MessageTable(rows)
        self._receive = lib.sc_window_receive_coalesced if batch >= SEGMENTS else lib.sc_window_receive
        self.nothing = self._table.view(self._buffer, 0, self._slab)
        self._gaps = ffi.new("sc_gap[]", blocks)

    def receive(self, fileno: int, line: int) -> int:
        """Read one batch of datagrams from a socket; returns how many. Raises OSError.

        Coalesced ones are taken apart where `batch` is at least `SEGMENTS`.
        """
        if not 0 <= line < LINES:
            raise LocalProtocolError(f"there is no line {line}: lines are 0 to {LINES - 1}")
        count: int = self._receive(self._window, fileno, line)
        if count >= 0:
            return count
        raise OSError(-count, f"{os.strerror(-count)} (receiving from descriptor {fileno})")

    def put(self, data: bytes | bytearray | memoryview, line: int) -> bool:
        """Take one datagram; False when no block is free."""
        if not 0 <= line < LINES:
            raise LocalProtocolError(f"there is no line {line}: lines are 0 to {LINES - 1}")
        code: int = lib.sc_window_put(self._window, ffi.from_buffer("uint8_t[]", data), len(data), line)
        return code == 0

    def messages(self) -> Messages:
        """The next messages in order; they are good until the next call of a method that takes datagrams."""
        count = lib.sc_window_messages(self._window, self._table.rows, self._table.capacity)
        if count == 0:
            return self.nothing
        return self._table.view(self._buffer, count, self._slab)

    def advance(self, number: int) -> None:
        """Messages below `number` came by another way."""
        lib.sc_window_advance(self._window, number)

    def gaps(self, limit: int) -> list[tuple[int, int]]:
        """The lowest `limit` gaps at most, as (first number, count)."""
        limit = min(limit, len(self._gaps))
        count = lib.sc_window_gaps(self._window, self._gaps, limit)
        return [(gap.first, gap.count) for gap in self._gaps[0:count]]

    @property
    def next_number(self) -> int:
        """Number of the next message; 0 while the first packet is awaited."""
        number: int = self._state.next_number
        return number

    @property
    def highest(self) -> int:
        """Highest next-number heard of."""
        number: int = self._state.highest
        return number

    @property
    def complete(self) -> bool:
        """Whether the next message is the highest one heard of."""
        state = self._state
        complete: bool = state.next_number >= state.highest
        return complete

    @property
    def held(self) -> int:
        """Datagrams that wait behind a gap."""
        held: int = self._state.held
        return held

    @property
    def end_number(self) -> int:
        """Next-number at the end of the session; 0 while that is not known."""
        number: int = self._state.end_number
        return number

    @property
    def ended(self) -> bool:
        """Whether everything up to the end was delivered."""
        return bool(self._state.ended)

    @property
    def session(self) -> bytes | None:
        """The ten bytes of the session; None while it is not known."""
        if not self._state.session_known:
            return None
        return bytes(ffi.buffer(self._state.session))

    @property
    def foreign(self) -> tuple[bytes, int, int] | None:
        """The other session heard last: its ten bytes, datagrams in a row, highest next-number; None without one."""
        state = self._state
        if not state.foreign_row:
            return None
        return bytes(ffi.buffer(state.foreign)), state.foreign_row, state.foreign_highest

    def counters(self, names: Iterable[str]) -> dict[str, int]:
        """The counters of these names."""
        return {name: getattr(self._state, name) for name in names}

    def line_counters(self, name: str) -> tuple[int, ...]:
        """A counter that is kept for each line."""
        return tuple(getattr(self._state, name))
