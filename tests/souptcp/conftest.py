"""Fixtures of the SoupBinTCP tests: real data, and other people's programs to talk to."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `pcap`, which several packages use


def _missing(what: str) -> None:
    if os.environ.get("SEQCAST_REQUIRE_PEERS") == "1":
        pytest.fail(f"{what} is not installed")
    pytest.skip(f"{what} is not installed")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The directory of real data; the test is skipped where it is not."""
    default = Path(__file__).resolve().parents[3] / "shared" / "data"
    path = Path(os.environ.get("SEQCAST_SHARED_DATA", default))
    if not path.is_dir():
        pytest.skip(f"no {path}: set SEQCAST_SHARED_DATA")
    return path


@pytest.fixture(scope="session")
def tshark() -> str:
    """The path of tshark."""
    path = shutil.which("tshark")
    if path is None:
        _missing("tshark")
    return str(path)


@pytest.fixture(scope="session")
def soup() -> ModuleType:
    """The module `nasdaq_protocols.soup`."""
    try:
        return importlib.import_module("nasdaq_protocols.soup")
    except ImportError:
        _missing("nasdaq-protocols")
        raise
