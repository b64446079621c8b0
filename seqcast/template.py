"""What `seqcast init` writes: a configuration that explains itself, on ports and a group that are free.

`render` is pure. `choose_base_port` and `choose_group` see to it that two directories on one machine do not
meet: the ports are tried out, the group is drawn at random.
"""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from seqcast.config import POSSIBLE_PORTS
from seqcast.settings import ConfigError, NodeRole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from random import Random

SEQUENCERS_MOST = 2
"""A primary and its standby; voters beyond them are rewinders, which serve receivers while nothing fails."""

LOWEST_PORT = 10_000
"""Chosen ports start here: below lie those of well-known services."""

EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
EPHEMERAL_PORT = 32_768
"""First ephemeral port where the kernel does not say: the default of Linux."""

BLOCK_PORTS = 10
"""Blocks of ports are multiples of this long, so that they start at round numbers and do not overlap."""

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
# Room for records to come that a node makes ready while there is nothing to do, in MiB; 0 for none.
ahead_mib = 16
# Old sessions that a node keeps: "all", a number of them ("30 sessions"), or a size ("200 GiB", with the
# present one). The oldest go first; one that did not end, or is marked by `seqcast log keep`, stays.
keep = "all"
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
# In quiet times the multicast lines carry a heartbeat this often.
heartbeat_ms = 1000
# Silence on the connections between nodes after which the primary is suspected. Nodes send each other a
# heartbeat every fifth of this. Shorter finds a dead primary sooner, and takes a slow one for dead sooner.
suspect_ms = 1000

[receiver]
# How long a hole may stay open before it is asked for: packets may overtake each other.
reorder_delay_ms = 1

# The nodes. The name is 1 to 6 capital letters or digits, and also the node's user name.
# A sequencer always votes; a rewinder votes when it has `voter = true`. A record is committed
# when more than half of the voters hold it.
{quorum}
# A node may have a core to itself (docs/TUNING.md): `idle = "spin"` never sleeps, which uses a core up and
# saves the wake-ups, `core = 2` is the only one that it runs on, and `priority = 10` is one of SCHED_FIFO.
# All of them are on this machine until `host` names another; `interface` and `ttl` above must reach it then.
"""

_QUORUMS = {
    1: """\
# Here N = 1 voter and W = 1 of them must hold it: for development. While SEQ1 is down nothing new enters.""",
    2: """\
# Here N = 2 voters and W = 2 of them must hold it. One sequencer is the primary, the other its standby.
# No committed record is lost with one of them, but the stream stands still until that one is back, or
# until somebody decides to go on without it.""",
    3: """\
# Here N = 3 voters and W = 2 of them must hold it. One sequencer is the primary, the other its standby.
# The stream survives the loss of any one voter.""",
    5: """\
# Here N = 5 voters and W = 3 of them must hold it. One sequencer is the primary, the other its standby.
# No committed record is lost with any two of them, and the stream goes on while a sequencer is left.""",
}
"""What N and W mean, for every number of voters that can be asked for."""

VOTER_COUNTS = tuple(_QUORUMS)
"""How many voters a configuration can be written for."""

_KEY_COMMENTS = {
    "node_port": "Other nodes follow this one here (TCP).",
    "submit_port": "Senders log in here (TCP).",
    "voter": "Its copy counts for the commit, and its promise when another primary is made.",
    "replay_port": "Receivers get here what they missed, as much as they like (SoupBinTCP).",
    "request_port": "Receivers get here what they missed, one packet at a time (MoldUDP64 re-request, UDP).",
}
"""What stands above a key where it appears first."""


@frozen
class PlannedNode:
    """A node that is going to be written: its name, what it does, and whether it votes."""

    name: str
    role: NodeRole
    voter: bool


def change_quorum_comment(text: str, before: int, after: int) -> str:
    """Return the text of a configuration with what it says of N and W changed to `after` voters, where it says so."""
    for comment in (_QUORUMS.get(before), _quorum_sentence(before)):
        if comment is not None and comment in text:
            return text.replace(comment, _quorum_sentence(after))
    return text


def _quorum_sentence(voters: int) -> str:
    noun = "voter" if voters == 1 else "voters"
    return f"# Here N = {voters} {noun} and W = {voters // 2 + 1} of them must hold it."


def planned_nodes(voters: int) -> tuple[PlannedNode, ...]:
    """Return the nodes of a bus with so many voters: sequencers, voting rewinders, and one that does not vote.

    The last one is for the receivers: what they ask it costs no voter anything. Raises `ConfigError` for a
    number of voters that makes no sense.
    """
    if voters not in VOTER_COUNTS:
        raise ConfigError(f"{voters}: must be {alternatives(VOTER_COUNTS)}: {_why_not(voters)}")
    sequencers = min(voters, SEQUENCERS_MOST)
    voting_rewinders = voters - sequencers
    return (
        *(PlannedNode(f"SEQ{n}", NodeRole.SEQUENCER, voter=True) for n in range(1, sequencers + 1)),
        *(
            PlannedNode(f"REW{n}", NodeRole.REWINDER, voter=n <= voting_rewinders)
            for n in range(1, voting_rewinders + 2)
        ),
    )


def _why_not(voters: int) -> str:
    if voters < 1:
        return "somebody has to vote"
    if voters % 2 == 0:
        return f"{voters} voters survive no more losses than {voters - 1}"
    return "each more makes every commit wait for more copies; rewinders that do not vote can be added freely"


def alternatives(values: Iterable[int]) -> str:
    """Return numbers as people list them: "1, 2 or 3"."""
    *first, last = (str(value) for value in values)
    return f"{', '.join(first)} or {last}" if first else last


def ports_needed(voters: int) -> int:
    """Return how many ports the nodes of a bus with so many voters take, and its multicast line."""
    return 1 + sum(len(POSSIBLE_PORTS[node.role]) for node in planned_nodes(voters))


def render(*, session: str, group: str, base_port: int, nodes: int = 1) -> str:
    """Return the text of a configuration with `nodes` voters on ports from `base_port` on, multicast first.

    The other values go into it as they are: `parse_configuration` says what is wrong with them. Raises
    `ConfigError` for a number of voters that makes no sense.
    """
    planned = planned_nodes(nodes)
    head = _TEMPLATE.format(
        session=json.dumps(session),
        group=json.dumps(group),
        group_b=json.dumps(_next_group(group)),
        port=base_port,
        quorum=_QUORUMS[nodes],
    )
    return head + "\n".join(_sections(planned, base_port + 1))


def _sections(nodes: Iterable[PlannedNode], first_port: int) -> Iterator[str]:
    """Yield the lines of the nodes, on ports from `first_port` on; a key is explained where it appears first."""
    comments = dict(_KEY_COMMENTS)
    ports = itertools.count(first_port)
    for node in nodes:
        yield ""
        if not node.voter:
            yield "# Does not vote: no commit waits for it, so there may be many of its kind."
        yield f"[nodes.{node.name}]"
        settings = {"role": f'"{node.role.value}"'}
        if node.voter and node.role is NodeRole.REWINDER:
            settings["voter"] = "true"
        settings["host"] = '"127.0.0.1"'
        settings |= {key: str(next(ports)) for key in POSSIBLE_PORTS[node.role]}
        for key, value in settings.items():
            if key in comments:
                yield f"# {comments.pop(key)}"
            yield f"{key} = {value}"
    yield ""


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


def choose_base_port(random: Random, nodes: int = 1) -> int:
    """Return the first of as many free ports in a row as a bus with `nodes` voters needs.

    They lie below the ephemeral range, so that the kernel gives none of them to an outgoing connection before
    the nodes are up. Raises `ConfigError` when no such row is found.
    """
    needed = ports_needed(nodes)
    step = -(-needed // BLOCK_PORTS) * BLOCK_PORTS
    blocks = range(LOWEST_PORT, _first_ephemeral_port() - needed, step)
    for _ in range(ATTEMPTS if blocks else 0):
        base = random.choice(blocks)
        if all(_is_free(port) for port in range(base, base + needed)):
            return base
    raise ConfigError(f"no {needed} free ports in a row were found: name the first one with --port")


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
