"""`seqcast status`: asks every node what it is doing."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Any

import click

from seqcast.cli.asking import TIMEOUT_SECONDS, Answers, ask_nodes, primary_of
from seqcast.cli.common import columns, configuration_option, examples, json_option, load

if TYPE_CHECKING:
    from pathlib import Path

    from seqcast.config import Configuration

WIDTH = 100
"""Columns of the table; a note that does not fit goes on in the next line."""

NOTE_WIDTH = 24
"""A note has this much room at least, however long the numbers are."""


@click.command(epilog=examples("seqcast status", "seqcast status REW1 --json | jq .nodes.REW1.commit"))
@click.argument("names", nargs=-1, metavar="[NODE]...")
@configuration_option
@json_option
@click.option("--timeout", type=click.FloatRange(min=0.001), default=TIMEOUT_SECONDS, help="Seconds to wait.")
def command(names: tuple[str, ...], config: Path | None, as_json: bool, timeout: float) -> None:
    """Say what each node is doing; exit status 1 when one of them does not answer.

    `held` and `lag` are what the primary knows of each node's copy of the log.
    """
    configuration = load(config)
    chosen = [configuration.node(name) for name in names] or list(configuration.nodes)
    asked = {node.name: node for node in chosen}
    if not as_json:  # what a node holds is known to the primary
        asked |= {node.name: node for node in configuration.sequencers}
    answers = ask_nodes(configuration, asked.values(), "status", timeout)
    shown = {node.name: answers[node.name] for node in chosen}
    if as_json:
        click.echo(json.dumps({"session": configuration.session, "nodes": shown}, indent=2))
    else:
        click.echo(_table(configuration, shown, primary_of(configuration, answers)))
    if not all(answer["up"] for answer in shown.values()):
        raise SystemExit(1)


def _table(configuration: Configuration, answers: Answers, primary: dict[str, Any] | None) -> str:
    keys = ("epoch", "last", "commit")
    rows: list[list[object]] = [["node", "role", *keys, "held", "lag"]]
    notes = ["note"]
    for name, answer in answers.items():
        held = _held(name, primary)
        lag = primary["last"] - held if primary is not None and held is not None else None
        rows.append([name, answer.get("role"), *map(answer.get, keys), held, lag])
        notes.append("; ".join(_notes(configuration, name, answer, primary)))
    left = columns(rows).splitlines()
    width = max(map(len, left))
    lines = []
    for row, note in zip(left, notes, strict=True):
        first, *more = textwrap.wrap(note, max(WIDTH - width - 2, NOTE_WIDTH)) or [""]
        lines += [f"{row:{width}}  {first}".rstrip(), *(f"{'':{width}}  {line}" for line in more)]
    return "\n".join([_head(configuration), *lines])


def _head(configuration: Configuration) -> str:
    lines = ", ".join(f"{line.group}:{line.port}" for line in configuration.multicast.lines)
    quorum = (
        f"committed when {configuration.write_quorum} of {len(configuration.voters)} voters hold it "
        f"(durability: {configuration.log.durability.value})"
    )
    head = f"session {configuration.session} on {lines}; {quorum}"
    return head if len(head) <= WIDTH else head.replace("; ", "\n", 1)


def _held(name: str, primary: dict[str, Any] | None) -> int | None:
    """Up to which number the primary knows that a node holds the log."""
    if primary is None:
        return None
    follower = (primary.get("followers") or {}).get(name)
    held = follower["held"] if follower is not None else (primary.get("voters") or {}).get(name)
    return None if held is None else int(held)


def _notes(
    configuration: Configuration, name: str, answer: dict[str, Any], primary: dict[str, Any] | None
) -> list[str]:
    """Return what is worth knowing about one node, most important first."""
    if not answer["up"]:
        return [str(answer["trouble"])]
    notes = [
        (answer.get("session") != configuration.session, f"serves another session, {answer.get('session')}"),
        (answer.get("fingerprint") != configuration.fingerprint(), "runs with another configuration"),
        (answer.get("ended"), f"the session ended at {answer.get('ended')}"),
        (answer.get("handover"), f"hands over to {answer.get('handover')}"),
    ]
    chosen = [note for holds, note in notes if holds]
    if answer.get("role") == "primary":
        return chosen + _notes_of_primary(name, answer, primary)
    return chosen + _notes_of_follower(name, answer, primary)


def _notes_of_primary(name: str, answer: dict[str, Any], primary: dict[str, Any] | None) -> list[str]:
    notes = []
    if answer.get("refusing") and not answer.get("ended"):
        notes.append(f"refuses messages: {answer['refusing']}")
    if primary is not None and primary["name"] != name:
        notes.append(f"does not know yet that {primary['name']} is primary of epoch {primary['epoch']}")
    return notes


def _notes_of_follower(name: str, answer: dict[str, Any], primary: dict[str, Any] | None) -> list[str]:
    notes = []
    promised = answer.get("promised") or {}
    if promised.get("epoch", 0) > answer.get("epoch", 0):
        notes.append(f"has promised epoch {promised['epoch']} to {promised['owner']}")
    if answer.get("vote_missing"):
        notes.append(f"does not vote: {answer['vote_missing']}")
    elif answer.get("votes") and primary is not None and not _counted(name, primary):
        notes.append(f"does not count for {primary['name']}")
    following = answer.get("following")
    suspicion = f" ({answer['suspicion']})" if answer.get("suspicion") else ""
    return [*notes, f"follows {following}" if following else f"follows nobody{suspicion}"]


def _counted(name: str, primary: dict[str, Any]) -> bool:
    """Whether the primary counts what a voter holds; true where it does not say."""
    follower = (primary.get("followers") or {}).get(name)
    return "followers" not in primary or bool(follower and follower["votes"])
