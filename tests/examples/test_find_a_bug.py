"""examples/find_a_bug.py: the bug is found by a seed, that seed shows it again, and the corrected app is well."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import find_a_bug
import pytest

from seqcast import Sender
from seqcast.errors import TimedOut
from seqcast.testing import App, Bus, hunt

FOUND_WITHIN = 40
"""Seeds; about one in seven shows the bug."""

SEEDS = 20
"""That the corrected app has to pass."""


@pytest.fixture(scope="module")
def program() -> str:
    """What the program prints for the seed that it finds."""
    found = hunt(partial(find_a_bug.scenario, pay=find_a_bug.pay_wrong), range(FOUND_WITHIN))
    assert found is not None
    done = subprocess.run(
        [sys.executable, find_a_bug.__file__, str(found.seed)], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[0] == f"seed {found.seed}: {found.error}"
    assert all(line in done.stdout for line in found.trace[-12:])
    return done.stdout


def test_the_seed_shows_the_same_run_in_another_process(program: str) -> None:
    lines = program.splitlines()
    assert "is there twice" in lines[-3]
    assert lines[-2].startswith("See it again: python ")
    assert lines[-2].split()[-2:] == [str(Path(find_a_bug.__file__)), lines[0].split()[1].rstrip(":")]
    assert lines[-1] == "corrected: nothing went wrong"


def test_an_app_that_pays_nothing_is_found_too() -> None:
    async def forget(_app: App, _sender: Sender, _payment: bytes) -> int:
        return 0

    with Bus() as bus, pytest.raises(TimedOut):
        find_a_bug.scenario(bus, forget)


@pytest.mark.bus(seeds=SEEDS)
def test_each_payment_once(bus: Bus) -> None:
    find_a_bug.scenario(bus, find_a_bug.pay)
