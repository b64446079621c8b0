"""The process of a sender or a receiver: `python -m seqcast.demo.worker sender|receiver`.

It is driven by JSON objects, one a line: orders on standard input, the first of which says everything about
the work, and events with the key `event` on standard output. It ends when either pipe is closed, so it does
not outlive the demo. What goes wrong is written to standard error.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from typing import Any

import click
from attrs import define, field

from seqcast.demo.receiving import ReceiverOrder, receive
from seqcast.demo.sending import SenderOrder, send
from seqcast.errors import SeqcastError

ORDER_BYTES = 65_536
"""Read at once from standard input; orders are far smaller."""


@define(eq=False)
class Demonstrator:
    """The process that started this one: it gives orders, and is told how things stand."""

    orders: int = 0
    events: int = 1
    report_ns: int = 100_000_000
    """How often `progress` really tells something."""
    _unread: bytes = field(default=b"", init=False)
    _reported_ns: int = field(default=0, init=False)

    def tell(self, event: str, **values: Any) -> None:
        """Report an event. Raises BrokenPipeError when nobody is there any more."""
        line = json.dumps({"event": event, **values}, separators=(",", ":")).encode("ascii") + b"\n"
        while line:
            line = line[os.write(self.events, line) :]

    def progress(self, **values: Any) -> None:
        """Report how far the work is; cheap when called often."""
        now_ns = time.monotonic_ns()
        if now_ns - self._reported_ns >= self.report_ns:
            self._reported_ns = now_ns
            self.tell("progress", **values)

    def ordered(self) -> bool:
        """Whether an order waits to be read, or the pipe is closed."""
        return b"\n" in self._unread or bool(select.select([self.orders], [], [], 0)[0])

    def order(self) -> dict[str, Any]:
        """The next order; waits for it. Raises EOFError when there will be none."""
        while b"\n" not in self._unread:
            data = os.read(self.orders, ORDER_BYTES)
            if not data:
                raise EOFError
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        order: dict[str, Any] = json.loads(line)
        return order


def main(arguments: list[str]) -> int:
    """Do the work that the first order describes; returns the exit status."""
    demonstrator = Demonstrator()
    try:
        order = demonstrator.order()
        if arguments == ["sender"]:
            send(SenderOrder(**order), demonstrator)
        elif arguments == ["receiver"]:
            receive(ReceiverOrder(**order), demonstrator)
        else:
            raise SystemExit("usage: python -m seqcast.demo.worker sender|receiver")
    except (EOFError, BrokenPipeError):
        return 0  # the demo is over
    except (SeqcastError, OSError) as error:
        click.echo(f"{type(error).__name__}: {error}", err=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
