"""Chaos: faults from a seed, one after the other, on a bus of real processes under load; then the verdict.

A run is cut into rounds. Each has a bus of its own, which is judged and thrown away, so that neither memory nor disk
grows with the length of the run. A round in which something was wrong is kept, and ends the run.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from load import Rates, loaded_bus
from namespaces import may_not, missing_tools
from steps import Step, steps
from troubles import Scene, trouble
from verdict import Verdict

ROUND_SECONDS = 60.0
"""Length of a round; at 20,000 messages a second it takes some 1.5 GB of disk."""

DISK_BYTES = 6 << 30
"""A round that has written so much is ended, however long it has lasted."""

DISK_LOOK_SECONDS = 2.0
GO_ON_SECONDS = 60.0
"""How long the stream may stand still when nothing is wrong any more."""

SEGMENT_MIB = 8
"""Small, so that logs consist of many segments."""


@frozen
class Plan:
    """What to run."""

    seed: int
    seconds: float
    messages_per_second: int = 20_000
    round_seconds: float = ROUND_SECONDS
    disk_bytes: int = DISK_BYTES
    cuts: bool = True


@define
class Outcome:
    """What came of it."""

    seconds: float = 0.0
    rounds: int = 0
    faults: Counter[str] = field(factory=Counter)
    takeovers: int = 0
    false_takeovers: int = 0
    records: int = 0
    messages: int = 0
    wire_records: int = 0
    longest_silence_ms: float = 0.0
    longest_recovery_ms: float = 0.0
    problems: list[str] = field(factory=list)
    kept: str | None = None

    def add(self, verdict: Verdict) -> None:
        self.records += verdict.records
        self.messages += verdict.messages
        self.wire_records += verdict.wire_records
        self.longest_silence_ms = max(self.longest_silence_ms, verdict.longest_silence_ms)
        self.problems += verdict.problems

    def as_plain(self, plan: Plan) -> dict[str, Any]:
        return {
            "seed": plan.seed,
            "minutes": round(self.seconds / 60, 2),
            "rounds": self.rounds,
            "messages_per_second_wanted": plan.messages_per_second,
            "messages_per_second": round(self.messages / self.seconds) if self.seconds else 0,
            "cuts": plan.cuts,
            "faults": dict(sorted(self.faults.items())),
            "takeovers": self.takeovers,
            "false_takeovers": self.false_takeovers,
            "records": self.records,
            "messages": self.messages,
            "wire_records": self.wire_records,
            "longest_silence_ms": round(self.longest_silence_ms),
            "longest_recovery_ms": round(self.longest_recovery_ms),
            "problems": self.problems,
            "kept": self.kept,
        }


def no_cuts() -> str | None:
    """Why the network cannot be cut here; None when it can."""
    missing = missing_tools()
    return f"not installed: {', '.join(missing)}" if missing else may_not()


def run(plan: Plan, outcome: Outcome, *, keep: bool = True) -> None:
    """Run round after round until the time is over or something was wrong; `outcome` is filled in on the way."""
    while outcome.seconds < plan.seconds and not outcome.problems:
        directory = Path(tempfile.mkdtemp(prefix="seqcast-chaos-"))
        try:
            one_round(directory / "run", plan, outcome)
        finally:
            if outcome.problems and keep:
                outcome.kept = str(directory)
            else:
                shutil.rmtree(directory, ignore_errors=True)
        say(f"round {outcome.rounds}: {outcome.messages:,} messages, {outcome.takeovers} takeovers so far")


def one_round(directory: Path, plan: Plan, outcome: Outcome) -> None:
    """One bus: load, faults, the end, the verdict."""
    outcome.rounds += 1
    rates = Rates(messages_per_second=plan.messages_per_second, seed=plan.seed)
    done: list[Done] = []
    with loaded_bus(directory, rates, namespaces=plan.cuts, segment_mib=SEGMENT_MIB) as load:
        scene = Scene(load)
        try:
            load.advance(plan.messages_per_second // 10)
            started = time.monotonic()
            end = started + min(plan.round_seconds, plan.seconds - outcome.seconds)
            limit = DiskLimit(directory, plan.disk_bytes)
            for step in steps(f"{plan.seed}/{outcome.rounds}", cuts=plan.cuts):
                if time.monotonic() >= end or limit.reached:
                    break
                done.append(do(step, scene, outcome))
            outcome.seconds += time.monotonic() - started
            verdict = load.finish()
            outcome.add(verdict)
            takeovers = [start.time_ns for start in verdict.epochs[1:]]
            outcome.takeovers += len(takeovers)
            for time_ns in false_takeovers(takeovers, done):
                outcome.false_takeovers += 1
                say(
                    f"{outcome.rounds}: a takeover at {time_ns} that nothing asked for, {placed(time_ns, done)}"
                )
        except AssertionError as error:
            outcome.problems += [f"run: {error}", *load.bus.casualties()]


@frozen
class Done:
    """A step that was done: what, between which times (UTC), and how many takeovers it may have cost."""

    what: str
    from_ns: int
    to_ns: int
    takeovers: int


def false_takeovers(times_ns: list[int], done: list[Done]) -> list[int]:
    """The takeovers that no fault can have caused; of those during one step the last."""
    left = list(times_ns)
    for each in done:
        during = [time_ns for time_ns in times_ns if each.from_ns <= time_ns <= each.to_ns]
        for time_ns in during[: each.takeovers]:
            left.remove(time_ns)
    return left


def placed(time_ns: int, done: list[Done]) -> str:
    """Where in the run a time lies, for people."""
    for each in done:
        if time_ns < each.from_ns:
            return f"before {each.what}"
        if time_ns <= each.to_ns:
            return f"during {each.what}"
    return "after the last step"


def do(step: Step, scene: Scene, outcome: Outcome) -> Done:
    """One step, until the stream goes on after it."""
    scene.listen(step.gap_seconds)
    from_ns, began = time.time_ns(), time.monotonic()
    outcome.faults.update(fault.kind for fault in step.faults)
    with ExitStack() as stack:
        stack.enter_context(trouble(scene, step.fault))
        if step.beside is not None:
            scene.listen(step.fault.hold_seconds / 2)
            stack.enter_context(trouble(scene, step.beside))
            scene.listen(step.fault.hold_seconds / 2)
        else:
            scene.listen(step.fault.hold_seconds)
    healed = time.monotonic()
    advanced(scene)
    recovery = time.monotonic() - healed
    outcome.longest_recovery_ms = max(outcome.longest_recovery_ms, recovery * 1000)
    what = ", beside ".join(f"{fault.kind} {fault.hold_seconds:g} s" for fault in step.faults)
    say(f"{outcome.rounds}: {what}: took {healed - began:.2f} s; all went on after {recovery:.2f} s")
    return Done(what, from_ns, time.time_ns(), sum(fault.takeovers for fault in step.faults))


def advanced(scene: Scene) -> None:
    """Wait until every receiver gets something that is new, and every sender is told of something new."""
    goal = scene.load.goal(1)
    deadline = time.monotonic() + GO_ON_SECONDS
    while not scene.load.reached(goal):
        assert time.monotonic() < deadline, f"the stream does not go on: {scene.load.state()}"
        scene.listen(0.05)


@define
class DiskLimit:
    """Looks now and then how much a directory holds."""

    directory: Path
    limit_bytes: int
    _due: float = 0.0
    _reached: bool = False

    @property
    def reached(self) -> bool:
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + DISK_LOOK_SECONDS
            files = [path.stat() for path in self.directory.rglob("*") if path.is_file()]
            self._reached = sum(each.st_blocks * 512 for each in files) >= self.limit_bytes
        return self._reached


def say(text: str) -> None:
    """Progress, for people."""
    sys.stderr.write(text + "\n")
