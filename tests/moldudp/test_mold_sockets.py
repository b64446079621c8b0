"""Real sockets on loopback: multicast in and out, sources, requests, and what the kernel refuses."""

from __future__ import annotations

import random
import select
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from moldudp import (
    MOLDUDP64,
    Codec,
    Downstream,
    Faults,
    ListStore,
    LocalProtocolError,
    Receiver,
    RequestServer,
    granted_receive_buffer,
    multicast_receiver,
    multicast_sender,
    request_socket,
)
from moldudp.sockets import read_datagrams

LOOPBACK = "127.0.0.1"
SESSION = b"SESS000001"
WAIT_SECONDS = 10
UDP_SEGMENT, UDP_GRO = 103, 104  # linux/udp.h

Keep = Callable[[socket.socket], socket.socket]


@pytest.fixture
def keep() -> Iterator[Keep]:
    """Closes the sockets of a test."""
    with ExitStack() as stack:
        yield stack.enter_context


def free_port(group: str, keep: Keep) -> int:
    """A port that is free: the kernel chooses it, and gives the number back."""
    probe = keep(multicast_receiver(group, 0, LOOPBACK))
    return probe.getsockname()[1]


def wait(*sockets: socket.socket) -> list[socket.socket]:
    ready, _, _ = select.select(sockets, [], [], WAIT_SECONDS)
    assert ready, "nothing arrived"
    return ready


def test_receive_from_multicast(codec: Codec, group: str, keep: Keep) -> None:
    port = free_port(group, keep)
    line = keep(multicast_receiver(group, port, LOOPBACK))
    sender = keep(multicast_sender(group, port, LOOPBACK))
    receiver = Receiver(codec=codec, random=random.Random(1))
    assert receiver.receive_from(line.fileno(), 0) == 0
    downstream = Downstream(codec, SESSION)
    sent = [b"%d" % number * 30 for number in range(1, 2001)]
    packets = downstream.send(sent, 0)
    delivered: list[bytes] = []
    for packet in packets:
        sender.send(packet)
        if random.Random(len(packet)).random() < 0.3:
            continue
        wait(line)
        assert receiver.receive_from(line.fileno(), 0) >= 1
        while batch := receiver.messages():
            delivered += batch.payloads()
    for packet in downstream.end(0):
        sender.send(packet)
    while not receiver.ended:
        wait(line)
        receiver.receive_from(line.fileno(), 0)
        while batch := receiver.messages():
            delivered += batch.payloads()
    assert delivered == sent
    assert receiver.counters.datagrams == receiver.counters.line_datagrams[0] == len(packets) + 1


def test_one_call_reads_one_batch(group: str, keep: Keep) -> None:
    port = free_port(group, keep)
    line = keep(multicast_receiver(group, port, LOOPBACK))
    sender = keep(multicast_sender(group, port, LOOPBACK))
    receiver = Receiver(random=random.Random(1), batch=8)
    for packet in range(1, 21):
        sender.send(MOLDUDP64.pack(SESSION, packet, [b"x"], 100)[0])
    wait(line)
    counts = []
    while count := receiver.receive_from(line.fileno(), 0, line=3):
        counts.append(count)
        while receiver.messages():
            pass
    assert counts == [8, 8, 4]
    assert (receiver.next_number, receiver.counters.line_datagrams) == (21, (0, 0, 0, 20))


def send_segments(sender: socket.socket, packets: list[bytes]) -> None:
    """Packets of one size, but for the last, which may be shorter, in one call of UDP_SEGMENT."""
    size = len(packets[0])
    assert {len(packet) for packet in packets[:-1]} <= {size}
    assert len(packets[-1]) <= size
    sender.sendmsg([b"".join(packets)], [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("H", size))])


def test_coalesced_datagrams_are_taken_apart(codec: Codec, group: str, keep: Keep) -> None:
    port = free_port(group, keep)
    line = keep(multicast_receiver(group, port, LOOPBACK, coalesced=True))
    plain = keep(multicast_receiver(group, port, LOOPBACK))
    sender = keep(multicast_sender(group, port, LOOPBACK))
    receiver, other = (
        Receiver(codec=codec, random=random.Random(1)),
        Receiver(codec=codec, random=random.Random(1)),
    )
    packets = [codec.pack(SESSION, 1 + 6 * n, [bytes([n]) * 200] * 6, 1472)[0] for n in range(40)]
    packets.append(codec.pack(SESSION, 241, [b"shorter"], 1472)[0])
    send_segments(sender, packets)
    for packet in packets:  # and each again by itself
        sender.send(packet)
    for socket_, machine in ((line, receiver), (plain, other)):
        delivered: list[bytes] = []
        while machine.counters.datagrams < 2 * len(packets):
            wait(socket_)
            assert machine.receive_from(socket_.fileno(), 0) > 0
            while batch := machine.messages():
                delivered += batch.payloads()
        assert delivered == [bytes([n]) * 200 for n in range(40) for _ in range(6)] + [b"shorter"]
        assert (machine.counters.duplicates, machine.counters.malformed) == (241, 0)


def test_what_one_read_brings_coalesced(group: str, keep: Keep) -> None:
    """All 41 in one call, where a plain socket gives no more than it has room for."""
    port = free_port(group, keep)
    line = keep(multicast_receiver(group, port, LOOPBACK, coalesced=True))
    if not line.getsockopt(socket.IPPROTO_UDP, UDP_GRO):
        pytest.skip("this kernel coalesces nothing")
    sender = keep(multicast_sender(group, port, LOOPBACK))
    packets = [MOLDUDP64.pack(SESSION, 1 + n, [bytes(100)], 1472)[0] for n in range(41)]
    send_segments(sender, packets)
    wait(line)
    assert read_datagrams(line.fileno()) == packets
    with pytest.raises(BlockingIOError):
        read_datagrams(line.fileno())
    send_segments(sender, packets)
    wait(line)
    receiver = Receiver(random=random.Random(1))
    faults = Faults(receiver, random.Random(1))
    assert faults.receive_from(line.fileno(), 0) == 41
    assert receiver.messages().numbers == list(range(1, 42))
    send_segments(sender, packets)
    wait(line)
    assert receiver.receive_from(line.fileno(), 0, line=2) == 41
    assert receiver.counters.line_datagrams == (41, 0, 41, 0)


def test_overlong_datagrams_are_seen(group: str, keep: Keep) -> None:
    port = free_port(group, keep)
    line = keep(multicast_receiver(group, port, LOOPBACK))
    sender = keep(multicast_sender(group, port, LOOPBACK))
    receiver = Receiver(random=random.Random(1), datagram_bytes=64)
    sender.send(MOLDUDP64.pack(SESSION, 1, [bytes(42)], 65)[0])
    sender.send(MOLDUDP64.pack(SESSION, 1, [bytes(43)], 65)[0])
    sender.send(MOLDUDP64.pack(SESSION, 2, [bytes(1)], 65)[0])
    wait(line)
    assert receiver.receive_from(line.fileno(), 0) == 3
    assert receiver.messages().numbers == [1, 2]
    assert (receiver.counters.overlong, receiver.counters.datagrams) == (1, 3)


def test_only_its_own_group(group: str, keep: Keep) -> None:
    """Another group on the same port, and unicast to it, are not received."""
    port = free_port(group, keep)
    line = keep(multicast_receiver(group, port, LOOPBACK))
    first, second, third, last = group.split(".")
    other = f"{first}.{second}.{third}.{255 if last != '255' else 1}"
    keep(multicast_receiver(other, port, LOOPBACK))
    keep(multicast_sender(other, port, LOOPBACK)).send(b"other group")
    keep(request_socket(LOOPBACK)).sendto(b"unicast", (LOOPBACK, port))
    keep(multicast_sender(group, port, LOOPBACK)).send(b"mine")
    wait(line)
    assert line.recv(100) == b"mine"
    with pytest.raises(BlockingIOError):
        line.recv(100)


def test_two_receivers_of_one_group(group: str, keep: Keep) -> None:
    port = free_port(group, keep)
    lines = [keep(multicast_receiver(group, port, LOOPBACK)) for _ in range(2)]
    keep(multicast_sender(group, port, LOOPBACK)).send(b"both")
    for line in lines:
        wait(line)
        assert line.recv(100) == b"both"


def test_source_specific(group: str, keep: Keep) -> None:
    port = free_port(group, keep)
    keep(multicast_receiver(group, port, LOOPBACK))  # somebody else on this machine wants every source
    wanted = keep(multicast_receiver(group, port, LOOPBACK, source=LOOPBACK))
    unwanted = keep(multicast_receiver(group, port, LOOPBACK, source="127.0.0.2"))
    keep(multicast_sender(group, port, LOOPBACK)).send(b"x")
    wait(wanted)
    assert wanted.recv(100) == b"x"
    with pytest.raises(BlockingIOError):
        unwanted.recv(100)


def test_loopback_can_be_turned_off(group: str, keep: Keep) -> None:
    port = free_port(group, keep)
    line = keep(multicast_receiver(group, port, LOOPBACK))
    quiet = keep(multicast_sender(group, port, LOOPBACK, loopback=False, ttl=3))
    assert quiet.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP) == 0
    assert quiet.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 3
    assert not line.getblocking()
    assert not quiet.getblocking()


def test_granted_receive_buffer(group: str, keep: Keep) -> None:
    line = keep(multicast_receiver(group, 0, LOOPBACK, receive_buffer=100_000))
    assert granted_receive_buffer(line) == 100_000


def test_requests_and_replies(codec: Codec, keep: Keep) -> None:
    """Request and reply cross real sockets, with losses in front of the receiver."""
    store = ListStore(codec, SESSION)
    sent = [b"%d" % number for number in range(1, 301)]
    store.extend(sent)
    store.end()
    server = RequestServer(codec, store, capacity=200)
    server_socket = keep(request_socket(LOOPBACK))
    client_socket = keep(request_socket(LOOPBACK))
    receiver = Receiver(codec=codec, random=random.Random(1))
    faults = Faults(receiver, random.Random(2), loss=0.3, duplicate=0.2)
    receiver.receive_datagram(codec.end_of_session(SESSION, 301), 0)
    delivered: list[bytes] = []
    now_ns = 0
    while not receiver.ended:
        delivered += receiver.messages().payloads()
        for request in receiver.requests(now_ns):
            client_socket.sendto(request, server_socket.getsockname())
            wait(server_socket)
            datagram, address = server_socket.recvfrom(100)
            reply = server.respond(datagram)
            assert reply is not None
            server_socket.sendto(reply, address)
            wait(client_socket)
            assert faults.receive_from(client_socket.fileno(), now_ns, line=2) == 1
        now_ns += 1_000_000
    assert delivered + receiver.messages().payloads() == sent
    assert faults.counters.lost > 0
    assert faults.receive_from(client_socket.fileno(), now_ns) == 0


def test_request_that_nobody_hears_is_counted(keep: Keep) -> None:
    """An ICMP answer on a connected socket is an event to count, not an error."""
    nobody = keep(request_socket(LOOPBACK))
    address = nobody.getsockname()
    nobody.close()
    client = keep(request_socket(LOOPBACK))
    client.connect(address)
    client.send(b"x")
    receiver = Receiver(random=random.Random(1))
    assert receiver.receive_from(client.fileno(), 0) == 0
    assert receiver.counters.refused == 1


def test_errors_name_what_they_are_about(group: str, keep: Keep) -> None:
    with pytest.raises(OSError, match=rf"{group}:5000 on interface 192.0.2.1"):
        multicast_receiver(group, 5000, "192.0.2.1")
    with pytest.raises(OSError, match=r"interface 192.0.2.1 from source 10.0.0.1"):
        multicast_receiver(group, 5000, "192.0.2.1", source="10.0.0.1")
    with pytest.raises(OSError, match=rf"{group}:5000 on interface 192.0.2.1"):
        multicast_sender(group, 5000, "192.0.2.1")
    taken = keep(request_socket(LOOPBACK))
    port = taken.getsockname()[1]
    with pytest.raises(OSError, match=f"UDP port {port} on interface 127.0.0.1"):
        request_socket(LOOPBACK, port)
    with pytest.raises(OSError, match="receiving from descriptor"):
        Receiver(random=random.Random(1)).receive_from(-1, 0)


def test_addresses_that_are_none(group: str) -> None:
    with pytest.raises(LocalProtocolError, match="not a multicast group"):
        multicast_receiver("10.0.0.1", 5000, LOOPBACK)
    with pytest.raises(LocalProtocolError, match="not an IPv4 address"):
        multicast_sender(group, 5000, "lo")
    with pytest.raises(LocalProtocolError, match="not an IPv4 address"):
        request_socket("localhost")
    with pytest.raises(LocalProtocolError, match="70000"):
        multicast_receiver(group, 70000, LOOPBACK)
