"""Bringing the nodes of this machine into another session: what `roll` and `promote --force` share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqcast.cli.asking import TIMEOUT_SECONDS, client_of
from seqcast.config import shown
from seqcast.control import ControlError
from seqcast.settings import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seqcast.config import Configuration

PAUSE_SECONDS = 0.05
"""Between two looks at nodes that start again or vote."""


def check_unused(wanted: Configuration, old: str) -> None:
    """Refuse a session that was there before: its logs would be taken up. Raises ConfigError."""
    if wanted.session == old:
        raise ConfigError(f"--session {old}: that is the session that is to be left")
    for directory in (wanted.node_directory(node.name) / wanted.session for node in wanted.nodes):
        if directory.exists():
            raise ConfigError(
                f"--session {wanted.session}: there is a log of it already, in {shown(directory)}"
            )


def restart_nodes(configuration: Configuration, names: Iterable[str]) -> list[str]:
    """Tell nodes to start again; returns a sentence about each that could not be told."""
    untold = []
    for name in names:
        try:
            client_of(configuration, name, TIMEOUT_SECONDS).request("restart")
        except ControlError as error:
            untold.append(f"{name} has to be started again by hand: {error}")
    return untold
