"""Fixtures of the MoldUDP tests: both protocols, real data, tshark, multicast groups of their own."""

from __future__ import annotations

import random
import uuid

import pytest

from moldudp import MOLDUDP, MOLDUDP64, Codec


@pytest.fixture(params=[MOLDUDP64, MOLDUDP], ids=lambda codec: codec.name)
def codec(request: pytest.FixtureRequest) -> Codec:
    """One of the two protocols; a test that takes it runs for both."""
    return request.param


@pytest.fixture
def chance() -> random.Random:
    """A random source with a fixed seed."""
    return random.Random(1)


@pytest.fixture
def group() -> str:
    """A multicast group that no other test uses at the same time."""
    token = uuid.uuid4().bytes
    return f"239.{token[0]}.{token[1]}.{token[2] % 254 + 1}"
