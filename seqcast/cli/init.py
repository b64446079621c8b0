"""`seqcast init`: writes a configuration that explains itself."""

from __future__ import annotations

import json
import os
import secrets
import string
from datetime import UTC, datetime
from pathlib import Path
from random import SystemRandom

import click

from seqcast.cli.common import Failed, examples, json_option
from seqcast.config import FILE_NAME, ConfigError, parse_configuration, shown
from seqcast.template import (
    VOTER_COUNTS,
    alternatives,
    choose_base_port,
    choose_group,
    choose_session,
    planned_nodes,
    ports_needed,
    render,
)

SECRET_NAME = "node.secret"  # noqa: S105  (a file name)
SECRET_CHARACTERS = 10
"""The width of the password field in a SoupBinTCP login."""


@click.command(
    epilog=examples(
        "seqcast init --dir run",
        "seqcast init --dir run --nodes 3",
        "seqcast init --dir run --session DEMO --port 30000 --group 239.192.7.1",
    )
)
@click.option(
    "--nodes",
    type=int,
    default=1,
    metavar="N",
    help=f"How many nodes vote: {alternatives(VOTER_COUNTS)} [default: 1].",
)
@click.option("--dir", "directory", type=click.Path(path_type=Path), default=Path(), help="Where to write.")
@click.option("--session", metavar="NAME", help="Name of the stream: 1 to 10 letters or digits.")
@click.option(
    "--port",
    type=int,
    metavar="PORT",
    help=f"First of {alternatives(map(ports_needed, VOTER_COUNTS))} ports in a row, "
    f"for {alternatives(VOTER_COUNTS)} voters [default: free ones].",
)
@click.option("--group", metavar="ADDRESS", help="Multicast group [default: one drawn at random].")
@click.option("--force", is_flag=True, help="Overwrite the file when it is there.")
@json_option
def command(
    *,
    nodes: int,
    directory: Path,
    session: str | None,
    port: int | None,
    group: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write a configuration with all its nodes on this machine.

    A record is committed when more than half of the N voters hold it. 1 voter: the sequencer SEQ1, for
    development. 2: a standby, SEQ2, too; nothing committed is lost with one of them, but commits need both.
    3: a voting rewinder, REW1, too; the stream survives the loss of any one. 5: three voting rewinders;
    nothing committed is lost with any two. One more rewinder does not vote and is there for the receivers.
    """
    try:
        planned_nodes(nodes)
    except ConfigError as error:
        raise click.BadParameter(str(error), param_hint="--nodes") from None
    random = SystemRandom()
    path = directory / FILE_NAME
    if path.exists() and not force:
        raise _already_there(path)
    text = render(
        session=session
        if session is not None
        else choose_session(random, datetime.now(UTC).strftime("%y%m%d")),
        group=group if group is not None else choose_group(random),
        base_port=port if port is not None else choose_base_port(random, nodes),
        nodes=nodes,
    )
    configuration = parse_configuration(text, path)  # before anything is written
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _write_secret(directory / SECRET_NAME)
        _write(path, text, force=force)
    except FileExistsError:
        raise _already_there(path) from None
    except OSError as error:
        raise Failed(f"{shown(path)}: cannot be written: {error.strerror}") from None
    if as_json:
        click.echo(json.dumps(configuration.as_plain()))
        return
    line = configuration.multicast.lines[0]
    click.echo(f"wrote {shown(path)}: session {configuration.session} on {line.group}:{line.port}")
    named = (f"{node.name}{' (voter)' if node.voter else ''}" for node in configuration.nodes)
    click.echo(
        f"nodes: {', '.join(named)}; a record is committed when "
        f"{configuration.write_quorum} of {len(configuration.voters)} voters hold it"
    )
    option = "" if directory.resolve() == Path.cwd() else f" --config {shown(path)}"
    click.echo(f"next: seqcast up{option}")


def _already_there(path: Path) -> Failed:
    return Failed(f"{shown(path)} is there already; --force overwrites it")


def _write(path: Path, text: str, *, force: bool) -> None:
    """Write the file whole or not at all."""
    if not force:
        with path.open("x", encoding="ascii") as stream:
            stream.write(text)
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="ascii")
    temporary.replace(path)


def _write_secret(path: Path) -> None:
    """Write a new node password that only this user can read; one that is there already stays."""
    letters = string.ascii_uppercase + string.digits
    secret = "".join(secrets.choice(letters) for _ in range(SECRET_CHARACTERS))
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(secret + "\n")
