"""Stand-ins for nodes: a control socket that answers what a test says, and nothing else."""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rewinder.control import ControlServer
from seqcast.cli import main
from seqcast.config import Configuration, read_configuration

Answer = Callable[[dict[str, Any]], Any]


def run(*arguments: str, stdin: str | None = None) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(main, arguments, input=stdin, catch_exceptions=False)


def three_voters(directory: Path, monkeypatch: pytest.MonkeyPatch, session: str) -> Configuration:
    """The configuration of a bus of three voters, in `directory`, where commands find it."""
    monkeypatch.chdir(directory)
    monkeypatch.delenv("SEQCAST_CONFIG", raising=False)
    assert run("init", "--nodes", "3", "--session", session).exit_code == 0
    return read_configuration(directory / "seqcast.toml")


@contextmanager
def node(configuration: Configuration, name: str, **handlers: Answer) -> Iterator[None]:
    """A stand-in for the node `name`; the commands it answers, with `_` for `-`."""
    commands = {key.replace("_", "-"): handler for key, handler in handlers.items()}
    with closing(ControlServer(configuration.control_path(name), commands)) as server:
        stopping = threading.Event()

        def turns() -> None:
            while not stopping.is_set():
                if select.select([server.fileno()], [], [], 0.02)[0]:
                    server.turn()

        thread = threading.Thread(target=turns)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join(10)


@contextmanager
def nodes(configuration: Configuration, **commands: dict[str, Answer]) -> Iterator[None]:
    """Stand-ins for several nodes, by name."""
    with ExitStack() as stack:
        for name, handlers in commands.items():
            stack.enter_context(node(configuration, name, **handlers))
        yield


def status_of(configuration: Configuration, name: str, **more: Any) -> dict[str, Any]:
    """What a node that is well says: SEQ1 is primary, and all others follow it."""
    voters = [each.name for each in configuration.voters]
    leads = name == "SEQ1"
    status = {
        "name": name,
        "role": "primary" if leads else "standby" if name.startswith("SEQ") else "rewinder",
        "session": configuration.session,
        "fingerprint": configuration.fingerprint(),
        "durability": "memory",
        "first": 1,
        "last": 12,
        "commit": 12,
        "ended": None,
        "epoch": 3,
        "epoch_start": 9,
        "promised": {"epoch": 3, "owner": "SEQ1"},
        "voter": name in voters,
        "votes": name in voters,
        "following": None if leads else "SEQ1",
        "refusing": None if leads else "this node is not the primary",
    }
    if leads:
        others = [each.name for each in configuration.nodes if each.name != name]
        status |= {
            "established": True,
            "in_contact": [other for other in others if other in voters],
            "voters": dict.fromkeys(voters, 12),
            "followers": {
                other: {"held": 12, "lag": 0, "votes": other in voters, "voter": other in voters}
                for other in others
            },
        }
    return {**status, **more}
