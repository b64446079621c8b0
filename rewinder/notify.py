"""Telling a supervisor how the process is doing, in the protocol of sd_notify(3).

The supervisor (systemd, or one of our own) names a datagram socket in NOTIFY_SOCKET: a path, or an abstract
name that begins with @. Without that variable nothing is sent. A supervisor that cannot be reached is no
reason to stop: these functions never raise, and never block; they return whether the message left.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "NOTIFY_SOCKET"

STATUS_CHARACTERS = 1000
"""Longest status text: a line for people, and far below the size of a datagram."""


def ready(status: str | None = None) -> bool:
    """Say that the process serves from now on, and optionally in which state it is."""
    return notify("READY=1" if status is None else f"READY=1\nSTATUS={_one_line(status)}")


def status(text: str) -> bool:
    """Say in one line what the process is doing."""
    return notify(f"STATUS={_one_line(text)}")


def stopping() -> bool:
    """Say that the process has begun to stop."""
    return notify("STOPPING=1")


def watchdog(status: str | None = None) -> bool:
    """Say that the process is alive, and optionally what it is doing."""
    return notify("WATCHDOG=1" if status is None else f"WATCHDOG=1\nSTATUS={_one_line(status)}")


def notify(message: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Send assignments, one a line."""
    name = environment.get(VARIABLE, "")
    if not name.startswith(("/", "@")):
        return False
    address = os.fsencode(name)
    if address.startswith(b"@"):
        address = b"\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(message.encode("utf-8", "replace"), address)
    except OSError:
        return False
    return True


def _one_line(text: str) -> str:
    return " ".join(text.split())[:STATUS_CHARACTERS]
