"""`seqcast status`: asks every node what it is doing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from seqcast.cli.common import columns, configuration_option, examples, json_option, load
from seqcast.control import ControlClient, ControlError

if TYPE_CHECKING:
    from pathlib import Path

    from seqcast.config import Configuration

TIMEOUT_SECONDS = 2.0
"""How long a node may take to answer; it does so at the end of a turn."""


@click.command(epilog=examples("seqcast status", "seqcast status REW1 --json | jq .nodes.REW1.commit"))
@click.argument("names", nargs=-1, metavar="[NODE]...")
@configuration_option
@json_option
@click.option("--timeout", type=click.FloatRange(min=0.001), default=TIMEOUT_SECONDS, help="Seconds to wait.")
def command(names: tuple[str, ...], config: Path | None, as_json: bool, timeout: float) -> None:
    """Say what each node is doing; exit status 1 when one of them does not answer."""
    configuration = load(config)
    nodes = [configuration.node(name) for name in names] or list(configuration.nodes)
    answers: dict[str, dict[str, Any]] = {}
    for node in nodes:
        client = ControlClient(configuration.control_path(node.name), timeout_ms=int(timeout * 1000) or 1)
        try:
            answers[node.name] = {"up": True, **client.request("status")}
        except ControlError as error:
            answers[node.name] = {"up": False, "role": node.role.value, "error": str(error)}
    if as_json:
        click.echo(json.dumps({"session": configuration.session, "nodes": answers}, indent=2))
    else:
        click.echo(_table(configuration, answers))
    if not all(answer["up"] for answer in answers.values()):
        raise SystemExit(1)


def _table(configuration: Configuration, answers: dict[str, dict[str, Any]]) -> str:
    lines = ", ".join(f"{line.group}:{line.port}" for line in configuration.multicast.lines)
    head = (
        f"session {configuration.session} on {lines}; a record is committed when "
        f"{configuration.write_quorum} of {len(configuration.voters)} voters hold it"
    )
    rows: list[list[object]] = [["node", "role", "first", "last", "commit", "epoch", "note"]]
    for name, answer in answers.items():
        numbers = [answer.get(key) for key in ("first", "last", "commit", "epoch")]
        rows.append([name, answer.get("role"), *numbers, _note(configuration, answer)])
    return f"{head}\n{columns(rows)}"


def _note(configuration: Configuration, answer: dict[str, Any]) -> str:
    """Return what is worth knowing about one node, most important first."""
    if not answer["up"]:
        return str(answer["error"])
    notes = []
    if answer.get("session", configuration.session) != configuration.session:
        notes.append(f"serves another session, {answer['session']}")
    if answer.get("fingerprint", configuration.fingerprint()) != configuration.fingerprint():
        notes.append("runs with another configuration")
    if answer.get("ended"):
        notes.append(f"the session ended at {answer['ended']}")
    if answer.get("refusing"):
        notes.append(f"refuses messages: {answer['refusing']}")
    if "following" in answer:
        following = answer["following"]
        notes.append(f"follows {following}" if following else "follows nobody")
    return "; ".join(notes)
