"""Fixtures of the MoldUDP tests: both protocols, real data, tshark, multicast groups of their own."""

from __future__ import annotations

import os
import random
import shutil
import sys
import uuid
from pathlib import Path

import pytest

from moldudp import MOLDUDP, MOLDUDP64, Codec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `pcap`, which several packages use


@pytest.fixture(params=[MOLDUDP64, MOLDUDP], ids=lambda codec: codec.name)
def codec(request: pytest.FixtureRequest) -> Codec:
    """One of the two protocols; a test that takes it runs for both."""
    return request.param


@pytest.fixture
def chance() -> random.Random:
    """A random source with a fixed seed."""
    return random.Random(1)


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
    """The path of tshark; without it the test is skipped, or fails where peers are required."""
    path = shutil.which("tshark")
    if path is None:
        if os.environ.get("SEQCAST_REQUIRE_PEERS") == "1":
            pytest.fail("tshark is not installed")
        pytest.skip("tshark is not installed")
    return path


@pytest.fixture
def group() -> str:
    """A multicast group that no other test uses at the same time."""
    token = uuid.uuid4().bytes
    return f"239.{token[0]}.{token[1]}.{token[2] % 254 + 1}"
