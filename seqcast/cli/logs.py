"""Finding the logs of nodes, for the commands of `seqcast log`."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seqcast.cli.common import Failed, configuration_option, json_option, load
from seqcast.config import find_configuration, read_configuration, shown
from seqcast.settings import ConfigError, Line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from seqcast.config import Configuration

SEGMENTS = "*.seg"

SUFFIXES = {".pcap": "pcap", ".pcapng": "pcap", ".cap": "pcap", ".parquet": "parquet", ".arrow": "arrow"}
"""What a file is, unless it is said; anything else is a BinaryFILE."""


def log_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the argument DIR and what stands in for it; they arrive as arguments of `directory_of`."""
    for option in (
        json_option,
        configuration_option,
        click.option(
            "--node", metavar="NAME", help="Node whose log it is [default: the first that has one]."
        ),
        click.argument("directory", required=False, metavar="[DIR]", type=click.Path(path_type=Path)),
    ):
        function = option(function)
    return function


def directory_of(
    directory: Path | None, node: str | None, config: Path | None, session: str | None = None
) -> Path:
    """Return the directory with the segment files, of `session` or of the configured one. Raises `Failed`."""
    if directory is not None:
        return _with_segments(directory / session if session else directory)
    configuration = load(config)
    nodes = [configuration.node(node)] if node else [*configuration.rewinders, *configuration.sequencers]
    wanted = session or configuration.session
    paths = [configuration.node_directory(choice.name) / wanted for choice in nodes]
    for path in paths:
        if _has_segments(path):
            return path
    what = f"a log of session {session}" if session else "a log yet"
    raise Failed(f"no node has {what}: looked in {', '.join(map(shown, paths))}{_others(configuration)}")


def node_directory_of(directory: Path | None, node: str | None, config: Path | None) -> Path:
    """Return a directory with logs in it. Raises `Failed` when there is none."""
    if directory is None:
        return directory_of(None, node, config).parent
    if not logs_in(directory):
        raise Failed(f"{shown(directory)}: there is no log in it")
    return directory


def logs_in(directory: Path) -> list[Path]:
    """The directories inside that have segments."""
    return sorted({path.parent for path in directory.glob(f"*/{SEGMENTS}")})


def _others(configuration: Configuration) -> str:
    """Say which other sessions have logs: the session of the configuration may have been changed."""
    names = {path.parent.name for path in configuration.log.directory.glob(f"*/*/{SEGMENTS}")}
    return f"; there are logs of session {', '.join(sorted(names))}" if names else ""


def _with_segments(directory: Path) -> Path:
    """Return the directory itself, or the one session directory in it."""
    if _has_segments(directory):
        return directory
    inside = logs_in(directory)
    if len(inside) == 1:
        return inside[0]
    if inside:
        raise Failed(
            f"{shown(directory)} holds several logs: {', '.join(path.name for path in inside)}; name one"
        )
    raise Failed(f"{shown(directory)}: there is no log")


def _has_segments(directory: Path) -> bool:
    return any(directory.glob(SEGMENTS))


def line_of(text: str) -> Line:
    """GROUP:PORT. Raises a usage error."""
    group, _, port = text.rpartition(":")
    try:
        if ipaddress.IPv4Address(group).is_multicast and port.isdecimal() and 1 <= int(port) <= 65_535:
            return Line(group, int(port))
    except ValueError:
        pass
    raise click.UsageError(f"{text!r} is not GROUP:PORT, such as 239.1.2.3:20000")


def lines_of(texts: Iterable[str], configuration: Configuration | None) -> tuple[Line, ...]:
    """Where a stream is multicast again: GROUP:PORT, but none that the bus itself uses. Raises a usage error."""
    lines = tuple(map(line_of, texts))
    for line in lines:
        if configuration is not None and line in configuration.multicast.lines:
            raise click.UsageError(
                f"{line.group}:{line.port} is a line of the bus itself: what is published there would be taken for it"
            )
    return lines


def optional_configuration(config: Path | None) -> Configuration | None:
    """The configuration, if there is one: what is named has to be there."""
    try:
        path = find_configuration(config)
    except ConfigError:
        if config is not None:
            raise
        return None
    return read_configuration(path)
