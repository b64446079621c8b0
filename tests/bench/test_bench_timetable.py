"""The timetable: messages are measured from when they were due, not from when they got away."""

from __future__ import annotations

from attrs import define, field

from bench.payload import due_times
from bench.sender import HEAD_START_NS, Timetable

MESSAGE_BYTES = 32


@define
class FakeSender:
    """Acknowledges what it was given `delay_ns` later; send number `stall_at` takes `stall_ns`."""

    delay_ns: int
    stall_at: int = -1
    stall_ns: int = 0
    now_ns: int = 1_000_000
    last_sequence: int = 7  # of an earlier run
    committed_sequence: int = 7
    sends: int = 0
    waits: int = 0
    sent: list[tuple[int, int, int]] = field(factory=list)  # due, handed over, sequence

    def clock(self) -> int:
        self.now_ns += 1_000  # the work of a turn
        return self.now_ns

    def send_batch(self, messages) -> None:
        for due_ns in due_times(messages):
            self.last_sequence += 1
            self.sent.append((due_ns, self.now_ns, self.last_sequence))
        if self.sends == self.stall_at:
            self.now_ns += self.stall_ns
        self.sends += 1

    def poll(self, timeout: float) -> None:
        """Wakes when the next answer is there, as the connection does."""
        self.waits += 1
        until_ns = self.now_ns + max(1_000, round(timeout * 1e9))
        unanswered = self.sent[self.committed_sequence - 7 :]
        self.now_ns = min([until_ns, *(max(self.now_ns, each[1] + self.delay_ns) for each in unanswered[:1])])
        for _due, handed_ns, sequence in self.sent[self.committed_sequence - 7 :]:
            if self.now_ns < handed_ns + self.delay_ns:
                break
            self.committed_sequence = sequence


def run(sender: FakeSender, rate: int, messages: int) -> Timetable:
    timetable = Timetable(sender, rate, messages, MESSAGE_BYTES, clock=sender.clock)  # type: ignore[arg-type]
    timetable.run()
    return timetable


def test_each_message_carries_the_time_it_was_due() -> None:
    sender = FakeSender(delay_ns=200_000)
    timetable = run(sender, rate=3_000, messages=500)
    assert timetable.start_ns >= 1_000_000 + HEAD_START_NS
    assert [due for due, _, _ in sender.sent] == [timetable.start_ns + i * 10**9 // 3_000 for i in range(500)]
    assert all(due <= handed for due, handed, _ in sender.sent)
    lateness, acknowledged = timetable.lateness.histogram(), timetable.acknowledged.histogram()
    assert lateness.count == acknowledged.count == 500
    assert lateness.max_ns < 10_000
    assert 200_000 <= acknowledged.min_ns <= acknowledged.max_ns < 600_000


def test_no_coordinated_omission() -> None:
    """A sender that is held up for 30 ms owes 30 messages, and each of them has waited."""
    sender = FakeSender(delay_ns=100_000, stall_at=100, stall_ns=30_000_000)
    timetable = run(sender, rate=1_000, messages=1_000)
    assert len(sender.sent) == 1_000
    lateness, acknowledged = timetable.lateness.histogram(), timetable.acknowledged.histogram()
    assert lateness.max_ns >= 28_000_000
    # 30 of 1000 were late by 0 to 30 ms, evenly: the closed loop would have shown one.
    assert lateness.percentile(97) < 1_500_000
    assert lateness.percentile(98) > 8_000_000
    assert acknowledged.max_ns >= 28_000_000


def test_it_sleeps_between_messages() -> None:
    sender = FakeSender(delay_ns=10_000)
    run(sender, rate=1_000, messages=100)
    assert sender.sends == 100
    assert sender.waits < 400
