"""What the counters of nodes mean: the kind of each, where it counts, and for which reason.

A node counts under dotted names (`rewinder.counters`). `METERS` has them all; what is unknown, because a node is newer,
is an event. docs/OBSERVE.md shows the table.
"""

from __future__ import annotations

import errno
from enum import Enum
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping


class Kind(Enum):
    """What a counter counts."""

    DROP = "drop"
    """Something was thrown away."""
    REJECT = "reject"
    """Somebody was turned away, or refused what he asked for."""
    RETRY = "retry"
    """Something failed that is tried again."""
    EVENT = "event"
    """Anything else."""


METERS: dict[str, tuple[Kind, str]] = {
    "submit.duplicates": (Kind.DROP, "messages that were in the stream already: a sender sent them again"),
    "submit.after_end": (Kind.DROP, "messages that came after the end of the session"),
    "replay.unsequenced": (Kind.DROP, "packets from receivers, which have nothing to say"),
    "*.ignored": (Kind.DROP, "packets of the protocol that are without meaning on this port"),
    "node.unknown": (Kind.DROP, "packets between nodes that could not be read, or not from this sender"),
    "peers.unknown": (Kind.DROP, "answers of voters that could not be read"),
    "follower.unknown": (Kind.DROP, "packets of the primary that could not be read"),
    "node.stale": (Kind.DROP, "what a follower said of an epoch that is over"),
    "follower.stale_commit": (Kind.DROP, "commit numbers of an epoch that is over"),
    "follower.fenced": (Kind.DROP, "records of a primary whose epoch is over"),
    "follower.cut": (
        Kind.DROP,
        "records that were never committed, and that the present primary does not have",
    ),
    "publish.oversized": (Kind.DROP, "records too long for a datagram of today: receivers replay them"),
    "publish.*.refused.*": (Kind.DROP, "datagrams that the network refused: receivers ask the rewinders"),
    "request.short": (Kind.DROP, "re-requests shorter than a request packet"),
    "request.unknown_session": (Kind.DROP, "re-requests for another session"),
    "request.number_zero": (Kind.DROP, "re-requests for number 0"),
    "request.count_zero": (Kind.DROP, "re-requests for no messages"),
    "request.beyond_last": (Kind.DROP, "re-requests for what is not committed here yet"),
    "request.unavailable": (Kind.DROP, "re-requests for what is not kept, or does not fit a packet"),
    "request.unsent": (Kind.DROP, "replies that the network refused: the receiver asks again"),
    "retention.sessions": (Kind.EVENT, "old sessions that were removed, as `log.keep` says"),
    "retention.segments": (Kind.EVENT, "segments of old sessions that were removed"),
    "retention.bytes": (Kind.EVENT, "bytes of the disk that this gave back"),
    "retention.failed": (Kind.RETRY, "old sessions that could not be removed"),
    "*.login_rejected.not_authorized": (Kind.REJECT, "logins with a wrong user, password or role"),
    "*.login_rejected.other_session": (Kind.REJECT, "logins for a session that is not served here"),
    "*.login_rejected.refusing": (Kind.REJECT, "logins of senders while no message may enter"),
    "*.login_rejected.not_primary": (Kind.REJECT, "nodes that looked for the primary here"),
    "*.login_rejected.no_quorum": (Kind.REJECT, "nodes that do not vote, while there is no quorum"),
    "*.login_rejected.not_kept": (Kind.REJECT, "logins at a number that is no longer kept"),
    "*.login_rejected.not_served": (Kind.REJECT, "logins for an old session that cannot be served"),
    "*.login_rejected.unreadable": (Kind.REJECT, "logins at a record that cannot be read"),
    "*.too_many_clients": (Kind.REJECT, "connections beyond the limit of a port"),
    "*.violations": (Kind.REJECT, "connections closed because the peer broke the protocol"),
    "*.unread_output": (Kind.REJECT, "connections closed because the peer did not read its answers"),
    "*.unreadable": (Kind.REJECT, "replays ended because a record could not be read"),
    "node.refused": (Kind.REJECT, "promises that another node asked for and did not get"),
    "submit.refused": (Kind.REJECT, "senders closed for a hole in their sequence, or a message too long"),
    "submit.too_many_senders": (Kind.REJECT, "senders beyond the limit of a session"),
    "submit.storage_full": (Kind.REJECT, "submissions that found no room in the log"),
    "archive.unknown": (Kind.REJECT, "requests for an old session that is not here"),
    "archive.busy": (Kind.REJECT, "requests for an old session while too many are open"),
    "archive.untrusted": (Kind.REJECT, "requests for an old session that is damaged"),
    "follower.refused": (Kind.REJECT, "primaries that this node may not follow"),
    "follower.refused_record": (
        Kind.REJECT,
        "records of the primary that do not belong at the end of this log",
    ),
    "publish.*.full": (Kind.RETRY, "times that a socket took nothing more for the moment"),
    "publish.*.unsegmented": (Kind.RETRY, "times that an interface refused datagrams in one piece"),
    "follower.disconnects": (Kind.RETRY, "connections to a primary that were lost, or not made"),
    "follower.storage_full": (Kind.RETRY, "times that the log had no room for what the primary sent"),
    "takeover.lost": (Kind.RETRY, "attempts to become primary that failed"),
    "peers.disconnects": (Kind.RETRY, "connections to other voters that were lost, or not made"),
    "control.refused_key": (Kind.REJECT, "connections to the control plane with a key that is not known"),
    "control.handshake_failed": (
        Kind.REJECT,
        "handshakes at the control plane that failed: no key, or another of this node",
    ),
    "submit.held_back": (Kind.EVENT, "times that senders were held back because commits lag"),
    "submit.let_go": (Kind.EVENT, "times that they were let go on"),
    "submit.replaced": (Kind.EVENT, "logins that ended an earlier one of the same user"),
    "submit.traces": (Kind.EVENT, "senders that were told numbers out of the log"),
    "archive.opened": (Kind.EVENT, "old sessions opened"),
    "node.promised": (Kind.EVENT, "epochs promised to other nodes"),
    "*.connects": (Kind.EVENT, "connections accepted"),
    "*.logins": (Kind.EVENT, "logins accepted"),
    "*.disconnects": (Kind.EVENT, "connections that ended"),
}
"""Kind and meaning of each counter; `*` stands for a port, a line or an error. The first that fits holds."""

_ANSWERED = frozenset({"requests", "replies", "messages"})
"""What a request port counts besides what it dropped."""


@frozen
class Meter:
    """A counter that is known. `where` is the port or line that counts, `reason` what it counts."""

    kind: Kind
    where: str
    reason: str
    meaning: str


@lru_cache(maxsize=4096)
def meter_of(name: str) -> Meter:
    """The meter of a counter's dotted name."""
    kind, meaning = Kind.EVENT, ""
    for pattern, found in METERS.items():
        if fnmatchcase(name, pattern):
            kind, meaning = found
            break
    where, _, reason = name.partition(".")
    if where == "publish" and reason[1:2] == ".":  # the line is where
        where, reason = f"publish.{reason[0]}", reason[2:]
    head, _, number = reason.rpartition(".")
    if head == "refused" and number.isdigit():
        reason = f"{head}.{errno.errorcode.get(int(number), number)}"
    return Meter(kind, where, reason, meaning)


def counters_of(status: Mapping[str, Any]) -> dict[str, int]:
    """Every counter in a node's status by dotted name, those of its request port among them."""
    requests = {
        f"request.{name}": count
        for name, count in (status.get("requests") or {}).items()
        if name not in _ANSWERED
    }
    return {**(status.get("counters") or {}), **requests}
