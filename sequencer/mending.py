"""Getting back committed records that a sequencer's own log has lost.

A torn tail, left by a machine that lost its power, may have held records that were committed: the marks beside
the log say so. To stamp new records under those numbers would show receivers two histories. The rewinders have
them; a sequencer fetches them before it opens its ports, or does not start.
"""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING

from rewinder.errors import LogError
from souptcp import Closed, Rejected, Sequenced, log_in

if TYPE_CHECKING:
    from rewinder.log import MessageLog

PATIENCE_SECONDS = 10.0
"""How long the rewinders are asked: they may be starting too."""

PAUSE_SECONDS = 0.1
"""Between rounds over the rewinders."""


class RecordsLost(LogError):
    """Committed records are not in the log, and no rewinder has them."""


def mend(
    log: MessageLog, rewinders: tuple[tuple[str, int], ...], user: str, password: str
) -> tuple[int, int] | None:
    """Fetch what the log has lost below its commit number.

    `rewinders` are replay ports. Returns the numbers (first, last) of what was fetched, None when nothing was
    missing. Raises RecordsLost naming the numbers that nobody has.
    """
    wanted = log.lost_commit
    if not wanted:
        return None
    first = log.next_number
    deadline = time.monotonic() + PATIENCE_SECONDS
    trouble = "no rewinder is configured"
    while log.last < wanted:
        for address in rewinders:
            trouble = f"{address[0]}:{address[1]}: {_fetch(log, address, user, password, wanted, deadline)}"
            if log.last >= wanted:
                break
        else:
            if not rewinders or time.monotonic() >= deadline:
                raise RecordsLost(
                    f"records {log.next_number} to {wanted} were committed and are no longer in the log of "
                    f"{log.session.decode('ascii', 'replace').strip()}, and nobody has them ({trouble}); "
                    f"this session cannot go on here: start a new one"
                )
            time.sleep(PAUSE_SECONDS)
    log.commit = wanted
    return first, wanted


def _fetch(
    log: MessageLog, address: tuple[str, int], user: str, password: str, wanted: int, deadline: float
) -> str:
    """Append what one rewinder has of the records up to `wanted`; returns why it ended."""
    try:
        connection, _ = log_in(
            address,
            user=user,
            password=password,
            session=log.session,
            sequence_number=log.next_number,
            now_ns=time.monotonic_ns(),
        )
    except OSError as error:
        return str(error)
    try:
        while log.last < wanted:
            left = deadline - time.monotonic()
            if left <= 0:
                return f"it has records up to {log.last} only"
            connection.write(time.monotonic_ns())
            select.select([connection], [connection] if connection.wants_write else [], [], min(left, 0.5))
            for event in connection.read(time.monotonic_ns()):
                match event:
                    case Sequenced(number, messages) if number == log.next_number:
                        log.append_records(messages.before(wanted - log.last))
                    case Sequenced(number, _):
                        return f"it sent record {number}, wanted was {log.next_number}"
                    case Rejected(reason):
                        return f"it refused the login ({reason})"
                    case Closed(reason):
                        return reason
    finally:
        connection.abandon()
    return "done"
