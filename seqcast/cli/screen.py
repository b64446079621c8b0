"""The picture of a bus as a screen for people (rich), and as one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import RenderableType

RECEIVERS_SHOWN = 8
DROPS_SHOWN = 12
"""Rows of the tables that could be long: those that matter most come first."""

LEAST = {"node": 6, "role": 9}
"""Columns that do not shrink on a narrow terminal, with their width."""

PERCENTILES = ("p50", "p90", "p99", "p99.9", "max")


def screen(picture: dict[str, Any]) -> RenderableType:
    """All of it."""
    parts: list[RenderableType] = [_head(picture), _nodes(picture), *_notes(picture)]
    parts += [table for table in (_latency(picture), _repairs(picture)) if table.row_count]
    if picture["receivers"]["count"]:
        parts.append(_receivers(picture["receivers"]))
    if picture["drops"]:
        parts.append(_drops(picture["drops"]))
    return Group(*parts)


def line(picture: dict[str, Any]) -> str:
    """One line, for a file or a pipe."""
    nodes = []
    for name, node in picture["nodes"].items():
        if not node["up"]:
            nodes.append(f"{name} {node['note']}")
            continue
        lag = f" lag {node['lag']:,}" if node["lag"] is not None and node["role"] != "primary" else ""
        nodes.append(f"{name} {node['role']}{lag}" + ("" if node["ready"] else f" ({node['note']})"))
    parts = [_summary(picture), ", ".join(nodes)]
    receivers = picture["receivers"]
    if receivers["count"]:
        parts.append(f"receivers {receivers['count']} ({receivers['behind']} behind)")
    for stage, found in picture["latency"].items():
        if found["count"]:
            parts.append(f"{stage.replace('_', ' ')} p99 {_time(found['p99_ns'])}")
    moving = [f"{row['node']} {row['where']}.{row['reason']}" for row in picture["drops"] if row["rate"]]
    if moving:
        parts.append(f"dropping: {', '.join(moving)}")
    return "; ".join(parts)


def _summary(picture: dict[str, Any]) -> str:
    primary = picture["primary"]
    rates = [node["rates"]["committed"] for node in picture["nodes"].values() if node["up"]]
    leader = f"primary {primary} of epoch {picture['epoch']}" if primary else "no primary"
    return f"session {picture['session']}: {leader}, committed {picture['commit']:,} at {max(rates, default=0):,.0f}/s"


def _head(picture: dict[str, Any]) -> Text:
    return Text(_summary(picture), style="bold" if picture["primary"] else "bold red")


def _table(title: str, *columns: str, text: tuple[str, ...] = ("node",)) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, title_style="bold")
    for column in columns:
        justify: Literal["left", "right"] = "left" if column in text else "right"
        table.add_column(
            column, justify=justify, overflow="ellipsis", no_wrap=True, min_width=LEAST.get(column)
        )
    return table


def _nodes(picture: dict[str, Any]) -> Table:
    columns = ("node", "role", "epoch", "commit", "lag", "commit/s", "sent/s", "clients", "follows")
    table = _table("", *columns, text=("node", "role", "follows"))
    table.title = None
    for name, node in picture["nodes"].items():
        if not node["up"]:
            table.add_row(name, node["role"], style="red")
            continue
        style = "red" if not node["ready"] else "green" if node["role"] == "primary" else ""
        table.add_row(
            Text(name, style=style),
            node["role"],
            *(_count(node[key]) for key in ("epoch", "commit", "lag")),
            _rate(node["rates"]["committed"]),
            _rate(node["rates"]["datagrams"]),
            _count(sum(node["clients"].values())),
            node["following"],
        )
    return table


def _notes(picture: dict[str, Any]) -> list[RenderableType]:
    """What is wrong with nodes, a line each."""
    return [
        Text(f"{name}: {node['note']}", style="red")
        for name, node in picture["nodes"].items()
        if node["note"]
    ]


def _latency(picture: dict[str, Any]) -> Table:
    table = _table("latency, last 10 s", "stage", "records", *PERCENTILES, text=("stage",))
    for stage, found in picture["latency"].items():
        times = [_time(found[f"{percentile}_ns"]) for percentile in PERCENTILES]
        table.add_row(stage.replace("_", " "), _count(found["count"]), *times)
    return table


def _repairs(picture: dict[str, Any]) -> Table:
    """What receivers ask for again: each gap is a re-request or a login at a rewinder."""
    columns = ("node", "requests/s", "replies/s", "messages/s", "logins/s")
    table = _table("repairs", *columns)
    for name, node in picture["nodes"].items():
        if node["up"] and node["role"] == "rewinder":
            rates = node["rates"]
            table.add_row(name, *(_rate(rates[key]) for key in ("requests", "replies", "messages", "logins")))
    return table


def _receivers(receivers: dict[str, Any]) -> Table:
    title = f"receivers at rewinders: {receivers['count']}, {receivers['behind']} behind"
    table = _table(
        title,
        "node",
        "user",
        "address",
        "session",
        "next",
        "lag",
        text=("node", "user", "address", "session"),
    )
    for row in receivers["slowest"][:RECEIVERS_SHOWN]:
        table.add_row(
            row["node"], row["user"], row["peer"], row["session"], _count(row["next"]), _count(row["lag"])
        )
    if not receivers["slowest"]:
        table.show_header = False
    return table


def _drops(drops: list[dict[str, Any]]) -> Table:
    table = _table(
        "drops, rejects, retries",
        "node",
        "kind",
        "where",
        "reason",
        "count",
        "/s",
        text=("node", "kind", "where", "reason"),
    )
    rows = sorted(drops, key=lambda row: (-row["rate"], -row["count"]))
    for row in rows[:DROPS_SHOWN]:
        style = "yellow" if row["rate"] else ""
        cells = (
            row["node"],
            row["kind"],
            row["where"],
            row["reason"],
            _count(row["count"]),
            _rate(row["rate"]),
        )
        table.add_row(*cells, style=style)
    if len(rows) > DROPS_SHOWN:
        table.caption = f"and {len(rows) - DROPS_SHOWN} more: seqcast status --watch --json"
    return table


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 or not rate else f"{rate:.1f}"


def _time(nanoseconds: int | None) -> str:
    if nanoseconds is None:
        return ""
    if nanoseconds < 1_000_000:
        return f"{nanoseconds / 1000:.0f} us"
    if nanoseconds < 1_000_000_000:
        return f"{nanoseconds / 1_000_000:.1f} ms"
    return f"{nanoseconds / 1_000_000_000:.1f} s"
