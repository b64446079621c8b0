"""The input of a demo, and the digest by which input and deliveries are compared."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from seqcast.demo.plan import MESSAGES_DEFAULT, MESSAGES_LEAST, MESSAGES_MOST, DemoError
from seqcast.feeds import FeedReader, FeedWriter, open_input
from seqcast.itch import binaryfile_chunks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO

    from native.messages import Messages

MESSAGE_LIMIT_BYTES = 255
"""Longest message of an input; ITCH 5.0 has 50. So each travels in one record, and sender sequences count
messages; and so many messages in flight have a known size (see `sending`)."""

FEED_NAME = "input.itch"
"""The input's copy in the directory of the run: a BinaryFILE."""

AVERAGE_BYTES = 32
"""Of a message with its length in a generated day, nearly: for the progress of generating it."""


@frozen
class Feed:
    """An input that is ready: `messages` messages with the digest `digest` in the BinaryFILE at `path`."""

    path: Path
    messages: int
    digest: str
    source: str


class StreamDigest:
    """SHA-256 over messages in order, each behind its length in two bytes, big-endian.

    That is a BinaryFILE without its end marker, so `head -c -2 input.itch | sha256sum` gives the same.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._writer = FeedWriter(self, "binaryfile", name="the digest")  # type: ignore[arg-type]

    def update(self, messages: Messages) -> None:
        """Take in a batch. Raises FeedError for an empty message, which a BinaryFILE cannot hold."""
        self._writer.write(messages)

    def write(self, data: memoryview) -> int:
        """Take in bytes of the BinaryFILE: what the writer calls."""
        self._hash.update(data)
        return len(data)

    @property
    def count(self) -> int:
        """Messages taken in."""
        return self._writer.count

    def hexdigest(self) -> str:
        """The digest so far, as 64 hexadecimal digits."""
        return self._hash.hexdigest()


@define(eq=False)
class Supply:
    """Hands out the messages of a BinaryFILE, as many at a time as the caller wants."""

    stream: BinaryIO
    name: str
    position: int = field(default=0, init=False)  # messages handed out or skipped
    _reader: FeedReader = field(init=False)
    _batch: Messages | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._reader = FeedReader(
            self.stream, "binaryfile", name=self.name, message_limit=MESSAGE_LIMIT_BYTES
        )

    def take(self, limit: int) -> Messages | None:
        """The next messages, 1 to `limit` of them, valid until the next call; None at the end.

        Raises FeedError where the file is broken.
        """
        if self._batch is None or not len(self._batch):
            self._batch = next(self._reader, None)
            if self._batch is None:
                return None
        taken = self._batch.before(limit)
        self._batch = self._batch.after(limit)
        self.position += len(taken)
        return taken

    def skip(self, count: int) -> None:
        """Pass over `count` messages, or what there is of them."""
        end = self.position + count
        while self.position < end and self.take(end - self.position) is not None:
            pass


def prepare(
    directory: Path, source: Path | None, messages: int | None, seed: int, meter: Callable[[int], None]
) -> Feed:
    """Write the input of a run into `directory`; `meter` hears how many messages are ready.

    Raises DemoError when the source is too short or too long, OSError and FeedError when it cannot be read.
    """
    path = directory / FEED_NAME
    if source is None:
        wanted = MESSAGES_DEFAULT if messages is None else messages
        return _generate(path, wanted, seed, meter)
    return _copy(path, source, messages, meter)


def _generate(path: Path, messages: int, seed: int, meter: Callable[[int], None]) -> Feed:
    size = 0
    with path.open("wb") as stream:
        for chunk in binaryfile_chunks(messages, seed):
            stream.write(chunk)
            size += len(chunk)
            meter(min(messages, size // AVERAGE_BYTES))
    digest = StreamDigest()
    with path.open("rb") as stream:
        for batch in FeedReader(stream, "binaryfile", name=str(path)):
            digest.update(batch)
    return Feed(path, digest.count, digest.hexdigest(), f"generated day, seed {seed}")


def _copy(path: Path, source: Path, messages: int | None, meter: Callable[[int], None]) -> Feed:
    limit = MESSAGES_MOST if messages is None else messages
    digest = StreamDigest()
    with open_input(source) as stream, path.open("wb") as copy:
        supply = Supply(stream, str(source))
        writer = FeedWriter(copy, "binaryfile", name=str(path))
        while supply.position < limit:
            batch = supply.take(limit - supply.position)
            if batch is None:
                break
            digest.update(batch)
            writer.write(batch)
            meter(supply.position)
        writer.end()
        if messages is None and supply.take(1) is not None:
            raise DemoError(
                f"{source} has more than {MESSAGES_MOST:,} messages: say how many with --messages"
            )
    least = MESSAGES_LEAST if messages is None else messages
    if digest.count < least:
        raise DemoError(f"{source} has {digest.count:,} messages, fewer than {least:,}")
    return Feed(path, digest.count, digest.hexdigest(), str(source))
