"""The submit port: senders log in, submit, and are told what is committed (docs/PROTOCOL.md).

A submission is an unsequenced packet: sender sequence (8 bytes), flags (1), message. An answer is an
unsequenced packet: sender sequence (8), stream number (8): everything of this sender up to that sequence is
committed, the last of it at that number. The first answer follows the login, once everything of this sender that
is in the log is committed: a sender that was started again goes on after it, and could not send again what a
later primary does not have.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from attrs import define, field

from rewinder.errors import StorageFull
from rewinder.record import SENDER_BYTES
from rewinder.service import Denied, Granted

if TYPE_CHECKING:
    from collections.abc import Callable

    from native.messages import Messages
    from rewinder.admission import Admission
    from rewinder.clock import Clock
    from rewinder.counters import Counters
    from rewinder.log import MessageLog
    from rewinder.service import Client
    from sequencer.ordering import Ordering
    from souptcp import LoginRequest

BACKLOG_LIMIT_RECORDS = 1 << 18
"""Stamped records that may wait for their commit; above it no sender is read, and TCP holds them back."""

_ANSWER = struct.Struct(">QQ")


@define(eq=False)
class Submission:
    """What the port knows of one logged-in sender."""

    name: bytes  # six characters, as in the record's stamp
    slot: int  # in the sender table; -1 before its first message
    answered: bool = False


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
    _clients: dict[bytes, Client] = field(factory=dict, init=False)
    _by_slot: dict[int, Client] = field(factory=dict, init=False)
    _paused: bool = field(default=False, init=False)

    # Application

    def login(self, client: Client, request: LoginRequest, now_ns: int) -> Granted | Denied:
        """Let in who may publish; a second login of one user ends the first."""
        denied = self.admission.check(client, request)
        if denied is not None:
            return denied
        if self.refuse is not None:
            return Denied(b"S", self.refuse)
        name = client.user.encode("ascii").ljust(SENDER_BYTES)
        earlier = self._clients.get(name)
        if earlier is not None:
            self.counters.add("submit.replaced")
            earlier.close(f"user {client.user} has logged in from elsewhere", now_ns)
        client.state = Submission(name, self.log.senders.slot(name))
        self._clients[name] = client
        if client.state.slot >= 0:
            self._by_slot[client.state.slot] = client
        # No sequenced data flows on this port; the number says where the stream stands.
        return Granted(self.log.session, self.log.commit + 1)

    def started(self, client: Client, _now_ns: int) -> None:
        """Tell a sender where it stopped."""
        self._answer_first(client)
        if self._paused:
            client.pause()

    def unsequenced(self, client: Client, messages: Messages, now_ns: int) -> None:
        """Order a batch of submissions."""
        state: Submission = client.state
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
            self.counters.add("submit.duplicates", outcome.duplicates)
            self._answer(client)
        if outcome.refusal is not None:
            self.counters.add("submit.refused")
            client.close(outcome.refusal, now_ns)

    def writable(self, client: Client, _now_ns: int) -> None:
        """Answers are all that a sender gets; there is no more to send."""

    def ended(self, client: Client) -> None:
        """Forget a sender's connection."""
        state: Submission = client.state
        if self._clients.get(state.name) is client:
            del self._clients[state.name]
        if self._by_slot.get(state.slot) is client:
            del self._by_slot[state.slot]

    # the primary's side

    @property
    def holding(self) -> bool:
        """Whether senders are held back."""
        return self._paused

    def committed(self, slots: list[int], now_ns: int) -> None:
        """Answer the senders in these slots of the sender table."""
        for slot in slots:
            client = self._by_slot.get(slot)
            if client is not None:
                if client.state.answered:
                    self._answer(client)
                else:
                    self._answer_first(client)
                client.flush(now_ns)

    def press(self, now_ns: int) -> None:
        """Hold senders back while too much waits for its commit, or while `held` is set."""
        waiting = self.log.last - self.log.commit
        limit = BACKLOG_LIMIT_RECORDS // 2 if self._paused else BACKLOG_LIMIT_RECORDS
        pause = self.held or waiting > limit
        if pause is not self._paused:
            self._paused = pause
            self.counters.add("submit.held_back" if pause else "submit.let_go")
            for client in self._clients.values():
                if pause:
                    client.pause()
                else:
                    client.resume(now_ns)

    def close_all(self, reason: str, now_ns: int) -> None:
        """End every sender's connection."""
        for client in list(self._clients.values()):
            client.close(reason, now_ns)

    def _answer_first(self, client: Client) -> None:
        """Tell a sender where it stopped, if that is settled."""
        state: Submission = client.state
        sequence, number = self.log.senders.last_of(state.name)
        if number <= self.log.commit:
            state.answered = True
            client.send_unsequenced(_ANSWER.pack(sequence, number))

    def _answer(self, client: Client) -> None:
        sequence, number = self.log.senders.committed_of(client.state.slot)
        client.send_unsequenced(_ANSWER.pack(sequence, number))
