"""A sender and a receiver that go on until they are told to end, and what each process holds in memory meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field

from bench.rounds import result_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.bus import Bus
    from bench.processes import Process
    from bench.scenario import Bench

END_SECONDS = 60.0
"""How long a process may take to end once it is told: what is in flight is delivered first."""

START_SECONDS = 30.0

SLOWEST_RATE = 20_000
"""Messages a second; a receiver that is slower is given up."""

SPARE_BYTES = 1 << 20
"""What the memory of a process may vary by: buffers of the allocator, objects of a status question."""

BYTES_PER_MESSAGE = 1.0
"""Growth that is taken for growth. A log keeps an index of the 64 segments that it has open, half a byte a message
until there are so many; anything that is kept for a message is more."""


@define(eq=False)
class Soak:
    """The receiver starts at number 1 and checks everything; the sender is a module that runs until SIGTERM."""

    bench: Bench
    bus: Bus
    label: str
    sender: Process
    receiver: Process
    history: int = 0
    """Messages that were in the stream before."""
    memory: list[dict[str, int]] = field(factory=list, init=False)
    """Anonymous memory of each process, in bytes, at each look."""

    @classmethod
    def start(
        cls,
        bench: Bench,
        bus: Bus,
        label: str,
        *,
        module: str = "bench.sender",
        history: int = 0,
        **settings: Any,
    ) -> Soak:
        """Start the sender, and then the receiver; `settings` are the sender's."""
        processes, common = bus.processes, bus.worker_settings(None)
        sender = processes.start_module("sender", module, {**common, **settings})
        processes.wait_ready(sender)
        receiver = processes.start_module("receiver", "bench.latecomer", {**common, "history": history})
        return cls(bench, bus, label, sender, receiver, history)

    def wait_received(self, messages: int) -> None:
        """Wait until the receiver has so many messages."""
        self.wait(lambda: self._received() >= messages, messages, f"{messages:,} messages did not come")

    def wait(self, condition: Callable[[], bool], messages: int, sentence: str) -> None:
        """Wait for something that takes as long as so many messages, and show how many have come of them."""

        def shown() -> bool:
            if (received := self._received()) <= messages:
                self.bench.show(self.label, received, messages)
            return condition()

        self.bus.processes.wait(shown, START_SECONDS + messages / SLOWEST_RATE, sentence)

    def look(self) -> None:
        """Look at the memory of all."""
        processes = {**self.bus.nodes, "sender": self.sender, "receiver": self.receiver}
        self.memory.append({name: process.anonymous_bytes() for name, process in processes.items()})

    def finish(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """End both; returns what the sender and the receiver say. What is lost or wrong is a problem."""
        for process in (self.sender, self.receiver):
            self.bus.processes.tell_to_end(process)
            self.bus.processes.wait(
                lambda p=process: p.status is not None,  # type: ignore[misc]
                END_SECONDS,
                f"the {process.name} did not end",
            )
        sent, received = result_of(self.sender), result_of(self.receiver)
        problems, due = self.bench.problems, self.history + sent["sent"]
        if received["received"] != due:
            problems.append(f"{self.label}: {received['received']} messages came, {due} were sent")
        if received["wrong"]:
            problems.append(f"{self.label}: {received['wrong']} messages came out of order, again or changed")
        return sent, received

    def growth(self, messages: int, spare_bytes: int = SPARE_BYTES) -> dict[str, dict[str, float]]:
        """What each process held at the first look and at the last, and bytes for each of the `messages` in between.

        Growth is a problem, beyond `spare_bytes` and `BYTES_PER_MESSAGE`.
        """
        found = {}
        for name, before in self.memory[0].items():
            grown = self.memory[-1][name] - before
            if grown > max(spare_bytes, BYTES_PER_MESSAGE * messages):
                self.bench.problems.append(
                    f"{self.label}: {name} has {grown:,} bytes more after {messages:,} messages"
                )
            found[name] = {
                "before_bytes": before,
                "after_bytes": before + grown,
                "bytes_per_message": round(grown / max(messages, 1), 3),
            }
        return found

    def _received(self) -> int:
        """How many messages the receiver has, as it last said."""
        reports = reversed(self.receiver.reports)
        return int(next((each["progress"] for each in reports if "progress" in each), 0))
