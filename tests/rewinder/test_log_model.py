"""A Hypothesis model of the log: any sequence of operations, restarts and losses, against lists of records."""

from __future__ import annotations

import random

import oracle_log as oracle
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from oracle_log import SESSION, Oracle, check_log, messages_of

from rewinder.errors import StorageFull
from rewinder.inspection import verify
from rewinder.log import MessageLog
from rewinder.memory import MemoryStorage
from rewinder.record import Kind, Stamp, epoch_payload
from rewinder.segment import SEGMENT_BYTES_MINIMUM, segment_name

SENDERS = [b"ALICE ", b"BOB   ", b"CAROL ", b"DAVE  "]


class LogModel(RuleBasedStateMachine):
    """`twin` holds what the log must hold; `synced` and `commit` what it may claim."""

    def __init__(self):
        super().__init__()
        self.twin = Oracle()
        self.epoch = 0
        self.log = MessageLog.create(
            MemoryStorage(boot_id="boot-1"), SESSION, durability="group", segment_bytes=SEGMENT_BYTES_MINIMUM
        )

    def open(self, storage):
        self.log = MessageLog.open(
            storage, SESSION, durability="group", segment_bytes=SEGMENT_BYTES_MINIMUM, verify_bytes=0
        )

    open_session = precondition(lambda self: self.log.ended is None)

    @open_session
    @rule(count=st.integers(1, 200), seed=st.integers(0, 1 << 32))
    def follow_small(self, count, seed):
        self.follow(count, 60, random.Random(seed))

    @open_session
    @rule(count=st.integers(1, 30), seed=st.integers(0, 1 << 32))
    def follow_large(self, count, seed):
        self.follow(count, 12_000, random.Random(seed))

    def follow(self, count, largest, chance):
        records = []
        time = self.twin.time
        for number in range(self.twin.last + 1, self.twin.last + 1 + count):
            time += chance.randint(0, 3)
            fields = {"time": time, "sender": chance.choice(SENDERS), "sequence": chance.randint(1, 1 << 40)}
            fields |= {"kind": chance.choice((0, 0, 0, 9)), "flags": chance.randint(0, 3)}
            records.append(oracle.record(number, chance.randbytes(chance.randint(0, largest)), **fields))
        try:
            self.log.append_records(messages_of(records))
        except StorageFull:
            assert self.log.storage.capacity is not None
        self.twin.records += records[: self.log.last - self.twin.last]

    @open_session
    @rule()
    def begin_epoch(self):
        self.epoch += 1
        stamp = Stamp(self.twin.time, self.epoch, b"SEQ1  ", Kind.EPOCH)
        try:
            number = self.log.append(epoch_payload(self.epoch, "SEQ1"), stamp)
        except StorageFull:
            return
        assert number == self.twin.last + 1
        self.twin.records.append(bytes(self.log.messages(number, 1)[0]))
        payload = self.epoch.to_bytes(8, "big") + b"SEQ1  "
        fields = {"time": stamp.time_ns, "sender": stamp.sender, "sequence": self.epoch, "kind": oracle.EPOCH}
        assert self.twin.records[-1] == oracle.record(number, payload, **fields)

    @open_session
    @precondition(lambda self: self.twin.last > 150)
    @rule()
    def end(self):
        try:
            number = self.log.append(b"", Stamp(self.twin.time, 0, b"SEQ1  ", Kind.END))
        except StorageFull:
            return
        self.twin.records.append(bytes(self.log.messages(number, 1)[0]))

    @rule()
    def roll(self):
        try:
            self.log.roll()
        except StorageFull:
            assert self.log.storage.capacity is not None

    @rule()
    def sync(self):
        self.log.sync()
        assert self.log.synced == self.twin.last

    @rule(share=st.floats(0, 1))
    def commit(self, share):
        number = int(share * self.log.synced)
        if number > self.log.commit:
            self.log.commit = number

    @rule(share=st.floats(0, 1))
    def cut(self, share):
        last = self.log.commit + int(share * (self.log.last - self.log.commit))
        self.log.cut(last)
        del self.twin.records[last:]

    @rule(full=st.booleans())
    def fill_the_disk(self, full):
        storage = self.log.storage
        storage.capacity = storage.used + SEGMENT_BYTES_MINIMUM // 2 if full else None

    @rule(gone=st.sets(st.sampled_from([".idx", ".ckpt"])))
    def killed(self, gone):
        storage = self.log.storage.killed()
        for name in storage.names():
            if name.endswith(tuple(gone)):
                storage.remove(name)
        commit, synced = self.log.commit, self.log.synced
        self.open(storage)
        assert (self.log.recovery, self.log.commit, self.log.synced) == (None, commit, synced)

    @rule(seed=st.integers(0, 1 << 32))
    def lost(self, seed):
        synced, commit = self.log.synced, self.log.commit
        self.open(self.log.storage.lost(random.Random(seed)))
        assert self.log.last >= synced >= self.log.synced
        assert commit >= self.log.commit
        del self.twin.records[self.log.last :]

    @invariant()
    def agrees(self):
        check_log(self.log, self.twin)
        assert self.log.commit <= self.log.synced <= self.log.last

    def teardown(self):
        found = verify(self.log.storage)
        assert found.problems == ()
        assert (found.records, found.last) == (self.twin.last, self.twin.last)
        assert (list(found.epochs), found.ended) == (self.twin.epochs, self.twin.ended)
        for first, following in zip(self.log.segments, [*self.log.segments[1:], None], strict=True):
            records = oracle.parse(self.log.storage.read(segment_name(first)), first)
            assert records == self.twin.records[first - 1 : None if following is None else following - 1]


LogModel.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLogModel = LogModel.TestCase
