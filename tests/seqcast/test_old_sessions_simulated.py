"""Old sessions in the bus of a test: nodes that begin another session keep the log of the one before."""

from __future__ import annotations

from plain_soup import Packets, login

from seqcast.testing.bus import Bus
from seqcast.testing.fabric import SimNetwork
from seqcast.testing.machine import Machine
from seqcast.testing.node import REPLAY_PORT, SESSION


def replay(bus: Bus, machine: Machine, name: str, session: bytes) -> Packets:
    """Take what a rewinder sends within a second."""
    connection = SimNetwork(machine.fabric, machine).connect(name, REPLAY_PORT)
    bus.run(0.1)
    connection.send(memoryview(login(session, 1)))
    packets, space = Packets(), memoryview(bytearray(1 << 16))
    for _ in range(10):
        bus.run(0.1)
        if connection.unread:
            packets.feed(bytes(space[: connection.recv_into(space)]))
    connection.close()
    return packets


def test_a_session_is_replayed_by_name_when_the_nodes_have_begun_another() -> None:
    with Bus(seed=3, voters=1, readers=1) as bus:
        machine = Machine(bus.nodes["REW8"].fabric, "PLAIN")
        sender = bus.sender()
        for n in range(100):
            sender.send(b"old %d" % n)
        sender.flush()
        bus.run(1)
        before = replay(bus, machine, "REW8", SESSION.strip())
        assert before.kinds == b"A" + 101 * b"S"
        sender.close()
        for node in bus.nodes.values():
            node.change_session(b"NEXT      ")
        bus.run(2)
        assert replay(bus, machine, "REW8", b"NEXT").kinds == b"AS"
        after = replay(bus, machine, "REW8", SESSION.strip())
        assert after.found == [*before.found, (b"Z", b"")]
        status = bus.nodes["REW8"].handlers["status"]({})
        assert [(row["session"], row["shown"], row["ended"]) for row in status["old_sessions"]] == [
            ("SIMULATED", 101, False)
        ]
        for node in bus.nodes.values():
            node.change_session(SESSION)
        bus.run(2)
        assert replay(bus, machine, "REW8", b"").accepted == (b" SIMULATED", 1)
        assert replay(bus, machine, "REW8", b"NEXT").kinds == b"ASZ"
