"""The results for people; `bench.scenarios` and `bench.failover` say what is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.machine import sentence

if TYPE_CHECKING:
    from collections.abc import Sequence

_LATENCIES = ("p50_ns", "p99_ns", "p99.9_ns", "max_ns")


def render(result: dict[str, Any]) -> str:
    """The whole report."""
    settings = result["settings"]
    lines = [
        sentence(result["machine"]),
        f"{settings['message_bytes']} bytes a message, durability {settings['durability']}, "
        f"{settings['rounds']} rounds; sequencer, rewinder, sender and receiver share this machine",
    ]
    if "throughput" in result:
        lines += ["", *_throughput(result["throughput"])]
    for each in result.get("latency", []):
        lines += ["", *_latency(each)]
    if result["baseline"]:
        lines += ["", f"baseline {result['baseline']}"]
    lines.append("")
    lines += result["problems"] or ["every message came, once and in order"]
    return "\n".join(lines)


def render_failover(result: dict[str, Any]) -> str:
    """The whole report of `bench.failover`."""
    settings, phases = result["settings"], result["phases_p50_ms"]
    rows = [
        ["", "min", "median", "max"],
        ["kill to delivered", *(f"{result[key]:,.1f}" for key in ("min_ms", "p50_ms", "max_ms"))],
    ]
    steps = [
        f"{what} {'-' if phases[key] is None else format(phases[key], ',.1f')}"
        for key, what in (
            ("noticed", "the standby misses its primary"),
            ("opened", "it opens its epoch"),
            ("connected", "the sender is let in"),
            ("delivered", "the receiver has a message"),
        )
    ]
    lines = [
        sentence(result["machine"]),
        f"{settings['voters']} voters and a rewinder, {settings['messages_per_second']:,} messages a second of "
        f"{settings['message_bytes']} bytes, durability {settings['durability']}; all share this machine",
        "",
        f"failover: milliseconds from SIGKILL to the first message that was submitted after it, "
        f"{result['trials']} trials",
        *_columns(rows),
        f"  median since the kill: {', '.join(steps)}",
        f"  each trial: {', '.join(f'{each:,.1f}' for each in result['trials_ms'])}",
        f"  takeovers that no kill asked for: {result['false_takeovers']}",
        "",
        *(result["problems"] or [f"every message came, once and in order ({result['messages']:,})"]),
    ]
    return "\n".join(lines)


def render_delivery(result: dict[str, Any]) -> str:
    """The whole report of `bench.delivery`."""
    settings = result["settings"]
    columns = ("messages_per_second", "messages_per_cpu_second")
    rows = [["", "min", "median", "max", "min", "median", "max"]]
    for name, figures in result["ways"].items():
        rows.append(
            [
                name,
                *(f"{figures[column][key]:,.0f}" for column in columns for key in ("min", "median", "max")),
            ]
        )
    lines = [
        sentence(result["machine"]),
        f"{settings['message_bytes']} bytes a message, {settings['messages']:,} in a round, "
        f"{settings['rounds']} rounds",
        "",
        "messages a second: by the clock, all processes on this machine; and by the processor time of the app alone",
        *_columns(rows),
        "",
        *(result["problems"] or ["every message came, once and in order"]),
    ]
    return "\n".join(lines)


def _throughput(result: dict[str, Any]) -> list[str]:
    rows = [
        ["", "min", "median", "max"],
        _spread("seqcast", result["messages_per_second"], "{:,.0f}"),
    ]
    if result["relay"]:
        single, packed = result["relay"]["one_per_datagram"], result["relay"]["six_per_datagram"]
        rows += [
            _spread("bare relay, 1 a datagram", single["messages_per_second"], "{:,.0f}"),
            _spread("bare relay, 6 a datagram", packed["messages_per_second"], "{:,.0f}"),
            _spread("seqcast / relay, 1 a datagram", single["ratio"], "{:.2f}"),
            _spread("seqcast / relay, 6 a datagram", packed["ratio"], "{:.2f}"),
        ]
    gaps = [each["gaps_filled"] for each in result["rounds"]]
    return [
        f"throughput: messages a second, {result['messages']:,} in a round",
        *_columns(rows),
        f"  gaps filled in a round: {min(gaps)} to {max(gaps)}; {_cpu(result)}",
    ]


def _latency(result: dict[str, Any]) -> list[str]:
    rows = [["", "p50", "p99", "p99.9", "max"]]
    rows += [
        [name, *("-" if result[key][p] is None else f"{result[key][p] / 1000:,.0f}" for p in _LATENCIES)]
        for name, key in (
            ("due to delivered", "delivered"),
            ("due to acknowledged", "acknowledged"),
            ("due to handed over", "timetable"),
            ("bare relay, due to delivered", "relay"),
        )
        if result[key]
    ]
    return [
        f"latency at {result['rate']:,} messages a second: microseconds, {result['messages']:,} in a round",
        *_columns(rows),
        f"  {_cpu(result)}",
    ]


def _cpu(result: dict[str, Any]) -> str:
    parts = [f"{name} {microseconds:.2f}" for name, microseconds in result["cpu_us_per_message"].items()]
    return f"processor time for a message, us: {', '.join(parts)}"


def _spread(name: str, spread: dict[str, float], form: str) -> list[str]:
    return [name, *(form.format(spread[key]) for key in ("min", "median", "max"))]


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """The first column stands to the left, the others, all numbers, to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in rows
    ]
