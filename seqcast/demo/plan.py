"""The plan of a demo: how many messages there are, and which of them are sent how."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen, validators

from seqcast.errors import SeqcastError

if TYPE_CHECKING:
    from pathlib import Path

MESSAGES_DEFAULT = 100_000

MESSAGES_LEAST = 1_000
"""Fewer are over before anything can happen to them."""

MESSAGES_MOST = 10_000_000
"""A demo is short. This also bounds what is noted of deliveries: 24 bytes for each batch, 240 MB at most."""

RATE_DEFAULT = 5_000
RATE_MOST = 100_000
"""Messages a second of the paced part. Beyond that a sender in Python has to send in bursts."""

PACED_SECONDS = 2
"""How long the paced part lasts at most: long enough for the 99.9th percentile of the default rate."""

PACED_PART = 5
"""The paced part has at most one message in so many."""

LOSS_DEFAULT = 0.01
LOSS_MOST = 0.5
"""Of the datagrams of the lossy receiver. Far beyond that it may not hear for a long time that the session ended."""

CHECKPOINT_MESSAGES = 2_000
"""How old the checkpoint of the killed sender is: so many acknowledged messages are sent again."""


class DemoError(SeqcastError):
    """The demo could not be carried out."""


@frozen(kw_only=True)
class Demo:
    """What is asked for: the settings of `seqcast demo`.

    `messages` None means all of `source`, or MESSAGES_DEFAULT without one. `source` is a BinaryFILE (.gz is
    unpacked); None means a generated day. `loss` is the share of datagrams that the lossy receiver loses,
    `rate` messages a second of the paced part. `keep` is a directory for everything that the run writes; None
    takes a temporary one.
    """

    messages: int | None = None
    source: Path | None = None
    loss: float = field(default=LOSS_DEFAULT, validator=[validators.ge(0), validators.le(LOSS_MOST)])
    seed: int = 1
    rate: int = field(default=RATE_DEFAULT, validator=[validators.ge(1), validators.le(RATE_MOST)])
    keep: Path | None = None


@frozen
class Plan:
    """How `messages` messages are sent.

    The sender goes as fast as it can up to message `fast`, and dies on the way when message `half` is
    acknowledged. The `paced` messages after `fast` follow a timetable of `rate` a second.
    """

    messages: int
    rate: int

    @property
    def paced(self) -> int:
        """Messages of the paced part."""
        return max(1, min(self.messages // PACED_PART, self.rate * PACED_SECONDS))

    @property
    def fast(self) -> int:
        """Messages before the paced part."""
        return self.messages - self.paced

    @property
    def half(self) -> int:
        """The sender is killed, and the late receiver starts, once so many messages are acknowledged."""
        return self.messages // 2

    def checkpoint(self, acknowledged: int) -> int:
        """Where a sender goes on that knew of `acknowledged` messages: at a checkpoint older than that."""
        return max(0, acknowledged - min(CHECKPOINT_MESSAGES, self.messages // PACED_PART))
