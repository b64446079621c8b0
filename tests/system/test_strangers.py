"""Nothing a stranger sends to a port ends a process, or is noticed by anybody else."""

from __future__ import annotations

import contextlib
import socket
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from bus import wait_for

import moldudp

if TYPE_CHECKING:
    from bus import Bus

PORTS = {"SEQ1": ("submit_port", "node_port"), "REW1": ("replay_port",)}


def garbage(random: Random) -> bytes:
    """Random bytes, or something that begins like a login."""
    shapes = [
        lambda: random.randbytes(random.randrange(1, 3000)),
        lambda: b"\0\0" * random.randrange(1, 50),
        lambda: b"\xff\xff" + random.randbytes(100),
        lambda: b"\x00\x2fL" + random.randbytes(46),
        lambda: b"\x00\x34L" + b"ALPHA " + random.randbytes(45),
        lambda: b"\x00\x2fL" + b"ALPHA " + b" " * 20 + b" " * 19 + b"0" + random.randbytes(50),
        lambda: b"\x00\x01R" * 30 + b"\x00\x01Q",
        lambda: b"\x00\x0bU" + random.randbytes(10),
        lambda: b"\x00",
    ]
    return random.choice(shapes)()


def left_alone(bus: Bus, name: str) -> dict[str, Any] | None:
    """What the node says once it has no more clients than a follower and a sender that may be about to go."""
    status = bus.ask(name, "status")
    return status if sum(status["clients"].values()) <= 2 else None


def test_garbage_on_every_port(bus: Bus) -> None:
    random = Random(99)
    with bus.receiver() as receiver, bus.sender("GOOD") as sender:
        for n in range(300):
            for name, keys in PORTS.items():
                node = bus.configuration.node(name)
                for key in keys:
                    with (
                        contextlib.suppress(OSError),
                        socket.create_connection((node.host, getattr(node, key)), timeout=5) as stranger,
                    ):
                        stranger.sendall(garbage(random))
                        if n % 3 == 0:
                            stranger.shutdown(socket.SHUT_WR)
                            while stranger.recv(4096):
                                pass
            if n % 30 == 0:
                sender.send(b"still %d" % n)
        sender.flush(10)
        got: list[bytes] = []
        while len(got) < 10:
            got += receiver.poll(timeout=1.0).payloads.payloads()
        assert got == [b"still %d" % n for n in range(0, 300, 30)]
        assert sender.reconnections == 0
    for name in PORTS:
        # The last strangers have closed; that the node has read so is its own affair, and takes it a turn or two.
        status = wait_for(partial(left_alone, bus, name), f"{name} has seen the strangers off")
        assert any("violations" in key or "login_rejected" in key for key in status["counters"])


def test_garbage_on_the_multicast_group(bus: Bus) -> None:
    """Foreign sessions, impossible numbers, broken blocks and forged records are counted and dropped."""
    random = Random(7)
    multicast = bus.configuration.multicast
    session = bus.configuration.session_field
    with (
        bus.receiver() as receiver,
        bus.sender("GOOD") as sender,
        moldudp.multicast_sender(multicast.group, multicast.port, "127.0.0.1") as line,
    ):
        for n in range(200):
            line.send(random.randbytes(random.randrange(1, 1400)))
            line.send(moldudp.MOLDUDP64.header(b"FOREIGN   ", n + 1, 1) + b"\0\5hello")
            line.send(moldudp.MOLDUDP64.header(session, 0, 1) + b"\0\5hello")
            line.send(moldudp.MOLDUDP64.header(session, n + 2, 3) + b"\xff\xff")
            forged = random.randbytes(40)
            line.send(moldudp.MOLDUDP64.header(session, n + 2, 1) + b"\0\x28" + forged)
            sender.send(b"good %d" % n)
            sender.flush(10)
        got: list[bytes] = []
        while len(got) < 200:
            got += receiver.poll(timeout=1.0).payloads.payloads()
        assert got == [b"good %d" % n for n in range(200)]
        # The rewinder may have been quicker than the line: read what waits there, too.
        while (counters := receiver.counters).impossible < 200:
            assert len(receiver.poll(timeout=1.0)) == 0
        assert counters.malformed > 0
        assert counters.foreign_session >= 200


def test_random_requests_are_met_with_silence(bus: Bus) -> None:
    node = bus.configuration.node("REW1")
    assert node.request_port is not None
    random = Random(3)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.settimeout(5)
        for _ in range(500):
            stranger.sendto(random.randbytes(random.randrange(0, 100)), (node.host, node.request_port))
        with bus.sender() as sender:
            sender.send(b"x")
            number = sender.flush(10)
        while bus.ask("REW1", "status")["commit"] < number:
            pass
        request = moldudp.MOLDUDP64.request(bus.configuration.session_field, number, 65535)
        stranger.sendto(request, (node.host, node.request_port))
        reply = moldudp.MOLDUDP64.decode(stranger.recv(2048))
        assert reply.header.sequence_number == number
        assert len(reply.messages) == 1
    counters = bus.ask("REW1", "status")["requests"]
    assert counters["requests"] == 501
    assert counters["replies"] == 1
