"""Whose fault it was: the caller's, or the peer's. Any other exception out of this package is a bug in it."""

from __future__ import annotations


class ProtocolError(Exception):
    """Base of the two errors that the protocols define."""


class LocalProtocolError(ProtocolError):
    """The calling program asked for something that the protocol cannot say, or broke a documented limit."""


class RemoteProtocolError(ProtocolError):
    """A peer sent bytes that are not a packet. Machines count these; only the bare decoders raise."""
