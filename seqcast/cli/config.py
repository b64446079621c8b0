"""`seqcast config`: checks and shows the configuration."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from seqcast.cli.common import columns, configuration_option, examples, json_option, load
from seqcast.config import Configuration, shown
from seqcast.keys import check_keys

if TYPE_CHECKING:
    from pathlib import Path


@click.group(epilog=examples("seqcast config check", "seqcast config show --json"))
def command() -> None:
    """Check and show the configuration."""


@command.command(epilog=examples("seqcast config check --config run/seqcast.toml"))
@configuration_option
@json_option
def check(config: Path | None, as_json: bool) -> None:
    """Check the file, and keys that are beside it; exit status 2 and one sentence when something is wrong."""
    configuration = load(config)
    check_keys(configuration)
    if as_json:
        click.echo(json.dumps({"path": str(configuration.path), "ok": True, **_derived(configuration)}))
        return
    voters = len(configuration.voters)
    click.echo(
        f"{shown(configuration.path)} is correct: session {configuration.session}, "
        f"{len(configuration.nodes)} nodes, {voters} of them voting, "
        f"{configuration.write_quorum} must hold a record, fingerprint {configuration.fingerprint()}"
    )


@command.command(epilog=examples("seqcast config show", "seqcast config show --json | jq .nodes"))
@configuration_option
@json_option
def show(config: Path | None, as_json: bool) -> None:
    """Show every setting, with the defaults filled in, and what follows from them."""
    plain = load(config).as_plain()
    if as_json:
        click.echo(json.dumps(plain, indent=2))
        return
    rows: list[tuple[str, object]] = [("setting", "value")]
    for key, value in _flat("", plain):
        text = ", ".join(map(str, value)) if isinstance(value, list) else value
        rows.append((key, "none" if text is None else str(text)))
    click.echo(columns(rows))


def _derived(configuration: Configuration) -> dict[str, object]:
    derived = configuration.as_plain()["derived"]
    return {"session": configuration.session, **derived}


def _flat(prefix: str, values: dict[str, object]) -> list[tuple[str, object]]:
    """Return nested tables as dotted keys."""
    rows: list[tuple[str, object]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            rows += _flat(f"{prefix}{key}.", value)
        else:
            rows.append((prefix + key, value))
    return rows
