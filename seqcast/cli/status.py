"""`seqcast status`: asks every node what it is doing."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Any

import click

from seqcast.cli.asking import TIMEOUT_SECONDS, Answers, ask_nodes, primary_of
from seqcast.cli.common import columns, configuration_option, examples, json_option, load
from seqcast.cli.notes import notes_of
from seqcast.picture import held_by

if TYPE_CHECKING:
    from pathlib import Path

    from seqcast.config import Configuration

WIDTH = 100
"""Columns of the table; a note that does not fit goes on in the next line."""

NOTE_WIDTH = 24
"""A note has this much room at least, however long the numbers are."""


@click.command(
    epilog=examples(
        "seqcast status",
        "seqcast status --watch",
        "seqcast status REW1 --json | jq .nodes.REW1.commit",
    )
)
@click.argument("names", nargs=-1, metavar="[NODE]...")
@configuration_option
@json_option
@click.option("--watch", is_flag=True, help="Go on, with rates and latencies, until ctrl-C.")
@click.option("--timeout", type=click.FloatRange(min=0.001), default=TIMEOUT_SECONDS, help="Seconds to wait.")
def command(names: tuple[str, ...], config: Path | None, as_json: bool, watch: bool, timeout: float) -> None:
    """Say what each node is doing; exit status 1 when one of them does not answer.

    `held` and `lag` are what the primary knows of each node's copy of the log.

    With --watch: a live screen, one line a second where there is no terminal, and one JSON object a second with
    --json. Nodes that are down are shown as such.
    """
    configuration = load(config)
    chosen = [configuration.node(name) for name in names] or list(configuration.nodes)
    if watch:
        from seqcast.cli.watch import run_watch  # noqa: PLC0415  (rich is slow to import)

        run_watch(configuration, chosen, as_json=as_json)
        return
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
        held = held_by(name, primary)
        lag = primary["last"] - held if primary is not None and held is not None else None
        rows.append([name, answer.get("role"), *map(answer.get, keys), held, lag])
        notes.append("; ".join(notes_of(configuration, name, answer, primary)))
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
