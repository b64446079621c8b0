"""What nodes would publish: a primary, a standby and a rewinder of one configuration, for tests of who watches."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from rewinder._native import LatencyKernel
from seqcast.config import parse_configuration
from seqcast.settings import Configuration
from seqcast.template import render
from seqcast.watch import Sighting


def configuration() -> Configuration:
    """SEQ1, SEQ2 and REW1 vote, REW2 does not."""
    text = render(session="S", group="239.192.1.1", base_port=20_000 + Random(1).randrange(1000), nodes=3)
    return parse_configuration(text, Path("/etc/bus/seqcast.toml"))


def histogram(*latencies_ns: int) -> dict[str, Any]:
    kernel = LatencyKernel()
    for latency in latencies_ns:
        kernel.between(0, latency, 1)
    return kernel.state()


def primary(of: Configuration, **changes: Any) -> dict[str, Any]:
    common = {"epoch": 2, "first": 1, "last": 120, "commit": 110, "synced": 100, "turns": 1000}
    return {
        "name": "SEQ1",
        "role": "primary",
        "session": of.session,
        "fingerprint": of.fingerprint(),
        "durability": "memory",
        **common,
        "published": 110,
        "ended": None,
        "voter": True,
        "votes": True,
        "vote_missing": None,
        "following": None,
        "suspicion": None,
        "missing": 0,
        "established": True,
        "in_contact": ["REW1", "SEQ2"],
        "refusing": None,
        "stamped": 118,
        "takeovers": 1,
        "uptime_seconds": 7.5,
        "access_problem": None,
        "datagrams": {"a": 55, "b": 54},
        "clients": {"node": 3, "submit": 2},
        "followers": {
            "SEQ2": {"held": 118, "lag": 2, "votes": True, "voter": True},
            "REW1": {"held": 119, "lag": 1, "votes": True, "voter": True},
            "REW2": {"held": 20, "lag": 100, "votes": False, "voter": False},
        },
        "voters": {"SEQ1": 120, "SEQ2": 118, "REW1": 119},
        "latency": {
            "ingress_to_commit": histogram(900, 50_000, 2_000_000),
            "commit_to_wire": histogram(10_000),
        },
        "counters": {
            "submit.logins": 2,
            "submit.duplicates": 5,
            "publish.a.refused.101": 1,
            "publish.a.full": 3,
        },
        **changes,
    }


def rewinder(of: Configuration, name: str = "REW1", **changes: Any) -> dict[str, Any]:
    return {
        **primary(of),
        "name": name,
        "role": "rewinder",
        "following": "SEQ1",
        "voter": name == "REW1",
        "votes": name == "REW1",
        "clients": {"node": 0, "replay": 2},
        "requests": {"requests": 40, "replies": 38, "messages": 300, "short": 2, "unsent": 0},
        "receivers": {
            "count": 2,
            "behind": 1,
            "slowest": [
                {"user": "READER", "peer": "127.0.0.1:9", "session": of.session, "next": 50, "lag": 61}
            ],
        },
        "counters": {"replay.logins": 4, "replay.login_rejected.not_authorized": 1},
        **dict.fromkeys(("published", "latency", "followers", "voters", "datagrams", "stamped", "takeovers")),
        **changes,
    }


def sighted(
    status: dict[str, Any] | None, *, age: float = 0.1, at_ns: int = 1, name: str = "SEQ2"
) -> Sighting:
    if status is None:
        return Sighting(name, "sequencer")
    return Sighting(status["name"], status["role"], status, at_ns, age)
