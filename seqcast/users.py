"""Editing the users file, for `seqcast users`. Its form, and what is made of it, is `rewinder.users`.

Lines that are not concerned, comments among them, stay as they are. The file is replaced whole, so that a
server never reads half of it, and is readable by its owner only, unless its mode says otherwise.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rewinder.users import (
    AccessError,
    PasswordHash,
    Role,
    User,
    canonical_user,
    parse_roles,
    parse_users,
    read_users,
    role_names,
)
from seqcast.config import shown
from seqcast.errors import SeqcastError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["Role", "User", "UsersError", "add_user", "list_users", "remove_user", "role_names"]

FILE_MODE = 0o600
HEAD = """\
# Users of the bus: NAME:role,role:hash, one a line.
# Edit with `seqcast users add|remove`; nodes read the file again when it changes.
"""


class UsersError(SeqcastError):
    """The users file cannot be used or edited as asked."""


def list_users(path: Path) -> list[User]:
    """Return the users in the order of the file; none when there is no file. Raises `UsersError`."""
    with _errors():
        return list(read_users(path).values()) if path.exists() else []


def add_user(path: Path, name: str, password: str, roles: Iterable[str], *, replace: bool = False) -> User:
    """Add a user, or give one a new password and new roles. Raises `UsersError`.

    A user who is there already is an error unless `replace` is set.
    """
    with _errors(), _locked(path):
        user = User(canonical_user(name), parse_roles(roles), PasswordHash.make(password))
        lines, places = _read(path)
        if user.name not in places:
            lines.append(str(user))
        elif replace:
            lines[places[user.name]] = str(user)
        else:
            raise AccessError(f"{shown(path)}: user {user.name} is there already; --replace changes it")
        _write(path, lines)
        return user


def remove_user(path: Path, name: str) -> None:
    """Remove a user. Raises `UsersError` when there is none of that name."""
    with _errors(), _locked(path):
        canonical = canonical_user(name)
        lines, places = _read(path)
        if canonical not in places:
            raise AccessError(f"{shown(path)}: there is no user {canonical}")
        del lines[places[canonical]]
        _write(path, lines)


@contextmanager
def _errors() -> Iterator[None]:
    """Make one kind of error of all that can go wrong."""
    try:
        yield
    except AccessError as error:
        raise UsersError(str(error)) from None
    except OSError as error:
        raise UsersError(f"{error.filename}: {error.strerror}") from None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep a second editor away: the lock is on the directory, because the file is replaced."""
    descriptor = os.open(path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> tuple[list[str], dict[str, int]]:
    """Return the lines of the file, and on which of them each user is."""
    if not path.exists():
        return HEAD.splitlines(), {}
    read_users(path)  # refuses a file that is wrong before it is made worse
    lines = path.read_text(encoding="ascii").splitlines()
    places = {}
    for position, line in enumerate(lines):
        for name in parse_users(line, path):
            places[name] = position
    return lines, places


def _write(path: Path, lines: list[str]) -> None:
    mode = path.stat().st_mode & 0o777 if path.exists() else FILE_MODE
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write("".join(f"{line}\n" for line in lines))
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
