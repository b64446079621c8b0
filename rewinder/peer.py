"""Where the other end of a client's connection is, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rewinder.service import Client


def peer_of(client: Client) -> str:
    """The address of a client, as HOST:PORT; empty where there is none any more."""
    try:
        host, port, *_ = client.connection.socket.getpeername()
    except OSError:
        return ""
    return f"{host}:{port}"
