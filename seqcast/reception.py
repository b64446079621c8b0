"""Reception: one stream from many sources, in order and without a hole.

The live lines feed the MoldUDP64 receiver machine. What it misses is asked for: a small hole by MoldUDP64
re-requests, where a request server is configured; anything else by a SoupBinTCP login at the first missing
number, which then runs on until it meets the live stream. "From 1 with a month of history" and "one lost
packet" differ only in how long that takes. The sequencer is never asked.

The machine sees time as an argument, and opens rewinds through a function it is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field, frozen

from seqcast._native import DeliveryKernel
from seqcast.errors import LoginRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    import moldudp
    from native.messages import Messages
    from seqcast.rewind import Rewind


@frozen
class Repair:
    """When and how missing messages are asked for.

    `small_gap` is the largest number of missing messages that re-requests are used for; 0 where no request
    server is configured. `patience_ns` is how long re-requests may go without progress before a rewinder is
    asked over SoupBinTCP. `silence_ns` is how long the lines may be silent before a rewinder is asked what there
    is: a sequencer heartbeats every second, but one that is gone ends nothing. `stall_ns` is how long a rewinder may
    come up with nothing while the lines show that there is more: it may have lost its primary, or follow one that
    was deposed. `retry_ns` is the pause after a rewinder failed; it doubles up to `retry_limit_ns`.
    """

    small_gap: int = 2000
    reorder_delay_ns: int = 1_000_000
    patience_ns: int = 60_000_000
    silence_ns: int = 3_000_000_000
    stall_ns: int = 1_000_000_000
    retry_ns: int = 20_000_000
    retry_limit_ns: int = 1_000_000_000
    jitter: float = 0.5


@define(eq=False)
class Reception:
    """The machine. `records` gives the next records in order; `due` does what time asks for.

    `open_rewind(index, number, now_ns)` begins a login at rewinder `index` (modulo how many there are).
    """

    mold: moldudp.Receiver
    open_rewind: Callable[[int, int, int], Rewind]
    random: Random
    repair: Repair
    eager: bool  # ask a rewinder at once: the start is a number, and history may lie before the live stream
    rewind: Rewind | None = field(default=None, init=False)
    source: str = field(default="live", init=False)
    trouble: str | None = field(default=None, init=False)
    gaps_filled: int = field(default=0, init=False)
    rewinds: int = field(default=0, init=False)
    rewinds_failed: int = field(default=0, init=False)
    rewound: int = field(default=0, init=False)
    corrupt: int = field(default=0, init=False)
    repeated: int = field(default=0, init=False)
    answered: bool = field(default=False, init=False)  # by any rewinder
    requests_unsent: int = field(default=0, init=False)
    _incoming: Iterator[Messages] | None = field(default=None, init=False)
    _heard_ns: int | None = field(default=None, init=False)
    _turn: int = field(default=0, init=False)
    _failures: int = field(default=0, init=False)
    _not_before_ns: int = field(default=0, init=False)
    _hole: tuple[int, int] | None = field(default=None, init=False)  # first, last of the hole in front
    _stuck_at: int = field(default=0, init=False)
    _stuck_since_ns: int = field(default=0, init=False)
    _stalled_at: int = field(default=0, init=False)
    _stalled_since_ns: int = field(default=0, init=False)

    @property
    def next_number(self) -> int:
        """Number of the next record that the app will get."""
        return self.mold.next_number

    @property
    def lag(self) -> int:
        """How many records are known to exist that the app has not got."""
        return max(0, self.mold.highest - self.mold.next_number)

    def records(self, now_ns: int) -> Messages | None:
        """The next records in order, checked; None when there are none now. Valid until the next call."""
        live = self.mold.messages()
        if len(live):
            if self.rewind is None:
                self.source = "live"
            return live
        if self._incoming is not None:
            for batch in self._incoming:
                fresh = self._fresh(batch)
                if fresh is not None:
                    self.source = "rewind"
                    return fresh
                if self.rewind is None:
                    break
            self._incoming = None
            self._look_after_rewind(now_ns)
            self._look_for_stall(now_ns)
        return None

    def rewind_readable(self, now_ns: int) -> None:
        """The rewinder's descriptor is ready: its records come out of `records`."""
        if self.rewind is not None and self._incoming is None:
            self._incoming = self.rewind.records(now_ns)

    def line_heard(self, now_ns: int) -> None:
        """Something came on a line."""
        self._heard_ns = now_ns

    def due(self, now_ns: int) -> list[bytes]:
        """Do what is due; returns re-request packets to send to a request server."""
        if self._heard_ns is None:
            self._heard_ns = now_ns  # silence begins with the first look
        self._look_after_rewind(now_ns)
        if self.rewind is not None:
            deadline = self.rewind.deadline_ns()
            if deadline is not None and deadline <= now_ns:
                self.rewind.handle_timer(now_ns)
                self._look_after_rewind(now_ns)
            return []
        self.eager = self.eager or self._silent(now_ns)
        missing = self._missing(now_ns)
        if missing == 0 and not self.eager:
            return []
        if not self.eager and missing <= self.repair.small_gap and not self._stuck(now_ns):
            return self.mold.requests(now_ns)
        if now_ns >= self._not_before_ns and (self.eager or now_ns >= self._reordered_ns):
            self._begin_rewind(now_ns)
        return []

    def deadline_ns(self) -> int | None:
        """When `due` wants to be called."""
        if self.rewind is not None:
            return self.rewind.deadline_ns()
        if self.eager:
            return self._not_before_ns
        silent_ns = None if self._heard_ns is None else self._heard_ns + self.repair.silence_ns
        if self._hole is None:
            return silent_ns
        deadlines = [max(self._not_before_ns, self._reordered_ns)]
        if self.repair.small_gap:
            deadlines = [max(self._not_before_ns, self._stuck_since_ns + self.repair.patience_ns)]
            requests_ns = self.mold.deadline_ns()
            if requests_ns is not None:
                deadlines.append(requests_ns)
        return min(deadlines)

    def close(self) -> None:
        """Let go of the rewinder."""
        if self.rewind is not None:
            self.rewind.close()
            self.rewind = None
        self._incoming = None

    # holes

    @property
    def _reordered_ns(self) -> int:
        return self._stuck_since_ns + self.repair.reorder_delay_ns

    def _missing(self, now_ns: int) -> int:
        """How many messages are missing below what is known to exist; keeps the hole in front in view."""
        mold = self.mold
        if self._hole is not None and mold.next_number > self._hole[1]:
            self.gaps_filled += 1
            self._hole = None
        gaps = mold.gaps() if mold.next_number < mold.highest else []
        if not gaps:
            self._hole = None
            return 0
        if self._hole is None:
            self._hole = (gaps[0].first, gaps[0].first + gaps[0].count - 1)
        if self._stuck_at != self.mold.next_number:
            self._stuck_at = self.mold.next_number
            self._stuck_since_ns = now_ns
        return sum(gap.count for gap in gaps)

    def _silent(self, now_ns: int) -> bool:
        """Whether the lines have been silent for so long that they cannot be relied on."""
        return self._heard_ns is None or now_ns - self._heard_ns >= self.repair.silence_ns

    def _stuck(self, now_ns: int) -> bool:
        return now_ns - self._stuck_since_ns >= self.repair.patience_ns

    # rewinding

    def _begin_rewind(self, now_ns: int) -> None:
        self.eager = False
        self.rewinds += 1
        self._stalled_at = 0
        try:
            self.rewind = self.open_rewind(self._turn, self.mold.next_number, now_ns)
        except OSError as error:
            self._failed(str(error), now_ns)

    def _fresh(self, batch: Messages) -> Messages | None:
        """What of a rewinder's batch is next; checks it and moves on. None when nothing is."""
        following = self.mold.next_number
        first = batch.number(0)
        if first > following:
            assert self.rewind is not None
            self.rewind.failure = f"records {following} to {first - 1} are not kept by this rewinder"
            return None
        known = min(following - first, len(batch))
        self.repeated += known
        batch = batch.after(known)
        if not len(batch):
            return None
        good = DeliveryKernel.check(batch)
        if good < len(batch):
            self.corrupt += 1
            assert self.rewind is not None
            self.rewind.failure = f"record {batch.number(good)} is corrupt"
            batch = batch.before(good)
            if not good:
                return None
        self.rewound += len(batch)
        self._failures = 0
        self.mold.advance(following + len(batch))
        return batch

    def _look_after_rewind(self, now_ns: int) -> None:
        """End a rewind that failed, or that has met the live stream."""
        rewind = self.rewind
        if rewind is None or self._incoming is not None:
            return
        self.answered = self.answered or rewind.accepted is not None
        if rewind.rejected == "A":
            self.close()
            raise LoginRefused(f"{rewind.failure}: wrong user or password")
        if rewind.failure is not None:
            self._failed(rewind.failure, now_ns)
        elif (
            rewind.accepted is not None
            and self.mold.heard
            and not self._silent(now_ns)
            and not self.mold.gaps()
        ):
            self._missing(now_ns)
            self.trouble = None
            self.close()

    def _look_for_stall(self, now_ns: int) -> None:
        """Leave a rewinder that sends heartbeats and nothing of what the lines have shown.

        Asked whenever something was read of it, so that an app that does not look for a while blames nobody.
        """
        rewind, number = self.rewind, self.mold.next_number
        if rewind is None or rewind.accepted is None:
            return
        if self.lag == 0 or self._stalled_at != number:
            self._stalled_at, self._stalled_since_ns = number, now_ns
        elif now_ns - self._stalled_since_ns >= self.repair.stall_ns:
            self._failed(f"a rewinder has nothing from record {number} on", now_ns)

    def _failed(self, reason: str, now_ns: int) -> None:
        """Ask the next rewinder, after a pause that grows with each failure."""
        self.trouble = reason
        self.rewinds_failed += 1
        # Someone who started at a number and heard nothing live still needs a rewinder.
        self.eager = not self.mold.heard
        self._turn += 1
        pause = min(self.repair.retry_ns << min(self._failures, 16), self.repair.retry_limit_ns)
        self._failures += 1
        self._not_before_ns = now_ns + int(pause * (1 + self.repair.jitter * self.random.random()))
        self.close()
