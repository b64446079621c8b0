"""MoldUDP64 re-requests answered from the log: one request, one packet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import asdict, define, field

from rewinder._native import BlockPacker
from rewinder.errors import LogError

if TYPE_CHECKING:
    import socket

    from moldudp import RequestServer
    from rewinder.log import MessageLog

REQUESTS_PER_TURN = 256
"""Requests answered in one turn: a flood of them must not hold up replays."""

REQUEST_BYTES = 64
"""Bytes of a request that are read; one has 20, and a longer datagram is served by those."""


@define(eq=False)
class LogStore:
    """The committed part of a log, as the message store of a request server; see `moldudp.MessageStore`."""

    log: MessageLog
    datagram_bytes: int
    _packer: BlockPacker = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._packer = BlockPacker(self.datagram_bytes)

    def last(self, session: bytes) -> int | None:
        """The commit number, for the session of the log."""
        return self.log.commit if session == self.log.session else None

    def pack(self, _session: bytes, first: int, count: int, capacity: int) -> tuple[bytes, int]:
        """Message blocks of one segment; a request that spans two is asked for again from there.

        What cannot be read is not there: the server counts it as unavailable.
        """
        try:
            segment, _ = self.log.locate(first)
        except LogError:
            return b"", 0
        return self._packer.pack(segment, first, first + count - 1, capacity)


@define(eq=False)
class RequestPort:
    """The UDP port of a request server."""

    server: RequestServer
    socket: socket.socket
    unsent: int = field(default=0, init=False)

    @property
    def port(self) -> int:
        """The UDP port."""
        return int(self.socket.getsockname()[1])

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self.socket.fileno()

    def on_ready(self, _events: int, _now_ns: int) -> int:
        """Answer what has arrived, within a bound; returns how many datagrams that was."""
        for done in range(REQUESTS_PER_TURN):
            try:
                datagram, address = self.socket.recvfrom(REQUEST_BYTES)
            except BlockingIOError:
                return done
            except OSError:  # an answer to an earlier peer bounced
                continue
            reply = self.server.respond(datagram)
            if reply is not None:
                try:
                    self.socket.sendto(reply, address)
                except OSError:
                    self.unsent += 1  # he will ask again
        return REQUESTS_PER_TURN

    def counters(self) -> dict[str, int]:
        """What was asked and answered."""
        return {**asdict(self.server.counters), "unsent": self.unsent}

    def close(self) -> None:
        """Let go of the port."""
        self.socket.close()
