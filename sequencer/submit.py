"""The submit port: senders log in, submit, and are told at which numbers it was committed (docs/PROTOCOL.md).

A submission is an unsequenced packet: sender sequence (8 bytes), flags (1), message. An answer is an unsequenced
packet: sender sequence (8), stream number (8), count (4): the `count` frames of this sender that end with that
sequence are committed, at the `count` numbers that end with that number. With count 0 it tells of nothing new, only
how far this user is. Such an answer follows the login, once everything of this sender that is in the log is
committed: a sender that was started again goes on after it, and could not send again what a later primary does not
have. A sender that logs in at a number is then told of its records from there on (`sequencer.tracing`).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from attrs import define, field

from rewinder.errors import LogError, StorageFull
from rewinder.record import SENDER_BYTES
from rewinder.replay import END_PATIENCE_NS
from rewinder.service import Denied, Granted
from sequencer._native import AnswerKernel
from sequencer.tracing import Tracer

if TYPE_CHECKING:
    from collections.abc import Callable

    from native.messages import Messages
    from rewinder.admission import Admission
    from rewinder.clock import Clock
    from rewinder.counters import Counters
    from rewinder.log import MessageLog
    from rewinder.service import Client
    from sequencer._native import TraceKernel
    from sequencer.express import Express
    from sequencer.ordering import Ordering
    from souptcp import LoginRequest

BACKLOG_LIMIT_RECORDS = 1 << 18
"""Stamped records that may wait for their commit; above it no sender is read, and TCP holds them back."""

ANSWERED_RUNS = 4096
"""Runs of records that are told of in one go; what became committed together may be more."""

_ANSWER = struct.Struct(">QQI")


@define(eq=False)
class Submission:
    """What the port knows of one logged-in sender.

    It is told of what becomes committed after its first answer, except while older records are read out of the log
    for it (`trace`): those come first, and what becomes committed meanwhile is then read there too.
    """

    name: bytes  # six characters, as in the record's stamp
    slot: int  # in the sender table; -1 before its first message
    wanted: int  # the number from which on it wants to be told of its records; 0 for none
    answered: bool = False
    told: int = 0  # the commit number up to which its answers leave nothing out
    trace: TraceKernel | None = None


@define(eq=False)
class SubmitPort:
    """The application of the submit port.

    `clock` gives the stamp time of the present turn. `refuse` is a sentence while no message may enter (this node
    is not the primary, the session has ended, the disk is full), else None.
    """

    log: MessageLog
    ordering: Ordering
    admission: Admission
    counters: Counters
    clock: Clock
    on_storage_full: Callable[[StorageFull], None]
    refuse: str | None = field(default="this node is not the primary", init=False)
    held: bool = field(default=False, init=False)
    """Read nobody: the primary is about to hand over."""
    over: bool = field(default=False, init=False)
    """The end of the session is committed: whoever comes is told what he has in it, and that nothing follows."""
    _clients: dict[bytes, Client] = field(factory=dict, init=False)
    answers: AnswerKernel = field(init=False)
    express: Express | None = field(default=None, init=False)
    """Who takes connections past this port while there is nothing to decide."""
    _by_slot: dict[int, Client] = field(factory=dict, init=False)
    _tracer: Tracer = field(init=False)
    _paused: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._tracer = Tracer(self.log)

    # Application

    def login(self, client: Client, request: LoginRequest, now_ns: int) -> Granted | Denied:
        """Let in who may publish; a second login of one user ends the first."""
        denied = self.admission.check(client, request)
        if denied is not None:
            return denied
        if self.refuse is not None and not self.over:
            return Denied(b"S", self.refuse, "refusing")
        name = client.user.encode("ascii").ljust(SENDER_BYTES)
        earlier = self._clients.get(name)
        if earlier is not None:
            self.counters.add("submit.replaced")
            earlier.close(f"user {client.user} has logged in from elsewhere", now_ns)
        client.state = Submission(name, self.log.senders.slot(name), request.sequence_number)
        self._clients[name] = client
        if client.state.slot >= 0:
            self._by_slot[client.state.slot] = client
        # No sequenced data flows on this port. The number says where the stream stands: what this sender submits
        # on this connection gets that number, or a higher one.
        return Granted(self.log.session, self.log.commit + 1)

    def started(self, client: Client, now_ns: int) -> None:
        """Tell a sender where it stopped."""
        self._answer_first(client, now_ns)
        if self._paused:
            client.pause()

    def unsequenced(self, client: Client, messages: Messages, now_ns: int) -> None:
        """Order a batch of submissions."""
        state: Submission = client.state
        if self.over:
            self.counters.add("submit.after_end", len(messages))
            return
        if self.refuse is not None:
            client.close(self.refuse, now_ns)
            return
        if state.slot < 0:
            state.slot = self.log.senders.add(state.name)
            if state.slot < 0:
                self.counters.add("submit.too_many_senders")
                client.close("the sender table of this session is full", now_ns)
                return
            self._by_slot[state.slot] = client
        try:
            outcome = self.ordering.submit(state.slot, messages, self.clock.utc_ns)
        except StorageFull as error:
            self.counters.add("submit.storage_full")
            self.on_storage_full(error)
            client.close(f"nothing can be stamped: {error}", now_ns)
            return
        if outcome.duplicates:
            self.note_duplicates(client, outcome.duplicates)
        if outcome.refusal is not None:
            self.counters.add("submit.refused")
            client.close(outcome.refusal, now_ns)

    def note_duplicates(self, client: Client, count: int) -> None:
        """Messages of a sender were in the stream already: tell it how far it is."""
        state: Submission = client.state
        self.counters.add("submit.duplicates", count)
        if state.answered:
            sequence, number = self.log.senders.committed_of(state.slot)
            client.send_unsequenced(_ANSWER.pack(sequence, number, 0))

    def writable(self, client: Client, now_ns: int) -> None:
        """The sender took its answers: if there is more to tell out of the log, go on."""
        if client.state.trace is not None:
            self._trace(client, now_ns)
            client.flush(now_ns)

    def ended(self, client: Client) -> None:
        """Forget a sender's connection."""
        state: Submission = client.state
        if self.express is not None:
            self.express.drop(client)
        if self._clients.get(state.name) is client:
            del self._clients[state.name]
        if self._by_slot.get(state.slot) is client:
            del self._by_slot[state.slot]

    # the primary's side

    def open(self) -> None:
        """This node is primary now: from here on `committed` tells of everything that becomes so."""
        self.answers = AnswerKernel(self.log.senders, self.log.commit, ANSWERED_RUNS)

    @property
    def holding(self) -> bool:
        """Whether senders are held back."""
        return self._paused

    @property
    def open_to_all(self) -> bool:
        """Whether messages may enter, and no sender is held back."""
        return self.refuse is None and not self.held and not self._paused

    def committed(self, first: int, last: int, now_ns: int) -> None:
        """Records `first` to `last`, which is the commit number now, became committed: answer their senders."""
        log, kernel = self.log, self.answers
        while first <= last:
            segment = log.segment_of(first)
            following = kernel.fill(segment, first, min(last, segment.last))
            for slot, packets in kernel.told():
                client = self._by_slot.get(slot)
                if client is not None:
                    self._answer(client, first, packets, now_ns)
            first = following

    def press(self, now_ns: int) -> None:
        """End a turn: hold senders back while too much waits for its commit, or while `held` is set."""
        self._tracer.new_turn()
        waiting = self.log.last - self.log.commit
        limit = BACKLOG_LIMIT_RECORDS // 2 if self._paused else BACKLOG_LIMIT_RECORDS
        pause = self.held or waiting > limit
        if pause is not self._paused:
            self._paused = pause
            self.counters.add("submit.held_back" if pause else "submit.let_go")
            for client in self._clients.values():
                if pause:
                    client.pause()
                elif client.state.trace is None:
                    client.resume(now_ns)

    def end(self, now_ns: int) -> None:
        """The end of the session is committed: tell every sender, after all that he has in it."""
        self.over = True
        for client in list(self._clients.values()):
            self._end(client, now_ns)

    def _end(self, client: Client, now_ns: int) -> None:
        """Say that the session has ended, once everything else was told."""
        state: Submission = client.state
        if self.over and state.answered and state.trace is None:
            client.session.end_session(now_ns)
            client.close("end of session", now_ns, debug=False, patience_ns=END_PATIENCE_NS)

    def _answer_first(self, client: Client, now_ns: int) -> None:
        """Tell a sender where it stopped, if that is settled, and begin to tell it what else it wants to know."""
        state: Submission = client.state
        sequence, number = self.log.senders.last_of(state.name)
        if number > self.log.commit:
            return
        state.answered, state.told = True, self.log.commit
        client.send_unsequenced(_ANSWER.pack(sequence, number, 0))
        if state.wanted > 0:
            state.trace = self._tracer.begin(state.name, state.wanted, number)
        if state.trace is not None:
            self.counters.add("submit.traces")
            self._trace(client, now_ns)
        else:
            self._end(client, now_ns)

    def _trace(self, client: Client, now_ns: int) -> None:
        """Tell a sender more out of the log. It is not read until that is all: so little waits to be told after it."""
        state: Submission = client.state
        while state.trace is not None:
            try:
                answers = self._tracer.advance(state.trace)
            except LogError as error:
                self.counters.add("submit.unreadable")
                client.close(f"what was committed of {client.user} cannot be read: {error}", now_ns)
                return
            if answers:
                client.send_unsequenced_batch(answers)
            if not state.trace.done:
                client.pause()
                client.want_room(hungry=True)
                return
            # What became committed while this was read is read now.
            _, number = self.log.senders.committed_of(state.slot)
            state.trace = self._tracer.begin(state.name, state.trace.last + 1, number)
        state.told = self.log.commit
        if self.over:
            self._end(client, now_ns)
        elif not self._paused:
            client.resume(now_ns)

    def _answer(self, client: Client, first: int, packets: memoryview, now_ns: int) -> None:
        """Tell a sender what it has among the records from `first` on; what is older comes before that."""
        state: Submission = client.state
        if not state.answered:
            self._answer_first(client, now_ns)
            client.flush(now_ns)
        elif state.trace is None and first > state.told:
            client.send(packets, now_ns)
            if self.express is not None and client.bypass is None:
                self.express.admit(client)
