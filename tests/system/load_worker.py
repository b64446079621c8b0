"""The processes of a load: a sender, a receiver, or a tap of the wire. `load` starts them and talks to them.

    python load_worker.py sender|receiver|tap SETTINGS

SETTINGS is a JSON object. Each writes JSON lines to standard output: first {"ready": true}, then how far it is, at
last its result. Commands are lines on standard input; its end, which is also that of the parent, ends the worker.

What they write to files, all integers big-endian:

- a sender, for each acknowledgement: monotonic time 8, sender sequence 8, stream number 8;
- a receiver, for each message: stream number 8, sender 6, sender sequence 8, time 8, length 4, the message;
- a tap, for each datagram: length 2, the datagram.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import sys
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from payloads import payload

import moldudp
from seqcast import Receiver, Sender
from seqcast.config import read_configuration
from seqcast.errors import WouldBlock

if TYPE_CHECKING:
    from seqcast.receiver import Receiver
    from seqcast.sender import Sender

ACKNOWLEDGEMENT = struct.Struct(">QQQ")
DELIVERY = struct.Struct(">Q6sQQI")
LENGTH = struct.Struct(">H")

TURN_SECONDS = 0.001
BURST_MESSAGES = 500
"""Most messages of one turn when the timetable is behind, so that answers are read in between."""

PROGRESS_NS = 20_000_000
CONNECT_SECONDS = 60.0
TAP_BUFFER_BYTES = 64 << 20
SO_RCVBUFFORCE = 33


def report(**values: Any) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def told() -> str | None:
    """The command that has come, if one has."""
    if not select.select([0], [], [], 0)[0]:
        return None
    line = sys.stdin.readline()
    if not line:
        raise SystemExit("the parent is gone")
    return line.strip()


class Progress:
    """Says how far the worker is, not too often."""

    def __init__(self) -> None:
        self.due_ns = 0
        self.told: tuple[int, str | None] = (0, None)

    def show(self, count: int, state: str | None = None) -> None:
        now_ns = time.monotonic_ns()
        if (count, state) != self.told and now_ns >= self.due_ns:
            self.due_ns, self.told = now_ns + PROGRESS_NS, (count, state)
            report(progress=count, state=state)


# sender: {"config", "user", "rate", "path"}; the command "stop" ends the timetable


def send(settings: dict[str, Any]) -> None:
    """Send to a timetable that waits for nobody, until told to stop; then wait until all is committed."""
    configuration = read_configuration(Path(settings["config"]))
    user, rate = settings["user"], settings["rate"]
    sender = Sender(configuration, user, connect_seconds=CONNECT_SECONDS)
    sent, stopped, noted, progress = 0, False, 0, Progress()
    with Path(settings["path"]).open("wb", buffering=0) as acknowledgements:
        sender.open()
        assert sender.resumed_at == 0, "the user has sent before"
        report(ready=True)
        start_ns = time.monotonic_ns()
        while not stopped or sender.in_flight:
            if not stopped:
                due = (time.monotonic_ns() - start_ns) * rate // 1_000_000_000
                sent += queue(sender, user, sent, min(due, sent + BURST_MESSAGES))
                stopped = told() == "stop"
            sender.poll(TURN_SECONDS)
            if sender.committed_sequence > noted:
                noted = sender.committed_sequence
                acknowledgements.write(
                    ACKNOWLEDGEMENT.pack(time.monotonic_ns(), noted, sender.committed_number)
                )
            progress.show(sender.committed_number, sender.trouble)
        report(sent=sent, frames=sender.last_sequence, reconnections=sender.reconnections)
        sender.close()


def queue(sender: Sender, user: str, first: int, end: int) -> int:
    """Hand over the messages from `first` on; returns how many were taken."""
    for index in range(first, end):
        try:
            sender.send(payload(user, index), timeout=0)
        except WouldBlock:
            return index - first
    return max(0, end - first)


# receiver: {"config", "path", "multicast", "loss", "seed"}; "until N" ends it when it has everything up to N


def receive(settings: dict[str, Any]) -> None:
    """Write down what comes, from the first record on."""
    configuration = read_configuration(Path(settings["config"]))

    def lossy(mold: moldudp.Receiver) -> moldudp.Faults:
        loss = settings["loss"]
        return moldudp.Faults(mold, Random(settings["seed"]), loss=loss, duplicate=loss / 2, reorder=loss / 2)

    options: dict[str, Any] = {"faults": lossy} if settings["loss"] else {}
    until, progress = None, Progress()
    with (
        Receiver(configuration, lines=("a", "b") if settings["multicast"] else (), **options) as receiver,
        Path(settings["path"]).open("wb") as out,
    ):
        report(ready=True)
        while until is None or receiver.position <= until:
            out.write(entries(receiver))
            progress.show(receiver.position)
            command = told()
            if command is not None and command.startswith("until "):
                until = int(command.removeprefix("until "))
        report(
            delivered=receiver.delivered,
            gaps_filled=receiver.gaps_filled,
            rewound=receiver.rewound,
            duplicates_dropped=receiver.duplicates_dropped,
            lost=receiver.injected.counters.lost if receiver.injected is not None else 0,
        )


def entries(receiver: Receiver) -> bytes:
    """The next messages, as they are written down."""
    batch = receiver.poll(timeout=PROGRESS_NS / 1e9)
    if not len(batch):
        return b""
    stamps, payloads = batch.stamps, batch.payloads
    fields = zip(payloads.numbers, stamps.senders, stamps.sequences, stamps.times, payloads, strict=True)
    parts: list[bytes | memoryview] = []
    for number, sender, sequence, time_ns, message in fields:
        parts += (DELIVERY.pack(number, sender, sequence, time_ns, len(message)), message)
    return b"".join(parts)


# tap: {"lines": [[group, port]], "interface", "path"}; "stop" ends it when nothing more is there


def tap(settings: dict[str, Any]) -> None:
    """Write down every datagram of the multicast groups, as it comes from a plain socket."""
    lines = []
    poller = select.poll()
    poller.register(0, select.POLLIN)
    for group, port in settings["lines"]:
        line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        line.setsockopt(
            socket.SOL_SOCKET, SO_RCVBUFFORCE if os.geteuid() == 0 else socket.SO_RCVBUF, TAP_BUFFER_BYTES
        )
        line.bind((group, port))
        membership = socket.inet_aton(group) + socket.inet_aton(settings["interface"])
        line.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        line.setblocking(False)
        poller.register(line, select.POLLIN)
        lines.append(line)
    datagrams = 0
    with Path(settings["path"]).open("wb") as out:
        report(ready=True)
        stopped = False
        while not stopped:
            poller.poll()
            stopped = told() == "stop"
            for line in lines:
                datagrams += drain(line, out)
    report(datagrams=datagrams)


def drain(line: socket.socket, out: Any) -> int:
    """Write down what is there now; returns how many datagrams."""
    count = 0
    while True:
        try:
            datagram = line.recv(65536)
        except BlockingIOError:
            return count
        out.write(LENGTH.pack(len(datagram)) + datagram)
        count += 1


ROLES = {"sender": send, "receiver": receive, "tap": tap}

if __name__ == "__main__":
    ROLES[sys.argv[1]](json.loads(sys.argv[2]))
