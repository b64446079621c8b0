"""What a session tells its owner.

`Sequenced` and `Unsequenced` carry whole batches. Their messages lie in the session's receive buffer and are
valid until the next event is asked for; `messages.payloads()` makes copies.

`Closed` is the last event of a session and comes once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from native.messages import Messages
    from souptcp.packets import LoginRequest


@frozen
class Accepted:
    """To a client: logged in. `session` is without padding; the next sequenced message has this number."""

    session: bytes
    sequence_number: int


@frozen
class Rejected:
    """To a client: the login was refused with this code, `A` or `S` (see `REJECT_REASONS`)."""

    reason: str


@frozen
class Sequenced:
    """To a client: sequenced messages, numbered `first_number`, `first_number + 1` and so on."""

    first_number: int
    messages: Messages


@frozen
class Unsequenced:
    """To both: unsequenced messages, in the order they were sent. `messages.numbers` means nothing here."""

    messages: Messages


@frozen
class Debug:
    r"""To both: a text for people. Bytes that are not ASCII show as `\xNN`."""

    text: str


@frozen
class EndOfSession:
    """To a client: the server will send no more in this session."""


@frozen
class LoginRequested:
    """To a server: answer with `accept` or `reject`."""

    request: LoginRequest


@frozen
class Logout:
    """To a server: the client has said goodbye; close at once."""


@frozen
class ProtocolViolation:
    """To both: the peer sent what the protocol does not allow; the session is over."""

    reason: str


@frozen
class Closed:
    """To both: the session is over, and why. Flush what is queued and close the connection."""

    reason: str


Event = (
    Accepted
    | Rejected
    | Sequenced
    | Unsequenced
    | Debug
    | EndOfSession
    | LoginRequested
    | Logout
    | ProtocolViolation
    | Closed
)
