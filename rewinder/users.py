"""Users, as the users file has them: names, roles, and salted hashes of passwords.

The file has one user a line, `NAME:role,role:hash`; blank lines and lines that begin with # are skipped.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from enum import Enum
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

USER_CHARACTERS = 6
"""Longest user name: the width of the field in the login request, and of the sender in a record's stamp."""

PASSWORD_CHARACTERS = 10
"""Longest password: the width of the field in the login request."""

USERS_LIMIT = 10_000
"""Users in one file. It is read whole, by a server with one thread."""

USERS_FILE_BYTES = 4 << 20
"""Largest users file: more than `USERS_LIMIT` users need, and far less than would hold up a server."""

SCRYPT_COST = 4096
"""N of scrypt for new hashes: with r = 8 and p = 1 about 5 ms and 4 MiB on the machine this was chosen on.

A single-threaded server can afford that once for each user. An attacker who stole the file can try some
hundred passwords a second and core, so a password should be random and as long as the field allows.
"""

SCRYPT_BLOCK = 8
SCRYPT_LANES = 1
SCRYPT_COST_LIMIT = 1 << 15
"""Largest N accepted from a users file (some 50 ms): a typing error must not stop a server."""

SALT_BYTES = 16
HASH_BYTES = 32


class Role(Enum):
    """What a login may be used for."""

    PUBLISH = "publish"
    """Submit messages to the sequencer."""
    REPLAY = "replay"
    """Read the committed stream from a rewinder."""
    REPLICATE = "replicate"
    """Follow a node's log, committed or not, and vote."""
    ADMIN = "admin"
    """Everything of the above."""


class AccessError(ValueError):
    """A user name, password, role or users file that cannot be used; the text says which, and why."""


@frozen
class PasswordHash:
    """A salted scrypt hash; as text `scrypt$N$salt$hash`, both in hexadecimal."""

    cost: int
    salt: bytes
    digest: bytes

    @classmethod
    def make(cls, password: str) -> PasswordHash:
        """Hash a new password with a fresh salt. Raises `AccessError` for one that no login could carry."""
        salt = secrets.token_bytes(SALT_BYTES)
        return cls(SCRYPT_COST, salt, _scrypt(canonical_password(password), salt, SCRYPT_COST))

    @classmethod
    def parse(cls, text: str) -> PasswordHash:
        """Read the text form. Raises `AccessError`."""
        parts = text.split("$")
        try:
            name, cost_text, salt_text, digest_text = parts
            cost, salt, digest = int(cost_text), bytes.fromhex(salt_text), bytes.fromhex(digest_text)
        except ValueError:
            raise AccessError("the password hash is not of the form scrypt$N$salt$hash") from None
        if name != "scrypt":
            raise AccessError(f"the password hash is {name!r}, and only scrypt is known")
        if not 2 <= cost <= SCRYPT_COST_LIMIT or cost & (cost - 1):
            raise AccessError(
                f"the cost of the password hash is {cost}: must be a power of two up to {SCRYPT_COST_LIMIT}"
            )
        if len(salt) != SALT_BYTES or len(digest) != HASH_BYTES:
            raise AccessError(f"the password hash has no {SALT_BYTES} bytes of salt and {HASH_BYTES} of hash")
        return cls(cost, salt, digest)

    def __str__(self) -> str:
        return f"scrypt${self.cost}${self.salt.hex()}${self.digest.hex()}"

    def matches(self, canonical: str) -> bool:
        """Whether a password in canonical form is the one that was hashed; compares in constant time."""
        return hmac.compare_digest(_scrypt(canonical, self.salt, self.cost), self.digest)


@frozen
class User:
    """One line of the users file: `NAME:role,role:hash`."""

    name: str
    roles: frozenset[Role]
    password: PasswordHash

    def __str__(self) -> str:
        return f"{self.name}:{','.join(role_names(self.roles))}:{self.password}"


def canonical_user(name: str | bytes) -> str:
    """Upper case, without padding. Raises `AccessError` unless 1 to 6 letters and digits of ASCII remain."""
    text = name.decode("latin-1") if isinstance(name, bytes) else name
    text = text.strip(" \0")
    if not 1 <= len(text) <= USER_CHARACTERS or not (text.isascii() and text.isalnum()):
        raise AccessError(f"user name {text[:20]!r}: must be 1 to {USER_CHARACTERS} ASCII letters or digits")
    return text.upper()


def canonical_password(password: str | bytes) -> str:
    """Upper case, without padding. Raises `AccessError` unless 1 to 10 printable ASCII characters remain.

    The text of the error never holds the password.
    """
    text = password.decode("latin-1") if isinstance(password, bytes) else password
    text = text.strip(" \0")
    if not 1 <= len(text) <= PASSWORD_CHARACTERS or not (text.isascii() and text.isprintable()):
        raise AccessError(f"the password must be 1 to {PASSWORD_CHARACTERS} printable ASCII characters")
    return text.upper()


def parse_roles(names: Iterable[str]) -> frozenset[Role]:
    """Roles from their names. Raises `AccessError` for an unknown name, and for none at all."""
    known = {role.value: role for role in Role}
    roles = set()
    for name in names:
        if name not in known:
            raise AccessError(f"role {name!r}: must be one of {', '.join(known)}")
        roles.add(known[name])
    if not roles:
        raise AccessError(f"no role given: name one or more of {', '.join(known)}")
    return frozenset(roles)


def role_names(roles: frozenset[Role]) -> list[str]:
    """Return the names of roles, in the order of `Role`."""
    return [role.value for role in Role if role in roles]


def parse_user(line: str) -> User:
    """Read one line of the users file. Raises `AccessError`."""
    parts = line.split(":")
    if len(parts) != 3:
        raise AccessError("not of the form NAME:role,role:hash")
    return User(canonical_user(parts[0]), parse_roles(parts[1].split(",")), PasswordHash.parse(parts[2]))


def parse_users(text: str, source: object) -> dict[str, User]:
    """Read a users file: one user a line; blank lines and lines that begin with # are skipped.

    Raises `AccessError` naming `source` and the line.
    """
    users: dict[str, User] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        try:
            user = parse_user(stripped)
        except AccessError as error:
            raise AccessError(f"{source}, line {number}: {error}") from None
        if user.name in users:
            raise AccessError(f"{source}, line {number}: user {user.name} is listed twice")
        if len(users) >= USERS_LIMIT:
            raise AccessError(f"{source}, line {number}: more than {USERS_LIMIT} users")
        users[user.name] = user
    return users


def read_users(path: Path) -> dict[str, User]:
    """Read the users file at `path`. Raises `AccessError` naming the file."""
    try:
        with path.open("rb") as stream:
            data = stream.read(USERS_FILE_BYTES + 1)
    except OSError as error:
        raise AccessError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > USERS_FILE_BYTES:
        raise AccessError(f"{path}: larger than {USERS_FILE_BYTES} bytes")
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        raise AccessError(f"{path}: holds characters that are not ASCII") from None
    return parse_users(text, path)


def read_node_password(path: Path) -> str:
    """Read the password that the nodes of one bus show each other: the first line of the file at `path`.

    Raises `AccessError` naming the file.
    """
    try:
        with path.open("rb") as stream:
            line = stream.readline(256)
    except OSError as error:
        raise AccessError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return canonical_password(line.rstrip(b"\r\n"))
    except AccessError as error:
        raise AccessError(f"{path}: {error}") from None


def _scrypt(canonical: str, salt: bytes, cost: int) -> bytes:
    memory = 128 * SCRYPT_BLOCK * cost + (1 << 20)  # OpenSSL wants a limit: the table, and room for the rest
    return hashlib.scrypt(
        canonical.encode("ascii"),
        salt=salt,
        n=cost,
        r=SCRYPT_BLOCK,
        p=SCRYPT_LANES,
        maxmem=memory,
        dklen=HASH_BYTES,
    )
