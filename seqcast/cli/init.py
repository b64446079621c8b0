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
from seqcast.config import FILE_NAME, parse_configuration, shown
from seqcast.template import choose_base_port, choose_group, choose_session, render

SECRET_NAME = "node.secret"  # noqa: S105  (a file name)
SECRET_CHARACTERS = 10
"""The width of the password field in a SoupBinTCP login."""


@click.command(
    epilog=examples(
        "seqcast init --dir run",
        "seqcast init --dir run --session DEMO --port 30000 --group 239.192.7.1",
    )
)
@click.option(
    "--nodes", type=int, default=1, metavar="N", help="Machines that may hold the stream [default: 1]."
)
@click.option("--dir", "directory", type=click.Path(path_type=Path), default=Path(), help="Where to write.")
@click.option("--session", metavar="NAME", help="Name of the stream: 1 to 10 letters or digits.")
@click.option("--port", type=int, metavar="PORT", help="First of six ports in a row [default: free ones].")
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
    """Write a configuration for one machine: a sequencer, SEQ1, and a rewinder, REW1."""
    if nodes != 1:
        raise click.BadParameter(
            f"{nodes}: only 1 is supported so far; several voters come with takeover", param_hint="--nodes"
        )
    random = SystemRandom()
    path = directory / FILE_NAME
    if path.exists() and not force:
        raise _already_there(path)
    text = render(
        session=session
        if session is not None
        else choose_session(random, datetime.now(UTC).strftime("%y%m%d")),
        group=group if group is not None else choose_group(random),
        base_port=port if port is not None else choose_base_port(random),
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
