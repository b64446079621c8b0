"""`seqcast why`: says in one sentence why the stream is not moving."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from seqcast.cli.asking import TIMEOUT_SECONDS, Answers, ask_nodes, primary_of
from seqcast.cli.common import configuration_option, counted, examples, json_option, load

if TYPE_CHECKING:
    from pathlib import Path

    from seqcast.config import Configuration


@click.command(epilog=examples("seqcast why", "seqcast why --json | jq -r .why"))
@configuration_option
@json_option
@click.option("--timeout", type=click.FloatRange(min=0.001), default=TIMEOUT_SECONDS, help="Seconds to wait.")
def command(config: Path | None, as_json: bool, timeout: float) -> None:
    """Say in one sentence why the stream is not moving; exit status 1 when something is wrong.

    Asks the nodes of this machine, and says the one thing that matters most: which voter, which gap.
    """
    configuration = load(config)
    answers = ask_nodes(configuration, configuration.nodes, "why", timeout)
    sentence, ok = compose(configuration, answers)
    if as_json:
        values = {"session": configuration.session, "why": sentence, "ok": ok, "nodes": answers}
        click.echo(json.dumps(values, indent=2))
    else:
        click.echo(sentence)
    if not ok:
        raise SystemExit(1)


def compose(configuration: Configuration, answers: Answers) -> tuple[str, bool]:
    """Return the sentence that matters most, and whether all is well. `answers` are those to `why`."""
    primary = primary_of(configuration, answers)
    if primary is None:
        return _without_primary(configuration, answers)
    if primary.get("why"):
        return str(primary["why"]), False
    for name, answer in answers.items():
        flaw = _flaw(configuration, name, answer, primary)
        if flaw is not None:
            return f"{primary['name']} is primary of epoch {primary['epoch']} and commits, but {flaw}", False
    return _nothing(configuration, primary), True


def _flaw(
    configuration: Configuration, name: str, answer: dict[str, Any], primary: dict[str, Any]
) -> str | None:
    """What is wrong with one node while `primary` is well."""
    if not answer["up"]:
        elsewhere = answer["trouble"] == "is not running" and name in (primary.get("followers") or {})
        return None if elsewhere else f"{name} {answer['trouble']}"
    if answer.get("session") != configuration.session:
        return f"{name} serves another session, {answer.get('session')}"
    if answer.get("fingerprint") != configuration.fingerprint():
        return f"{name} runs with another configuration"
    if answer.get("role") == "primary" and name != primary["name"]:
        return f"{name} does not know yet that its epoch, {answer.get('epoch')}, is over"
    return answer.get("why")


def _without_primary(configuration: Configuration, answers: Answers) -> tuple[str, bool]:
    sequencers = {node.name: answers[node.name] for node in configuration.sequencers if node.name in answers}
    ours = [
        answer
        for answer in sequencers.values()
        if answer["up"] and answer.get("session") == configuration.session
    ]
    reasons = [answer for answer in ours if answer.get("why")]
    if reasons:
        heaviest = max(reasons, key=lambda answer: (answer["weight"], answer["role"] == "candidate"))
        return str(heaviest["why"]), False
    for answer in ours:  # it follows somebody, and nothing is wrong there
        followed = str(answer.get("following"))
        trouble = answers.get(followed, {}).get("trouble", "is not running")
        if trouble != "is not running":
            return f"{answer['name']} follows {followed}, which {trouble}", False
        return (
            f"nothing is wrong that can be seen here: {answer['name']} follows {followed} of epoch "
            f"{answer['epoch']}, and {counted(answer['commit'], 'record')} are committed",
            True,
        )
    return f"no primary: {', '.join(_absences(sequencers))}", False


def _absences(sequencers: Answers) -> list[str]:
    return [
        f"{name} {answer['trouble']}"
        if not answer["up"]
        else f"{name} serves another session, {answer.get('session')}"
        for name, answer in sequencers.items()
    ]


def _nothing(configuration: Configuration, primary: dict[str, Any]) -> str:
    """That all is well, with numbers."""
    followers = primary.get("followers") or {}
    voting = 1 + sum(bool(each["votes"]) for each in followers.values())
    others = sum(not each["voter"] for each in followers.values())
    waiting = primary["last"] - primary["commit"]
    facts = [
        f"{primary['name']} is primary of epoch {primary['epoch']}",
        f"{counted(primary['commit'], 'record')} {'is' if primary['commit'] == 1 else 'are'} committed"
        + (f" and {waiting:,} on their way" if waiting > 0 else ""),
        f"{voting} of {len(configuration.voters)} voters take part (durability: {primary.get('durability')})",
    ]
    if others:
        facts.append(f"{counted(others, 'more node')} {'follows' if others == 1 else 'follow'}")
    return f"nothing is wrong: {', '.join(facts)}"
