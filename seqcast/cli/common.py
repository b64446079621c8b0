"""What the commands share: options, finding the configuration, tables and summaries."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import click

from rewinder.users import AccessError, canonical_user
from seqcast.cli import Failed
from seqcast.config import find_configuration, read_configuration
from seqcast.feeds import STANDARD_STREAM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import FrameType

    from seqcast.config import Configuration

__all__ = [
    "USER_NAME",
    "Failed",
    "columns",
    "configuration_option",
    "counted",
    "examples",
    "json_option",
    "load",
    "log_format_option",
    "sigterm_as_interrupt",
    "stop_on_signals",
    "summary",
    "written_whole",
]

_Function = TypeVar("_Function", bound="Callable[..., Any]")


def configuration_option(function: _Function) -> _Function:
    """Give a command the option --config; it arrives as `config`, for `load`."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="Configuration file [default: $SEQCAST_CONFIG, else ./seqcast.toml].",
    )(function)


def json_option(function: _Function) -> _Function:
    """Give a command the option --json; it arrives as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")(function)


def log_format_option(function: _Function) -> _Function:
    """Give a command the option --log-format; it arrives as `log_format`."""
    return click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        help="Form of the lines that nodes log to standard error [default: text].",
    )(function)


def examples(*lines: str) -> str:
    """Return the end of a help text: lines to type."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def load(config: Path | None) -> Configuration:
    """Find and read the configuration. Raises `ConfigError`."""
    return read_configuration(find_configuration(config))


def summary(values: Mapping[str, Any], text: str, *, as_json: bool, error: bool = False) -> None:
    """Write the end of a command: `values` as one line of JSON, or `text`.

    With `error` it goes to standard error, because standard output has carried the messages.
    """
    click.echo(json.dumps(values) if as_json else text, err=error)


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, in the plural where it belongs."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class UserName(click.ParamType[str]):
    """A user name as every port knows it; anything else is wrong usage."""

    name = "user"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name in upper case."""
        try:
            return canonical_user(value)
        except AccessError as error:
            raise click.BadParameter(str(error), ctx, param) from None


USER_NAME = UserName()


def columns(rows: Iterable[Iterable[object]]) -> str:
    """Return rows of a table, the first of them its head, in columns; numbers stand to the right."""
    table = [["" if cell is None else cell for cell in row] for row in rows]
    widths = [max(len(str(cell)) for cell in column) for column in zip(*table, strict=True)]
    right = [any(isinstance(cell, int) for cell in column[1:]) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        cells = [
            str(cell).rjust(width) if to_right else str(cell).ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Have SIGTERM end the command as ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def stop_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Have SIGTERM and ctrl-C call `stop`, so that what runs ends in an orderly way."""

    def called(_number: int, _frame: FrameType | None) -> None:
        stop()

    before = [(number, signal.signal(number, called)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


@contextmanager
def written_whole(path: str) -> Iterator[BinaryIO]:
    """A file to write, there under its name when all went well, and else not at all; "-" is standard output."""
    if path == STANDARD_STREAM:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(path)
    making = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with making.open("wb") as stream:
            yield stream
        making.replace(target)
    except BaseException:
        making.unlink(missing_ok=True)
        raise
