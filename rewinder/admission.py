"""Who may log in to a port, for the applications of `rewinder.service`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from rewinder.access import Granted
from rewinder.service import Denied

if TYPE_CHECKING:
    from rewinder.access import Authority, Role
    from rewinder.service import Client
    from souptcp import LoginRequest

_PADDING = b" \0"


@frozen
class Admission:
    """Lets in users with `role`, to `session` (ten bytes) or to whichever is active."""

    authority: Authority
    role: Role
    session: bytes

    def check(self, client: Client, request: LoginRequest) -> Denied | None:
        """Decide on a login, and set `client.user`; None when it may go on."""
        denied = self.check_user(client, request)
        if denied is None and not self.covers(request):
            reason = f"session {request.session!r} is not the one that is served here"
            return Denied(b"S", reason, "other_session")
        return denied

    def check_user(self, client: Client, request: LoginRequest) -> Denied | None:
        """The same, whatever session it is for."""
        allowed = self.authority.check(request.user, request.password, self.role)
        if not isinstance(allowed, Granted):
            return Denied(b"A", allowed.reason, "not_authorized")
        client.user = allowed.user
        return None

    def covers(self, request: LoginRequest) -> bool:
        """Whether a login is for this session: it names it, or none."""
        session = request.session.strip(_PADDING)
        return not session or session == self.session.strip(_PADDING)
