"""The examples as modules, for the tests that run them in this process; those of whole programs are in tests/system."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path += [str(TESTS.parent / "examples"), str(TESTS / "seqcast")]
