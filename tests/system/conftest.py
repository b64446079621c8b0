"""Fixtures of the tests that run real processes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from bus import Bus, new_bus

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def quiet_bus(tmp_path: Path) -> Iterator[Bus]:
    """A bus that is configured and not started."""
    with new_bus(tmp_path / "run") as bus:
        yield bus


@pytest.fixture
def bus(quiet_bus: Bus) -> Bus:
    """A bus with one sequencer and one rewinder, ready."""
    quiet_bus.start_all()
    return quiet_bus
