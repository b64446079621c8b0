"""The client session: logs in, counts sequenced messages, keeps the connection alive.

States and packets (`session` says what the states mean; a packet that is not here is a violation):

| packet | LOGIN | ACTIVE |
|---|---|---|
| `+` Debug | `Debug` | `Debug` |
| `A` Login Accepted | `Accepted`; to ACTIVE | |
| `J` Login Rejected | `Rejected`, `Closed`; to CLOSING | |
| `S` Sequenced Data | | `Sequenced` |
| `U` Unsequenced Data | | `Unsequenced`, where the version has it |
| `H` Server Heartbeat | taken (some servers begin early) | taken |
| `Z` End of Session | | `EndOfSession`, `Closed`; to CLOSING |

Calls: `send_unsequenced` in ACTIVE; `send_debug` in LOGIN and ACTIVE; `logout` in LOGIN and ACTIVE, to
CLOSING.

The login is queued when the session is made, because it must be the first packet. Only sequenced data counts:
the first of it has the number in Login Accepted, whatever the login asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from souptcp.errors import LocalProtocolError, RemoteProtocolError
from souptcp.events import Accepted, EndOfSession, Rejected, Sequenced
from souptcp.packets import REJECT_REASONS, LoginRequest, PacketType, check_session
from souptcp.session import BUFFER_BYTES, HEARTBEAT_NS, OUTPUT_LIMIT_BYTES, TIMEOUT_NS, Session, State

if TYPE_CHECKING:
    from souptcp.events import Event
    from souptcp.framing import Codec, Packet, Payload

SERVER_PATIENCE_MS = 15_000
"""Heartbeat time-out that a login of SoupBinTCP 4.10 asks of the server: what servers had before it could."""


class ClientSession(Session):
    """One login at one server.

    `session` blank is the one that is active; `sequence_number` 0 is from now on, N is the number wanted
    next. With `now_ns` the time-out runs from then, while the connection is being made too; without it from
    the first byte sent. `heartbeat_timeout_ms` goes into a login of SoupBinTCP 4.10 and nowhere else.

    Raises LocalProtocolError for what does not fit its field.
    """

    _HEARTBEAT = PacketType.CLIENT_HEARTBEAT

    def __init__(
        self,
        codec: Codec,
        *,
        user: str,
        password: str,
        session: bytes = b"",
        sequence_number: int = 0,
        now_ns: int | None = None,
        heartbeat_ns: int = HEARTBEAT_NS,
        timeout_ns: int = TIMEOUT_NS,
        heartbeat_timeout_ms: int = SERVER_PATIENCE_MS,
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
        if codec.writes_timeout and heartbeat_timeout_ms * 1_000_000 <= heartbeat_ns:
            raise LocalProtocolError(
                f"the server would give up after {heartbeat_timeout_ms} ms, before our first heartbeat"
            )
        self._takes_unsequenced = codec.server_unsequenced
        self._heard_ns = now_ns
        self._requested = check_session(session)
        self._queued += codec.encode_login(
            LoginRequest(
                user,
                password,
                self._requested,
                sequence_number,
                heartbeat_timeout_ms if codec.writes_timeout else None,
            )
        )

    def send_unsequenced(self, payload: Payload) -> None:
        """Queue one unsequenced message. Raises OutputFull when the server does not read."""
        self._require(State.ACTIVE, "send unsequenced data")
        self._send(PacketType.UNSEQUENCED, payload)

    def send_debug(self, text: str) -> None:
        """Queue a text for people."""
        if self.closing:
            raise LocalProtocolError(f"cannot send a debug text {self.state.value}")
        self._send(PacketType.DEBUG, text.encode("ascii", "backslashreplace"))

    def logout(self, now_ns: int) -> None:  # noqa: ARG002  (every call that ends a session takes the time)
        """Say goodbye; the server then closes. Messages that are still on their way are dropped."""
        if self.closing:
            raise LocalProtocolError(f"cannot log out {self.state.value}")
        self._queued += self.codec.frame(PacketType.LOGOUT_REQUEST)
        self.close()

    def sent(self, now_ns: int) -> None:
        """See `Session.sent`."""
        super().sent(now_ns)
        if self._heard_ns is None:
            self._heard_ns = now_ns

    def _given_up_ns(self) -> int | None:
        return None if self.closing else self._silent_ns()

    def _why_given_up(self) -> str:
        return f"nothing from the server for {self.timeout_ns / 1e9:g} s"

    def _last_word(self, reason: str) -> bytes:
        return self._debug_packet(reason) if self.state is State.ACTIVE else b""

    def _on_accepted(self, packet: Packet, now_ns: int) -> Event:
        accepted = self.codec.decode_accepted(self._consume(packet))
        if self._requested and accepted.session != self._requested:
            raise RemoteProtocolError(
                f"Login Accepted for session {accepted.session!r}, requested was {self._requested!r}"
            )
        self.state = State.ACTIVE
        self._sent_ns = now_ns  # heartbeats count from here: there was nothing to send before
        self._next_number = accepted.sequence_number
        return Accepted(accepted.session, accepted.sequence_number)

    def _on_rejected(self, packet: Packet, _now_ns: int) -> Event:
        reason = self._consume(packet)[:1].decode("latin-1")
        if not reason:
            raise RemoteProtocolError("Login Rejected without a reason code")
        self._finish(f"login rejected: {REJECT_REASONS.get(reason, f'reason {reason!r}')}")
        return Rejected(reason)

    def _on_sequenced(self, _packet: Packet, _now_ns: int) -> Event:
        first_number = self._next_number
        messages = self._run(PacketType.SEQUENCED, first_number)
        self._next_number += len(messages)
        return Sequenced(first_number, messages)

    def _on_server_unsequenced(self, packet: Packet, now_ns: int) -> Event:
        if not self.codec.server_unsequenced:
            raise RemoteProtocolError(
                f"unsequenced data from a server of {self.codec.name} {self.codec.version}"
            )
        return self._on_unsequenced(packet, now_ns)

    def _on_end_of_session(self, packet: Packet, _now_ns: int) -> Event:
        self._consume(packet)
        self._finish("end of session")
        return EndOfSession()

    _TRANSITIONS: ClassVar = {
        State.LOGIN: {
            PacketType.DEBUG: Session._on_debug,
            PacketType.LOGIN_ACCEPTED: _on_accepted,
            PacketType.LOGIN_REJECTED: _on_rejected,
            PacketType.SERVER_HEARTBEAT: Session._on_heartbeat,
        },
        State.ACTIVE: {
            PacketType.DEBUG: Session._on_debug,
            PacketType.SEQUENCED: _on_sequenced,
            PacketType.UNSEQUENCED: _on_server_unsequenced,
            PacketType.SERVER_HEARTBEAT: Session._on_heartbeat,
            PacketType.END_OF_SESSION: _on_end_of_session,
        },
    }
