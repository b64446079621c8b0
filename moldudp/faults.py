"""A bad network, on purpose: loss, duplication and reordering in front of a receiver, for tests and demos.

It stands in the receiver's place and reads the sockets itself, so that a receiver without it pays nothing.
What it does follows from the random source alone: one seed, one run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field, validators

from moldudp.errors import RemoteProtocolError
from moldudp.sockets import read_datagrams

if TYPE_CHECKING:
    from random import Random

    from moldudp.receiver import Receiver

REORDER_DEPTH = 8
"""A datagram that is held back comes after at most so many later ones."""

READ_DATAGRAMS = 16
"""Datagrams of one `receive_from`, or as many more as are coalesced with the last: with duplicates, and what was held
back, they fit the batch of a receiver."""

_probability = [validators.ge(0.0), validators.le(1.0)]


@define
class FaultCounters:
    """What was done to the datagrams, and how many messages the lost ones held."""

    datagrams: int = 0
    lost: int = 0
    lost_messages: int = 0
    duplicated: int = 0
    reordered: int = 0


@define
class _Late:
    """A datagram that is held back until `wait` later ones went by."""

    data: bytes
    line: int
    wait: int


@define(eq=False)
class Faults:
    """Feeds `receiver` with most of what arrives: the rest is lost, or comes twice, or late.

    `loss`, `duplicate` and `reorder` are probabilities for each datagram. Use it for taking datagrams in;
    everything else goes to the receiver directly.
    """

    receiver: Receiver
    random: Random
    loss: float = field(default=0.0, kw_only=True, validator=_probability)
    duplicate: float = field(default=0.0, kw_only=True, validator=_probability)
    reorder: float = field(default=0.0, kw_only=True, validator=_probability)
    counters: FaultCounters = field(factory=FaultCounters, init=False)
    _late: list[_Late] = field(factory=list, init=False)

    def receive_from(self, fileno: int, now_ns: int, line: int = 0) -> int:
        """Like `Receiver.receive_from`, for a non-blocking socket: returns how many datagrams were read."""
        count = 0
        while count < READ_DATAGRAMS:
            try:
                datagrams = read_datagrams(fileno)
            except BlockingIOError:
                break
            for data in datagrams:
                self.receive_datagram(data, now_ns, line)
            count += len(datagrams)
        return count

    def receive_datagram(self, data: bytes | bytearray | memoryview, now_ns: int, line: int = 0) -> None:
        """Like `Receiver.receive_datagram`."""
        self.counters.datagrams += 1
        for late in self._late:
            late.wait -= 1
        chance = self.random.random
        if chance() < self.loss:
            self._lose(bytes(data))
        elif chance() < self.reorder:
            self.counters.reordered += 1
            self._late.append(_Late(bytes(data), line, self.random.randint(1, REORDER_DEPTH)))
        else:
            self.receiver.receive_datagram(data, now_ns, line)
            if chance() < self.duplicate:
                self.counters.duplicated += 1
                self.receiver.receive_datagram(data, now_ns, line)
        self._release(now_ns)

    def flush(self, now_ns: int) -> None:
        """Let everything through that is held back."""
        for late in self._late:
            late.wait = 0
        self._release(now_ns)

    def _release(self, now_ns: int) -> None:
        ready = [late for late in self._late if late.wait <= 0]
        if not ready:
            return
        self._late = [late for late in self._late if late.wait > 0]
        for late in ready:
            self.receiver.receive_datagram(late.data, now_ns, late.line)

    def _lose(self, data: bytes) -> None:
        self.counters.lost += 1
        try:
            self.counters.lost_messages += len(self.receiver.codec.decode(data).messages)
        except RemoteProtocolError:
            return
