"""What the session tests share: the codecs under test, machines in a state, and events as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from native.messages import Messages, MessageTable
from souptcp import (
    SOUPBINTCP,
    SOUPBINTCP_3,
    SOUPBINTCP_4_10,
    SOUPTCP_2,
    SOUPTCP_3,
    ClientSession,
    Codec,
    LoginRequested,
    Sequenced,
    ServerSession,
    Unsequenced,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from souptcp import Event, Session

SECOND = 1_000_000_000

CODECS: list[Codec] = [SOUPBINTCP_3, SOUPBINTCP, SOUPBINTCP_4_10, SOUPTCP_2, SOUPTCP_3]


def name_of(codec: Codec) -> str:
    return f"{codec.name}-{codec.version}"


def framing_of(codec: Codec) -> str:
    """The name by which the oracle knows the framing."""
    return "binary" if codec.name == "SoupBinTCP" else f"line {codec.version}"


def plain(events: Iterator[Event]) -> list[object]:
    """Events as values that outlive the buffer: batches become (type, [first number,] payloads)."""
    values: list[object] = []
    for event in events:
        match event:
            case Sequenced(first_number, messages):
                assert messages.numbers == list(range(first_number, first_number + len(messages)))
                values.append((Sequenced, first_number, messages.payloads()))
            case Unsequenced(messages):
                values.append((Unsequenced, messages.payloads()))
            case _:
                values.append(event)
    return values


def messages_of(values: list[object]) -> list[tuple[int, bytes]]:
    """(number, payload) of the sequenced messages among plain values."""
    return [
        (value[1] + i, payload)
        for value in values
        if isinstance(value, tuple) and value[0] is Sequenced
        for i, payload in enumerate(value[2])
    ]


def batch_of(*payloads: bytes) -> Messages:
    """Payloads as one batch of one buffer."""
    table, offset = MessageTable(len(payloads)), 0
    for row, payload in enumerate(payloads):
        table.set(row, 0, offset, len(payload))
        offset += len(payload)
    return table.view(memoryview(b"".join(payloads)), len(payloads))


def client_of(codec: Codec = SOUPBINTCP, **settings: object) -> ClientSession:
    defaults: dict[str, object] = {"user": "USER", "password": "PASSWORD", "now_ns": 0}
    return ClientSession(codec, **(defaults | settings))  # type: ignore[arg-type]


def server_of(codec: Codec = SOUPBINTCP, **settings: object) -> ServerSession:
    return ServerSession(codec, **({"now_ns": 0} | settings))  # type: ignore[arg-type]


def active_server(codec: Codec = SOUPBINTCP, number: int = 1, **settings: object) -> ServerSession:
    """A server that has accepted a client at time 0 and sent its answer."""
    server = server_of(codec, **settings)
    (event,) = server.receive(client_of(codec).take_output(0), 0)
    assert isinstance(event, LoginRequested)
    server.accept(b"SESSION001", number, 0)
    server.take_output(0)
    return server


def active_client(codec: Codec = SOUPBINTCP, number: int = 1, **settings: object) -> ClientSession:
    """A client whose login was accepted at time 0."""
    client = client_of(codec, **settings)
    server = server_of(codec)
    list(server.receive(client.take_output(0), 0))
    server.accept(b"SESSION001", number, 0)
    list(client.receive(server.take_output(0), 0))
    return client


def active_pair(codec: Codec = SOUPBINTCP) -> tuple[ClientSession, ServerSession]:
    return active_client(codec), active_server(codec)


def exchange(sender: Session, receiver: Session, now_ns: int) -> list[object]:
    """Carry what `sender` has queued to `receiver`."""
    return plain(receiver.receive(sender.take_output(now_ns), now_ns))
