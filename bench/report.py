"""The results for people; the scenarios say what is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.machine import sentence

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_LATENCIES = ("p50_ns", "p99_ns", "p99.9_ns", "max_ns")
_SPREAD = ("min", "median", "max")
_RELAYS = {
    "one_per_datagram": "1 a datagram",
    "six_per_datagram": "6 a datagram",
    "segmented": "48 x 6, offloaded",
}


def render(result: dict[str, Any]) -> str:
    """The whole report."""
    settings = result["settings"]
    lines = [
        sentence(result["machine"]),
        f"{settings['message_bytes']} bytes a message, durability {settings['durability']}, idle {settings['idle']}, "
        f"{settings['rounds']} rounds; all processes share this machine",
    ]
    for name, section in _SECTIONS.items():
        if name in result:
            lines += ["", *section(result[name])]
    if result["baseline"]:
        lines += ["", f"baseline {result['baseline']}"]
    lines.append("")
    lines += result["problems"] or ["every message came, once and in order"]
    return "\n".join(lines)


def _throughput(result: list[dict[str, Any]]) -> list[str]:
    rows = [["", *_SPREAD]]
    notes = []
    for each in result:
        name = f"N={each['voters']}"
        rows.append(_spread(f"seqcast {name}", each["messages_per_second"], "{:,.0f}"))
        rows += [
            _spread(f"seqcast {name} / relay, {_RELAYS[relay]}", found["ratio"], "{:.2f}")
            for relay, found in each["relay"].items()
            if found
        ]
        gaps = [one["gaps_filled"] for one in each["rounds"]]
        notes.append(f"  {name}: gaps filled in a round: {min(gaps)} to {max(gaps)}; {_cpu(each)}")
    rows += [
        _spread(f"bare relay, {_RELAYS[relay]}", found["messages_per_second"], "{:,.0f}")
        for relay, found in result[0]["relay"].items()
        if found
    ]
    return [
        f"throughput: messages a second, {result[0]['messages']:,} in a round",
        *_columns(rows),
        *notes,
    ]


def _latency(result: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for each in result["loads"]:
        rows = [["", "p50", "p99", "p99.9", "max"]]
        rows += [
            [name, *_percentiles(each[key])]
            for name, key in (
                ("due to delivered", "delivered"),
                ("due to acknowledged", "acknowledged"),
                ("due to handed over", "timetable"),
                ("bare relay, due to delivered", "relay"),
            )
            if each[key]
        ]
        rows += [
            [f"{what} / relay's delivered", *(f"{found[p]['median']:.2f}" for p in found), ""]
            for what, found in each["ratio"].items()
            if found and len(found) == len(rows[0]) - 2
        ]
        lines += [
            f"latency at {each['rate']:,} messages a second, N={each['voters']}: microseconds, "
            f"{each['messages']:,} in a round",
            *_columns(rows),
            f"  {_cpu(each)}",
            "",
        ]
    if result["pingpong"]:
        trips = _columns([["multicast ping-pong, round trip", *_percentiles(result["pingpong"])]])
        return lines + trips
    return lines[:-1]


def _delivery(result: dict[str, Any]) -> list[str]:
    columns = ("messages_per_second", "messages_per_cpu_second")
    rows = [["", *_SPREAD, *_SPREAD]]
    rows += [
        [name, *(f"{figures[column][key]:,.0f}" for column in columns for key in _SPREAD)]
        for name, figures in result["ways"].items()
    ]
    return [
        f"delivery: messages a second, {result['settings']['messages']:,} in a round: by the clock, all processes on "
        "this machine; and by the processor time of the app alone",
        *_columns(rows),
    ]


def _replay(result: dict[str, Any]) -> list[str]:
    one, four = result["one_client"], result["four_clients"]
    rows = [["one client", *_SPREAD]]
    if one["bytes_per_second"]:
        rows.append(_spread("MB a second", _scaled(one["bytes_per_second"], 1e-6), "{:,.0f}"))
        rows.append(_spread("records a second", one["records_per_second"], "{:,.0f}"))
        for how, found in one["baseline"].items():
            if found:
                megabytes = _scaled(found["bytes_per_second"], 1e-6)
                rows.append(_spread(f"bare {how}, MB a second", megabytes, "{:,.0f}"))
                rows.append(_spread(f"replay / {how}", found["ratio"], "{:.2f}"))
    lines = [f"replay: {result['records']:,} records out of a rewinder", *_columns(rows)]
    beside = [["us, due to delivered", "p50", "p99", "p99.9", "max"]]
    beside += [
        [name, *_percentiles(four[key])]
        for name, key in (("live alone", "alone"), ("beside the clients", "beside"))
        if four[key]
    ]
    lines += [
        f"  {four['clients']} clients beside {four['rate']:,} live messages a second",
        *_columns(beside),
    ]
    if four["beside"]:
        lines.append(
            f"  p50 beside / alone: {_range(four['p50_ratio'])}; p99: {_range(four['p99_ratio'])}; "
            f"the clients got {four['megabits_per_second']['median']:,.0f} Mbit/s"
        )
    return lines


def _catch_up(result: dict[str, Any]) -> list[str]:
    rows = [
        ["", *_SPREAD],
        _spread("seconds until merged", result["seconds"], "{:,.2f}"),
        _spread("records a second", result["records_per_second"], "{:,.0f}"),
    ]
    if result["sendfile"]:
        rows.append(_spread("bare sendfile", result["sendfile"]["records_per_second"], "{:,.0f}"))
        rows.append(_spread("catch-up / sendfile", result["sendfile"]["ratio"], "{:.2f}"))
    return [
        f"catch-up: from number 1 of {result['records']:,} records, while {result['live_rate']:,} messages a second "
        "are live",
        *_columns(rows),
    ]


def _failover(result: dict[str, Any]) -> list[str]:
    settings, phases = result["settings"], result["phases_p50_ms"]
    rows = [
        ["", *_SPREAD],
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
    return [
        f"failover: milliseconds from SIGKILL to the first message that was submitted after it, "
        f"{result['trials']} trials; {settings['voters']} voters and a rewinder, "
        f"{settings['messages_per_second']:,} messages a second",
        *_columns(rows),
        f"  median since the kill: {', '.join(steps)}",
        f"  each trial: {', '.join(f'{each:,.1f}' for each in result['trials_ms'])}",
        f"  takeovers that no kill asked for: {result['false_takeovers']}; messages: {result['messages']:,}",
    ]


def _codec(result: dict[str, Any]) -> list[str]:
    rows = [["", *_SPREAD, "/ memcpy"]]
    copied = None
    for name, each in result["kernels"].items():
        copied = each["memcpy"]
        ratio = f"{copied['ratio']['median']:.1f}" if copied else "-"
        rows.append([*_spread(name, each["ns_per_message"], "{:,.1f}"), ratio])
    if copied:
        rows.append([*_spread("memcpy, message by message", copied["ns_per_message"], "{:,.1f}"), ""])
    whole = result["memcpy_whole_ns_per_message"]
    if whole:
        rows.append([*_spread("memcpy, a batch at once", whole, "{:,.1f}"), ""])
    return [f"codecs: nanoseconds a message, {result['messages_per_call']:,} in a call", *_columns(rows)]


def _scale(result: dict[str, Any]) -> list[str]:
    lines = [
        "scale: messages a second, sequencer us a message, and that beside the first step's; the kernel's part of it, "
        "and the rest beside the first step's; medians"
    ]
    for name, steps in result.items():
        rows = [[name, "messages/s", "sequencer us", "flatness", "kernel us", "flatness of the rest"]]
        rows += [
            [
                f"{each[name]:,}",
                f"{each['messages_per_second']['median']:,.0f}",
                f"{each['sequencer_us_per_message']['median']:.2f}",
                f"{each['flatness']['median']:.2f}",
                f"{each['kernel_us_per_message']['median']:.2f}",
                f"{each['own_flatness']['median']:.2f}",
            ]
            for each in steps
        ]
        lines += _columns(rows)
    return lines


def _interference(result: dict[str, Any]) -> list[str]:
    disturbances = result["disturbances"]
    rows = [
        [
            "due to delivered, us",
            "p50",
            "p99",
            "p99 ratio",
            "from",
            "to",
            "primary us",
            "us a turn",
            "queued us",
        ]
    ]
    rows += [
        [
            name,
            *_percentiles(each["delivered"])[:2],
            *(f"{each['delivered_ratio']['p99'][key]:.2f}" for key in ("median", "min", "max")),
            f"{each['primary_us_per_message']['median']:.2f}",
            f"{each['primary_us_per_turn']['median']:.1f}",
            f"{each['primary_queued_us_per_message']['median']:.2f}",
        ]
        for name, each in disturbances.items()
    ]
    lines = [
        f"interference: N=1, {result['rate']:,} messages a second, {result['messages']:,} in a round; ratios to the "
        "undisturbed rounds; work of the primary for a message, medians",
        *_columns(rows),
    ]
    for name, each in disturbances.items():
        ratio = each["acknowledged_ratio"]["p99"]
        lines.append(
            f"  {name}: acknowledged, p99 ratio {_range(ratio)}; work {_range(each['primary_work_ratio'])}"
        )
    if beside := result["replay_beside_strangers"]:
        ratios = ", ".join(f"{percent} {_range(beside[percent])}" for percent in ("p50", "p99"))
        lines.append(f"  full replay / two strangers, delivered: {ratios}")
    return lines


def _overload(result: dict[str, Any]) -> list[str]:
    rows = [
        ["", *_SPREAD],
        _spread("can be carried", result["capacity_per_second"], "{:,.0f}"),
        _spread("offered", result["offered_per_second"], "{:,.0f}"),
        _spread("carried", result["carried_per_second"], "{:,.0f}"),
        _spread("carried / can be carried", result["carried_ratio"], "{:.2f}"),
    ]
    lines = [f"overload: messages a second, {result['senders']} senders", *_columns(rows)]
    for number, each in enumerate(result["rounds"], 1):
        lines += [
            f"  round {number}: offered {each['offered']:,}, refused {each['refused']:,} "
            f"({each['refusals']:,} times WouldBlock), carried {each['carried']:,}, lost {each['lost']:,}",
            f"  in flight at most {each['in_flight_most']:,} of {each['in_flight_limit']:,}",
            *_columns(_memory_rows(each["memory"])),
        ]
    return lines


def _memory(result: dict[str, Any]) -> list[str]:
    first, second = result["messages"]
    return [
        f"memory: anonymous, after {first:,} and after {second:,} messages",
        *_columns(_memory_rows(result["processes"])),
    ]


def _memory_rows(processes: dict[str, dict[str, float]]) -> list[list[str]]:
    return [
        ["MB", "before", "after", "bytes a message"],
        *(
            [
                name,
                f"{each['before_bytes'] / 1e6:,.1f}",
                f"{each['after_bytes'] / 1e6:,.1f}",
                f"{each['bytes_per_message']:.2f}",
            ]
            for name, each in processes.items()
        ),
    ]


_SECTIONS: dict[str, Callable[[Any], list[str]]] = {
    "throughput": _throughput,
    "latency": _latency,
    "delivery": _delivery,
    "replay": _replay,
    "catch_up": _catch_up,
    "failover": _failover,
    "codec": _codec,
    "scale": _scale,
    "interference": _interference,
    "overload": _overload,
    "memory": _memory,
}


def _percentiles(latencies: dict[str, Any]) -> list[str]:
    return ["-" if latencies[p] is None else f"{latencies[p] / 1000:,.0f}" for p in _LATENCIES]


def _scaled(spread: dict[str, float], factor: float) -> dict[str, float]:
    return {key: value * factor for key, value in spread.items()}


def _range(spread: dict[str, float]) -> str:
    return f"{spread['median']:.2f} ({spread['min']:.2f} to {spread['max']:.2f})"


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
