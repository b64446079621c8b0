"""What `seqcast promote --force` does: it opens a new session with the voters that are left.

The log of the old session is not carried on: its end cannot be known without the quorum that is gone, so that a
receiver must never take what comes next for the same history. The name of the session says so on the wire.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from random import SystemRandom
from typing import TYPE_CHECKING

import click
from attrs import define, field

from rewinder.replication import Answer
from seqcast.cli.asking import TIMEOUT_SECONDS, Answers, ask_nodes, client_of, primary_of
from seqcast.cli.common import Failed
from seqcast.cli.switching import PAUSE_SECONDS, check_unused, restart_nodes
from seqcast.cli.why import compose
from seqcast.config import shown
from seqcast.config_edit import replace_file, with_new_session
from seqcast.control import ControlError
from seqcast.survey import ask_node_port
from seqcast.template import choose_session

if TYPE_CHECKING:
    from seqcast.config import Configuration

TAKEOVER_SECONDS = 5.0
"""How long a quorum that is up may take to make a primary by itself, beside the time of suspicion."""


@define
class Survey:
    """Who is there. `answers` are those of the control sockets, `afar` those of node ports alone."""

    configuration: Configuration
    target: str
    answers: Answers = field(factory=dict)
    afar: dict[str, Answer] = field(factory=dict)

    def look(self) -> None:
        """Ask everybody."""
        configuration = self.configuration
        self.answers = ask_nodes(configuration, configuration.nodes, "status")
        self.afar = {}
        for node in configuration.nodes:
            if not self.answers[node.name]["up"] and (node.voter or node.role.value == "sequencer"):
                answer = ask_node_port(configuration, node, self.target, TIMEOUT_SECONDS)
                if isinstance(answer, Answer):
                    self.afar[node.name] = answer

    @property
    def reachable(self) -> list[str]:
        """The nodes that can be told what to do from here."""
        return [name for name, answer in self.answers.items() if answer["up"]]

    @property
    def lost(self) -> list[str]:
        """The voters that are nowhere to be found."""
        return [
            node.name
            for node in self.configuration.voters
            if not self.answers[node.name]["up"] and node.name not in self.afar
        ]

    @property
    def quorum(self) -> bool:
        """Whether enough voters are up to commit."""
        return len(self.configuration.voters) - len(self.lost) >= self.configuration.write_quorum

    def leader(self) -> str | None:
        """Who commits, as far as can be told; None when nobody does."""
        primary = primary_of(self.configuration, self.answers)
        if primary is not None:
            enough = 1 + len(primary.get("in_contact", ())) >= self.configuration.write_quorum
            return str(primary["name"]) if enough and primary.get("established") else None
        followed = (answer.get("following") for answer in self.answers.values())
        return next((name for name in followed if name in self.afar), None)


def new_session(
    configuration: Configuration,
    target: str,
    session: str | None,
    *,
    confirmed: bool,
    as_json: bool,
    timeout: float,
) -> None:
    """Open a new session with `target` as its primary, and say what became of it."""
    survey = Survey(configuration, target)
    _look(survey)
    if session is None:
        session = choose_session(SystemRandom(), datetime.now(UTC).strftime("%y%m%d"))
    text = configuration.path.read_text(encoding="utf-8")
    reason = f"taken out by `seqcast promote --force {target}`, because it did not answer"
    edited, wanted = with_new_session(text, configuration, session, survey.lost, reason)
    check_unused(wanted, configuration.session)
    backup = configuration.path.with_name(f"{configuration.path.name}.{configuration.session}")
    click.echo(_consequences(survey, wanted), err=True)
    if not confirmed:
        if not sys.stdin.isatty():
            raise click.UsageError("there is no terminal to ask at: --yes is needed")
        click.confirm(f"Open session {session}? This cannot be undone.", abort=True, err=True)
        lost = survey.lost
        _look(survey)  # while people think, nodes come back
        if survey.lost != lost:
            raise Failed("other nodes are there than before the question: nothing was done; look again")
    try:
        replace_file(configuration.path, edited, backup)
    except FileExistsError:
        raise Failed(f"{shown(backup)} is there already: move it away first") from None
    click.echo(f"{shown(configuration.path)} is changed; the old one is {shown(backup)}", err=True)
    untold = restart_nodes(configuration, survey.reachable)
    for name in survey.afar:
        host = configuration.node(name).host
        untold.append(f"{name} runs on {host}: copy the new configuration there and start it again")
    for sentence in untold:
        click.echo(sentence, err=True)
    epoch = _wait(wanted, target, time.monotonic() + timeout)
    values = {
        "session": session,
        "old_session": configuration.session,
        "primary": target,
        "epoch": epoch,
        "voters": [node.name for node in wanted.voters],
        "removed": survey.lost,
        "old_commit": survey.answers[target]["commit"],
        "old_last": survey.answers[target]["last"],
        "backup": str(backup),
        "untold": untold,
    }
    voters = f"{wanted.write_quorum} of {len(wanted.voters)} voters must hold a record"
    sentence = f"session {session} is open: {target} is primary of epoch {epoch}; {voters}"
    click.echo(json.dumps(values) if as_json else sentence)


def _look(survey: Survey) -> None:
    """Make sure that there is no other way. Raises `Failed` when there is."""
    configuration, target = survey.configuration, survey.target
    survey.look()
    own = survey.answers[target]
    if not own["up"]:
        raise Failed(f"{target} {own['trouble']}: it has to run to be promoted ({own['error']})")
    if own.get("session") != configuration.session:
        raise Failed(
            f"{target} serves session {own.get('session')}, the configuration {configuration.session}"
        )
    deadline = time.monotonic() + TAKEOVER_SECONDS + configuration.timing.suspect_ns / 1e9
    said = False
    while survey.quorum:
        leader = survey.leader()
        if leader is not None:
            up = ", ".join(node.name for node in configuration.voters if node.name not in survey.lost)
            how = (
                f"use `seqcast promote {target}` without --force"
                if leader != target
                else "nothing is to be done"
            )
            raise Failed(f"a quorum of the voters is up ({up}) and {leader} commits: {how}")
        if time.monotonic() >= deadline:
            return
        if not said:
            click.echo("a quorum of the voters is up; waiting whether it makes a primary", err=True)
            said = True
        time.sleep(PAUSE_SECONDS)
        survey.look()


def _consequences(survey: Survey, wanted: Configuration) -> str:
    """What is going to happen, and what is lost, in plain words."""
    configuration, target = survey.configuration, survey.target
    own, old, lost = survey.answers[target], configuration.session, survey.lost
    lasts = {name: answer["last"] for name, answer in survey.answers.items() if answer["up"]}
    lasts |= {name: answer.last for name, answer in survey.afar.items()}
    longer = [f"{name} holds more, up to {last}." for name, last in lasts.items() if last > own["last"]]
    logs = [configuration.node_directory(name) / old for name in lasts]
    lines = [
        f"Session {old} ends here. {target} holds its records up to {own['last']}, and knows those up to "
        f"{own['commit']} to be committed.",
        *longer,
    ]
    if lost:
        lines += [
            f"Records that only {', '.join(lost)} held are gone, though receivers may have seen them.",
            f"{', '.join(lost)} will be taken out of {shown(configuration.path)}: never start them again with an "
            f"old copy of it.",
        ]
    lines += [
        f"Session {wanted.session} is empty. Its voters are {', '.join(node.name for node in wanted.voters)}; "
        f"{wanted.write_quorum} must hold a record.",
        f"Receivers have to start session {wanted.session} at 1, and senders count from 1 again: start them with the "
        f"new configuration.",
        f"The logs of session {old} stay on disk: {', '.join(map(shown, logs))}.",
    ]
    return "\n".join(lines)


def _wait(configuration: Configuration, target: str, deadline: float) -> int:
    """Wait until `target` is the primary of the new session; returns its epoch. Raises `Failed`."""
    while True:
        answers = ask_nodes(configuration, configuration.sequencers, "status")
        primary = primary_of(configuration, answers)
        if primary is not None and primary.get("established"):
            if primary["name"] == target:
                return int(primary["epoch"])
            _try_handover(configuration, str(primary["name"]), target)
        if time.monotonic() >= deadline:
            why, _ = compose(configuration, ask_nodes(configuration, configuration.nodes, "why"))
            raise Failed(
                f"session {configuration.session} is configured, but {target} is not its primary: {why}"
            )
        time.sleep(PAUSE_SECONDS)


def _try_handover(configuration: Configuration, primary: str, target: str) -> None:
    """The first primary of a session is the first sequencer there; here it shall be another."""
    try:
        client_of(configuration, primary, TAKEOVER_SECONDS + TIMEOUT_SECONDS).request("promote", name=target)
    except ControlError:
        return  # the other one is not ready yet; it is asked again
