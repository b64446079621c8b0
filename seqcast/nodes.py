"""From the configuration to the settings of one node's process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rewinder.access import Authority, read_node_password
from rewinder.dial import Patience
from rewinder.placement import Placement
from rewinder.process import RewinderProcess, RewinderSettings
from rewinder.pump import Idle
from seqcast.keys import remote_control
from seqcast.settings import NodeRole
from sequencer.process import SequencerProcess, SequencerSettings
from souptcp.session import HEARTBEAT_NS

if TYPE_CHECKING:
    from rewinder.node import Node as NodeProcess
    from seqcast.settings import Configuration, Node


def process_of(configuration: Configuration, name: str, *, spin: bool = False) -> NodeProcess:
    """The process of the node called `name`, not opened yet.

    Raises ConfigError when there is no such node, AccessError when the users file or the node secret is wrong.
    """
    node = configuration.node(name)
    if node.role is NodeRole.SEQUENCER:
        return SequencerProcess(_sequencer(configuration, node, spin=spin))
    return RewinderProcess(_rewinder(configuration, node, spin=spin))


def _common(configuration: Configuration, node: Node, *, spin: bool) -> dict[str, Any]:
    return {
        "name": node.name,
        "session": configuration.session_field,
        "directory": configuration.node_directory(node.name),
        "segment_bytes": configuration.log.segment_bytes,
        "ahead_bytes": configuration.log.ahead_mib << 20,
        "keep": configuration.log.keep,
        "durability": configuration.log.durability.value,
        "host": node.host,
        "authority": _authority(configuration),
        "control_path": configuration.control_path(node.name),
        "node_port": node.node_port,
        "voters": frozenset(voter.name for voter in configuration.voters),
        "write_quorum": configuration.write_quorum,
        "sequencers": {peer.name: (peer.host, peer.node_port) for peer in configuration.sequencers},
        "peers": {peer.name: (peer.host, peer.node_port) for peer in configuration.voters},
        "node_password": _node_password(configuration),
        "patience": Patience(
            min(configuration.timing.node_heartbeat_ns, HEARTBEAT_NS), configuration.timing.suspect_ns
        ),
        "remote": remote_control(configuration, node),
        "fingerprint": configuration.fingerprint(),
        "idle": Idle.SPIN if spin else node.idle,
        "placement": Placement(node.core, node.priority),
    }


def _authority(configuration: Configuration) -> Authority:
    access = configuration.access
    return Authority(
        open_access=access.open,
        users_path=access.users,
        nodes=frozenset(node.name for node in configuration.nodes),
        node_password=_node_password(configuration) or None,
    )


def _node_password(configuration: Configuration) -> str:
    secret = configuration.access.node_secret
    return read_node_password(secret) if secret else ""


def _sequencer(configuration: Configuration, node: Node, *, spin: bool) -> SequencerSettings:
    multicast = configuration.multicast
    return SequencerSettings(
        **_common(configuration, node, spin=spin),
        submit_port=node.submit_port or 0,
        lines=tuple((line.group, line.port) for line in multicast.lines),
        interface=multicast.interface,
        ttl=multicast.ttl,
        datagram_bytes=multicast.datagram_bytes,
        heartbeat_ns=configuration.timing.heartbeat_ns,
        rewinders=tuple(
            (peer.host, peer.replay_port) for peer in configuration.rewinders if peer.replay_port
        ),
    )


def _rewinder(configuration: Configuration, node: Node, *, spin: bool) -> RewinderSettings:
    return RewinderSettings(
        **_common(configuration, node, spin=spin),
        replay_port=node.replay_port or 0,
        request_port=node.request_port,
        datagram_bytes=configuration.multicast.datagram_bytes,
    )
