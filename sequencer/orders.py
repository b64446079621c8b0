"""What people tell a primary to do: to end the session, and to hand over. Both are answered when they are done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field

from rewinder.control import Deferred, Refusal
from sequencer.handover import Handover

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rewinder.pump import Pump
    from sequencer.primary import Primary


@define(eq=False)
class Orders:
    """The orders of one sequencer called `name`; `primary()` is None while it is none.

    `role()` says what it is instead. Handlers raise Refusal with the reason when an order cannot be carried out.
    """

    name: str
    sequencers: Iterable[str]
    pump: Pump
    primary: Callable[[], Primary | None]
    role: Callable[[], str]
    report: Callable[..., None]
    handover: Handover | None = field(default=None, init=False)
    _ends: list[tuple[int, Deferred]] = field(factory=list, init=False)

    def handlers(self) -> dict[str, Any]:
        """The commands, by name."""
        return {"end-session": self.end_session, "promote": self.promote}

    def end_session(self, _arguments: dict[str, Any]) -> Deferred:
        """End the stream; answered with the number of its last record when that is committed."""
        primary = self._require_primary("end the session")
        deferred = Deferred()
        number = primary.end_session()
        self.report("ending the session", number=number)
        self._ends.append((number, deferred))
        return deferred

    def promote(self, arguments: dict[str, Any]) -> Deferred:
        """Hand over to the sequencer `name`; answered when it has sealed the next epoch."""
        primary = self._require_primary("hand over")
        target = str(arguments.get("name", ""))
        if target == self.name:
            raise Refusal(f"{target} is the primary already")
        if target not in self.sequencers:
            raise Refusal(f"{target or 'nobody'} is not a sequencer of this bus")
        if self.handover is not None:
            raise Refusal(f"a handover to {self.handover.target} is under way")
        if not primary.established:
            raise Refusal(f"{self.name} has not committed anything in epoch {primary.epoch} yet")
        obstacle = primary.followers.obstacle(target)
        if obstacle is not None:
            raise Refusal(f"{target} cannot take over: {obstacle}")
        deferred = Deferred()
        self.report("handing over", to=target)
        self.handover = Handover(primary, target, deferred, self.pump.clock.now_ns)
        self.pump.timers.watch(self.handover)
        return deferred

    def turn(self, commit: int, now_ns: int) -> None:
        """Bring them forward at the end of a turn."""
        handover = self.handover
        if handover is not None:
            handover.turn(now_ns)
            self.pump.timers.watch(handover)
            if handover.over:
                self.report("not handed over; going on as primary", to=handover.target)
                self.handover = None
        if self._ends:
            for number, deferred in self._ends:
                if number <= commit:
                    deferred.reply({"number": number})
            self._ends = [entry for entry in self._ends if entry[0] > commit]

    def sealed(self, owner: str, epoch: int) -> None:
        """`epoch` is promised to `owner`: a handover has come to its end."""
        if self.handover is not None:
            self.handover.sealed(owner, epoch)

    def deposed(self, reason: str) -> None:
        """This node is not the primary any more: nothing is carried out from now on."""
        why = f"the primary was deposed: {reason}"
        if self.handover is not None:
            self.handover.answer.refuse(why)  # where it was answered already, this is not heard
            self.handover = None
        for _, deferred in self._ends:
            deferred.refuse(why)
        self._ends.clear()

    def _require_primary(self, what: str) -> Primary:
        primary = self.primary()
        if primary is None:
            raise Refusal(f"{self.name} is {self.role()} and cannot {what}")
        return primary
