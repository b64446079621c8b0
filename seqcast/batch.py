"""What a receiver hands to the app: batches of messages, and single messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from attrs import frozen

from native.messages import MessageTable
from seqcast._native import Stamps

if TYPE_CHECKING:
    import numpy

    from native.messages import Messages

SENDER_NAMES_KEPT = 4096
"""Decoded sender names kept at hand."""


@frozen
class Message:
    """One message of the stream.

    `number` is the stream number of the record (of its last fragment, for a message sent in fragments),
    `payload` the bytes that were submitted, `sender` the user name that submitted them,
    `sender_sequence` his own count, `time_ns` the UTC nanoseconds at which the sequencer stamped it.
    """

    number: int
    payload: bytes
    sender: str
    sender_sequence: int
    time_ns: int


class Batch(Sequence[Message]):
    """Messages in stream order, opened in place.

    `payloads` is a sequence of memoryviews into the receiver's buffer, valid until the receiver is polled
    again. Indexing and iterating give `Message` objects, which are copies and live as long as they like.
    """

    __slots__ = ("payloads", "stamps")

    def __init__(self, payloads: Messages, stamps: Stamps) -> None:
        self.payloads = payloads
        self.stamps = stamps

    @classmethod
    def empty(cls) -> Batch:
        """A batch without messages."""
        return cls(MessageTable(1).view(memoryview(b""), 0), Stamps(memoryview(b""), 0))

    def __len__(self) -> int:
        return len(self.payloads)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        sender, sequence, time_ns = self.stamps[index]
        return Message(
            self.payloads.number(index), bytes(self.payloads[index]), _name(sender), sequence, time_ns
        )

    def __iter__(self) -> Iterator[Message]:
        stamps = self.stamps
        for number, payload, sender, sequence, time_ns in zip(
            self.payloads.numbers, self.payloads, stamps.senders, stamps.sequences, stamps.times, strict=True
        ):
            yield Message(number, bytes(payload), _name(sender), sequence, time_ns)

    @property
    def first_number(self) -> int:
        """Stream number of the first message."""
        return self.payloads.number(0)

    @property
    def last_number(self) -> int:
        """Stream number of the last message."""
        return self.payloads.number(len(self) - 1)

    @property
    def senders(self) -> list[str]:
        """User names of the senders, one for each message."""
        return [_name(sender) for sender in self.stamps.senders]

    def table(self) -> numpy.ndarray[Any, Any]:
        """A NumPy view of the stamps: fields `time` u8, `sequence` u8, `sender` S6, `kind` u1, `flags` u1.

        Raises ImportError where NumPy is not installed.
        """
        return self.stamps.rows()


@lru_cache(maxsize=SENDER_NAMES_KEPT)
def _name(sender: bytes) -> str:
    """The sender's name as text; there are few senders and many messages."""
    return sender.decode("ascii", "replace").rstrip()
