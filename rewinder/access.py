"""Who may do what: users, their roles and their passwords, as every server port of a node asks.

A login is checked with `Authority.check`. There are three kinds of user:

| user | what lets it in | roles |
|---|---|---|
| listed in the users file | the password whose hash the file holds | those of the file |
| a node of the configuration | the node password that all nodes share | replicate, replay |
| anybody else, while access is open | the name alone | publish, replay |

A listed user must show the right password even while access is open, and the name of a node belongs to the
node. Names and passwords are compared without regard to case, as SoupBinTCP demands; the canonical form of a
name is upper case, and is what goes into the sender field of a record.

Passwords are kept as salted scrypt hashes. One hash costs some milliseconds, on purpose, and a server has one
thread, so verdicts are remembered in memory under a keyed digest: a reconnect costs microseconds.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from rewinder.users import (
    HASH_BYTES,
    SALT_BYTES,
    SCRYPT_COST,
    AccessError,
    PasswordHash,
    Role,
    User,
    canonical_password,
    canonical_user,
    read_node_password,
    read_users,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = [
    "NODE_ROLES",
    "OPEN_ROLES",
    "AccessError",
    "Authority",
    "Granted",
    "Refused",
    "Role",
    "canonical_user",
    "read_node_password",
]

OPEN_ROLES = frozenset({Role.PUBLISH, Role.REPLAY})
"""Roles of a user who is let in because access is open."""

NODE_ROLES = frozenset({Role.REPLICATE, Role.REPLAY})
"""Roles of a node of the configuration."""


@frozen
class Granted:
    """A login that may go on. `user` is the canonical name: the sender of what this login publishes."""

    user: str
    roles: frozenset[Role]


@frozen
class Refused:
    """A login that may not. `reason` is for this node's log; the peer gets a reject code and no reason."""

    reason: str


def _canonical_users(names: Iterable[str]) -> frozenset[str]:
    return frozenset(map(canonical_user, names))


@define(eq=False)
class Authority:
    """Decides on logins; one for each process.

    `open_access` lets unknown users in. `users_path` names the users file, which need not exist while access
    is open. `nodes` are the names of the nodes, and `node_password` is what they show; None lets no node in.

    The file is read again when it has changed. A file that has become unreadable locks nobody out and lets
    nobody new in: the users read last stay, and `problem` says what is wrong until it is mended.

    Raises `AccessError` when the file is wrong from the start, or is missing although access is not open.
    """

    open_access: bool
    users_path: Path | None = None
    nodes: frozenset[str] = field(default=frozenset(), converter=_canonical_users)
    node_password: str | None = None
    users: Mapping[str, User] = field(factory=dict, init=False)
    problem: str | None = field(default=None, init=False)
    hashes: int = field(default=0, init=False)
    """How often scrypt was computed: each time costs the process some milliseconds."""
    _key: bytes = field(factory=lambda: secrets.token_bytes(32), init=False)
    _stamp: tuple[int, ...] | None = field(default=None, init=False)
    _right: dict[str, bytes] = field(factory=dict, init=False)
    _wrong: dict[str, bytes] = field(factory=dict, init=False)
    _decoy: PasswordHash = field(init=False)

    def __attrs_post_init__(self) -> None:
        # Checked when a name is unknown, so that the time of an answer does not tell who is listed.
        self._decoy = PasswordHash(SCRYPT_COST, secrets.token_bytes(SALT_BYTES), bytes(HASH_BYTES))
        if self.node_password is not None:
            self.node_password = canonical_password(self.node_password)
        if self.users_path is not None:
            self._stamp = _file_stamp(self.users_path)
            if self._stamp is not None or not self.open_access:
                self.users = read_users(self.users_path)

    def check(self, user: str | bytes, password: str | bytes, role: Role) -> Granted | Refused:
        """Decide on a login of `user` with `password` for `role`. Never raises, whatever the peer sent."""
        self._refresh()
        try:
            name = canonical_user(user)
        except AccessError as error:
            return Refused(str(error))
        roles = self._authenticate(name, password)
        if isinstance(roles, Refused):
            return roles
        if role not in roles and Role.ADMIN not in roles:
            return Refused(f"user {name} has no role {role.value}")
        return Granted(name, roles)

    def _authenticate(self, name: str, password: str | bytes) -> frozenset[Role] | Refused:
        try:
            canonical = canonical_password(password)
        except AccessError:
            canonical = ""  # blank or impossible: right for nobody who needs a password
        if name in self.nodes:
            return self._authenticate_node(name, canonical)
        known = self.users.get(name)
        if known is not None:
            right = self._matches(known, canonical)
            return known.roles if right else Refused(f"wrong password of user {name}")
        if self.open_access:
            return OPEN_ROLES
        if canonical:
            self.hashes += 1
            self._decoy.matches(canonical)
        return Refused(f"user {name} is not known")

    def _authenticate_node(self, name: str, canonical: str) -> frozenset[Role] | Refused:
        if self.node_password is None:
            return Refused(f"{name} is a node, and this node has no node password")
        if not hmac.compare_digest(canonical.encode(), self.node_password.encode()):
            return Refused(f"wrong node password of node {name}")
        return NODE_ROLES

    def _matches(self, user: User, canonical: str) -> bool:
        """Whether the password is right; hashes only what was not asked last time.

        The digest covers the stored hash, so a changed password is never answered from memory.
        """
        if not canonical:
            return False
        asked = hashlib.blake2b(f"{user}\0{canonical}".encode(), key=self._key, digest_size=32).digest()
        if hmac.compare_digest(asked, self._right.get(user.name, b"")):
            return True
        if hmac.compare_digest(asked, self._wrong.get(user.name, b"")):
            return False
        self.hashes += 1
        right = user.password.matches(canonical)
        (self._right if right else self._wrong)[user.name] = asked
        return right

    def _refresh(self) -> None:
        """Read the users file again when it is not the one that was read last."""
        if self.users_path is None:
            return
        stamp = _file_stamp(self.users_path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self.users = read_users(self.users_path)
        except AccessError as error:
            self.problem = str(error)
            return
        self.problem = None
        for verdicts in (self._right, self._wrong):  # so that memory follows the file
            for name in verdicts.keys() - self.users.keys():
                del verdicts[name]


def _file_stamp(path: Path) -> tuple[int, ...] | None:
    """Return what changes when a file does; None when there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
