"""The simulator in the default suite: a smoke of fifty seeds, equal runs, and each guard missed when it is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulation.guards import GUARDS, without
from simulation.simulation import Simulation

SMOKE_SEEDS = 50
AT_ONCE = 5
PROFILE_SEEDS = {"crashes": 8, "disks": 8, "figure8": 4, "peace": 3}


@pytest.mark.parametrize("first", range(1, SMOKE_SEEDS, AT_ONCE))
def test_nothing_is_violated(first: int) -> None:
    for seed in range(first, first + AT_ONCE):
        outcome = Simulation(seed).run()
        assert not outcome.violations, f"make sim SEED={seed}: {outcome.violations[0]}"
        assert outcome.records


@pytest.mark.parametrize("profile", PROFILE_SEEDS)
def test_nothing_is_violated_under_special_faults(profile: str) -> None:
    for seed in range(1000, 1000 + PROFILE_SEEDS[profile]):
        outcome = Simulation(seed, voters=3, profile=profile).run()
        assert not outcome.violations, (
            f"make sim SEED={seed} VOTERS=3 PROFILE={profile}: {outcome.violations[0]}"
        )


@pytest.mark.parametrize("guard", GUARDS)
def test_a_guard_that_is_gone_is_missed(guard: str) -> None:
    _, profile, voters, seeds = GUARDS[guard]
    with without(guard):
        assert any(
            Simulation(seed, voters=voters, profile=profile).run().violations for seed in range(1, seeds + 1)
        )


def test_a_seed_is_the_same_run_in_every_process() -> None:
    outcome = Simulation(11).run()
    for hash_seed in ("0", "77"):
        done = subprocess.run(
            [sys.executable, "-m", "simulation", "--seed", "11"],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert outcome.digest in done.stdout.splitlines()[-1]


def test_a_seed_that_fails_says_how_to_replay_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "simulation", "--seeds", "1", "--voters", "3", "--without", "quorum"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "replay it with: make sim SEED=1 VOTERS=3 WITHOUT=quorum" in done.stdout
    assert '"violations": ' in done.stdout.splitlines()[-1]
