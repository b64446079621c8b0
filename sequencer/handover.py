"""Handing over: a primary that is well ends its epoch by itself, and names who comes next.

It reads no sender any more, waits until everything is committed and the standby holds it, and says go. The
standby seals the next epoch as always; being sealed is what deposes the old primary. Senders find the new one and
send again what was not acknowledged. If the standby does not come, everything goes on as before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from rewinder.control import Deferred
    from sequencer.primary import Primary

HANDOVER_NS = 5_000_000_000
"""How long all of it may take."""

GO_AGAIN_NS = 200_000_000
"""How often the standby is told."""


@define(eq=False)
class Handover:
    """One handover from `primary` to the voter `target`; `answer` is owed to whoever asked for it."""

    primary: Primary
    target: str
    answer: Deferred
    now_ns: int
    over: bool = field(default=False, init=False)
    _due_ns: int = field(init=False)
    _go_ns: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._due_ns = self.now_ns + HANDOVER_NS
        self.primary.submit.held = True

    def turn(self, now_ns: int) -> None:
        """Say go when it is time."""
        primary, log = self.primary, self.primary.log
        if now_ns >= self._due_ns:
            self._give_up(now_ns)
            return
        finished = log.commit == log.last and primary.publisher.next_number > log.commit
        if finished and now_ns >= self._go_ns:
            sent = primary.followers.send_go(self.target, log.last, now_ns)
            self._go_ns = now_ns + GO_AGAIN_NS if sent else 0

    def sealed(self, owner: str, epoch: int) -> None:
        """The primary was deposed: by the one that was meant, or by another."""
        self.over = True
        if owner == self.target:
            self.answer.reply({"promoted": owner, "epoch": epoch, "number": self.primary.log.last})
        else:
            self.answer.refuse(f"{owner} has taken epoch {epoch} instead of {self.target}")

    def deadline_ns(self) -> int | None:
        """When a turn is wanted though nothing arrives; what the standby says arrives."""
        return None if self.over else min(self._due_ns, self._go_ns or self._due_ns)

    def handle_timer(self, _now_ns: int) -> None:
        """The turn itself does what is due."""

    def waits_for(self) -> str:
        """What is missing, for people."""
        obstacle = self.primary.followers.obstacle(self.target)
        if obstacle is not None:
            return obstacle
        last, commit = self.primary.log.last, self.primary.log.commit
        held = self.primary.followers.status()[self.target]["held"]
        return f"it holds {held} of {last}, and {commit} is committed"

    def _give_up(self, now_ns: int) -> None:
        self.over = True
        self.primary.submit.held = False
        self.primary.submit.press(now_ns)
        seconds = HANDOVER_NS / 1e9
        self.answer.refuse(f"{self.target} did not take over within {seconds:g} s: {self.waits_for()}")
