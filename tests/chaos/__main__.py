"""Run chaos from the command line: `python tests/chaos --minutes 10 --seed 7`.

One JSON line at the end says what was done and what was found; exit status 1 when something was wrong.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "system"))

from chaos import ROUND_SECONDS, Outcome, Plan, no_cuts, run, say

INTERRUPTED = 130


def main() -> int:
    parser = argparse.ArgumentParser(prog="chaos", description="Random faults on a bus of real processes.")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the load runs [default: 10]")
    parser.add_argument("--seed", type=int, help="which faults, and when [default: at random]")
    parser.add_argument("--rate", type=int, default=20_000, help="messages a second [default: 20000]")
    parser.add_argument(
        "--round", type=float, default=ROUND_SECONDS, help="seconds of one round [default: 60]"
    )
    options = parser.parse_args()
    why_not = no_cuts()
    if why_not is not None:
        say(f"the network is not cut: {why_not}")
    seed = random.SystemRandom().randrange(1 << 31) if options.seed is None else options.seed
    say(f"seed {seed}")
    plan = Plan(seed, options.minutes * 60, options.rate, options.round, cuts=why_not is None)
    outcome = Outcome()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # an orderly end, as with ctrl-C
    try:
        run(plan, outcome)
    except KeyboardInterrupt:
        outcome.problems.append("interrupted")
    sys.stdout.write(json.dumps(outcome.as_plain(plan)) + "\n")
    if outcome.problems == ["interrupted"]:
        return INTERRUPTED
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
