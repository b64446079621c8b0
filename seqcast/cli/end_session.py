"""`seqcast end-session`: ends the stream for good."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from seqcast.cli.asking import client_of
from seqcast.cli.common import Failed, configuration_option, examples, json_option, load
from seqcast.control import ControlError

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT_SECONDS = 30.0
"""How long the end may take to be committed: that needs a quorum, which may have to come back first."""


@click.command(epilog=examples("seqcast end-session", "seqcast end-session --yes --json"))
@configuration_option
@json_option
@click.option("--timeout", type=click.FloatRange(min=0.001), default=TIMEOUT_SECONDS, help="Seconds to wait.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(config: Path | None, as_json: bool, timeout: float, yes: bool) -> None:
    """End the session: nothing more enters the stream, and every receiver hears of it.

    Returns when the end is committed. Asks first when there is a terminal to ask at.
    """
    configuration = load(config)
    if not yes and sys.stdin.isatty():
        click.confirm(f"End session {configuration.session}? This cannot be undone.", abort=True)
    failures = []
    for node in configuration.sequencers:
        try:
            number = client_of(configuration, node.name, timeout).request("end-session").get("number")
        except ControlError as error:
            failures.append(str(error))  # a standby refuses: the next one may be the primary
            continue
        if as_json:
            click.echo(json.dumps({"session": configuration.session, "number": number}))
        else:
            click.echo(f"session {configuration.session} ended at number {number}")
        return
    raise Failed("; ".join(failures))
