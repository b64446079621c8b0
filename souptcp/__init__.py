"""SoupBinTCP 3.00, 4.00 and 4.10, and SoupTCP 2.00 and 3.00: both ends of a session.

A session is a machine without IO (`ClientSession`, `ServerSession`); it gets bytes and the time and returns
events and bytes. `Connection`, `Listener` and `connect` put sessions on non-blocking sockets. The codecs say
which protocol and version is spoken. Messages come in batches, which cost no Python object per message.

    session = ClientSession(SOUPBINTCP, user="USER", password="PASSWORD", sequence_number=1)
    connection = Connection(connect("127.0.0.1", 5000), session)
    while not connection.closed:
        select.select([connection], [connection] if connection.wants_write else [], [], 0.1)
        now_ns = time.monotonic_ns()
        for event in (*connection.handle_timer(now_ns),):
            print(event)
        for event in connection.read(now_ns):
            match event:
                case Sequenced(first_number, messages): print(first_number, messages.payloads())
                case Closed(reason): connection.close(now_ns)
        connection.write(now_ns)
"""

from souptcp.client import ClientSession
from souptcp.connection import Connection, Listener, connect, log_in
from souptcp.errors import LocalProtocolError, OutputFull, RemoteProtocolError
from souptcp.events import (
    Accepted,
    Closed,
    Debug,
    EndOfSession,
    Event,
    LoginRequested,
    Logout,
    ProtocolViolation,
    Rejected,
    Sequenced,
    Unsequenced,
)
from souptcp.framing import (
    PACKET_LIMIT,
    SOUPBINTCP,
    SOUPBINTCP_3,
    SOUPBINTCP_4_10,
    SOUPTCP_2,
    SOUPTCP_3,
    Codec,
    SoupBinTcp,
    SoupTcp,
)
from souptcp.packets import (
    NOT_AUTHORIZED,
    REJECT_REASONS,
    SESSION_NOT_AVAILABLE,
    LoginAccepted,
    LoginRequest,
    PacketType,
)
from souptcp.server import ServerSession
from souptcp.session import Session, State

__all__ = [
    "NOT_AUTHORIZED",
    "PACKET_LIMIT",
    "REJECT_REASONS",
    "SESSION_NOT_AVAILABLE",
    "SOUPBINTCP",
    "SOUPBINTCP_3",
    "SOUPBINTCP_4_10",
    "SOUPTCP_2",
    "SOUPTCP_3",
    "Accepted",
    "ClientSession",
    "Closed",
    "Codec",
    "Connection",
    "Debug",
    "EndOfSession",
    "Event",
    "Listener",
    "LocalProtocolError",
    "LoginAccepted",
    "LoginRequest",
    "LoginRequested",
    "Logout",
    "OutputFull",
    "PacketType",
    "ProtocolViolation",
    "Rejected",
    "RemoteProtocolError",
    "Sequenced",
    "ServerSession",
    "Session",
    "SoupBinTcp",
    "SoupTcp",
    "State",
    "Unsequenced",
    "connect",
    "log_in",
]
