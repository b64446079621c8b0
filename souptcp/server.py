"""The server session: one client, from its login to its end.

States and packets (`session` says what the states mean; a packet that is not here is a violation):

| packet | LOGIN | PENDING | ACTIVE |
|---|---|---|---|
| `+` Debug | `Debug` | `Debug` | `Debug` |
| `L` Login Request | `LoginRequested`; to PENDING | | |
| `U` Unsequenced Data | | | `Unsequenced` |
| `R` Client Heartbeat | taken (some clients begin early) | taken | taken |
| `O` Logout Request | | `Logout`, `Closed`; to CLOSING | `Logout`, `Closed`; to CLOSING |

| call | from | to |
|---|---|---|
| `accept` | PENDING | ACTIVE |
| `reject` | PENDING | CLOSING |
| `send_sequenced`, `send_unsequenced`, `send_unsequenced_batch`, `send_debug` | ACTIVE | |
| `end_session` | ACTIVE | CLOSING |

The first packet is always Login Accepted or Login Rejected: Debug would be allowed before, and at least one
client takes it for a rejection. A violation is answered with Login Rejected before the login is accepted,
with a debug text that says why afterwards.

Sequenced messages are not kept here. A program that has them framed in a file sends them itself and tells the
session with `sent`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from native.messages import Messages
from souptcp.errors import LocalProtocolError
from souptcp.events import LoginRequested, Logout
from souptcp.packets import NOT_AUTHORIZED, REJECT_REASONS, LoginAccepted, PacketType
from souptcp.session import BUFFER_BYTES, HEARTBEAT_NS, OUTPUT_LIMIT_BYTES, TIMEOUT_NS, Session, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from souptcp.events import Event
    from souptcp.framing import Codec, Packet, Payload

LOGIN_TIMEOUT_NS = 30_000_000_000
"""Time from the connection to an accepted login: what the specification calls typical."""


class ServerSession(Session):
    """One client of a server; `now_ns` is when it connected.

    `timeout_ns` is for clients that do not choose: a login of SoupBinTCP 4.10 brings its own time-out.
    """

    _HEARTBEAT = PacketType.SERVER_HEARTBEAT

    def __init__(
        self,
        codec: Codec,
        *,
        now_ns: int,
        login_timeout_ns: int = LOGIN_TIMEOUT_NS,
        heartbeat_ns: int = HEARTBEAT_NS,
        timeout_ns: int = TIMEOUT_NS,
        buffer_bytes: int = BUFFER_BYTES,
        output_limit_bytes: int = OUTPUT_LIMIT_BYTES,
    ) -> None:
        super().__init__(
            codec,
            heartbeat_ns=heartbeat_ns,
            timeout_ns=timeout_ns,
            buffer_bytes=buffer_bytes,
            output_limit_bytes=output_limit_bytes,
        )
        self._login_timeout_ns = login_timeout_ns
        self._login_deadline_ns = now_ns + login_timeout_ns

    def accept(self, session: bytes, sequence_number: int, now_ns: int) -> None:
        """Let the client in; the next sequenced message sent to it is `sequence_number`.

        Raises LocalProtocolError when no login waits, and for what does not fit its field.
        """
        self._require(State.PENDING, "accept a login")
        self._queued += self.codec.encode_accepted(LoginAccepted(session, sequence_number))
        self._next_number = sequence_number
        self._heard_ns = self._sent_ns = now_ns
        self.state = State.ACTIVE

    def reject(self, reason: str | bytes, now_ns: int) -> None:  # noqa: ARG002  (as in `accept`)
        """Turn the client away with a code, `A` or `S` (see `REJECT_REASONS`), and close."""
        code = reason if isinstance(reason, str) else reason.decode("latin-1")
        if code not in REJECT_REASONS:
            raise LocalProtocolError(f"reject code {reason!r} is none of {', '.join(REJECT_REASONS)}")
        self._require(State.PENDING, "reject a login")
        self._queued += self.codec.frame(PacketType.LOGIN_REJECTED, code.encode("ascii"))
        self.close()

    def send_sequenced(self, payloads: Messages | Sequence[Payload]) -> None:
        """Queue sequenced messages; all of them or, with LocalProtocolError or OutputFull, none."""
        self._require(State.ACTIVE, "send sequenced data")
        if isinstance(payloads, Messages):
            self._room_for(self.codec.size(payloads))
            self.codec.pack(self._queued, PacketType.SEQUENCED, payloads)
        else:
            packets = self.codec.frame_all(PacketType.SEQUENCED, payloads)
            self._room_for(len(packets))
            self._queued += packets
        self._next_number += len(payloads)

    def send_unsequenced(self, payload: Payload) -> None:
        """Queue one unsequenced message; LocalProtocolError where the version has none from a server."""
        self._require_unsequenced()
        self._send(PacketType.UNSEQUENCED, payload)

    def send_unsequenced_batch(self, messages: Messages) -> None:
        """Queue unsequenced messages; all of them or, with LocalProtocolError or OutputFull, none."""
        self._require_unsequenced()
        self._room_for(self.codec.size(messages))
        self.codec.pack(self._queued, PacketType.UNSEQUENCED, messages)

    def send_debug(self, text: str) -> None:
        """Queue a text for people."""
        self._require(State.ACTIVE, "send a debug text")
        self._send(PacketType.DEBUG, text.encode("ascii", "backslashreplace"))

    def end_session(self, now_ns: int) -> None:  # noqa: ARG002  (as in `accept`)
        """Say that the session has ended, and close."""
        self._require(State.ACTIVE, "end the session")
        self._queued += self.codec.frame(PacketType.END_OF_SESSION)
        self.close()

    def sent(self, now_ns: int, sequenced: int = 0) -> None:
        """See `Session.sent`; `sequenced` messages more have left whole, for `next_number`."""
        super().sent(now_ns)
        self._next_number += sequenced

    def _require_unsequenced(self) -> None:
        self._require(State.ACTIVE, "send unsequenced data")
        if not self.codec.server_unsequenced:
            raise LocalProtocolError(
                f"a server of {self.codec.name} {self.codec.version} sends no unsequenced data"
            )

    def _given_up_ns(self) -> int | None:
        if self.state is State.ACTIVE:
            return self._silent_ns()
        return None if self.closing else self._login_deadline_ns

    def _why_given_up(self) -> str:
        if self.state is State.ACTIVE:
            return f"nothing from the client for {self.timeout_ns / 1e9:g} s"
        return f"no login within {self._login_timeout_ns / 1e9:g} s"

    def _last_word(self, reason: str) -> bytes:
        if self.state is State.ACTIVE:
            return self._debug_packet(reason)
        return self.codec.frame(PacketType.LOGIN_REJECTED, NOT_AUTHORIZED.encode("ascii"))

    def _on_login(self, packet: Packet, _now_ns: int) -> Event:
        request = self.codec.decode_login(self._consume(packet))
        if request.heartbeat_timeout_ms is not None:
            self.timeout_ns = request.heartbeat_timeout_ms * 1_000_000
        self.state = State.PENDING
        return LoginRequested(request)

    def _on_logout(self, packet: Packet, _now_ns: int) -> Event:
        self._consume(packet)
        self._finish("logged out")
        return Logout()

    _TRANSITIONS: ClassVar = {
        State.LOGIN: {
            PacketType.DEBUG: Session._on_debug,
            PacketType.LOGIN_REQUEST: _on_login,
            PacketType.CLIENT_HEARTBEAT: Session._on_heartbeat,
        },
        State.PENDING: {
            PacketType.DEBUG: Session._on_debug,
            PacketType.CLIENT_HEARTBEAT: Session._on_heartbeat,
            PacketType.LOGOUT_REQUEST: _on_logout,
        },
        State.ACTIVE: {
            PacketType.DEBUG: Session._on_debug,
            PacketType.UNSEQUENCED: Session._on_unsequenced,
            PacketType.CLIENT_HEARTBEAT: Session._on_heartbeat,
            PacketType.LOGOUT_REQUEST: _on_logout,
        },
    }
