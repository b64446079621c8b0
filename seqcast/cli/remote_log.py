"""`seqcast log` for a node on another machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from seqcast.cli.common import columns, load
from seqcast.control import ControlClient, where_of
from seqcast.keys import RemoteNode
from seqcast.remote_log import RemoteLog

if TYPE_CHECKING:
    from pathlib import Path


def find_remote(directory: Path | None, node: str | None, config: Path | None) -> RemoteLog | None:
    """The log of a node that is named, keeps none here, and is reached over TCP; None for any other."""
    if directory is not None or node is None:
        return None
    configuration = load(config)
    chosen = configuration.node(node)
    if configuration.node_directory(chosen.name).is_dir():
        return None
    where = where_of(configuration, chosen)
    return RemoteLog(ControlClient(where)) if isinstance(where, RemoteNode) else None


def list_remote(remote: RemoteLog, *, as_json: bool) -> None:
    """The segments: times and sizes are known on that machine alone."""
    segments = remote.segments()
    if as_json:
        rows = [{"first": first, "last": last, "records": last - first + 1} for first, last in segments]
        click.echo(json.dumps({"node": remote.name, "session": remote.head["session"], "segments": rows}))
        return
    table: list[tuple[object, ...]] = [("first", "last", "records")]
    table += [(first, last, last - first + 1) for first, last in segments]
    click.echo(f"{remote.name}: segments: {len(segments)}")
    click.echo(columns(table))


def verify_remote(remote: RemoteLog, *, as_json: bool) -> None:
    """Read every record over here, and check it; exit status 1 when something is wrong."""
    records, problems = remote.verify()
    head = remote.head
    if as_json:
        values = {"node": remote.name, "session": head["session"], "records": records, "problems": problems}
        click.echo(json.dumps(values))
    else:
        for problem in problems:
            click.echo(problem)
        verdict = f"problems: {len(problems)}" if problems else "no problems"
        click.echo(f"{remote.name}: {verdict}; records: {records}, {head['first']} to {head['last']}")
    if problems:
        raise SystemExit(1)
