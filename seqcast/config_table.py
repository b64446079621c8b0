"""One table of the configuration file while it is read: checked values out, clear errors for wrong ones."""

from __future__ import annotations

import difflib
import ipaddress
from enum import Enum
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from seqcast.settings import ConfigError, shown

if TYPE_CHECKING:
    from pathlib import Path

SHOWN_CHARACTERS = 60
"""How much of a wrong value an error repeats."""

_Choice = TypeVar("_Choice", bound=Enum)


class Table:
    """Hands out checked values, and knows which keys nobody took.

    Every method raises `ConfigError` about the key it was asked for.
    """

    def __init__(self, path: Path, name: str, values: dict[str, Any]) -> None:
        self.path = path
        self.name_of_table = name
        self.values = values
        self.taken: dict[str, None] = {}

    def full_name(self, key: str) -> str:
        """Return the dotted name of a key; one that cannot be printed, in quotes."""
        printable = key if key.isprintable() else repr(key)
        return f"{self.name_of_table}.{printable}" if self.name_of_table else printable

    def fail(self, key: str, problem: str) -> NoReturn:
        """Say what is wrong with `key`, and its value when it has one."""
        name = self.full_name(key)
        if key in self.values:
            name += f" = {in_toml(self.values[key])}"
        raise ConfigError(f"{shown(self.path)}: {name}: {problem}")

    def finish(self) -> None:
        """Refuse every key that was not taken."""
        for key in self.values:
            if key not in self.taken:
                close = difflib.get_close_matches(key, self.taken, 1)
                self.fail(
                    key,
                    f"no such key; did you mean {close[0]}?"
                    if close
                    else f"no such key; there are {', '.join(self.taken)}",
                )

    def take(self, key: str) -> Any:
        """Return the value of a key, None when it is not there."""
        self.taken[key] = None
        return self.values.get(key)

    def missing(self, key: str) -> NoReturn:
        """Say that a key without a default is not there."""
        self.fail(key, "is missing")

    def table(self, key: str) -> Table:
        """Return a table inside this one; an empty one when it is not there."""
        value = self.take(key)
        if value is not None and not isinstance(value, dict):
            self.fail(key, "must be a table")
        return Table(self.path, self.full_name(key), value or {})

    def optional_text(self, key: str) -> str | None:
        """Return text that is not blank and can be printed, or None."""
        value = self.take(key)
        if value is None:
            return None
        if not isinstance(value, str):
            self.fail(key, "must be text, in quotes")
        if not value.strip() or not value.isprintable():
            self.fail(key, "must not be blank and must not hold control characters")
        return value

    def text(self, key: str) -> str:
        """Return text that must be there."""
        return self.optional_text(key) or self.missing(key)

    def name(self, key: str, characters: int) -> str:
        """Return a name of ASCII letters and digits that must be there."""
        value = self.text(key)
        if len(value) > characters or not (value.isascii() and value.isalnum()):
            self.fail(key, f"must be 1 to {characters} ASCII letters or digits")
        return value

    def optional_integer(self, key: str, least: int, most: int) -> int | None:
        """Return a whole number within bounds, or None."""
        value = self.take(key)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            self.fail(key, "must be a whole number, without quotes")
        if not least <= value <= most:
            self.fail(key, f"must be {least} to {most}")
        return value

    def integer(self, key: str, least: int, most: int, default: int) -> int:
        """Return a whole number within bounds."""
        value = self.optional_integer(key, least, most)
        return default if value is None else value

    def optional_port(self, key: str) -> int | None:
        """Return a port, or None."""
        return self.optional_integer(key, 1, 65_535)

    def port(self, key: str) -> int:
        """Return a port that must be there."""
        return self.optional_port(key) or self.missing(key)

    def boolean(self, key: str, *, default: bool) -> bool:
        """Return true or false."""
        value = self.take(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.fail(key, "must be true or false, without quotes")
        return value

    def choice(self, key: str, kind: type[_Choice], default: _Choice | None = None) -> _Choice:
        """Return a member of an enumeration; one that must be there when there is no default."""
        value = self.take(key)
        if value is None:
            return default or self.missing(key)
        names = [member.value for member in kind]
        if value not in names:
            self.fail(key, f"must be one of {', '.join(map(in_toml, names))}")
        return kind(value)

    def optional_file(self, key: str) -> Path | None:
        """Return a path, made absolute from the directory of the file, or None."""
        value = self.optional_text(key)
        return None if value is None else self.path.absolute().parent / value

    def optional_group(self, key: str) -> str | None:
        """Return an IPv4 multicast group, or None."""
        value = self.optional_text(key)
        if value is None:
            return None
        try:
            address = ipaddress.IPv4Address(value)
        except ValueError:
            self.fail(key, "is not an IPv4 address")
        if not address.is_multicast:
            self.fail(key, "is not a multicast group, which are 224.0.0.0 to 239.255.255.255")
        if address in ipaddress.IPv4Network("224.0.0.0/24"):
            self.fail(key, "is reserved for routing protocols; take a group from 239.0.0.0/8")
        return str(address)


def in_toml(value: object) -> str:
    """Return a value as the file would have it, cut when it is long."""
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, str):
        text = f'"{value}"' if value.isprintable() else repr(value)
    else:
        try:
            text = str(value)
        except ValueError:  # Python writes out no number of more than some thousand digits
            text = "a number of very many digits"
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."
