"""Asking the nodes of a bus, here and on other machines, all at once, and what their answers come to."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from seqcast.control import ControlClient, ControlError, KeyRefused, NoAnswer, NobodyListening, where_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seqcast.config import Configuration, Node

TIMEOUT_SECONDS = 2.0
"""How long a node may take to answer; it does so at the end of a turn."""

Answers = dict[str, dict[str, Any]]
"""What each node answered, by name. `up` says whether it did; else `error` is a sentence, `trouble` some words."""


def ask_nodes(
    configuration: Configuration, nodes: Iterable[Node], command: str, timeout: float = TIMEOUT_SECONDS
) -> Answers:
    """Ask each of `nodes` the same; returns its answers in that order."""
    nodes = list(nodes)
    with ThreadPoolExecutor(max_workers=max(len(nodes), 1)) as pool:
        answers = pool.map(lambda node: _ask(configuration, node, command, timeout), nodes)
        return {node.name: answer for node, answer in zip(nodes, answers, strict=True)}


def client_of(configuration: Configuration, name: str, timeout: float) -> ControlClient:
    """What asks the node `name`, and waits for each answer at most `timeout` seconds."""
    return ControlClient(where_of(configuration, configuration.node(name)), int(timeout * 1000) or 1)


def primary_of(configuration: Configuration, answers: Answers) -> dict[str, Any] | None:
    """The answer of the present primary; None when nobody says that it is one.

    Of several, all but the one of the highest epoch do not know yet that they are deposed.
    """
    primaries = [
        {**answer, "name": name}
        for name, answer in answers.items()
        if answer.get("role") == "primary" and answer.get("session") == configuration.session
    ]
    return max(primaries, key=lambda answer: int(answer["epoch"]), default=None)


def _ask(configuration: Configuration, node: Node, command: str, timeout: float) -> dict[str, Any]:
    try:
        return {"up": True, **client_of(configuration, node.name, timeout).request(command)}
    except ControlError as error:
        trouble = str(error)
        if isinstance(error, NobodyListening):
            trouble = "is not running"
        elif isinstance(error, NoAnswer):
            trouble = f"did not answer in {timeout:g} s"
        elif isinstance(error, KeyRefused):
            trouble = "does not take our key"
        return {"up": False, "role": node.role.value, "error": str(error), "trouble": trouble}
