"""Memory: what each process holds after so many messages, and after twice as many.

One voter, a sender with a timetable, a receiver that checks everything. What is counted is anonymous memory: pages of
the log are files, and leave when the kernel wants them to. A log keeps the index of 64 segments in memory, 130 KiB for
one of 64 MiB; with segments of 1 MiB it has as many as it ever has before the first look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.soak import Soak

if TYPE_CHECKING:
    from bench.scenario import Bench

SEGMENT_MIB = 1

RATE = 1_000_000
"""Messages a second: no less than back-pressure lets through here."""


def measure(bench: Bench) -> dict[str, Any]:
    """What each process held at both looks."""
    messages = bench.settings.messages
    with bench.bus(segment_mib=SEGMENT_MIB) as bus:
        soak = Soak.start(bench, bus, "memory", rate=RATE)
        for total in (messages, 2 * messages):
            soak.wait_received(total)
            soak.look()
        sent, _ = soak.finish()
    return {
        "rate": RATE,
        "messages": [messages, 2 * messages],
        "sent": sent["sent"],
        "segment_mib": SEGMENT_MIB,
        "processes": soak.growth(messages),
    }
