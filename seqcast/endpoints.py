"""Where a stream is found: its lines, rewinders and sequencers, and what senders and receivers must know of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen

from moldudp import session_field
from seqcast.errors import UnknownLine
from seqcast.line_watch import LINE_NAMES
from seqcast.settings import Configuration, Line
from sequencer.process import payload_limit

if TYPE_CHECKING:
    from collections.abc import Iterable

Address = tuple[str, int]

DATAGRAM_ROOM_BYTES = 2048
"""Least room for one datagram: what other senders on the group send is seen whole, and counted for what it is."""


@frozen(kw_only=True)
class Endpoints:
    """The addresses of one stream.

    `session` has ten bytes, padded with spaces. `lines` are the multicast groups, one or two, with the same packets;
    `rewinders` replay ports, `request_servers` MoldUDP64 re-request ports, `sequencers` submit ports.
    `datagram_bytes` is the largest packet of the stream, `fragment_bytes` the largest payload that one record of it
    carries. `suspect_ns` is how long the nodes take to miss a primary.
    """

    session: bytes
    lines: tuple[Line, ...] = ()
    rewinders: tuple[Address, ...] = ()
    request_servers: tuple[Address, ...] = ()
    sequencers: tuple[Address, ...] = ()
    interface: str = "127.0.0.1"
    datagram_bytes: int = 1472
    fragment_bytes: int = field()
    reorder_delay_ns: int = 1_000_000
    held_datagrams: int = 4096
    suspect_ns: int = 1_000_000_000

    @fragment_bytes.default
    def _fragment_bytes(self) -> int:
        return payload_limit(self.datagram_bytes)

    def chosen(self, names: Iterable[str]) -> dict[str, Line]:
        """The lines with these names that the stream has, by name.

        Raises UnknownLine for a name that no stream has, or when lines are asked for and none of them is there.
        """
        names = tuple(names)
        unknown = [name for name in names if name not in LINE_NAMES]
        if unknown:
            raise UnknownLine(f"there is no line {unknown[0]!r}: lines are called {' and '.join(LINE_NAMES)}")
        found = {name: line for name, line in zip(LINE_NAMES, self.lines, strict=False) if name in names}
        if names and self.lines and not found:
            raise UnknownLine(f"line {names[0]!r} is not configured: the stream has line a alone")
        return found

    @property
    def room_bytes(self) -> int:
        """Room that a receiver keeps for one datagram."""
        return max(DATAGRAM_ROOM_BYTES, self.datagram_bytes)


Source = Configuration | Endpoints | str | Path
"""Where a sender or a receiver finds its stream: the configuration, its file, or the endpoints themselves."""


def endpoints_of(source: Source) -> Endpoints:
    """The endpoints that a configuration describes; `source` may be the path of its file.

    Raises ConfigError when there is no such file, or it cannot be used.
    """
    if isinstance(source, Endpoints):
        return source
    if not isinstance(source, Configuration):
        from seqcast.config import read_configuration  # noqa: PLC0415  (who brings the values needs no reader)

        source = read_configuration(source)
    rewinders = source.rewinders
    return Endpoints(
        session=source.session_field,
        lines=source.multicast.lines,
        rewinders=tuple((node.host, node.replay_port) for node in rewinders if node.replay_port),
        request_servers=tuple((node.host, node.request_port) for node in rewinders if node.request_port),
        sequencers=tuple((node.host, node.submit_port) for node in source.sequencers if node.submit_port),
        interface=source.multicast.interface,
        datagram_bytes=source.multicast.datagram_bytes,
        reorder_delay_ns=source.receiver.reorder_delay_ns,
        suspect_ns=source.timing.suspect_ns,
    )


def session_of(name: str | bytes | None) -> bytes | None:
    """A session that may be named, as ten bytes."""
    return None if name is None else session_field(name)
