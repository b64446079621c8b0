"""Fixtures of the SoupBinTCP tests: real data, and other people's programs to talk to."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

import pytest


def _missing(what: str) -> None:
    if os.environ.get("SEQCAST_REQUIRE_PEERS") == "1":
        pytest.fail(f"{what} is not installed")
    pytest.skip(f"{what} is not installed")


@pytest.fixture(scope="session")
def soup() -> ModuleType:
    """The module `nasdaq_protocols.soup`."""
    try:
        return importlib.import_module("nasdaq_protocols.soup")
    except ImportError:
        _missing("nasdaq-protocols")
        raise
