"""From the configuration to a sender or a receiver of the stream it describes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seqcast.receiver import Receiver
from seqcast.reception import Repair
from seqcast.sender import Sender
from sequencer.process import payload_limit

if TYPE_CHECKING:
    from seqcast.config import Configuration


def sender_of(configuration: Configuration, user: str, password: str = "", **settings: Any) -> Sender:
    """A sender that finds the present primary among the configured sequencers.

    `settings` are further arguments of `Sender`.
    """
    # When the nodes have missed a primary, and another has had time to take its place.
    settings.setdefault("silence_ns", configuration.timing.suspect_ns * 5 // 4)
    return Sender(
        sequencers=[(node.host, node.submit_port) for node in configuration.sequencers if node.submit_port],
        user=user,
        password=password,
        session=configuration.session_field,
        fragment_bytes=payload_limit(configuration.multicast.datagram_bytes),
        **settings,
    )


def receiver_of(configuration: Configuration, *, multicast: bool = True, **settings: Any) -> Receiver:
    """A receiver of the configured lines, repaired by the configured rewinders.

    With `multicast=False` it reads from the rewinders alone. `settings` are further arguments of `Receiver`.
    """
    rewinders = configuration.rewinders
    lines = [(line.group, line.port) for line in configuration.multicast.lines] if multicast else []
    servers = [(node.host, node.request_port) for node in rewinders if node.request_port] if multicast else []
    settings.setdefault("lines", lines)
    return Receiver(
        rewinders=[(node.host, node.replay_port) for node in rewinders if node.replay_port],
        request_servers=servers,
        session=configuration.session_field,
        interface=configuration.multicast.interface,
        repair=Repair(reorder_delay_ns=configuration.receiver.reorder_delay_ns),
        datagram_bytes=max(2048, configuration.multicast.datagram_bytes),
        held_datagrams=configuration.receiver.held_datagrams,
        **settings,
    )
