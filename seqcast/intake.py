"""What the app hands over, framed into the outbox.

A message that is larger than the room that is left is taken all the same, once its first fragment fits: its rest
waits here and goes on as acknowledgements make room, so that nobody has to offer it again, and nothing else can
come between its fragments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from native.messages import table_of
from seqcast.assembly import MESSAGE_LIMIT_BYTES
from seqcast.errors import MessageTooLarge

if TYPE_CHECKING:
    from native.messages import Messages
    from seqcast._native import Outbox

OUTBOX_BYTES = 4 << 20
"""Frames that may be in flight: what a sender has to keep to be able to send it again."""


@define(eq=False)
class Intake:
    """The front of an outbox. `fragment_bytes` is the largest payload of one frame."""

    outbox: Outbox
    fragment_bytes: int
    _rest: Messages | None = field(default=None, init=False)  # the message of which some fragments are framed

    @property
    def waiting_frames(self) -> int:
        """Frames of the message in hand that have no room yet."""
        if self._rest is None:
            return 0
        return -(-(len(self._rest[0]) - self.outbox.partial) // self.fragment_bytes)

    @property
    def last_sequence(self) -> int:
        """Sender sequence of the last frame of everything that was taken."""
        return self.outbox.next_sequence - 1 + self.waiting_frames

    @property
    def in_flight(self) -> int:
        """Frames that were taken and are not known to be committed."""
        return self.last_sequence + 1 - self.outbox.first_sequence

    def take(self, messages: Messages, start: int) -> int:
        """Take messages from `start` on; returns how many, fewer than there are when it is full.

        Raises MessageTooLarge, and takes none, when one has more than `MESSAGE_LIMIT_BYTES`.
        """
        if len(messages.buffer) > MESSAGE_LIMIT_BYTES:
            largest = max(messages.lengths[start:], default=0)
            if largest > MESSAGE_LIMIT_BYTES:
                raise MessageTooLarge(
                    f"a message of {largest} bytes: the limit is {MESSAGE_LIMIT_BYTES} (16 MiB)"
                )
        if not self.go_on():
            return 0
        taken = self.outbox.put(messages, start, self.fragment_bytes)
        if start + taken < len(messages) and self.outbox.partial:
            self._rest = table_of([messages[start + taken]])
            taken += 1
        return taken

    def take_one(self, payload: bytes | memoryview) -> int:
        """Take one message of one frame; returns its sender sequence, or 0 when it is not that simple."""
        return 0 if self._rest is not None else self.outbox.put_one(payload, self.fragment_bytes)

    def go_on(self) -> bool:
        """Frame more of the message in hand, as far as there is room; True when none is in hand."""
        if self._rest is not None and self.outbox.put(self._rest, 0, self.fragment_bytes):
            self._rest = None
        return self._rest is None

    def pass_over(self, messages: Messages, frames: int) -> tuple[int, int]:
        """Pass over messages whose first `frames` frames are in the stream already.

        Returns (messages covered whole, frames still to pass over). A message that is covered in part goes on
        inside when it is taken next.
        """
        return self.outbox.skip(messages, self.fragment_bytes, frames)
