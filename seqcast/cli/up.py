"""`seqcast up`: runs the nodes of this machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from rewinder import notify
from seqcast import supervisor
from seqcast.child import node_commands
from seqcast.cli.common import configuration_option, examples, json_option, load, log_format_option
from seqcast.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from seqcast.supervisor import Event


@click.command(epilog=examples("seqcast up --config run/seqcast.toml", "seqcast up SEQ1 --json"))
@click.argument("names", nargs=-1, metavar="[NODE]...")
@configuration_option
@json_option
@log_format_option
def command(names: tuple[str, ...], config: Path | None, as_json: bool, log_format: str) -> None:
    """Run the nodes of the configuration, or the NODEs named, until ctrl-C: the way for development.

    In production each node is a service of its own: systemd units are in docs/OBSERVE.md and examples/systemd.

    A node that dies is started again, after a pause; a primary that was deposed, at once, as a standby. What
    nodes log goes to standard error, each line with the name of the node in front; what happens to nodes goes
    to standard output.
    """
    configuration = load(config)
    if not as_json:
        click.echo(
            "`seqcast up` is for development; in production each node is a service of its own", err=True
        )
    chosen = {configuration.node(name).name for name in names}
    commands = [
        child
        for child in node_commands(configuration, "--log-format", log_format)
        if not chosen or child.name in chosen
    ]
    status = Supervisor(commands, _writer(as_json=as_json)).run()
    if status:
        raise SystemExit(status)


def _writer(*, as_json: bool) -> Callable[[Event], None]:
    """Return what writes events, and passes on to our own supervisor what it wants to know."""

    def write(event: Event) -> None:
        click.echo(json.dumps(event) if as_json else sentence(event))
        match event["event"]:
            case "all-ready":
                notify.ready(f"{event['nodes']} nodes")
            case "stopping":
                notify.stopping()

    return write


def sentence(event: Event) -> str:
    """Return an event as one line for people."""
    return _SENTENCES[event["event"]](event)


def _ready(event: dict[str, Any]) -> str:
    ports = ", ".join(f"{name} {port}" for name, port in event["ports"].items()) or "none"
    return f"{event['name']} is ready: {event['role']}, ports: {ports}; took {_time(event['took_ms'])}"


def _died(event: dict[str, Any]) -> str:
    again = f"; starting again in {_time(event['restart_ms'])}" if "restart_ms" in event else ""
    match event.get("status"):
        case None:
            how = f"was ended by {event['signal']}"
        case supervisor.DEPOSED_STATUS:
            how = "was deposed"
            again += " as a standby" if again else ""
        case supervisor.RESTART_STATUS:
            how = "restarts" if again else "asked to restart"
        case status:
            how = f"ended with status {status}"
    return f"{event['name']} {how} after {_time(event['lived_ms'])}{again}"


def _slow(event: dict[str, Any]) -> str:
    doing = f": {event['status']}" if event["status"] else ""
    return f"{event['name']} is not ready after {_time(event['waited_ms'])}{doing}"


def _time(milliseconds: int) -> str:
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


_SENTENCES: dict[str, Callable[[dict[str, Any]], str]] = {
    "starting": lambda event: f"{event['name']} is starting: {event['role']}, process {event['pid']}",
    "ready": _ready,
    "all-ready": lambda event: (
        f"all nodes are ready ({event['nodes']}, took {_time(event['took_ms'])}); ctrl-C stops them"
    ),
    "slow": _slow,
    "died": _died,
    "finished": lambda event: f"{event['name']} has finished",
    "gave-up": lambda event: f"{event['name']} is given up: {event['reason']}",
    "stopping": lambda event: f"stopping: {event['reason']}",
    "stopped": lambda event: (
        f"{event['name']} was killed: it did not stop in time"
        if event["killed"]
        else f"{event['name']} stopped"
    ),
    "end": lambda event: f"done, exit status {event['status']}",
}
