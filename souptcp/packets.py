"""Packet types and fields, in the words of the specifications.

Sources: SoupBinTCP 3.00, 4.00 and 4.10, SoupTCP 2.00 and 3.00: sections 1.1 (Logical Packets), "Logical
Packets Sent by a SoupBinTCP Server" and "... by a SoupBinTCP Client". Offsets below count from the first byte
of the *payload*, which is what follows the type byte; framing adds the rest. All numbers in packets are ASCII
decimal digits.

| type | name | sent by | payload | versions |
|---|---|---|---|---|
| `+` | Debug | both | text, to be ignored | all |
| `A` | Login Accepted | server | `LoginAccepted` | all |
| `J` | Login Rejected | server | reason code, 1 | all |
| `S` | Sequenced Data | server | message; its number is implied | all |
| `U` | Unsequenced Data | both | message; not numbered | server to client: SoupBinTCP 4.00 and 4.10 |
| `H` | Server Heartbeat | server | none | all |
| `Z` | End of Session | server | none | all but SoupTCP 2.00, where it is an empty `S` |
| `L` | Login Request | client | `LoginRequest` | all |
| `R` | Client Heartbeat | client | none | all |
| `O` | Logout Request | client | none | all |

Output has the padding of the specification. Input is read as real peers write it: spaces and NULs on either
side of a field, leading zeros, left- or right-justified numbers, and a blank number for 0.
"""

from __future__ import annotations

import hmac
from enum import IntEnum

from attrs import field, frozen

from souptcp.errors import LocalProtocolError, RemoteProtocolError

USERNAME_BYTES = 6
PASSWORD_BYTES = 10
SESSION_BYTES = 10
TIMEOUT_DIGITS = 5

TIMEOUT_LIMIT_MS = 99_999
"""Longest heartbeat time-out that the five digits of SoupBinTCP 4.10 can say."""

SEQUENCE_NUMBER_LIMIT = (1 << 63) - 1
"""Largest sequence number taken from a peer. Twenty digits could say more than 64 bits hold; half of that
range is left free, so that counting on from an accepted number never leaves it."""

_PADDING = b" \0"


class PacketType(IntEnum):
    """The type byte of a logical packet."""

    DEBUG = ord("+")
    LOGIN_ACCEPTED = ord("A")
    LOGIN_REJECTED = ord("J")
    SEQUENCED = ord("S")
    UNSEQUENCED = ord("U")
    SERVER_HEARTBEAT = ord("H")
    END_OF_SESSION = ord("Z")
    LOGIN_REQUEST = ord("L")
    CLIENT_HEARTBEAT = ord("R")
    LOGOUT_REQUEST = ord("O")


NOT_AUTHORIZED = "A"
"""Reject code: the user name or the password is wrong."""

SESSION_NOT_AVAILABLE = "S"
"""Reject code: the requested session is invalid or not available."""

REJECT_REASONS = {
    NOT_AUTHORIZED: "not authorized",
    SESSION_NOT_AVAILABLE: "session not available",
}


@frozen
class LoginRequest:
    """Login Request, type `L`: the first packet of every client.

    | Name | Offset | Length | Type |
    |---|---|---|---|
    | Username | 0 | 6 | text, padded on the right; case does not matter |
    | Password | 6 | 10 | text, padded on the right; case does not matter |
    | Requested Session | 16 | 10 | text, padded on the left; blank is the session that is active |
    | Requested Sequence Number | 26 | 20 (SoupTCP 2.00: 10) | number wanted next, padded on the left |
    | Heartbeat Timeout | 46 | 5, SoupBinTCP 4.10 only | milliseconds, padded on the left |

    Sequence number 0 asks for what comes from now on. `heartbeat_timeout_ms` is None where the packet has no
    such field, and where the field is blank, 0 or not a number: the server then uses its own.
    """

    user: str
    password: str = field(repr=lambda _: "'...'")  # a request may get into a log
    session: bytes = b""
    sequence_number: int = 0
    heartbeat_timeout_ms: int | None = None

    def matches(self, user: str, password: str) -> bool:
        """Whether these are the credentials, in any case of letters; a near miss takes as long as any."""
        ours = (self.user.casefold() + "\0" + self.password.casefold()).encode()
        return hmac.compare_digest(ours, (user.casefold() + "\0" + password.casefold()).encode())

    def encode(self, sequence_digits: int) -> bytes:
        """Write the payload; the time-out field is written when `heartbeat_timeout_ms` is not None.

        Raises LocalProtocolError for a value that does not fit its field.
        """
        fields = [
            _text_field("user name", self.user, USERNAME_BYTES),
            _text_field("password", self.password, PASSWORD_BYTES),
            _session_field(self.session),
            _number_field("sequence number", self.sequence_number, sequence_digits),
        ]
        if self.heartbeat_timeout_ms is not None:
            if not 1 <= self.heartbeat_timeout_ms <= TIMEOUT_LIMIT_MS:
                raise LocalProtocolError(
                    f"a heartbeat time-out of {self.heartbeat_timeout_ms} ms is not in 1..{TIMEOUT_LIMIT_MS}"
                )
            fields.append(_number_field("heartbeat time-out", self.heartbeat_timeout_ms, TIMEOUT_DIGITS))
        return b"".join(fields)

    @classmethod
    def decode(cls, payload: bytes, sequence_digits: int, *, timeout_field: bool) -> LoginRequest:
        """Read a payload; `timeout_field` allows the longer form of SoupBinTCP 4.10 beside the shorter one.

        Raises RemoteProtocolError for any other length, and for a sequence number that is not one.
        """
        timeout_at = USERNAME_BYTES + PASSWORD_BYTES + SESSION_BYTES + sequence_digits
        lengths = (timeout_at, timeout_at + TIMEOUT_DIGITS) if timeout_field else (timeout_at,)
        if len(payload) not in lengths:
            wanted = " or ".join(str(length) for length in lengths)
            raise RemoteProtocolError(f"Login Request of {len(payload)} bytes after the type, not {wanted}")
        user, password, session = payload[:6], payload[6:16], payload[16:26]
        return cls(
            user.strip(_PADDING).decode("latin-1"),
            password.strip(_PADDING).decode("latin-1"),
            session.strip(_PADDING),
            _read_number("Login Request", payload[26:timeout_at]),
            _read_timeout(payload[timeout_at:]),
        )


@frozen
class LoginAccepted:
    """Login Accepted, type `A`: the first packet that is not Debug after a good login.

    | Name | Offset | Length | Type |
    |---|---|---|---|
    | Session | 0 | 10 | text, padded on the left |
    | Sequence Number | 10 | 20 (SoupTCP 2.00: 10) | number of the next Sequenced Data, padded on the left |
    """

    session: bytes
    sequence_number: int

    def encode(self, sequence_digits: int) -> bytes:
        """Write the payload. Raises LocalProtocolError for a value that does not fit its field."""
        if self.sequence_number < 1:
            raise LocalProtocolError(
                f"the next sequence number cannot be {self.sequence_number}: the first is 1"
            )
        return _session_field(self.session) + _number_field(
            "sequence number", self.sequence_number, sequence_digits
        )

    @classmethod
    def decode(cls, payload: bytes, sequence_digits: int) -> LoginAccepted:
        """Read a payload. Raises RemoteProtocolError for a wrong length or number."""
        length = SESSION_BYTES + sequence_digits
        if len(payload) != length:
            raise RemoteProtocolError(f"Login Accepted of {len(payload)} bytes after the type, not {length}")
        number = _read_number("Login Accepted", payload[SESSION_BYTES:])
        if number == 0:
            raise RemoteProtocolError("Login Accepted names sequence number 0; the first is 1")
        return cls(payload[:SESSION_BYTES].strip(_PADDING), number)


def check_session(session: bytes) -> bytes:
    """Take the padding off. Raises LocalProtocolError unless at most 10 printable ASCII bytes are left."""
    stripped = session.strip(_PADDING)
    if len(stripped) > SESSION_BYTES or not _is_printable(stripped):
        raise LocalProtocolError(f"session {session!r} is not at most {SESSION_BYTES} printable ASCII bytes")
    return stripped


def _is_printable(text: bytes) -> bool:
    return all(0x20 <= byte < 0x7F for byte in text)


def _session_field(session: bytes) -> bytes:
    return check_session(session).rjust(SESSION_BYTES)


def _text_field(name: str, text: str, length: int) -> bytes:
    encoded = text.encode("ascii", "replace") if text.isascii() else b"\x7f"
    if len(text) > length or not _is_printable(encoded):
        raise LocalProtocolError(f"the {name} is not at most {length} printable ASCII characters")
    return encoded.ljust(length)


def _number_field(name: str, number: int, digits: int) -> bytes:
    text = str(number).encode()
    if number < 0 or len(text) > digits or number > SEQUENCE_NUMBER_LIMIT:
        raise LocalProtocolError(f"{name} {number} does not fit {digits} digits")
    return text.rjust(digits)


def _read_number(packet: str, text: bytes) -> int:
    digits = text.strip(_PADDING)
    if not digits:
        return 0
    if not digits.isdigit() or int(digits) > SEQUENCE_NUMBER_LIMIT:
        raise RemoteProtocolError(f"{packet} with the sequence number {digits!r}")
    return int(digits)


def _read_timeout(text: bytes) -> int | None:
    digits = text.strip(_PADDING)
    return int(digits) or None if digits.isdigit() else None
