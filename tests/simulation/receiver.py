"""An app that receives: `seqcast.reception` and all below it, over the simulated network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import moldudp
from rewinder.pump import READABLE, WRITABLE
from rewinder.record import RECORD_CHECK
from seqcast.assembly import Assembly
from seqcast.reception import Reception, Repair
from seqcast.rewind import Rewind
from simulation.fabric import Host
from simulation.machine import GROUP, REPLAY_PORT, REQUEST_PORT, SESSION, SILENCE_NS, Machine
from simulation.pump import SimPump
from simulation.world import MILLISECOND

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulation.fabric import Fabric

HELD_DATAGRAMS = 64
INBOX_DATAGRAMS = 100
ROWS = 256
SMALL_GAP = 30
REPLY_LINE = 3


class SimReceiver:
    """A receiver from record 1. `on_record(name, number, record)` sees what it takes, in order."""

    def __init__(
        self, fabric: Fabric, name: str, rewinders: list[str], on_record: Callable[[str, int, bytes], None]
    ) -> None:
        self.fabric, self.name, self.rewinders, self.on_record = fabric, name, rewinders, on_record
        self.machine = Machine(fabric, name)
        self.host = Host(fabric, self.machine)
        self.messages: list[tuple[int, bytes]] = []
        self.next_number = 1
        self.rewinds = self.requests = 0
        self._begin()

    def restart(self) -> None:
        """The process dies, and begins at record 1 again."""
        self.pump.close()
        self.reception.close()
        self.machine.hang_up()
        self.fabric.leave(self.machine)
        self._begin()

    def deadline_ns(self) -> int | None:
        return self.reception.deadline_ns()

    def handle_timer(self, _now_ns: int) -> None:
        """The turn itself does what is due."""

    def _begin(self) -> None:
        random = self.fabric.world.random
        self.reception = Reception(
            mold=moldudp.Receiver(
                session=SESSION,
                start=1,
                held_datagrams=HELD_DATAGRAMS,
                datagram_bytes=1024,
                table_rows=ROWS,
                check=RECORD_CHECK,
                random=random,
                pacing=moldudp.Pacing(request_messages=8, outstanding=8),
            ),
            open_rewind=self._open_rewind,
            random=random,
            repair=Repair(small_gap=SMALL_GAP, silence_ns=3 * SILENCE_NS, retry_limit_ns=100 * MILLISECOND),
            eager=True,
        )
        self.assembly = Assembly(ROWS)
        self.messages = []
        self.next_number = 1
        self._inbox: list[bytes] = []
        self._watched: Rewind | None = None
        self.pump = SimPump(self.machine, self._finish)
        self._replies = self.host.datagrams(self.name, 0)
        self.pump.watch(self._replies.fileno(), self._on_reply)
        self.fabric.join(self.machine, GROUP, self._datagram)
        self.pump.wake()

    def _datagram(self, packet: bytes) -> None:
        """The socket's buffer: what does not fit is lost."""
        if len(self._inbox) < INBOX_DATAGRAMS:
            self._inbox.append(packet)
            self.pump.wake()
        else:
            self.fabric.lost_bytes += len(packet)

    def _on_reply(self, _events: int, now_ns: int) -> int:
        while self._replies.readable():
            packet, _ = self._replies.recvfrom(2048)
            self.reception.mold.receive_datagram(packet, now_ns, REPLY_LINE)
            self._deliver(now_ns)
        return 1

    def _open_rewind(self, turn: int, number: int, now_ns: int) -> Rewind:
        self.rewinds += 1
        return Rewind.open(
            (self.rewinders[turn % len(self.rewinders)], REPLAY_PORT),
            user=self.name,
            password="",
            session=SESSION,
            number=number,
            now_ns=now_ns,
            timeout_ns=2 * SILENCE_NS,
            connect=self.host.connect,
        )

    def _on_ready(self, events: int, now_ns: int) -> int:
        rewind = self._watched
        if rewind is not None and rewind is self.reception.rewind:
            if events & WRITABLE and rewind.write(now_ns):
                self.pump.change(rewind.fileno(), READABLE)
            if events & ~WRITABLE:
                self.reception.rewind_readable(now_ns)
        return 1

    def _finish(self, now_ns: int) -> int:
        for packet in self._inbox:
            self.reception.mold.receive_datagram(packet, now_ns)
            self.reception.line_heard(now_ns)
            self._deliver(now_ns)
        self._inbox.clear()
        self._deliver(now_ns)
        for request in self.reception.due(now_ns):
            self.requests += 1
            server = self.rewinders[self.requests % len(self.rewinders)]
            self._replies.sendto(request, (server, REQUEST_PORT))
        self._deliver(now_ns)
        self.pump.timers.watch(self)
        return 1

    def _deliver(self, now_ns: int) -> None:
        while True:
            records = self.reception.records(now_ns)
            if records is None:
                break
            for index in range(len(records)):
                self.on_record(self.name, records.number(index), bytes(records[index]))
                self.next_number = records.number(index) + 1
            while len(records):
                batch, taken = self.assembly.open(records, ROWS)
                if batch is not None:
                    self.messages += [(message.number, bytes(message.payload)) for message in batch]
                records = records.after(taken)
        self._follow()

    def _follow(self) -> None:
        rewind = self.reception.rewind
        if rewind is not self._watched:
            self._watched = rewind
            if rewind is not None:
                self.pump.watch(rewind.fileno(), self._on_ready, READABLE | WRITABLE)
