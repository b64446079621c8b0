"""What a receiver hands to the app: batches of messages, and single messages."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from native.messages import MessageTable
from rewinder.record import SENDER_BYTES
from seqcast._native import Stamps, copy_messages

if TYPE_CHECKING:
    import numpy

    from native.messages import Messages

SENDER_NAMES_KEPT = 4096
"""Decoded sender names kept at hand: a bound on what damaged names can use, far above the senders of a stream."""


class Message(NamedTuple):
    """One message of the stream: a tuple, so that it cannot change, and costs little.

    `number` is the stream number of the record (of its last fragment, for a message sent in fragments),
    `payload` the bytes that were submitted, `sender` the user name that submitted them,
    `sender_sequence` his own count, `time_ns` the UTC nanoseconds at which the sequencer stamped it.
    """

    number: int
    payload: bytes
    sender: str
    sender_sequence: int
    time_ns: int


class Arrays(NamedTuple):
    """A batch as read-only NumPy arrays, one entry a message; none is a copy.

    Valid like the batch itself: until the receiver is polled again.
    """

    numbers: numpy.ndarray[Any, Any]
    """Stream numbers, u8."""
    offsets: numpy.ndarray[Any, Any]
    """Where the payloads begin in `Batch.buffer`, in bytes, u4."""
    lengths: numpy.ndarray[Any, Any]
    """Bytes of the payloads, u4."""
    times: numpy.ndarray[Any, Any]
    """UTC nanoseconds of the stamps, u8."""
    sequences: numpy.ndarray[Any, Any]
    """Sender sequences, u8."""
    senders: numpy.ndarray[Any, Any]
    """User names of the senders, S6, padded with spaces on the right."""


class _Names(dict[int, str]):
    """The senders' names, by their words in the stamps (`Stamps.sender_words`); each is decoded once."""

    def __missing__(self, word: int) -> str:
        if len(self) >= SENDER_NAMES_KEPT:
            self.clear()
        name = self[word] = _name(word.to_bytes(8, sys.byteorder)[:SENDER_BYTES])
        return name


def _name(sender: bytes) -> str:
    """The sender's name as text."""
    return sender.decode("ascii", "replace").rstrip()


_names = _Names()
_message = partial(tuple.__new__, Message)  # `Message` of a tuple of its fields, without a Python call


class Batch(Sequence[Message]):
    """Messages in stream order, opened in place.

    `payloads` is a sequence of memoryviews into the receiver's buffer, `stamps` the columns of their stamps.
    The batch, its payloads and its arrays are valid until the receiver is polled again; `copy` gives one that
    lives longer. Indexing, slicing and iterating give `Message` objects, which are copies and live as long as
    they like; iterating makes each as it comes to it, so it must be over before the receiver is polled again.
    """

    __slots__ = ("payloads", "stamps")

    def __init__(self, payloads: Messages, stamps: Stamps) -> None:
        self.payloads = payloads
        self.stamps = stamps

    @classmethod
    def empty(cls) -> Batch:
        """A batch without messages."""
        return cls(_NO_PAYLOADS, _NO_STAMPS)

    def __len__(self) -> int:
        return len(self.payloads)

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> list[Message]: ...
    def __getitem__(self, index: int | slice) -> Message | list[Message]:
        if isinstance(index, slice):
            return self._slice(*index.indices(len(self)))
        if index < 0:
            index += len(self)
        payload = self.payloads[index].tobytes()
        sender, sequence, time_ns = self.stamps[index]
        return Message(self.payloads.number(index), payload, _name(sender), sequence, time_ns)

    def __iter__(self) -> Iterator[Message]:
        count = len(self)
        if count == 1:  # a quiet stream: columns would cost more than the message
            return iter((self[0],))
        payloads, stamps, buffer = self.payloads, self.stamps, self.payloads.buffer
        return map(
            _message,
            zip(
                payloads.numbers,
                (
                    buffer[offset : offset + length].tobytes()
                    for offset, length in zip(payloads.offsets, payloads.lengths, strict=True)
                ),
                map(_names.__getitem__, stamps.sender_words),
                stamps.sequences,
                stamps.times,
                strict=True,
            ),
        )

    @property
    def buffer(self) -> memoryview:
        """The bytes that hold the payloads, at `arrays().offsets`, with others between them."""
        return self.payloads.buffer

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
        return list(map(_names.__getitem__, self.stamps.sender_words))

    def arrays(self) -> Arrays:
        """The batch as NumPy arrays, for work on whole columns; no copy.

        Raises ImportError where NumPy is not installed.
        """
        try:
            rows, stamps = self.payloads.rows(), self.stamps.rows()
        except ImportError as error:
            raise ImportError(
                "Batch.arrays() needs NumPy, which is not installed: pip install 'seqcast[numpy]'"
            ) from error
        rows.flags.writeable = stamps.flags.writeable = False  # the tables are the receiver's
        return Arrays(
            rows["number"],
            rows["offset"],
            rows["length"],
            stamps["time"],
            stamps["sequence"],
            stamps["sender"],
        )

    def copy(self) -> Batch:
        """The same messages in memory of their own: valid for as long as somebody refers to it."""
        return Batch(copy_messages(self.payloads), self.stamps.copy())

    def _slice(self, start: int, stop: int, step: int) -> list[Message]:
        if step != 1:
            return [self[index] for index in range(start, stop, step)]
        count = max(0, stop - start)
        return list(Batch(self.payloads.after(start).before(count), self.stamps.part(start, count)))


_NO_PAYLOADS = MessageTable(1).view(memoryview(b""), 0)
_NO_STAMPS = Stamps(memoryview(b""), 0)
