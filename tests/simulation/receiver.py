"""An app that receives: the downlink of a receiver, and all below it, over the simulated network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import moldudp
from seqcast.assembly import Assembly
from seqcast.downlink import BATCH_MESSAGES, Downlink
from seqcast.endpoints import Endpoints
from seqcast.reception import Repair
from seqcast.settings import Line
from seqcast.testing.fabric import SimNetwork
from seqcast.testing.machine import Machine
from seqcast.testing.node import DATAGRAM_BYTES, GROUP, REPLAY_PORT, REQUEST_PORT, SESSION, SILENCE_NS
from seqcast.testing.pump import SimPump
from seqcast.testing.world import MILLISECOND

if TYPE_CHECKING:
    from collections.abc import Callable

    from seqcast.testing.fabric import Fabric

HELD_DATAGRAMS = 64
SMALL_GAP = 30


class SimReceiver:
    """A receiver from record 1. `on_record(name, number, record)` sees what it takes, in order."""

    def __init__(
        self, fabric: Fabric, name: str, rewinders: list[str], on_record: Callable[[str, int, bytes], None]
    ) -> None:
        self.fabric, self.name, self.on_record = fabric, name, on_record
        self.endpoints = Endpoints(
            session=SESSION,
            lines=(Line(GROUP, 1),),
            rewinders=tuple((rewinder, REPLAY_PORT) for rewinder in rewinders),
            request_servers=tuple((rewinder, REQUEST_PORT) for rewinder in rewinders),
            interface=name,
            datagram_bytes=DATAGRAM_BYTES,
            held_datagrams=HELD_DATAGRAMS,
        )
        self.machine = Machine(fabric, name)
        self.messages: list[tuple[int, bytes]] = []
        self.next_number = 1
        self.rewinds = self.requests = 0  # of former lives
        self._begin()

    @property
    def reception(self):
        return self.downlink.reception

    def restart(self) -> None:
        """The process dies, and begins at record 1 again."""
        self.rewinds += self.reception.rewinds
        self.requests += self.downlink.requests
        self.pump.close()
        self.machine.hang_up()
        self.fabric.world.note(self.name, "starts again")
        self._begin()

    def _begin(self) -> None:
        self.pump = SimPump(self.machine, self._finish)
        self.assembly = Assembly(BATCH_MESSAGES)
        self.messages = []
        self.next_number = 1
        self.downlink = Downlink(
            pump=self.pump,
            network=SimNetwork(self.fabric, self.machine),
            random=self.fabric.world.random,
            endpoints=self.endpoints,
            lines=("a",),
            session=SESSION,
            start=1,
            user=self.name,
            password="",
            repair=Repair(small_gap=SMALL_GAP, silence_ns=3 * SILENCE_NS, retry_limit_ns=100 * MILLISECOND),
            rewind_silence_ns=2 * SILENCE_NS,
            pacing=moldudp.Pacing(request_messages=8, outstanding=8),
        )
        self.pump.wake()

    def _finish(self, now_ns: int) -> int:
        while (records := self.downlink.records(now_ns)) is not None:
            for index in range(len(records)):
                self.on_record(self.name, records.number(index), bytes(records[index]))
                self.next_number = records.number(index) + 1
            while len(records):
                batch, taken = self.assembly.open(records, BATCH_MESSAGES)
                if batch is not None:
                    self.messages += [(message.number, message.payload) for message in batch]
                records = records.after(taken)
        self.downlink.look_after(now_ns)
        return 1
