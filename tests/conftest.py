"""Settings and fixtures of the whole suite."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["pytester"]

# The same examples in every run: a test that fails once fails again. No deadline, and none for making examples
# either: these machines are noisy.
settings.register_profile(
    "seqcast", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("seqcast")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The directory of real data; the test is skipped where it is not."""
    path = Path(os.environ.get("SEQCAST_SHARED_DATA") or SHARED_DATA)
    if not path.is_dir():
        pytest.skip(f"no {path}: set SEQCAST_SHARED_DATA")
    return path


@pytest.fixture(scope="session")
def tshark() -> str:
    """The path of tshark; without it the test is skipped, or fails where peers are required."""
    path = shutil.which("tshark")
    if path is None:
        if os.environ.get("SEQCAST_REQUIRE_PEERS"):
            pytest.fail("tshark is not installed")
        pytest.skip("tshark is not installed")
    return path
