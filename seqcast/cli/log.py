"""`seqcast log`: lists, verifies and dumps the logs of a node, also while the node is running.

What brings sessions into other formats, and back, is in `log_export.py` and `log_import.py`.
"""

from __future__ import annotations

import json
import sys
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs
import click

from rewinder import inspection
from rewinder.errors import LogError
from rewinder.old_session import failed_row, open_old_session
from rewinder.policy import is_session_name
from rewinder.retention import KEEP_FILE
from rewinder.storage import FileStorage
from seqcast.cli.common import columns, examples
from seqcast.cli.log_export import export, keep
from seqcast.cli.log_import import import_
from seqcast.cli.logs import directory_of, log_options, logs_in, node_directory_of
from seqcast.cli.remote_log import find_remote, list_remote, verify_remote
from seqcast.config import shown

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@click.group(epilog=examples("seqcast log ls", "seqcast log verify run/log/REW1/DEMO"))
def command() -> None:
    """List, verify, dump and export the log of a node, and list, keep and import sessions.

    DIR is the directory with the segment files, or that of a node. Without it the log is found through the
    configuration: rewinders are looked at first. All of it works while the node is running, and all but `keep` and
    `import` reads only.

    With --node, and a key (`seqcast keys`), the node may run on another machine: it is asked then, a page at a time.
    """


for _each in (keep, export, import_):
    command.add_command(_each)


@command.command(epilog=examples("seqcast log ls", "seqcast log ls --node SEQ1 --json"))
@log_options
@click.option("--epochs", is_flag=True, help="Read all segments through, and say where epochs begin.")
def ls(directory: Path | None, node: str | None, config: Path | None, as_json: bool, epochs: bool) -> None:
    """List the segments of a log."""
    remote = find_remote(directory, node, config)
    if remote is not None:
        list_remote(remote, as_json=as_json)
        return
    path = directory_of(directory, node, config)
    with closing(FileStorage(path, writable=False)) as storage:
        summaries = inspection.list_segments(storage, epochs=epochs)
    if as_json:
        click.echo(json.dumps({"directory": str(path), "segments": [attrs.asdict(row) for row in summaries]}))
        return
    rows: list[tuple[object, ...]] = [("first", "last", "records", "bytes", "from", "to", "note")]
    for summary in summaries:
        notes = [] if summary.sealed else ["being written"]
        notes += [f"epoch {epoch} begins at {number}" for epoch, number in summary.epochs or ()]
        notes += [summary.problem] if summary.problem else []
        times = (_time(summary.first_time_ns), _time(summary.last_time_ns))
        numbers = (summary.first, summary.last, summary.records, summary.bytes)
        rows.append((*numbers, *times, "; ".join(notes)))
    click.echo(f"{shown(path)}: segments: {len(summaries)}")
    click.echo(columns(rows))


@command.command(epilog=examples("seqcast log sessions", "seqcast log sessions --node REW2 --json"))
@log_options
def sessions(directory: Path | None, node: str | None, config: Path | None, as_json: bool) -> None:
    """List the sessions in a node's directory, as far as a rewinder would replay them.

    `shown` is the last record that the node knows to be committed: nothing above it is replayed. DIR is the
    directory of a node here.
    """
    remote = find_remote(directory, node, config)
    if remote is None:
        path = node_directory_of(directory, node, config)
        where, rows = shown(path), [_session_row(inside) for inside in logs_in(path)]
    else:
        where, rows = remote.name, remote.sessions()
    if as_json:
        place = {"node": remote.name} if remote is not None else {"directory": str(path)}
        click.echo(json.dumps({**place, "sessions": rows}))
        return
    table: list[tuple[object, ...]] = [("session", "first", "shown", "last", "note")]
    for row in rows:
        notes = ["it ended"] if row["ended"] else []
        notes += ["it is kept"] if row.get("kept") else []
        notes += [row["problem"]] if row["problem"] else []
        table.append((row["session"], row["first"], row["shown"], row["last"], "; ".join(notes)))
    click.echo(f"{where}: sessions: {len(rows)}")
    click.echo(columns(table))


@command.command(epilog=examples("seqcast log verify", "seqcast log verify run/log/SEQ1 --json"))
@log_options
def verify(directory: Path | None, node: str | None, config: Path | None, as_json: bool) -> None:
    """Check every record of a log; exit status 1 when something is wrong."""
    remote = find_remote(directory, node, config)
    if remote is not None:
        verify_remote(remote, as_json=as_json)
        return
    path = directory_of(directory, node, config)
    with closing(FileStorage(path, writable=False)) as storage:
        found = _verify(storage, quiet=as_json)
    if as_json:
        values = attrs.asdict(found)
        values["session"] = found.session.decode("ascii", "replace").strip()
        click.echo(json.dumps({"directory": str(path), **values}))
    else:
        for problem in found.problems:
            click.echo(str(problem))
        verdict = f"problems: {len(found.problems)}" if found.problems else "no problems"
        ended = f", session ended at {found.ended}" if found.ended else ""
        click.echo(
            f"{shown(path)}: {verdict}; records: {found.records}, {found.first} to {found.last}{ended}; "
            f"bytes: {found.bytes}; segments: {found.segments}"
        )
    if found.problems:
        raise SystemExit(1)


@command.command(
    epilog=examples("seqcast log dump --first 1000 --count 10", "seqcast log dump --json | jq .payload")
)
@log_options
@click.option("--first", type=click.IntRange(min=1), help="Number of the first record [default: the first].")
@click.option("--count", type=click.IntRange(min=0), help="How many records [default: all].")
def dump(
    *,
    directory: Path | None,
    node: str | None,
    config: Path | None,
    as_json: bool,
    first: int | None,
    count: int | None,
) -> None:
    """Write out records, one a line: number, time, kind, sender, sender sequence, payload.

    A payload is shown as text in quotes where it is printable ASCII, else in hexadecimal; with --json always in
    hexadecimal.
    """
    remote = find_remote(directory, node, config)
    if remote is not None:
        _write_out(remote.dump(first, count), as_json=as_json)
        return
    path = directory_of(directory, node, config)
    with closing(FileStorage(path, writable=False)) as storage:
        _write_out(inspection.dump(storage, first, count), as_json=as_json)


def _write_out(records: Iterable[dict[str, Any]], *, as_json: bool) -> None:
    for record in records:
        click.echo(json.dumps(record) if as_json else _line(record))


def _session_row(directory: Path) -> dict[str, Any]:
    """What there is to say of one session."""
    if not is_session_name(directory.name):
        return {**failed_row(directory.name, "it was put aside, and is never replayed"), "kept": False}
    storage = FileStorage(directory, writable=False)
    try:
        with closing(open_old_session(directory.name, storage)) as session:
            row = session.row()
    except (LogError, OSError) as error:
        row = failed_row(directory.name, str(error))
    return {**row, "kept": (directory / KEEP_FILE).exists()}


def _verify(storage: FileStorage, *, quiet: bool) -> inspection.Verification:
    """Verify, with a progress bar where there is a terminal to show it on."""
    if quiet or not sys.stderr.isatty():
        return inspection.verify(storage)
    with click.progressbar(length=1, label="verifying", file=sys.stderr) as bar:

        def progress(done: int, total: int) -> None:
            bar.length = total
            bar.update(max(done - bar.pos, 0))

        return inspection.verify(storage, progress)


def _line(record: dict[str, Any]) -> str:
    payload = bytes.fromhex(record["payload"])
    text = payload.decode("latin-1")
    content = json.dumps(text) if text.isascii() and text.isprintable() else payload.hex()
    sender = f"{record['sender']}:{record['sender_sequence']}"
    return f"{record['number']} {_time(record['time_ns'])} {record['kind']} {sender} {content}"


def _time(time_ns: int | None) -> str:
    """Return UTC nanoseconds in ISO 8601, with all nine digits."""
    if time_ns is None:
        return ""
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError):  # a stamp may hold any 64 bits
        return str(time_ns)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09}Z"
