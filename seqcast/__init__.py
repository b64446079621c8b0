"""seqcast: every process gets the same messages, in the same order, exactly once.

What apps use:

    from seqcast import read_configuration, receiver_of, sender_of

    configuration = read_configuration("run/seqcast.toml")
    with sender_of(configuration, "ALPHA") as sender:
        sender.send(b"hello")
    with receiver_of(configuration) as receiver:
        for message in receiver:
            print(message.number, message.sender, message.payload)

Names are loaded when they are first used, so that the command line starts quickly.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqcast.batch import Batch, Message
    from seqcast.config import read_configuration
    from seqcast.endpoints import receiver_of, sender_of
    from seqcast.receiver import BEGIN, LIVE, Receiver
    from seqcast.sender import Sender
    from seqcast.settings import Configuration

__all__ = [
    "BEGIN",
    "LIVE",
    "Batch",
    "Configuration",
    "Message",
    "Receiver",
    "Sender",
    "read_configuration",
    "receiver_of",
    "sender_of",
]

_HOMES = {
    "BEGIN": "seqcast.receiver",
    "LIVE": "seqcast.receiver",
    "Batch": "seqcast.batch",
    "Configuration": "seqcast.settings",
    "Message": "seqcast.batch",
    "Receiver": "seqcast.receiver",
    "Sender": "seqcast.sender",
    "read_configuration": "seqcast.config",
    "receiver_of": "seqcast.endpoints",
    "sender_of": "seqcast.endpoints",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'seqcast' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)
