"""Reception: one stream from many sources, in order and without a hole.

The live lines feed the MoldUDP64 receiver machine. What it misses is asked for: a small hole by MoldUDP64
re-requests, where a request server is configured; anything else by a SoupBinTCP login at the first missing
number, which then runs on until it meets the live stream. "From 1 with a month of history" and "one lost
packet" differ only in how long that takes. The sequencer is never asked.

What one line lost the other brings: a hole is asked for when every line that is well has passed it.

While a replay runs, it fills the hole in front and is on its way to all others. Small holes beyond the one in front
are requested all the same: they are filled when the replay has closed the one in front, so it is over then, instead
of sending again everything that is held between the holes. What comes twice is bounded by the requests that may be
outstanding. When the window is full this is not done, because what is held would give way before the replay comes.

The machine sees time as an argument, and opens rewinds through a function it is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field, frozen, validators

from moldudp import Bucket
from seqcast._native import DeliveryKernel
from seqcast.errors import LoginRefused
from seqcast.front import Front
from seqcast.lookout import Lookout
from seqcast.rotation import Rotation

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
    server is configured. `reorder_delay_ns` is how long a hole may stay open before it is asked for, and
    `line_patience_ns` how long it may while a line that is well has not passed it: a few milliseconds lie between lines
    that take different ways. `patience_ns` is how long re-requests may go without progress before a rewinder is
    asked over SoupBinTCP. `silence_ns` is how long the lines may be silent before a rewinder is asked what there
    is: a sequencer heartbeats every second, but one that is gone ends nothing. `stall_ns` is how long a rewinder may
    come up with nothing while the lines show that there is more: it may have lost its primary, or follow one that
    was deposed. `retry_ns` is the pause after all rewinders failed; it doubles up to `retry_limit_ns`. `rewind_rate`
    is how many logins there are in a second, on the average, and `rewind_burst` how many in a row: a rewinder that
    takes logins and breaks must not be hammered.
    """

    small_gap: int = 2000
    reorder_delay_ns: int = 1_000_000
    line_patience_ns: int = 20_000_000
    patience_ns: int = 60_000_000
    silence_ns: int = 3_000_000_000
    stall_ns: int = 1_000_000_000
    retry_ns: int = 20_000_000
    retry_limit_ns: int = 1_000_000_000
    jitter: float = 0.5
    rewind_rate: float = field(default=10.0, validator=validators.gt(0))
    rewind_burst: int = field(default=5, validator=validators.ge(1))


@define(eq=False)
class Reception:
    """The machine. `records` gives the next records in order; `due` does what time asks for.

    `open_rewind(index, number, now_ns)` begins a login at rewinder `index`, of `rewinders`. With `archive` a rewinder
    that says End of Session has given all there will ever be of the session, which must be named then: see
    `archived_end`.
    """

    mold: moldudp.Receiver
    open_rewind: Callable[[int, int, int], Rewind]
    random: Random
    repair: Repair
    eager: bool  # ask a rewinder at once: the start is a number, and history may lie before the live stream
    rewinders: int = 1
    archive: bool = False
    lookout: Lookout = field(factory=Lookout)
    rewind: Rewind | None = field(default=None, init=False)
    source: str = field(default="live", init=False)
    trouble: str | None = field(default=None, init=False)
    rewinds: int = field(default=0, init=False)
    rewinds_failed: int = field(default=0, init=False)
    rewound: int = field(default=0, init=False)
    corrupt: int = field(default=0, init=False)
    repeated: int = field(default=0, init=False)
    answered: bool = field(default=False, init=False)  # by any rewinder
    requests_unsent: int = field(default=0, init=False)
    archived_end: int | None = field(default=None, init=False)
    """The number after the last record of an archived session, once a rewinder has given all of it."""
    _rotation: Rotation = field(init=False)
    _front: Front = field(init=False)
    _incoming: Iterator[Messages] | None = field(default=None, init=False)
    _came_ns: int | None = field(default=None, init=False)
    _calm_until_ns: int = field(default=0, init=False)  # nothing to do before, but for holes and rewinds
    _asking: bool = field(default=False, init=False)  # re-requests are in order now
    _given: int = field(default=0, init=False)  # number after the last record that any rewinder gave
    _blamed: bool = field(default=False, init=False)  # it was us who ended the rewind
    _stalled_at: int = field(default=0, init=False)
    _stalled_since_ns: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        repair = self.repair
        self._front = Front(repair.reorder_delay_ns, repair.line_patience_ns)
        self._rotation = Rotation(
            count=self.rewinders,
            random=self.random,
            retry_ns=repair.retry_ns,
            retry_limit_ns=repair.retry_limit_ns,
            jitter=repair.jitter,
            bucket=Bucket(repair.rewind_rate, repair.rewind_burst),
        )

    @property
    def next_number(self) -> int:
        """Number of the next record that the app will get."""
        return self.mold.next_number

    @property
    def lag(self) -> int:
        """How many records are known to exist that the app has not got."""
        return max(0, self.mold.highest - self.mold.next_number)

    @property
    def gaps_filled(self) -> int:
        """Holes that were found and closed."""
        return self._front.filled

    @property
    def rewinds_held(self) -> int:
        """How often a login at a rewinder had to wait for the rate of logins."""
        return self._rotation.bucket.held_back

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
        """Something came on a line. Whether it was any good shows at the next look."""
        self._came_ns = now_ns

    def calm(self, now_ns: int) -> bool:
        """Whether `due` has nothing to do: no hole, no rewind, no look at the lines."""
        return (
            now_ns < self._calm_until_ns
            and self.rewind is None
            and not self.eager
            and not self._front.open
            and self.mold.complete
        )

    def due(self, now_ns: int) -> list[bytes]:
        """Do what is due; returns re-request packets to send to a request server."""
        mold, front = self.mold, self._front
        if self.calm(now_ns):
            return []
        if self.archived_end is not None:
            return []
        self._look(now_ns)
        self._look_after_rewind(now_ns)
        self._asking = False
        if self.rewind is not None and not self._rewind_timer(self.rewind, now_ns):
            return self._requests_beside(self.rewind, now_ns)
        self.eager = self.eager or (self._silent(now_ns) and not mold.ended)
        repair = self.repair
        front.look(mold, now_ns)
        if not front.open and not self.eager:
            return []
        small = front.missing <= repair.small_gap
        stuck = now_ns - front.since_ns >= repair.patience_ns
        rewinds = self.eager or ((not small or stuck) and now_ns >= front.ready_ns)
        if rewinds and self._begin_rewind(now_ns):
            return [] if self.rewind is None else self._requests_beside(self.rewind, now_ns)
        self._asking = front.open and small and repair.small_gap > 0
        return mold.requests(now_ns) if self._asking else []

    def deadline_ns(self) -> int | None:
        """When `due` wants to be called."""
        if self.archived_end is not None:
            return None
        rewind, front = self.rewind, self._front
        if rewind is None and not self.eager and not front.open:
            heard_ns = self.lookout.heard_ns
            return None if heard_ns is None or self.mold.ended else heard_ns + self.repair.silence_ns
        deadlines = [self.mold.deadline_ns()] if self._asking else []
        if rewind is not None:
            deadlines.append(rewind.deadline_ns())
        elif self.eager:
            deadlines.append(self._rotation.ready_ns)
        else:
            front_ns = max(self._rotation.ready_ns, front.ready_ns)
            if self._asking:
                front_ns = max(front_ns, front.since_ns + self.repair.patience_ns)
            deadlines.append(front_ns)
        return min((each for each in deadlines if each is not None), default=None)

    def close(self) -> None:
        """Let go of the rewinder."""
        if self.rewind is not None:
            self.rewind.close()
            self.rewind = None
            self.mold.spare_front(False)
        self._incoming = None

    # watching

    def _look(self, now_ns: int) -> None:
        lookout, mold = self.lookout, self.mold
        lookout.look(mold, self._came_ns, now_ns)
        mold.wait_for(lookout.line_watch.live, self.repair.line_patience_ns)
        self._calm_until_ns = lookout.due_ns
        if lookout.heard_ns is not None and not mold.ended:
            self._calm_until_ns = min(lookout.due_ns, lookout.heard_ns + self.repair.silence_ns)

    def _silent(self, now_ns: int) -> bool:
        """Whether the lines have been silent for so long that they cannot be relied on."""
        return self.lookout.silent(self.repair.silence_ns, now_ns)

    # rewinding

    def _begin_rewind(self, now_ns: int) -> bool:
        """Begin to ask the next rewinder; False when it is not time for it."""
        index = self._rotation.take(now_ns)
        if index is None:
            return False
        self.eager = False
        self.rewinds += 1
        self._stalled_at = 0
        self._blamed = False
        try:
            self.rewind = self.open_rewind(index, self.mold.next_number, now_ns)
        except OSError as error:
            self._failed(str(error), now_ns)
        return True

    def _rewind_timer(self, rewind: Rewind, now_ns: int) -> bool:
        """Heartbeats and time-outs of the rewind; True when that was its end."""
        deadline = rewind.deadline_ns()
        if deadline is None or deadline > now_ns:
            return False
        rewind.handle_timer(now_ns)
        self._look_after_rewind(now_ns)
        return self.rewind is None

    def _requests_beside(self, rewind: Rewind, now_ns: int) -> list[bytes]:
        """Re-requests while a rewind is under way: for the hole in front, too, until it is let in."""
        mold = self.mold
        if not self.repair.small_gap or mold.full or mold.next_number >= mold.highest:
            return []
        answered = rewind.accepted is not None
        mold.spare_front(answered)
        asked = sum(gap.count for gap in mold.gaps() if not answered or gap.first != mold.next_number)
        self._asking = 0 < asked <= self.repair.small_gap
        if not self._asking:
            return []
        self._front.look(mold, now_ns)  # holes that close beside a rewind are counted like all others
        return mold.requests(now_ns)

    def _blame(self, reason: str) -> None:
        """Nothing more is wanted of this rewinder."""
        assert self.rewind is not None
        self.rewind.failure = reason
        self._blamed = True

    def _fresh(self, batch: Messages) -> Messages | None:
        """What of a rewinder's batch is next; checks it and moves on. None when nothing is."""
        following = self.mold.next_number
        first = batch.number(0)
        if first > following:
            self._blame(f"records {following} to {first - 1} are not kept by this rewinder")
            return None
        self._given = max(self._given, first + len(batch))
        known = min(following - first, len(batch))
        self.repeated += known
        batch = batch.after(known)
        if not len(batch):
            return None
        good = DeliveryKernel.check(batch)
        if good < len(batch):
            self.corrupt += 1
            self._blame(f"record {batch.number(good)} is corrupt")
            batch = batch.before(good)
            if not good:
                return None
        self.rewound += len(batch)
        self._rotation.progressed()
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
        if self.archive and rewind.ended and self.mold.session is not None and not self._blamed:
            self.archived_end = self._given or rewind.accepted
            self.trouble = None
            self.close()
        elif rewind.failure is not None:
            self._failed(rewind.failure, now_ns)
        elif (
            rewind.accepted is not None
            and self.mold.heard
            and not self._silent(now_ns)
            and not self.mold.gaps()
        ):
            self._front.look(self.mold, now_ns)
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
        """Go on with the next rewinder, after the pause that the rotation sees fit."""
        self.trouble = reason
        self.rewinds_failed += 1
        # Someone who started at a number and heard nothing live still needs a rewinder.
        self.eager = not self.mold.heard
        self._rotation.failed(now_ns)
        self.close()
