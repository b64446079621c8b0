"""Changing a configuration file that people have written: its text is edited, and their comments stay.

Only what `seqcast roll` and `seqcast promote --force` need is known here: another session, and nodes that are taken
out. The result is parsed, and must say just that; a file that is written in some other way is left to its owner.
"""

from __future__ import annotations

import os
import re
import tomllib
from typing import TYPE_CHECKING

from attrs import evolve

from seqcast.config import parse_configuration
from seqcast.settings import ConfigError, Configuration, shown
from seqcast.template import change_quorum_comment

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

_SESSION = re.compile(r"""^(\s*session\s*=\s*)("[^"]*"|'[^']*')""")


def with_new_session(
    text: str, configuration: Configuration, session: str, removed: Collection[str], reason: str
) -> tuple[str, Configuration]:
    """Return text and configuration with another session and without the nodes `removed`.

    `text` is what `configuration` was read from. The lines of a node that is removed become comments, below a
    line that says `reason`. Raises `ConfigError` when the text cannot be edited so, or the session cannot be.
    """
    edited = _edited(text, session, removed, reason)
    kept = tuple(node for node in configuration.nodes if node.name not in removed)
    wanted = evolve(configuration, session=session, nodes=kept)
    if len(wanted.voters) != len(configuration.voters):
        edited = change_quorum_comment(edited, len(configuration.voters), len(wanted.voters))
    found = parse_configuration(edited, configuration.path)
    if found != wanted:
        raise ConfigError(
            f"{shown(configuration.path)} is written in a way that cannot be edited: set session = "
            f'"{session}" in it yourself, and take out {", ".join(sorted(removed)) or "no node"}'
        )
    return edited, found


def replace_file(path: Path, text: str, backup: Path | None = None) -> None:
    """Put `text` in the place of the file at `path`, whole or not at all; the old file is at `backup` then, if named.

    Raises OSError; FileExistsError when there is a backup already.
    """
    path = path.resolve()
    mode = path.stat().st_mode & 0o7777
    if backup is not None:
        _write_new(backup, path.read_bytes(), mode)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        _write_new(temporary, text.encode("utf-8"), mode)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _write_new(path: Path, data: bytes, mode: int) -> None:
    with path.open("xb") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _edited(text: str, session: str, removed: Collection[str], reason: str) -> str:
    table: tuple[str, ...] = ()
    said: set[str] = set()
    lines = []
    for line in text.splitlines(keepends=True):
        keys = _keys(line)
        if keys is not None and line.lstrip().startswith("["):
            table = path = keys
        else:
            path = table + (keys or ())
        if path == ("session",) and keys is not None:
            line = _SESSION.sub(rf'\g<1>"{session}"', line)  # noqa: PLW2901
        elif path[:1] == ("nodes",) and set(path[1:2]) & set(removed) and _says_something(line):
            if path[1] not in said:
                said.add(path[1])
                lines.append(f"# {path[1]}: {reason}\n")
            line = f"# {line}"  # noqa: PLW2901
        lines.append(line)
    return "".join(lines)


def _says_something(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _keys(line: str) -> tuple[str, ...] | None:
    """The dotted key of one line, or the name of the table that it begins; None for any other line."""
    try:
        values = tomllib.loads(line.strip())
    except (ValueError, RecursionError):  # part of something longer; the end result is checked
        return None
    keys: list[str] = []
    while isinstance(values, dict) and len(values) == 1:
        ((key, values),) = values.items()
        keys.append(key)
    return tuple(keys) or None
