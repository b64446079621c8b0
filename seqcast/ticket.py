"""Tickets: what `send` gives back, and what becomes the committed number."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from seqcast.errors import NumberUnknown, SeqcastError, TimedOut

if TYPE_CHECKING:
    from collections.abc import Generator

    from seqcast.submission import Answer


class Waiting(Protocol):
    """Whoever can bring a ticket to its end."""

    def wait_for(self, ticket: Ticket, timeout: float | None) -> None:
        """Let time pass until the ticket is done, or for `timeout` seconds."""

    def attach(self) -> None:
        """Go on by itself in the event loop that is running."""

    def look(self) -> None:
        """Take what has come, without waiting."""


class Ticket:
    """One message (or the last of a batch) on its way: `wait()` or `await` gives the number it was committed at.

    `sequence` is the sender sequence of its last frame. `wait` moves the sender; awaiting needs a running event loop.
    A ticket that is not done says nothing about failure: the
    message may be in the stream, and the sender goes on trying as long as it lives.
    """

    __slots__ = ("_error", "_futures", "_number", "_sender", "sequence")

    def __init__(self, sender: Waiting, sequence: int) -> None:
        self.sequence = sequence
        self._sender = sender
        self._number: int | None = None
        self._error: Exception | None = None
        self._futures: list[asyncio.Future[int]] | None = None

    def __repr__(self) -> str:
        state = (
            f"committed at {self._number}" if self._number is not None else f"{self._error or 'in flight'}"
        )
        return f"<ticket {self.sequence}: {state}>"

    def __await__(self) -> Generator[None, None, int]:
        """The stream number, as from `wait`, without stopping the event loop."""
        if not self.settled:
            self._sender.attach()
            future = asyncio.get_running_loop().create_future()
            if self._futures is None:
                self._futures = []
            self._futures.append(future)
            yield from future
        return self._outcome()

    @property
    def settled(self) -> bool:
        """Whether it was told what became of the message."""
        return self._number is not None or self._error is not None

    @property
    def done(self) -> bool:
        """Whether it is known what became of the message; looks whether the answer has come."""
        if not self.settled:
            with suppress(SeqcastError):  # which the ticket tells
                self._sender.look()
        return self.settled

    @property
    def number(self) -> int | None:
        """The stream number of the message; None while it is not known to be committed."""
        return self._number

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the message is committed; returns its stream number. None waits for ever.

        Raises TimedOut after `timeout` seconds: the message may or may not be in the stream, and waiting again is
        safe. Raises what ended the sender when it cannot go on, NumberUnknown when the message is committed and
        its number can be had no more.
        """
        if not self.settled:
            self._sender.wait_for(self, timeout)
        return self._outcome(timeout)

    def _outcome(self, timeout: float | None = None) -> int:
        if self._error is not None:
            raise self._error
        if self._number is None:
            raise TimedOut(
                f"message {self.sequence} is not acknowledged after {timeout:g} s; it is safe to wait on"
            )
        return self._number

    def settle(self, number: int | None, error: Exception | None = None) -> None:
        """It is known what became of the message."""
        self._number, self._error = number, error
        futures, self._futures = self._futures, None
        for future in futures or ():
            if not future.done():
                future.set_result(number or 0)


class Tickets:
    """The tickets of one sender that are not done, in the order of their messages."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: deque[Ticket] = deque()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, ticket: Ticket) -> None:
        """Take up the ticket of a message behind all others."""
        self._open.append(ticket)

    def told(self, answer: Answer) -> None:
        """The sequencer has said at which numbers some frames were committed."""
        waiting, last = self._open, answer.sequence
        if not answer.frames:
            return
        while waiting and waiting[0].sequence <= last:
            ticket = waiting.popleft()
            before = last - ticket.sequence
            if before < answer.frames:
                ticket.settle(answer.number - before)
            else:
                ticket.settle(
                    None, NumberUnknown(f"message {ticket.sequence} is committed below {answer.number}")
                )

    def fail(self, error: Exception) -> None:
        """The sender cannot go on."""
        while self._open:
            self._open.popleft().settle(None, error)
