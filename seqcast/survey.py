"""Who of the voters is there: asked over the control socket, and over the node port when that is silent.

Control sockets are those of one machine. A voter that answers its node port runs, wherever that is, and must not
be taken for lost.
"""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING

from rewinder.access import read_node_password
from rewinder.replication import Answer, Query, decode
from souptcp import Accepted, Closed, Rejected, Unsequenced, log_in

if TYPE_CHECKING:
    from seqcast.config import Configuration, Node
    from souptcp import ClientSession, Connection

LOOK_SECONDS = 0.5
"""How often, at least, it is looked whether the time is up."""


def ask_node_port(configuration: Configuration, node: Node, asker: str, timeout: float) -> Answer | str:
    """Return what a node has promised and holds, or a sentence why it does not say so.

    `asker` is the name of the node to log in as. Raises AccessError when the node password cannot be read.
    """
    secret = configuration.access.node_secret
    deadline = time.monotonic() + timeout
    try:
        connection, session = log_in(
            (node.host, node.node_port),
            user=asker,
            password=read_node_password(secret) if secret else "",
            session=configuration.session_field,
            sequence_number=0,
            now_ns=time.monotonic_ns(),
        )
    except OSError as error:
        return str(error)
    try:
        while (left := deadline - time.monotonic()) > 0:
            connection.write(time.monotonic_ns())
            writable = [connection] if connection.wants_write else []
            select.select([connection], writable, [], min(left, LOOK_SECONDS))
            found = _read(connection, session)
            if found is not None:
                return found
    finally:
        connection.abandon()
    return f"no answer in {timeout:g} s"


def _read(connection: Connection, session: ClientSession) -> Answer | str | None:
    for event in connection.read(time.monotonic_ns()):
        match event:
            case Accepted():
                session.send_unsequenced(Query().encode())
            case Unsequenced(messages):
                for message in messages:
                    packet = decode(bytes(message))
                    if isinstance(packet, Answer):
                        return packet
            case Rejected(reason):
                return f"it refused the login ({reason})"
            case Closed(reason):
                return reason
    return None
