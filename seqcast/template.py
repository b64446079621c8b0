"""What `seqcast init` writes: a configuration that explains itself, on ports and a group that are free.

`render` is pure. `choose_base_port` and `choose_group` see to it that two directories on one machine do not
meet: the ports are tried out, the group is drawn at random.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from seqcast.settings import ConfigError

if TYPE_CHECKING:
    from random import Random

PORTS_NEEDED = 6
"""Multicast, two ports of the sequencer, three of the rewinder."""

LOWEST_PORT = 10_000
"""Chosen ports start here: below lie those of well-known services."""

EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
EPHEMERAL_PORT = 32_768
"""First ephemeral port where the kernel does not say: the default of Linux."""

ATTEMPTS = 200
"""Blocks of ports tried before giving up."""

GROUPS = ipaddress.IPv4Network("239.192.0.0/14")
"""The organisation-local scope of RFC 2365, free for any use inside one organisation."""

SESSION_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""Without those that are taken for one another."""

_TEMPLATE = """\
# One file for every node and every command of this bus.
# Relative paths are relative to this file. Check it with `seqcast config check`.

# The session: the name of the stream on the wire. 1 to 10 ASCII letters or digits.
# A log belongs to one session; take a new name for a new stream.
session = {session}

[multicast]
# Line A. Choose the group from 239.0.0.0/8.
group = {group}
port = {port}
# Line B carries the same packets over another group or port, so that one loss loses nothing.
# group_b = {group_b}
# port_b = {port}
# Address of the network interface that is used. Loopback keeps the stream on this machine.
interface = "127.0.0.1"
# Routers that a packet may pass, plus one. 0 stays on this machine, 1 on this network.
ttl = 1
# Largest UDP payload that is sent: 1472 fills an Ethernet frame of 1500 bytes.
datagram_bytes = 1472

[log]
# Each node keeps the stream in a directory of its own name below this one.
directory = "log"
# Size of one segment file, in MiB.
segment_mib = 64
# When a node holds a record: "memory" survives a killed process, "group" a machine that loses power (one
# fdatasync for many batches), "always" the same with one fdatasync for each batch.
durability = "memory"

[access]
# true lets in anybody, with the roles publish and replay. For development on one machine.
open = true
# Users with their roles and hashed passwords: `seqcast users add NAME --role publish`.
users = "users"
# What the nodes show to each other. Copy this file to every node and keep it to yourself.
node_secret = "node.secret"

[timing]
# In quiet times a heartbeat is sent this often.
heartbeat_ms = 1000
# Silence of the primary after which it is suspected; at least two heartbeats.
suspect_ms = 3000

[receiver]
# How long a hole may stay open before it is asked for: packets may overtake each other.
reorder_delay_ms = 1
# Datagrams that a receiver keeps while it waits for a hole to close.
held_datagrams = 4096

# The nodes. The name is 1 to 6 capital letters or digits, and also the node's user name.
# A sequencer always votes; a rewinder votes when it has `voter = true`. A record is committed
# when more than half of the voters hold it.

[nodes.SEQ1]
role = "sequencer"
host = "127.0.0.1"
# Other nodes follow this one here (TCP).
node_port = {sequencer_node_port}
# Senders log in here (TCP).
submit_port = {submit_port}

[nodes.REW1]
role = "rewinder"
host = "127.0.0.1"
node_port = {rewinder_node_port}
# Receivers get here what they missed, as much as they like (SoupBinTCP).
replay_port = {replay_port}
# Receivers get here what they missed, one packet at a time (MoldUDP64 re-request, UDP).
request_port = {request_port}
"""


def render(*, session: str, group: str, base_port: int) -> str:
    """Return the text of a configuration with one sequencer and one rewinder on ports from `base_port` on.

    The values go into it as they are: `parse_configuration` says what is wrong with them.
    """
    return _TEMPLATE.format(
        session=json.dumps(session),
        group=json.dumps(group),
        group_b=json.dumps(_next_group(group)),
        port=base_port,
        sequencer_node_port=base_port + 1,
        submit_port=base_port + 2,
        rewinder_node_port=base_port + 3,
        replay_port=base_port + 4,
        request_port=base_port + 5,
    )


def _next_group(group: str) -> str:
    """Return a group beside `group`, as an example for line B."""
    try:
        address = ipaddress.IPv4Address(group)
    except ValueError:
        return group
    return str(address + 1 if int(address) & 0xFF < 0xFF else address - 1)


def choose_session(random: Random, date: str) -> str:
    """Return a session name: `date` as YYMMDD, then four letters, so that a new stream has a new name."""
    return date + "".join(random.choices(SESSION_LETTERS, k=4))


def choose_group(random: Random) -> str:
    """Return a multicast group that hardly anybody else has drawn."""
    return str(GROUPS[random.randrange(1, GROUPS.num_addresses - 1)])


def choose_base_port(random: Random) -> int:
    """Return the first of `PORTS_NEEDED` free ports in a row.

    They lie below the ephemeral range, so that the kernel gives none of them to an outgoing connection before
    the nodes are up. Raises `ConfigError` when no such row is found.
    """
    blocks = range(LOWEST_PORT, _first_ephemeral_port() - PORTS_NEEDED, 10)
    for _ in range(ATTEMPTS if blocks else 0):
        base = random.choice(blocks)
        if all(_is_free(port) for port in range(base, base + PORTS_NEEDED)):
            return base
    raise ConfigError(f"no {PORTS_NEEDED} free ports in a row were found: name the first one with --port")


def _first_ephemeral_port() -> int:
    try:
        return int(EPHEMERAL_RANGE.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return EPHEMERAL_PORT


def _is_free(port: int) -> bool:
    """Whether nobody listens on the port, neither TCP nor UDP, on any address."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with contextlib.closing(socket.socket(socket.AF_INET, kind)) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                return False
    return True
