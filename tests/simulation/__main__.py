# ruff: noqa: T201  (a program: it prints)
"""`python -m simulation`: many seeds, or one."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections import Counter
from contextlib import nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulation.simulation import Outcome

PROCESSES = 2


def run_seed(arguments: tuple[int, int | None, str, str | None]) -> Outcome:
    """One seed, in whatever process."""
    from simulation.guards import without  # noqa: PLC0415  (in the child)
    from simulation.simulation import Simulation  # noqa: PLC0415

    seed, voters, profile, guard = arguments
    with without(guard) if guard else nullcontext():
        return Simulation(seed, voters=voters, profile=profile).run()


def main() -> int:
    """Run what the arguments ask for; the exit status says whether all held."""
    parser = argparse.ArgumentParser(prog="make sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=500, help="how many seeds")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--seed", type=int, help="this one alone, with its trace")
    parser.add_argument("--voters", type=int, choices=(1, 2, 3, 5), help="instead of what the seed decides")
    parser.add_argument("--profile", default="mixed", help="which faults")
    parser.add_argument("--without", metavar="GUARD", help="take a guard away: violations are expected then")
    options = parser.parse_args()
    how = (options.voters, options.profile, options.without)
    if options.seed is not None:
        return one(options.seed, *how)
    return many(range(options.first, options.first + options.seeds), *how)


def one(seed: int, voters: int | None, profile: str, guard: str | None) -> int:
    """Run one seed and show what happened."""
    outcome = run_seed((seed, voters, profile, guard))
    print("\n".join(outcome.lines))
    print(json.dumps({**_plain(outcome), "trace": outcome.digest}))
    return 1 if outcome.violations else 0


def many(seeds: range, voters: int | None, profile: str, guard: str | None) -> int:
    """Run many seeds; the last line is JSON."""
    faults: Counter[str] = Counter()
    violations = takeovers = records = done = 0
    with multiprocessing.Pool(PROCESSES) as pool:
        for outcome in pool.imap(run_seed, [(seed, voters, profile, guard) for seed in seeds]):
            done += 1
            faults.update(outcome.faults)
            takeovers += outcome.takeovers
            records += outcome.records
            violations += len(outcome.violations)
            for violation in outcome.violations[:3]:
                print(f"seed {outcome.seed}: {violation}")
            if outcome.violations:
                print(f"replay it with: {_replay(outcome.seed, voters, profile, guard)}")
            if done % 50 == 0:
                print(f"{done} of {len(seeds)} seeds, {violations} violations", file=sys.stderr)
    summary = {
        "seeds": len(seeds),
        "violations": violations,
        "takeovers": takeovers,
        "records": records,
        "faults": dict(sorted(faults.items())),
    }
    print(json.dumps(summary))
    return 1 if violations else 0


def _replay(seed: int, voters: int | None, profile: str, guard: str | None) -> str:
    """The command that runs a seed again."""
    words = [f"make sim SEED={seed}"]
    words += [f"VOTERS={voters}"] if voters else []
    words += [f"PROFILE={profile}"] if profile != "mixed" else []
    words += [f"WITHOUT={guard}"] if guard else []
    return " ".join(words)


def _plain(outcome: Outcome) -> dict[str, object]:
    return {
        "seed": outcome.seed,
        "violations": outcome.violations,
        "takeovers": outcome.takeovers,
        "records": outcome.records,
        "faults": outcome.faults,
        "voters": outcome.voters,
        "durability": outcome.durability,
        "virtual_ms": outcome.virtual_ms,
    }


if __name__ == "__main__":
    raise SystemExit(main())
