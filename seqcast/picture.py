"""The picture of a bus, out of what its nodes publish: roles, rates, lags, repairs, latencies and drops.

`Painter.paint` takes one look and compares it with earlier ones; what it returns is plain values, for JSON and for a
screen. Rates are per second, over the time between a node's last two publications.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from attrs import define, field

from seqcast.health import why_not_ready
from seqcast.latency import LatencyHistogram
from seqcast.meters import Kind, counters_of, meter_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from seqcast.settings import Configuration
    from seqcast.watch import Sighting

WINDOW = 10
"""Publications that percentiles are over: ten seconds."""

STAGES = ("ingress_to_commit", "commit_to_wire")
"""The latencies that a primary measures."""

SHOWN = (
    "epoch",
    "first",
    "last",
    "commit",
    "synced",
    "published",
    "ended",
    "following",
    "suspicion",
    "missing",
    "votes",
)
"""What of a node's status is in the picture as it is."""

REPAIRS = ("requests", "replies", "messages")
"""What a rewinder is asked again over UDP."""


@define(eq=False)
class Painter:
    """Keeps what was seen before, as far as rates and percentiles need it."""

    configuration: Configuration
    _earlier: dict[str, deque[tuple[int, dict[str, Any]]]] = field(factory=dict, init=False)

    def paint(self, seen: Mapping[str, Sighting], names: Iterable[str] | None = None) -> dict[str, Any]:
        """The picture now, with the nodes named, or all that were seen: what a node lacks, the primary knows."""
        for name, sighting in seen.items():
            self._note(name, sighting)
        primary = primary_of(self.configuration, seen)
        leader = None if primary is None else seen[primary].status
        sightings = seen if names is None else {name: seen[name] for name in names}
        return {
            "session": self.configuration.session,
            "primary": primary,
            "epoch": None if leader is None else leader.get("epoch"),
            "commit": max((_number(each.status, "commit") for each in seen.values()), default=0),
            "nodes": {name: self._node(name, each, leader) for name, each in sightings.items()},
            "receivers": _receivers(sightings),
            "latency": {} if primary is None else self._latency(primary),
            "drops": [row for name, each in sightings.items() if each.up for row in self._drops(name)],
        }

    def _note(self, name: str, sighting: Sighting) -> None:
        earlier = self._earlier.setdefault(name, deque(maxlen=WINDOW + 1))
        status = sighting.status
        if status is None or (earlier and earlier[-1][0] == sighting.seen_ns):
            return
        if earlier and _number(status, "turns") < _number(earlier[-1][1], "turns"):
            earlier.clear()  # it was started again: its counters begin at 0
        earlier.append((sighting.seen_ns, status))

    def _node(self, name: str, sighting: Sighting, leader: Mapping[str, Any] | None) -> dict[str, Any]:
        status = sighting.status
        if status is None or not sighting.up:
            return {"up": False, "ready": False, "role": sighting.role, "note": sighting.trouble}
        held = held_by(name, leader)
        not_ready = why_not_ready(self.configuration, status)
        return {
            "up": True,
            "ready": not_ready is None,
            "note": not_ready,
            "role": status.get("role"),
            **{key: status.get(key) for key in SHOWN},
            "held": held,
            "lag": None if held is None or leader is None else max(0, _number(leader, "last") - held),
            "clients": status.get("clients") or {},
            "rates": self._rates(name),
        }

    def _rates(self, name: str) -> dict[str, float]:
        """What a node did in a second."""
        rates = {
            "committed": self._rate(name, lambda status: _number(status, "commit")),
            "stamped": self._rate(name, lambda status: _number(status, "stamped")),
            "datagrams": self._rate(name, lambda status: sum((status.get("datagrams") or {}).values())),
            "logins": self._rate(name, lambda status: counters_of(status).get("replay.logins", 0)),
        }
        for key in REPAIRS:
            rates[key] = self._rate(
                name,
                lambda status, key=key: (status.get("requests") or {}).get(key, 0),
            )
        return rates

    def _rate(self, name: str, value: Any) -> float:
        earlier = self._earlier[name]
        if len(earlier) < 2:
            return 0.0
        (before_ns, before), (now_ns, now) = earlier[-2], earlier[-1]
        return float(round((value(now) - value(before)) / max((now_ns - before_ns) / 1e9, 1e-3), 1))

    def _latency(self, primary: str) -> dict[str, Any]:
        """Percentiles of the last seconds, by stage; of all there is while a primary is younger than that."""
        earlier = self._earlier[primary]
        found = {}
        for stage in STAGES:
            now = _histogram(earlier[-1][1], stage)
            if now is None:
                continue
            before = _histogram(earlier[0][1], stage) if len(earlier) > 1 else None
            found[stage] = (now if before is None else now.since(before)).as_plain()
        return found

    def _drops(self, name: str) -> list[dict[str, Any]]:
        """Every drop, reject and retry of a node, with its reason."""
        rows = []
        for counter, count in sorted(counters_of(self._earlier[name][-1][1]).items()):
            meter = meter_of(counter)
            if meter.kind is not Kind.EVENT and count:
                rate = self._rate(name, lambda status, counter=counter: counters_of(status).get(counter, 0))
                rows.append(
                    {
                        "node": name,
                        "kind": meter.kind.value,
                        "where": meter.where,
                        "reason": meter.reason,
                        "count": count,
                        "rate": rate,
                    }
                )
        return rows


def primary_of(configuration: Configuration, sightings: Mapping[str, Sighting]) -> str | None:
    """The name of the present primary; None when nobody says that it is one.

    Of several, all but the one of the highest epoch do not know yet that they are deposed.
    """
    leading = {
        name: _number(each.status, "epoch")
        for name, each in sightings.items()
        if each.up
        and each.status is not None
        and each.status.get("role") == "primary"
        and each.status.get("session") == configuration.session
    }
    return max(leading, key=lambda name: leading[name], default=None)


def held_by(name: str, primary: Mapping[str, Any] | None) -> int | None:
    """Up to which number the primary, of which this is the status, knows that a node holds the log."""
    if primary is None:
        return None
    follower = (primary.get("followers") or {}).get(name)
    held = follower["held"] if follower is not None else (primary.get("voters") or {}).get(name)
    return None if held is None else int(held)


def _receivers(sightings: Mapping[str, Sighting]) -> dict[str, Any]:
    """Who replays from which rewinder, the slowest first."""
    count = behind = 0
    slowest = []
    for name, each in sightings.items():
        if each.up and each.status is not None and each.status.get("receivers"):
            receivers = each.status["receivers"]
            count += receivers["count"]
            behind += receivers["behind"]
            slowest += [{"node": name, **row} for row in receivers["slowest"]]
    slowest.sort(key=lambda row: -int(row["lag"]))
    return {"count": count, "behind": behind, "slowest": slowest}


def _histogram(status: Mapping[str, Any], stage: str) -> LatencyHistogram | None:
    return LatencyHistogram.read((status.get("latency") or {}).get(stage))


def _number(status: Mapping[str, Any] | None, key: str) -> int:
    value = None if status is None else status.get(key)
    return value if isinstance(value, int) else 0
