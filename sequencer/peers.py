"""Talk with the node ports of the other voters: one question to each, asked until it is answered or changed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from attrs import define, field

from rewinder.dial import Dial, Identity, Patience
from rewinder.replication import Answer, decode
from souptcp import Accepted, Unsequenced

if TYPE_CHECKING:
    from collections.abc import Callable

    from rewinder.counters import Counters
    from rewinder.network import Network
    from rewinder.pump import Pump

AGAIN_NS = 20_000_000
"""How often a voter that cannot be reached is tried again, and a question is repeated."""


@define(eq=False)
class Peer:
    """One voter: where it is, what it is to be asked, and what it was asked last on this connection."""

    name: str
    address: tuple[str, int]
    dial: Dial = field(init=False)
    question: bytes = b""
    asked: bytes = b""
    due_ns: int = 0


@define(eq=False)
class Peers:
    """The other voters, by name. `on_answer(name, answer, now_ns)` gets what they say."""

    pump: Pump
    network: Network
    identity: Identity
    patience: Patience
    addresses: dict[str, tuple[str, int]]
    counters: Counters
    on_answer: Callable[[str, Answer, int], None]
    open: bool = field(default=False, init=False)
    _peers: list[Peer] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        for name, address in self.addresses.items():
            peer = Peer(name, address)
            peer.dial = Dial(
                self.pump,
                self.network,
                self.identity,
                self.patience,
                partial(self._on_event, peer),
                partial(self._on_lost, peer),
            )
            self._peers.append(peer)

    def ask(self, question: Callable[[str], bytes], now_ns: int) -> None:
        """Ask each voter what `question(name)` says; connect to those who are not connected."""
        self.open = True
        for peer in self._peers:
            peer.question = question(peer.name)
            self._push(peer, now_ns)
        self.pump.timers.watch(self)

    def close(self) -> None:
        """Hang up."""
        self.open = False
        for peer in self._peers:
            peer.dial.close()
            peer.asked = b""

    def deadline_ns(self) -> int | None:
        """When somebody is to be tried, or asked, again."""
        return min((peer.due_ns for peer in self._peers), default=None) if self.open else None

    def handle_timer(self, now_ns: int) -> None:
        """Try again, and ask again: what a voter hears changes."""
        if self.open:
            for peer in self._peers:
                if now_ns >= peer.due_ns:
                    peer.asked = b""
                    self._push(peer, now_ns)

    def _push(self, peer: Peer, now_ns: int) -> None:
        if peer.dial.logged_in:
            if peer.asked != peer.question:
                peer.asked = peer.question
                peer.due_ns = now_ns + AGAIN_NS
                peer.dial.send(peer.question, now_ns)
        elif now_ns >= peer.due_ns:
            peer.due_ns = now_ns + AGAIN_NS
            if not peer.dial.open:
                peer.dial.connect(peer.address, 0, now_ns)

    def _on_event(self, peer: Peer, event: object, now_ns: int) -> None:
        match event:
            case Accepted():
                peer.asked = b""
                self._push(peer, now_ns)
            case Unsequenced(messages):
                for message in messages:
                    packet = decode(bytes(message))
                    if isinstance(packet, Answer):
                        self.on_answer(peer.name, packet, now_ns)
                    else:
                        self.counters.add("peers.unknown")

    def _on_lost(self, peer: Peer, _reason: str, now_ns: int) -> None:
        peer.asked = b""
        peer.due_ns = now_ns + AGAIN_NS
        self.counters.add("peers.disconnects")
