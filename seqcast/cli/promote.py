"""`seqcast promote`: makes another sequencer the primary, in this session or, by force, in a new one."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from seqcast.cli.asking import TIMEOUT_SECONDS, Answers, ask_nodes, client_of, primary_of
from seqcast.cli.common import Failed, configuration_option, examples, json_option, load
from seqcast.cli.force import new_session
from seqcast.cli.why import compose
from seqcast.config import ConfigError
from seqcast.control import ControlError
from seqcast.settings import NodeRole

if TYPE_CHECKING:
    from pathlib import Path

    from seqcast.config import Configuration

PATIENCE_SECONDS = 30.0
"""How long all of it may take; a primary gives a handover up long before."""

PAUSE_SECONDS = 0.02
"""Between two looks at a node that becomes primary."""


@click.command(epilog=examples("seqcast promote SEQ2", "seqcast promote --force SEQ2 --session NEW --yes"))
@click.argument("name")
@click.option("--force", is_flag=True, help="Open a new session: a quorum is gone for good.")
@click.option("--session", metavar="NEW", help="With --force: the name of the new session.")
@click.option("--yes", is_flag=True, help="With --force: do not ask.")
@configuration_option
@json_option
@click.option(
    "--timeout", type=click.FloatRange(min=0.001), default=PATIENCE_SECONDS, help="Seconds to wait."
)
def command(
    *,
    name: str,
    force: bool,
    session: str | None,
    yes: bool,
    config: Path | None,
    as_json: bool,
    timeout: float,
) -> None:
    """Make the sequencer NAME the primary.

    The present primary commits what it has, hands over, and ends with status 3; `seqcast up` starts it again as
    the standby. Nothing is lost, and senders go on by themselves.

    With --force, which is for when a quorum of voters is gone for good: NAME opens a new session with the voters
    that are left. What only lost voters hold is lost. Says so and asks before anything is done.
    """
    configuration = load(config)
    node = configuration.node(name)
    if node.role is not NodeRole.SEQUENCER:
        names = ", ".join(each.name for each in configuration.sequencers)
        raise ConfigError(f"{node.name} is a {node.role.value}: primary can be {names}")
    if force:
        new_session(configuration, node.name, session, confirmed=yes, as_json=as_json, timeout=timeout)
        return
    if session is not None or yes:
        raise click.UsageError("--session and --yes go with --force")
    done = hand_over(configuration, node.name, timeout)
    if as_json:
        click.echo(json.dumps({"session": configuration.session, **done}))
        return
    click.echo(
        f"{done['new']} is primary of epoch {done['epoch']}, from number {done['number'] + 1} on; "
        f"{done['old']} was it up to {done['number']}, and is a standby when it is started again"
    )


def hand_over(configuration: Configuration, target: str, timeout: float) -> dict[str, Any]:
    """Have the present primary hand over to `target`.

    Returns the names `old` and `new`, the new `epoch`, and `number`, the last one of the old epoch. Raises `Failed`
    when nothing was changed, or it is unknown what was.
    """
    deadline = time.monotonic() + timeout
    answers = ask_nodes(configuration, configuration.sequencers, "status", min(timeout, TIMEOUT_SECONDS))
    primary = primary_of(configuration, answers)
    if primary is None:
        raise Failed(_nobody_leads(configuration, answers))
    old = str(primary["name"])
    if old == target:
        raise Failed(f"{target} is the primary already, of epoch {primary['epoch']}")
    trouble = None
    try:
        client_of(configuration, old, deadline - time.monotonic()).request("promote", name=target)
    except ControlError as error:
        if _leads(configuration, old):
            raise Failed(str(error)) from None
        trouble = error  # its answer was lost, or it was deposed before it could say by whom
    while time.monotonic() < deadline:
        answers = ask_nodes(configuration, configuration.sequencers, "status", TIMEOUT_SECONDS)
        present = primary_of(configuration, answers)
        if present is not None and present["epoch"] > primary["epoch"] and present.get("established", True):
            if present["name"] != target:
                break
            # After the end of the session no record says where an epoch begins.
            number = present.get("ended") or present["epoch_start"] - 1
            return {"old": old, "new": target, "epoch": present["epoch"], "number": number}
        time.sleep(PAUSE_SECONDS)
    raise Failed(
        f"{old} is not primary any more, but {target} is not either: {trouble or _why(configuration)}"
    )


def _leads(configuration: Configuration, name: str) -> bool:
    """Whether a node is primary now."""
    answer = ask_nodes(configuration, [configuration.node(name)], "status")[name]
    return answer.get("role") == "primary"


def _nobody_leads(configuration: Configuration, answers: Answers) -> str:
    """Say why nobody can hand over."""
    for name, answer in answers.items():
        followed = answer.get("following")
        if followed is not None and not answers.get(followed, {}).get("up"):
            return f"{name} follows {followed}, which does not answer here: run this where {followed} runs"
    return f"nobody can hand over: {_why(configuration)}"


def _why(configuration: Configuration) -> str:
    return compose(configuration, ask_nodes(configuration, configuration.nodes, "why"))[0]
