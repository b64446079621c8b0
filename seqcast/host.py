"""Where a sender or a receiver lives: its network, its pump, its clock, and chance.

`ThisHost` is the real thing. A simulator gives senders and receivers another host, and nothing else.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Protocol

from attrs import define, field

from rewinder.network import Network, SocketNetwork
from rewinder.pump import EpollPump, Idle

if TYPE_CHECKING:
    from collections.abc import Callable

    from rewinder.pump import Pump


class Host(Protocol):
    """What a sender or a receiver gets from outside."""

    network: Network
    random: Random

    def pump(self, finish: Callable[[int], int]) -> Pump:
        """A pump that ends its turns with `finish(now_ns)`."""


@define(eq=False)
class ThisHost:
    """The machine that this process runs on. `idle` says how a pump waits: asleep, or spinning on a core."""

    idle: Idle = Idle.BLOCK
    network: Network = field(factory=SocketNetwork)
    random: Random = field(factory=Random)

    def pump(self, finish: Callable[[int], int]) -> Pump:
        """A pump on epoll."""
        return EpollPump(self.idle, finish)
