"""Whose fault it was: two errors, and anything else that escapes this package is a bug of the package."""

from __future__ import annotations


class LocalProtocolError(Exception):
    """Our caller asked for something that the protocol, or the state of the session, does not allow."""


class OutputFull(LocalProtocolError):
    """The peer does not read, and the session keeps no more output; nothing of the call was queued."""


class RemoteProtocolError(Exception):
    """The peer sent what the protocol does not allow.

    Decoders raise it. A session never does: it turns it into a `ProtocolViolation` event and closes.
    """
