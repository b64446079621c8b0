"""seqcast: every process gets the same messages, in the same order, exactly once.

What apps use:

    from seqcast import Receiver, Sender

    with Sender("run/seqcast.toml", user="ALPHA") as sender:
        ticket = sender.send(b"hello")
        print("committed at", ticket.wait())
    with Receiver("run/seqcast.toml") as receiver:
        for message in receiver:
            print(message.number, message.sender, message.payload)

Names are loaded when they are first used, so that the command line starts quickly.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rewinder.pump import Idle
    from seqcast.batch import Batch, Message
    from seqcast.checkpoint import Checkpoint
    from seqcast.config import read_configuration
    from seqcast.endpoints import Endpoints
    from seqcast.receiver import BEGIN, LIVE, Receiver
    from seqcast.replica import Replica, StateMachine
    from seqcast.sender import Sender
    from seqcast.settings import Configuration, Line
    from seqcast.ticket import Ticket

__all__ = [
    "BEGIN",
    "LIVE",
    "Batch",
    "Checkpoint",
    "Configuration",
    "Endpoints",
    "Idle",
    "Line",
    "Message",
    "Receiver",
    "Replica",
    "Sender",
    "StateMachine",
    "Ticket",
    "read_configuration",
]

_HOMES = {
    "BEGIN": "seqcast.receiver",
    "LIVE": "seqcast.receiver",
    "Batch": "seqcast.batch",
    "Checkpoint": "seqcast.checkpoint",
    "Configuration": "seqcast.settings",
    "Endpoints": "seqcast.endpoints",
    "Idle": "rewinder.pump",
    "Line": "seqcast.settings",
    "Message": "seqcast.batch",
    "Receiver": "seqcast.receiver",
    "Replica": "seqcast.replica",
    "Sender": "seqcast.sender",
    "StateMachine": "seqcast.replica",
    "Ticket": "seqcast.ticket",
    "read_configuration": "seqcast.config",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'seqcast' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)
