"""Replicated state machines: the same messages in the same order make the same state everywhere.

    class Totals(StateMachine):
        def __init__(self) -> None:
            self.totals: dict[str, int] = {}

        def apply(self, message: Message) -> None:
            self.totals[message.sender] = self.totals.get(message.sender, 0) + len(message.payload)

        def snapshot(self) -> bytes:
            return json.dumps(self.totals, sort_keys=True).encode()

        def restore(self, snapshot: bytes) -> None:
            self.totals = json.loads(snapshot)

    checkpoint = Checkpoint("run/totals.checkpoint")
    with Receiver("run/seqcast.toml", start=checkpoint) as receiver:
        Replica(Totals(), receiver, checkpoint).run()

A replica that is started again goes on at its last checkpoint: the receiver begins at its position, and the
machine with its snapshot. Two replicas that stand at the same number have the same snapshot, whenever and
however often they were started.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from bisect import bisect_right
from typing import TYPE_CHECKING, Protocol

from attrs import define, field, validators

from seqcast.batch import Batch
from seqcast.errors import NotConnected, TimedOut

if TYPE_CHECKING:
    from seqcast.batch import Message
    from seqcast.checkpoint import Checkpoint

CHECKPOINT_MESSAGES = 10_000
"""Messages between checkpoints: what a replica that is started again applies anew, at most."""

TURN_MESSAGES = 4096
"""Most messages in one turn: as many as a receiver gives at once."""

WAIT_SECONDS = 1.0
"""How long one turn waits for messages when nothing else limits it."""

MADE_AT_ONCE = 256
"""Messages taken out of a batch at once: few enough to be still in the processor's cache when applied."""


class StateMachine(ABC):
    """Something whose state follows from the messages of the stream, and from nothing else.

    So `apply` must not look at the clock, at chance or at the machine it runs on: `message.time_ns` is the time,
    and equal messages must leave equal snapshots.
    """

    @abstractmethod
    def apply(self, message: Message) -> None:
        """Take the next message. What it raises stops the replica at this message."""

    @abstractmethod
    def snapshot(self) -> bytes:
        """The whole state."""

    @abstractmethod
    def restore(self, snapshot: bytes) -> None:
        """Take on the state that an earlier `snapshot` gave, in place of the present one."""


class Holdings(Protocol):
    """What a replica asks of an `Assembly`."""

    def state(self, before: int | None = None) -> bytes:
        """What is in hand; with `before`, as it was before that message of the last batch was complete."""


class Source(Protocol):
    """What a replica asks of a `Receiver`.

    After a poll, `position` and `assembly` are as of the end of the batch it gave: no record behind the last
    message has been taken. The messages of a batch may be used until the next poll.
    """

    @property
    def position(self) -> int:
        """Number of the next record that a poll will look at."""

    @property
    def session_name(self) -> str | None:
        """The session; None while it is not known."""

    @property
    def assembly(self) -> Holdings:
        """Who joins the fragments."""

    @property
    def ended(self) -> bool:
        """True when the end of the session has been reached and everything before it delivered."""

    @property
    def snapshot(self) -> bytes | None:
        """What the checkpoint that it started from holds for the app; None when it did not start from one."""

    def poll(self, limit: int, timeout: float) -> Batch:
        """The next messages, at most `limit`; none when none came within `timeout` seconds."""


@define(eq=False)
class Replica:
    """Applies the messages of `receiver` to `machine`, in order, each once.

    When the receiver started from a checkpoint, the machine is restored from it here. With `checkpoint`, one is
    saved after every `every` messages, and when `save` is called. Only the replica polls the receiver.

    An exception out of `machine.apply` comes out of the call that led there. The messages before it are applied
    and counted, the one that failed is not: `position` is its number, and the next call begins with it again. If
    `apply` had changed the machine before it failed, only the app can know; then do not `save`, but start again
    from the last checkpoint. After an exception out of a save the replica stands where it stood, and the next
    call tries to save again before it goes on.
    """

    machine: StateMachine
    receiver: Source
    checkpoint: Checkpoint | None = None
    every: int = field(default=CHECKPOINT_MESSAGES, validator=validators.ge(1))
    applied: int = field(default=0, init=False)
    last_number: int = field(default=0, init=False)
    """Number of the last message that is in the state, or of the record it was restored at; 0 for neither."""
    _batch: Batch = field(factory=Batch.empty, init=False)  # polled, and not applied from _next on
    _next: int = field(default=0, init=False)
    _unsaved: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        snapshot = self.receiver.snapshot
        if snapshot is not None:
            self.machine.restore(snapshot)
            self.last_number = self.receiver.position - 1

    @property
    def position(self) -> int:
        """Number of the next record: all messages below are applied, and none from there on."""
        return self.receiver.position if self._waiting is None else self._waiting

    @property
    def ended(self) -> bool:
        """True when the session has ended and all of its messages are applied."""
        return self._waiting is None and self.receiver.ended

    def advance(self, limit: int = TURN_MESSAGES, timeout: float = 0.0) -> int:
        """Apply the next messages, at most `limit`; returns how many, 0 when none came within `timeout` seconds.

        Raises what `machine.apply`, the receiver and a save raise.
        """
        if limit < 1:
            raise ValueError(f"a turn of at most {limit} messages would never come to an end")
        return self._advance(limit, timeout, None)

    def advance_to(self, number: int, timeout: float | None = None) -> int:
        """Apply every message up to and including stream number `number`, and none beyond; returns how many.

        Waits for records that are not there yet, but not beyond the end of the session. Raises TimedOut after
        `timeout` seconds, with everything applied that has come; ValueError when the state holds a message
        beyond `number` already; and as `advance`.
        """
        if number < self.last_number:
            raise ValueError(
                f"the state holds messages up to record {self.last_number}, and cannot go back to {number}"
            )
        deadline = None if timeout is None else time.monotonic() + timeout
        before = self.applied
        while self.position <= number and not self.ended:
            left = WAIT_SECONDS if deadline is None else deadline - time.monotonic()
            if not self._advance(TURN_MESSAGES, min(max(left, 0.0), WAIT_SECONDS), number) and left <= 0:
                raise TimedOut(
                    f"record {self.position} has not come, and the state at {number} was asked for"
                )
        return self.applied - before

    def snapshot_at(self, number: int, timeout: float | None = None) -> bytes:
        """The machine's snapshot at stream number `number`: with that message, and with none beyond.

        Equal for all replicas of a stream. Raises as `advance_to`.
        """
        self.advance_to(number, timeout)
        return self.machine.snapshot()

    def run(self, until: int | None = None) -> int:
        """Apply messages until the session ends, or `position` has reached `until`; returns how many.

        No message from `until` on is applied. Raises as `advance`.
        """
        if until is not None:
            return self.advance_to(until - 1) if self.position < until else 0
        before = self.applied
        while not self.ended:
            self._advance(TURN_MESSAGES, WAIT_SECONDS, None)
        return self.applied - before

    def save(self) -> None:
        """Save a checkpoint of what is applied now.

        Raises ValueError for a replica without a checkpoint, NotConnected while the session is not known, and as
        `Checkpoint.save`.
        """
        if self.checkpoint is None:
            raise ValueError("this replica was made without a checkpoint")
        session = self.receiver.session_name
        if session is None:
            raise NotConnected("nothing of the stream was heard yet, so there is nothing to save")
        self.checkpoint.save(
            session=session,
            position=self.position,
            assembly=self.receiver.assembly.state(self._waiting),
            snapshot=self.machine.snapshot(),
        )
        self._unsaved = 0

    @property
    def _waiting(self) -> int | None:
        """Number of the first message that was polled and is not applied."""
        payloads = self._batch.payloads
        return payloads.number(self._next) if self._next < len(payloads) else None

    def _advance(self, limit: int, timeout: float, last: int | None) -> int:
        """One turn: apply at most `limit` messages, none above number `last`."""
        self._save_when_due()
        if self._waiting is None:
            self._batch, self._next = self.receiver.poll(limit=limit, timeout=timeout), 0
        before, size = self.applied, len(self._batch)
        stop = min(self._next + limit, size)
        if last is not None:
            stop = min(stop, bisect_right(range(size), last, key=self._batch.payloads.number))
        while self._next < stop:
            count = MADE_AT_ONCE if self.checkpoint is None else min(MADE_AT_ONCE, self.every - self._unsaved)
            self._apply(min(stop, self._next + count))
            self._save_when_due()
        return self.applied - before

    def _apply(self, stop: int) -> None:
        """Apply the messages of the batch up to index `stop`."""
        apply, done = self.machine.apply, 0
        try:
            for message in self._batch[self._next : stop]:
                apply(message)
                done += 1
        finally:
            if done:
                self._next += done
                self.applied += done
                self._unsaved += done
                self.last_number = self._batch.payloads.number(self._next - 1)

    def _save_when_due(self) -> None:
        if self.checkpoint is not None and self._unsaved >= self.every:
            self.save()
