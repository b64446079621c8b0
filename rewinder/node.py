"""What every node process is made of: a log, a vote, a follower, a node port, and a way to start and stop.

`RewinderProcess` and `SequencerProcess` add their ports. A node reports each event that a person would care
about as one log line, and counts everything else.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from attrs import define, field

from rewinder import notify
from rewinder.access import Role
from rewinder.admission import Admission
from rewinder.counters import Counters
from rewinder.dial import Patience
from rewinder.errors import BadSegment, CorruptRecord, ForeignSession
from rewinder.follower import Follower
from rewinder.leisure import Chores, Leisure
from rewinder.link import HOLD_NS, Link
from rewinder.log import MessageLog
from rewinder.log_pages import log_page
from rewinder.node_port import NodePort
from rewinder.peer import peer_of
from rewinder.retention import Retention
from rewinder.service import Service
from rewinder.surroundings import Machine
from rewinder.voter import Voter, give_up_vote
from rewinder.why import Reason, Weight
from souptcp.session import TIMEOUT_NS

if TYPE_CHECKING:
    from rewinder.node_settings import NodeSettings
    from rewinder.pump import Pump
    from rewinder.service import Application, Client
    from rewinder.surroundings import Control, Surroundings

CLOSE_LIMIT_NS = 2_000_000_000
"""How long a stopping process lets its connections drain."""

COUNTERS_NS = 1_000_000_000
"""How often live counters are published on the control plane."""

WHY_KEYS = (
    *("name", "role", "session", "fingerprint", "epoch", "last", "commit", "ended", "durability"),
    *("voter", "following", "followers"),
)
"""What of its status a node adds when it is asked why nothing moves."""

ROUTINE_REFUSALS = frozenset({"not_primary", "no_quorum", "refusing"})
"""Logins that are refused because somebody looks for the primary: counted, and not worth a line each."""

logger = logging.getLogger("seqcast")
logger.addHandler(logging.NullHandler())  # else Python writes warnings where nobody asked for lines


@define(eq=False)
class Node:
    """The frame of a node process: open, run turns, close."""

    settings: NodeSettings
    surroundings: Surroundings = field(factory=Machine, kw_only=True)
    pump: Pump = field(init=False)
    counters: Counters = field(factory=Counters, init=False)
    log: MessageLog = field(init=False)
    voter: Voter = field(init=False)
    port: NodePort = field(init=False)
    follower: Follower = field(init=False)
    link: Link = field(init=False)
    retention: Retention = field(init=False)
    control: Control = field(init=False)
    services: list[Service] = field(factory=list, init=False)
    deposed: str | None = field(default=None, init=False)
    """Why this node is not the primary any more, and has to stop; None while nothing of that kind happened."""
    restart: bool = field(default=False, init=False)
    """Whether it was asked to end and to be started again."""
    _access_problem: str | None = field(default=None, init=False)
    _unfit: str | None = field(default=None, init=False)
    _started_ns: int = field(default=0, init=False)
    _counters_due_ns: int = field(default=0, init=False)

    role = "node"

    def open(self) -> None:
        """Open the log, then the ports.

        Raises LogError when the log cannot be trusted, OSError when a port or a file cannot be had; each names
        what is wrong.
        """
        settings = self.settings
        self.pump = self.surroundings.pump(settings, self.finish)
        self._started_ns = self.pump.clock.now_ns
        self.log = self._open_log()
        self.retention = self._retention()
        self.pump.leisure = Chores((Leisure(self.log, settings.ahead_bytes), self.retention))
        self.pump.timers.watch(self.retention)
        if self.log.recovery is not None:
            self.report("recovered", detail=str(self.log.recovery))
        self.voter = Voter(settings.name, settings.voters, self.log, self.surroundings.draw, self._unfit)
        if self.voter.unfit is not None:
            self.warn("lost its vote until it is admitted again", detail=self.voter.unfit)
        self.follower = Follower(self.voter, self.counters, self._before_cut)
        self.port = NodePort(
            self.log,
            Admission(settings.authority, Role.REPLICATE, self.log.session),
            self.counters,
            name="node",
            says_end=False,
            voter=self.voter,
            node=self,
        )
        self.link = Link(
            self.pump,
            self.surroundings.network,
            settings.identity,
            settings.patience,
            self.follower,
            {name: address for name, address in settings.sequencers.items() if name != settings.name},
            self.counters,
            self.surroundings.random,
            lambda sentence: self.report("upstream", detail=sentence),
        )
        self.serve("node", settings.node_port, self.port, between_nodes=True)
        self.open_ports()
        for service in self.services:
            service.open()
        self.control = self.surroundings.control(settings, self.commands(), self.counters)
        self.pump.watch(self.control.fileno(), lambda _events, _now_ns: self.control.turn())

    def open_ports(self) -> None:
        """Open what this kind of node serves."""
        raise NotImplementedError

    def serve(self, name: str, port: int, application: Application, *, between_nodes: bool = False) -> None:
        """Open one more SoupBinTCP port; 0 takes a free one. Raises OSError naming it.

        Every port heartbeats as nodes do, so that its clients can find out soon; other clients than nodes may
        take their time.
        """
        listener = self.surroundings.network.listen(self.settings.host, port)
        patience = self.settings.patience
        if not between_nodes:
            patience = Patience(patience.heartbeat_ns, TIMEOUT_NS)

        def notice(event: str, client: Client | None, detail: str, label: str = "") -> None:
            if label not in ROUTINE_REFUSALS:
                peer = "" if client is None else peer_of(client)
                self.warn(event, port=name, peer=peer, detail=detail)

        service = Service(name, self.pump, listener, application, self.counters, patience, notice=notice)
        self.services.append(service)

    def commands(self) -> dict[str, Any]:
        """Handlers of the control plane, by command."""
        return {
            "status": lambda _arguments: self.status(),
            "why": lambda _arguments: self.answer_why(),
            "restart": self._restart,
            "log": lambda arguments: log_page(self.log, self.settings.session_name, arguments),
        }

    def run(self) -> None:
        """Turns until SIGTERM, ctrl-C, `stop` or the end of its time as primary; then an orderly end."""
        try:
            self.open()
            self.report("ready", **self.ports())
            notify.ready()
            self.pump.run()
            notify.stopping()
            self._drain()
            self.report("stopped", last=self.log.last, commit=self.log.commit)
        finally:
            self.close()

    def finish(self, now_ns: int) -> int:
        """The end of a turn; returns work done."""
        if now_ns >= self._counters_due_ns:
            self._counters_due_ns = now_ns + COUNTERS_NS
            self.each_second()
            notify.watchdog(f"{self.role} of epoch {self.voter.epoch}, {self.log.commit} committed")
        return 0

    def each_second(self) -> None:
        """What is not worth doing more often."""
        self.control.publish(self.status())
        problem = self.settings.authority.problem
        if problem != self._access_problem:
            self._access_problem = problem
            if problem is None:
                self.report("the users file is good again")
            else:
                self.warn("the users file cannot be used", detail=problem)

    # the node port's side

    @property
    def hears(self) -> bool:
        """Whether it follows a primary now, or is one."""
        return self.link.following is not None

    def promised(self, owner: str, now_ns: int) -> None:
        """A higher epoch was promised: whom we followed is not primary any more; `owner` may be soon."""
        self.report("promised", epoch=self.voter.epoch, owner=owner)
        self.link.turn_to(owner, now_ns, wait_ns=HOLD_NS)

    def opened(self, owner: str, now_ns: int) -> None:
        """`owner` is primary now."""
        if self.link.dialling != owner:
            self.link.turn_to(owner, now_ns)

    def _before_cut(self) -> None:
        """Whoever reads the log of an epoch that is over must not see it change."""
        self.port.hang_up(f"the log of {self.settings.name} is cut", self.pump.clock.now_ns)

    # for people

    def status(self) -> dict[str, Any]:
        """What this node is doing, as plain values."""
        log, promise = self.log, self.voter.promise
        return {
            "name": self.settings.name,
            "role": self.role,
            "fingerprint": self.settings.fingerprint,
            "session": self.settings.session_name,
            "first": log.first,
            "last": log.last,
            "commit": log.commit,
            "synced": log.synced,
            "durability": log.durability,
            "ended": log.ended,
            "epoch": log.epochs[-1][0] if log.epochs else 0,
            "epoch_start": log.epochs[-1][1] if log.epochs else 0,
            "promised": {"epoch": promise.epoch, "owner": promise.owner},
            "voter": self.settings.name in self.settings.voters,
            "votes": self.voter.votes,
            "vote_missing": self.voter.missing,
            **self.link.status(),
            "clients": {service.name: len(service.clients) for service in self.services},
            "ports": self.ports(),
            "uptime_seconds": (self.pump.clock.now_ns - self._started_ns) / 1e9,
            "turns": self.pump.turns,
            "access_problem": self.settings.authority.problem,
            "retention": self.retention.status(),
            "counters": dict(self.counters),
        }

    def why(self) -> str | None:
        """One sentence: why nothing moves here; None when there is no reason that this node knows."""
        reason = self.reason()
        return None if reason is None else reason.sentence

    def answer_why(self) -> dict[str, Any]:
        """The answer to `why`: sentence and weight, both null when all is well, and what they are about."""
        reason, status = self.reason(), self.status()
        return {
            "why": None if reason is None else reason.sentence,
            "weight": None if reason is None else int(reason.weight),
            **{key: status.get(key) for key in WHY_KEYS},
        }

    def reason(self) -> Reason | None:
        """The weightiest reason why something does not move, as far as this node knows."""
        if self.log.ended is not None and self.log.commit >= self.log.ended:
            return Reason(f"the session ended at {self.log.ended}", Weight.STOPPED)
        problem = self.settings.authority.problem
        if problem is None:
            return self.stream_reason()
        return self.stream_reason() or Reason(
            f"{self.settings.name} lets in whom it knew before: {problem}", Weight.WORN
        )

    def stream_reason(self) -> Reason | None:
        """The weightiest reason why the stream does not move here."""
        name, link = self.settings.name, self.link
        if link.storage_error is not None:
            return Reason(f"the log of {name} cannot grow: {link.storage_error}", Weight.WORN)
        if link.following is None:
            why = link.suspicion or self.follower.refused or "it is looking for a primary"
            return Reason(f"{name} follows nobody: {why}", Weight.WORN)
        if self.voter.missing is not None:
            return Reason(f"{name} does not vote: {self.voter.missing}", Weight.WORN)
        return None

    def ports(self) -> dict[str, int]:
        """The ports this node has open, by name."""
        ports = {service.name: service.listener.port for service in self.services}
        return ports if self.settings.remote is None else {**ports, "control": self.settings.remote.port}

    def report(self, event: str, **values: Any) -> None:
        """One line for people."""
        logger.info(event, extra={"node": self.settings.name, "values": values})

    def warn(self, event: str, **values: Any) -> None:
        """One line about something that may need somebody."""
        logger.warning(event, extra={"node": self.settings.name, "values": values})

    def close(self) -> None:
        """Let go of everything; safe to call on a node that was opened in part."""
        for name in ("retention", "link", "control", "log", "pump"):
            part = getattr(self, name, None)
            if part is not None:
                part.close()

    # old sessions

    def reads_old(self, _session: str) -> bool:
        """Whether somebody reads an old session here."""
        return False

    def old_removed(self, session: str) -> None:
        """Records of an old session are not there any more."""

    def _retention(self) -> Retention:
        settings, surroundings, log = self.settings, self.surroundings, self.log
        return Retention(
            settings.keep,
            names=lambda: surroundings.old_sessions(settings),
            find=lambda session: surroundings.old_storage(settings, session),
            claim=lambda session: surroundings.claim_old(settings, session),
            clear=lambda session: surroundings.clear_old(settings, session),
            present=lambda: len(log.segments) * log.segment_bytes,
            in_use=self.reads_old,
            removed=self.old_removed,
            report=self.report,
            counters=self.counters,
        )

    def _open_log(self) -> MessageLog:
        """Open the log. One that is damaged is put aside where others have what it held."""
        settings = self.settings
        try:
            return self._open_storage()
        except (CorruptRecord, BadSegment) as error:
            if len(settings.voters) == 1 or isinstance(error, ForeignSession):
                raise
            kept = self.surroundings.set_aside(settings)
            log = self._open_storage()
            self._unfit = f"its log was damaged, and is now {kept}"
            self.warn(
                "the log is damaged; it was put aside, and a new one begins", detail=str(error), kept=kept
            )
            return log

    def _open_storage(self) -> MessageLog:
        settings = self.settings
        storage = self.surroundings.storage(settings)
        try:
            if len(settings.voters) > 1:
                self._unfit = give_up_vote(
                    storage, settings.session, settings.durability, self.surroundings.draw
                )
            return MessageLog.open_or_create(
                storage,
                settings.session,
                segment_bytes=settings.segment_bytes,
                durability=settings.durability,
            )
        except BaseException:
            storage.close()
            raise

    def _restart(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        self.report("asked to start again")
        self.restart = True
        self.pump.stop()
        return {}

    def _drain(self) -> None:
        """Close the connections in an orderly way, within a bound."""
        now_ns = self.pump.clock.read()
        self.link.close()
        for service in self.services:
            service.close(now_ns)
        limit_ns = now_ns + CLOSE_LIMIT_NS
        self.pump.finish = lambda _now_ns: 0
        while not all(service.drained for service in self.services) and now_ns < limit_ns:
            self.pump.turn(limit_ns - now_ns)
            now_ns = self.pump.clock.now_ns
