"""MoldUDP64 and MoldUDP: numbered messages over UDP multicast, and requests for what was missed.

Machines without sockets or clocks, usable apart from the bus:

- `Receiver`: datagrams in, messages in order out, request packets for the gaps.
- `Downstream`: messages in, packets and heartbeats out.
- `RequestServer`: request packets in, replies out of a `MessageStore`.
- `Faults`: a bad network in front of a receiver.

`MOLDUDP64` and `MOLDUDP` read and write single packets; `moldudp.sockets` opens the sockets.
"""

from moldudp.bucket import Bucket
from moldudp.cadence import Cadence
from moldudp.downstream import Downstream
from moldudp.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from moldudp.faults import Faults
from moldudp.pacing import Gap, Pacing
from moldudp.packets import MOLDUDP, MOLDUDP64, Codec, Header, Packet, session_field
from moldudp.receiver import FIRST_SEEN, Foreign, LineCounters, Receiver, ReceiverCounters
from moldudp.requests import ListStore, MessageStore, RequestServer
from moldudp.sockets import granted_receive_buffer, multicast_receiver, multicast_sender, request_socket

__all__ = [
    "FIRST_SEEN",
    "MOLDUDP",
    "MOLDUDP64",
    "Bucket",
    "Cadence",
    "Codec",
    "Downstream",
    "Faults",
    "Foreign",
    "Gap",
    "Header",
    "LineCounters",
    "ListStore",
    "LocalProtocolError",
    "MessageStore",
    "Pacing",
    "Packet",
    "ProtocolError",
    "Receiver",
    "ReceiverCounters",
    "RemoteProtocolError",
    "RequestServer",
    "granted_receive_buffer",
    "multicast_receiver",
    "multicast_sender",
    "request_socket",
    "session_field",
]
