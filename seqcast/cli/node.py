"""`seqcast sequencer` and `seqcast rewinder`: one node process in the foreground."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rewinder import logging as node_logging
from seqcast.cli.common import configuration_option, examples, load, log_format_option
from seqcast.nodes import process_of
from seqcast.settings import ConfigError, NodeRole
from seqcast.supervisor import DEPOSED_STATUS, RESTART_STATUS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command what both take."""
    options = [
        click.argument("name", required=False),
        click.option("--spin", is_flag=True, help="Never sleep: costs a core, saves the wake-up."),
        log_format_option,
        configuration_option,
    ]
    for option in reversed(options):
        function = option(function)
    return function


@click.command(epilog=examples("seqcast sequencer SEQ1"))
@_options
def sequencer(config: Path | None, name: str | None, **options: Any) -> None:
    """Run the sequencer NAME in the foreground: it orders, commits and publishes the stream."""
    _run(NodeRole.SEQUENCER, config, name, **options)


@click.command(epilog=examples("seqcast rewinder REW1"))
@_options
def rewinder(config: Path | None, name: str | None, **options: Any) -> None:
    """Run the rewinder NAME in the foreground: it keeps the stream, and serves gap fill and replay."""
    _run(NodeRole.REWINDER, config, name, **options)


def _run(role: NodeRole, config: Path | None, name: str | None, *, spin: bool, log_format: str) -> None:
    configuration = load(config)
    names = [node.name for node in configuration.nodes if node.role is role]
    if name is None and len(names) == 1:
        name = names[0]
    if name is None or configuration.node(name).role is not role:
        raise ConfigError(f"say which {role.value}; there are: {', '.join(names) or 'none'}")
    node_logging.configure(as_json=log_format == "json")
    process = process_of(configuration, name, spin=spin)
    process.run()
    if process.deposed is not None:
        raise SystemExit(DEPOSED_STATUS)
    if process.restart:
        raise SystemExit(RESTART_STATUS)
