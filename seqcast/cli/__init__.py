"""The command line. Each command is imported when it is run, so that `seqcast --help` is quick.

To add a command: write it in a module of this package, and add one line to `COMMANDS`. What commands share is
in `seqcast.cli.common`.

| exit status | meaning |
|---|---|
| 0 | done |
| 1 | failed, or found that something is wrong |
| 2 | wrong usage or configuration: trying again does not help |
| 3 | a node: it was the primary, and another one is now; started again it is a standby |
| 4 | a node: it was asked to end and to be started again, because the configuration has changed |
"""

from __future__ import annotations

import errno
import importlib
from typing import Any

import click

COMMANDS = {
    "demo": ("seqcast.cli.demo:command", "Run the whole bus on real or made data, and show that it holds."),
    "init": ("seqcast.cli.init:command", "Write a configuration that explains itself."),
    "up": ("seqcast.cli.up:command", "Run the nodes of this machine, and restart what dies."),
    "sequencer": ("seqcast.cli.node:sequencer", "Run one sequencer in the foreground."),
    "rewinder": ("seqcast.cli.node:rewinder", "Run one rewinder in the foreground."),
    "send": ("seqcast.cli.send:command", "Send the messages of a file into the stream."),
    "listen": ("seqcast.cli.listen:listen", "Receive the stream as it is multicast."),
    "replay": ("seqcast.cli.listen:replay", "Read the stream from the rewinders, or multicast it again."),
    "feed": ("seqcast.cli.feed:command", "Publish the messages without stamps, for plain listeners."),
    "status": ("seqcast.cli.status:command", "Say what each node is doing."),
    "exporter": ("seqcast.cli.exporter:command", "Serve metrics and health of nodes over HTTP."),
    "why": ("seqcast.cli.why:command", "Say in one sentence why the stream is not moving."),
    "promote": ("seqcast.cli.promote:command", "Make another sequencer the primary."),
    "end-session": ("seqcast.cli.end_session:command", "End the stream for good."),
    "roll": ("seqcast.cli.roll:command", "End the session, and begin the next one."),
    "log": ("seqcast.cli.log:command", "List, verify and dump the log of a node."),
    "users": ("seqcast.cli.users:command", "Add, remove and list users."),
    "keys": ("seqcast.cli.keys:command", "Make keys, with which commands reach other machines."),
    "bench": ("seqcast.cli.bench:command", "Measure throughput and latency beside a baseline."),
    "config": ("seqcast.cli.config:command", "Check and show the configuration."),
}
"""Name of each command: where it is, and its line in `seqcast --help`, which imports none of them."""

CONFIGURATION_STATUS = 2


class Failed(click.ClickException):
    """Ends a command with a sentence on standard error and exit status 1."""


class Misconfigured(click.ClickException):
    """Ends a command with a sentence on standard error and exit status 2."""

    exit_code = CONFIGURATION_STATUS


class LazyGroup(click.Group):
    """A group that knows its commands by name only, until one is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{COMMANDS[cmd_name][0]} is not a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what goes wrong by no fault of ours ends with a sentence, not with a traceback."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            status = _exit_status(error)
            if status is None:
                raise
            raise (Misconfigured if status == CONFIGURATION_STATUS else Failed)(_sentence(error)) from error


def _exit_status(error: Exception) -> int | None:
    """Return the exit status for an error that a sentence explains; None for a mistake of ours."""
    from rewinder.errors import LogError, StorageFull  # noqa: PLC0415  (these three: quick --help)
    from rewinder.users import AccessError  # noqa: PLC0415
    from seqcast.errors import SeqcastError  # noqa: PLC0415

    if isinstance(error, SeqcastError):
        return int(getattr(error, "exit_status", 1))
    if isinstance(error, AccessError):
        return CONFIGURATION_STATUS
    if isinstance(error, LogError | StorageFull):
        return 1
    if isinstance(error, OSError) and error.errno != errno.EPIPE:  # click knows how to end on a broken pipe
        return 1
    return None


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _show_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415  (quick --help)

    try:
        click.echo(f"seqcast {version('seqcast')}")
    except PackageNotFoundError:
        click.echo("seqcast, from a source tree that is not installed")
    ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExamples:\n  seqcast init --dir run\n  seqcast up --config run/seqcast.toml",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version.",
)
def main() -> None:
    """Give every process the same messages in the same order, exactly once."""
