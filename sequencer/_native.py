"""Adapter of the kernels of a primary: `order.h`, `publish.h`, `answers.h`, `trace.h`, `express.h`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from native import ffi, lib
from native.messages import MessageTable, address_of
from rewinder._native import Ready, StagesKernel

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable

    from native.messages import Messages
    from rewinder.segment import Segment
    from rewinder.senders import SenderTable

STOP_ALL: int = lib.SC_ORDER_ALL
STOP_FULL: int = lib.SC_ORDER_FULL
STOP_REASONS: dict[int, str] = {
    lib.SC_ORDER_HOLE: "a sender sequence was left out",
    lib.SC_ORDER_SHORT: "a submitted packet is shorter than its 9-byte header",
    lib.SC_ORDER_FLAGS: "flags other than first and last fragment",
    lib.SC_ORDER_LONG: "a message is larger than one datagram carries; send it in fragments",
    lib.SC_ORDER_ZERO: "sender sequence 0; sequences start at 1",
}


class OrderKernel:
    """Calls `sc_order`, with its result structure made once."""

    __slots__ = ("_result", "duplicates", "stamped", "stop", "taken")

    def __init__(self) -> None:
        self._result = ffi.new("sc_order_result *")
        self.taken = 0
        self.stamped = 0
        self.duplicates = 0
        self.stop = STOP_ALL

    def run(
        self,
        tail: Segment,
        senders: SenderTable,
        slot: int,
        time_ns: int,
        payload_limit: int,
        messages: Messages,
        start: int,
    ) -> None:
        """Order `messages[start:]` of one sender into the tail segment; the outcome is in the attributes."""
        result = self._result
        lib.sc_order(
            tail.cdata,
            senders.cdata,
            slot,
            time_ns,
            payload_limit,
            messages.address,
            messages.rows_address + start,
            len(messages) - start,
            result,
        )
        self.taken = result.taken
        self.stamped = result.stamped
        self.duplicates = result.duplicates
        self.stop = result.stop


class TraceKernel:
    """Calls `sc_trace_run`: the answers that tell where records of one sender lie."""

    __slots__ = ("_cdata",)

    def __init__(self, sender: bytes, first: int, last: int) -> None:
        """Look at records `first` to `last`, for those of `sender` (six bytes)."""
        self._cdata = ffi.new("sc_trace *", {"sender": sender, "next": first, "last": last})

    @property
    def next(self) -> int:
        """Number of the next record to look at."""
        return self._cdata.next  # type: ignore[no-any-return]

    @property
    def last(self) -> int:
        """Number of the last record to look at."""
        return self._cdata.last  # type: ignore[no-any-return]

    @property
    def done(self) -> bool:
        """Whether all was looked at, and told."""
        return self._cdata.next > self._cdata.last and self._cdata.count == 0  # type: ignore[no-any-return]

    def run(self, segment: Segment, records: int, answers: Answers) -> Messages:
        """Look at `records` records at most; returns the answers, valid until the next call with these `answers`."""
        count = lib.sc_trace_run(self._cdata, segment.cdata, records, answers.cdata, answers.capacity)
        return answers.table.view(answers.view, count)


class Answers:
    """Room for `capacity` answers, one behind the other."""

    __slots__ = ("capacity", "cdata", "table", "view")

    def __init__(self, capacity: int) -> None:
        size: int = lib.SC_ANSWER_BYTES
        self.capacity = capacity
        self.cdata = ffi.new("uint8_t[]", capacity * size)
        self.view = memoryview(ffi.buffer(self.cdata)).cast("B")
        self.table = MessageTable(capacity)
        for row in range(capacity):
            self.table.set(row, 0, row * size, size)


class AnswerKernel:
    """Calls `sc_answers_fill`: what became committed, as the answers of the submit port, by sender.

    It tells of `runs` runs at most in one call.
    """

    __slots__ = ("_ends", "_parts", "_senders", "_slots", "cdata", "packets")

    def __init__(self, senders: SenderTable, commit: int, runs: int) -> None:
        """Take up the table where records up to `commit` are committed already."""
        table = self._senders = senders.cdata
        for slot in range(table.count):
            row = table.rows[slot]
            if row.number <= commit:  # else an earlier sequence of his may be committed: the walk will tell
                row.committed_sequence, row.committed_number = row.sequence, row.number
        packets = ffi.new("uint8_t[]", runs * lib.SC_ANSWER_PACKET_BYTES)
        self._slots, self._ends = ffi.new("uint32_t[]", runs), ffi.new("uint32_t[]", runs)
        heads, inside = ffi.new("uint32_t[]", runs), ffi.new("sc_run[]", runs)
        # What C points into lives as long as this does.
        self._parts = (packets, heads, inside, ffi.new("uint32_t[]", table.capacity))
        self.cdata = ffi.new("sc_answers *", {"capacity": runs, "slots": self._slots, "ends": self._ends})
        self.cdata.packets, self.cdata.heads, self.cdata.runs, self.cdata.open = self._parts
        self.packets = memoryview(ffi.buffer(packets)).cast("B")

    def fill(self, segment: Segment, first: int, last: int) -> int:
        """Walk records `first` to `last` of one segment; returns the number after the last that was looked at."""
        return lib.sc_answers_fill(self.cdata, self._senders, segment.cdata, first, last)  # type: ignore[no-any-return]

    def told(self) -> list[tuple[int, memoryview]]:
        """(slot of a sender, answers framed as packets) of the last call, valid until the next."""
        count = self.cdata.senders
        if count == 1:  # as mostly
            return [(self._slots[0], self.packets[: self._ends[0]])]
        ends = ffi.unpack(self._ends, count)
        parts = zip([0, *ends], ends, strict=False)
        return [
            (slot, self.packets[start:end])
            for slot, (start, end) in zip(ffi.unpack(self._slots, count), parts, strict=True)
        ]


def can_segment(line: socket.socket) -> bool:
    """Whether the kernel can cut one large send on this socket into datagrams."""
    return bool(lib.sc_udp_segments(line.fileno()))


def refuses_segments(error: OSError) -> bool:
    """Whether a failed send may go without segments: the interface, or the datagram's size, does not allow them."""
    return bool(lib.sc_udp_segment_refused(error.errno))


class Outgoing:
    """A batch of MoldUDP64 downstream packets, packed from the log and sent on connected sockets."""

    __slots__ = ("cdata", "count")

    def __init__(self, session: bytes, datagrams: int, datagram_bytes: int) -> None:
        pointer = lib.sc_outgoing_new(session, datagrams, datagram_bytes)
        if pointer == ffi.NULL:
            raise MemoryError(f"no memory for {datagrams} datagrams of {datagram_bytes} bytes")
        self.cdata = ffi.gc(pointer, lib.sc_outgoing_free)
        self.count = 0

    def fill(self, segment: Segment, number: int, last: int) -> int:
        """Pack records `number..last`; returns the number after the last packed one."""
        following: int = lib.sc_outgoing_fill(self.cdata, segment.cdata, number, last)
        self.filled()
        return following

    def send(self, line: socket.socket, start: int, *, segmented: bool) -> int:
        """Send datagrams `start..count-1` without blocking; returns how many left.

        `segmented` lets the kernel take runs of equal ones in one piece; see `can_segment`.

        A line without a descriptor (of a simulated network) gets them one by one. Raises BlockingIOError when
        the socket is full, OSError when the network refuses the first.
        """
        fileno = line.fileno()
        if fileno < 0:
            for index in range(start, self.count):
                line.send(self._datagram(index))
            return self.count - start
        sent: int = lib.sc_outgoing_send(self.cdata, fileno, start, segmented)
        if sent < 0:
            raise OSError(-sent, os.strerror(-sent))
        return sent

    def filled(self) -> None:
        """C has filled it: see how many there are."""
        self.count = lib.sc_outgoing_count(self.cdata)

    def _datagram(self, index: int) -> bytes:
        """The bytes of one packet."""
        length = ffi.new("uint32_t *")
        return bytes(ffi.buffer(lib.sc_outgoing_datagram(self.cdata, index, length), length[0]))


class LaneKernel:
    """The `sc_lane` of one connection."""

    __slots__ = ("_buffer", "cdata")

    def __init__(self, fileno: int, slot: int, buffer: memoryview) -> None:
        self._buffer = buffer
        self.cdata = ffi.new("sc_lane *", {"fd": fileno, "slot": slot, "capacity": len(buffer)})
        self.cdata.buffer = address_of(buffer)

    def close(self, closed: bool) -> None:
        """Whether it is to be left alone."""
        self.cdata.closed = closed

    @property
    def traffic(self) -> tuple[int, int]:
        """When something was heard last, and when something was sent; 0 for never. Monotonic nanoseconds."""
        return self.cdata.heard_ns, self.cdata.told_ns

    def left(self) -> tuple[int, int, int]:
        """(start, end, duplicates): bytes of the buffer that are left to the owner, whose they are from now on."""
        lane = self.cdata
        left = (lane.start, lane.end, lane.duplicates)
        lane.start = lane.end = lane.duplicates = 0
        return left

    def untold(self) -> tuple[int, int]:
        """(start, end) of the answers that the socket did not take; the owner's from now on."""
        lane = self.cdata
        untold = (lane.untold, lane.untold_end)
        lane.untold = lane.untold_end = 0
        return untold


class ExpressKernel:
    """Calls `sc_express_run`."""

    __slots__ = ("_keep", "_ready", "cdata")

    LANE_LIMIT = 1 << 13

    def __init__(
        self,
        senders: SenderTable,
        outgoing: Outgoing,
        answers: AnswerKernel,
        stages: StagesKernel,
        lines: Iterable[int],
        payload_limit: int,
        rows: int,
    ) -> None:
        """`lines` are descriptors of connected sockets, one or two."""
        self._ready = Ready()
        table, by_fd = MessageTable(rows), ffi.new("sc_lane *[]", self.LANE_LIMIT)
        by_slot = ffi.new("sc_lane *[]", senders.cdata.capacity)
        self._keep = (senders, outgoing, answers, stages, table, by_fd, by_slot)
        x = self.cdata = ffi.new("sc_express *")
        x.senders, x.outgoing, x.answers = senders.cdata, outgoing.cdata, answers.cdata
        x.to_commit, x.to_wire = stages.spans
        x.rows, x.row_capacity, x.payload_limit = table.rows, rows, payload_limit
        x.by_fd, x.by_slot, x.lane_limit = by_fd, by_slot, self.LANE_LIMIT
        for line in lines:
            x.lines[x.line_count] = line
            x.line_count += 1

    def set(self, lane: LaneKernel, *, on: bool) -> None:
        """Take up a lane, or give it up."""
        pointer = lane.cdata if on else ffi.NULL
        self.cdata.by_fd[lane.cdata.fd] = pointer
        self.cdata.by_slot[lane.cdata.slot] = pointer

    def run(
        self,
        tail: Segment,
        segmented: Iterable[bool],
        epoll: int,
        timeout_ns: int,
        spin_ns: int,
        stay_ns: int,
    ) -> list[tuple[int, int]]:
        """Wait, and take turns; returns what is ready for others. Raises OSError."""
        x, ready = self.cdata, self._ready
        x.tail = tail.cdata
        for index, each in enumerate(segmented):
            x.segmented[index] = each
        return ready.listed(
            lib.sc_express_run(x, epoll, ready.address, lib.SC_WAIT_MAX, timeout_ns, spin_ns, stay_ns)
        )
