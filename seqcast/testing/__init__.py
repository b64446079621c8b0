"""The whole bus in one test: nodes, apps, network and disks in one thread, on virtual time, decided by a seed.

    from seqcast.testing import Bus

    with Bus(seed=7) as bus:
        sender, receiver = bus.sender("ALPHA"), bus.receiver()
        ticket = sender.send(b"hello")
        bus.crash(bus.primary)
        number = ticket.wait()  # first: a sender moves only while it is called
        assert receiver.take(1)[0].number == number

With pytest there is a fixture, `bus`, and a marker, `@pytest.mark.bus(seeds=100)`.
"""

from __future__ import annotations

from seqcast.testing.app import App
from seqcast.testing.bus import Bus
from seqcast.testing.hunt import Found, hunt
from seqcast.testing.troubles import Troubles

__all__ = ["App", "Bus", "Found", "Troubles", "hunt"]
