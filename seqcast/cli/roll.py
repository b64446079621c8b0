"""`seqcast roll`: ends the session and begins the next one, on the nodes of this machine.

Four steps, and each leaves a state from which the same command goes on: the end is committed, every node here holds
it, the configuration file names the next session, the nodes start again with it.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from attrs import define, field

from rewinder.policy import is_session_name
from seqcast.cli.asking import TIMEOUT_SECONDS, Answers, ask_nodes, client_of, primary_of
from seqcast.cli.common import Failed, configuration_option, examples, json_option, load
from seqcast.cli.switching import PAUSE_SECONDS, check_unused, restart_nodes
from seqcast.config import shown
from seqcast.config_edit import replace_file, with_new_session
from seqcast.control import ControlError
from seqcast.rolling import DEFAULT_PATTERN, next_name

if TYPE_CHECKING:
    from pathlib import Path

    from seqcast.config import Configuration

PATIENCE_SECONDS = 60.0
"""How long all of it may take: the end needs a quorum, and the new session all voters."""


@click.command(
    epilog=examples("seqcast roll --yes", "seqcast roll --pattern D%y%j##", "seqcast roll --session 26112502")
)
@click.option("--session", metavar="NAME", help="Name of the next session, instead of one by the pattern.")
@click.option(
    "--pattern",
    default=DEFAULT_PATTERN,
    show_default=True,
    envvar="SEQCAST_ROLL_PATTERN",
    help="What the next session is called: strftime in UTC, and # for the digits of a counter.",
)
@configuration_option
@json_option
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.001),
    default=PATIENCE_SECONDS,
    show_default=True,
    help="Seconds to wait.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(
    *, session: str | None, pattern: str, config: Path | None, as_json: bool, timeout: float, yes: bool
) -> None:
    """End this session, and begin the next.

    Writes the name of the next session into the configuration file, and starts the nodes of this machine again with
    it (`seqcast up` and systemd do that). Receivers are told of the end, and go on with `next_session()`; senders are
    told that the session has ended. Nothing that was acknowledged is lost, and the old session can be replayed.

    Where nodes run on other machines, give the same name on each of them: `seqcast roll --session NAME`. What was cut
    short is completed by giving the command again.
    """
    configuration = load(config)
    roll = Roll(configuration, time.monotonic() + timeout)
    roll.look()
    if roll.outdated:
        wanted = roll.configured()
    else:
        name = session or next_name(pattern, roll.used(), datetime.now(UTC))
        wanted = roll.begin(name, confirmed=yes)
    roll.switch(wanted)
    values = roll.outcome(wanted)
    for sentence in roll.left:
        click.echo(sentence, err=True)
    click.echo(json.dumps(values) if as_json else _sentence(values))


def _sentence(values: dict[str, Any]) -> str:
    ended = f"session {values['old_session']} ended at number {values['number']}"
    if values["primary"] is None:
        return f"{ended}; session {values['session']} begins when all voters are in it"
    return f"{ended}; session {values['session']} has begun: {values['primary']} is primary"


@define
class Roll:
    """One run of the command. `left` are sentences about what others have to do."""

    configuration: Configuration
    deadline: float
    answers: Answers = field(factory=dict)
    left: list[str] = field(factory=list)
    old: str = ""
    number: int = 0

    def look(self) -> None:
        """Ask every node. Raises `Failed` when none runs here."""
        configuration = self.configuration
        self.answers = ask_nodes(configuration, configuration.nodes, "status")
        if not self.here:
            names = ", ".join(node.name for node in configuration.nodes)
            raise Failed(f"none of the nodes runs here ({names}): `seqcast up` starts them")

    @property
    def here(self) -> dict[str, dict[str, Any]]:
        """The answers of the nodes that run on this machine."""
        return {name: answer for name, answer in self.answers.items() if answer["up"]}

    @property
    def outdated(self) -> dict[str, dict[str, Any]]:
        """The nodes that serve another session than the one that is configured."""
        session = self.configuration.session
        return {name: answer for name, answer in self.here.items() if answer["session"] != session}

    def used(self) -> set[str]:
        """The names of sessions that this machine knows of."""
        names = {path.name for path in self.configuration.log.directory.glob("*/*") if path.is_dir()}
        listed = (row["session"] for answer in self.here.values() for row in answer.get("old_sessions", ()))
        return {self.configuration.session, *listed, *filter(is_session_name, names)}

    def configured(self) -> Configuration:
        """The configuration names a session that some nodes are not in yet: an earlier run was cut short.

        Raises `Failed` when their session has not ended, because then somebody else has changed the file.
        """
        for name, answer in self.outdated.items():
            if not _is_over(answer):
                raise Failed(
                    f"{name} serves session {answer['session']}, which has not ended, and "
                    f"{shown(self.configuration.path)} names {self.configuration.session}: put the old name back first"
                )
            self.old, self.number = str(answer["session"]), int(answer["ended"])
        return self.configuration

    def begin(self, name: str, *, confirmed: bool) -> Configuration:
        """End the session, and write the name of the next one; returns the new configuration."""
        configuration = self.configuration
        text = configuration.path.read_text(encoding="utf-8")
        edited, wanted = with_new_session(text, configuration, name, (), "")
        check_unused(wanted, configuration.session)
        self.old = configuration.session
        if not all(_is_over(answer) for answer in self.here.values()):
            self._end(name, confirmed=confirmed)
        self.number = int(next(iter(self.here.values()))["ended"])
        replace_file(configuration.path, edited)
        return wanted

    def _end(self, name: str, *, confirmed: bool) -> None:
        """End the session, and wait until every node here holds all of it."""
        configuration = self.configuration
        primary = primary_of(configuration, self.answers)
        if primary is None and not any(_is_over(answer) for answer in self.here.values()):
            raise Failed(
                f"session {self.old} has not ended as far as the nodes here know, and its primary is not here: "
                "run this where it runs first"
            )
        if not confirmed and sys.stdin.isatty():
            click.confirm(f"End session {self.old}, and begin {name}? This cannot be undone.", abort=True)
        if primary is not None:
            self._say(f"ending session {self.old}")
            try:
                client_of(configuration, str(primary["name"]), self._seconds_left).request("end-session")
            except ControlError as error:
                raise Failed(f"session {self.old} goes on: {error}") from None
        while not self._all_hold_it():
            late = [name for name, answer in self.here.items() if not _is_over(answer)]
            self._pause(
                f"session {self.old} has ended, but not all of it is at {', '.join(late) or 'followers'}"
            )
            self.look()

    def _all_hold_it(self) -> bool:
        """Whether the end is known to be committed here, and held by whoever follows from elsewhere."""
        primary = primary_of(self.configuration, self.answers) or {}
        followers = (primary.get("followers") or {}).values()
        held = all(follower["held"] >= primary["last"] for follower in followers)
        return held and all(_is_over(answer) for answer in self.here.values())

    def switch(self, wanted: Configuration) -> None:
        """Have the nodes here start again, and wait until they are in the new session, and it is open."""
        behind = [name for name, answer in self.here.items() if answer["session"] != wanted.session]
        self.left += restart_nodes(wanted, behind)
        elsewhere = [node.name for node in wanted.nodes if node.name not in self.here]
        if elsewhere:
            self.left.append(
                f"{', '.join(elsewhere)}: not here; where they run, give `seqcast roll --session {wanted.session}`"
            )
        self._say(f"{', '.join(behind) or 'nobody'} starts again with session {wanted.session}")
        self.configuration, names = wanted, list(self.here)
        complete = not any(node.name in elsewhere for node in wanted.voters)
        while not self._switched(names, complete=complete):
            self._pause(f"{shown(wanted.path)} names session {wanted.session}, but {self._laggards(names)}")
            self.answers = ask_nodes(wanted, wanted.nodes, "status", TIMEOUT_SECONDS)

    def _switched(self, names: list[str], *, complete: bool) -> bool:
        session = self.configuration.session
        if any(self.answers[name].get("session") != session for name in names):
            return False
        primary = primary_of(self.configuration, self.answers)
        return not complete or (primary is not None and bool(primary.get("established")))

    def _laggards(self, names: list[str]) -> str:
        session = self.configuration.session
        late = [name for name in names if self.answers[name].get("session") != session]
        return f"{', '.join(late)} did not start again with it" if late else "it has no primary yet"

    def outcome(self, wanted: Configuration) -> dict[str, Any]:
        """What there is to say, for programs."""
        primary = primary_of(wanted, self.answers)
        return {
            "old_session": self.old,
            "number": self.number,
            "session": wanted.session,
            "primary": None if primary is None else primary["name"],
            "fingerprint": wanted.fingerprint(),
            "left": self.left,
        }

    def _say(self, sentence: str) -> None:
        """Progress, for whoever watches."""
        if sys.stderr.isatty():
            click.echo(sentence, err=True)

    @property
    def _seconds_left(self) -> float:
        return max(0.0, self.deadline - time.monotonic())

    def _pause(self, state: str) -> None:
        """Wait a moment. Raises `Failed` with `state` when there is no time left."""
        if not self._seconds_left:
            raise Failed(f"{state}; the same command goes on from there")
        time.sleep(PAUSE_SECONDS)


def _is_over(answer: dict[str, Any]) -> bool:
    """Whether a node knows that its session has ended, and that the end is committed."""
    return answer["ended"] is not None and answer["commit"] >= answer["ended"]
