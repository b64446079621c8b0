"""`seqcast users`: adds, removes and lists users."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from seqcast.cli.common import Failed, columns, configuration_option, examples, json_option, load
from seqcast.config import ConfigError, shown
from seqcast.users import Role, add_user, list_users, remove_user, role_names

if TYPE_CHECKING:
    from pathlib import Path

    from seqcast.config import Configuration

PASSWORD_LINE_CHARACTERS = 1024
"""Most that is read from standard input: far more than a password may have."""


@click.group(
    epilog=examples(
        "seqcast users add alice --role publish --role replay",
        "seqcast users list",
        "seqcast users remove alice",
    )
)
def command() -> None:
    """Add, remove and list users.

    Names have 1 to 6 letters or digits, passwords 1 to 10 characters, both without regard to case: that is
    what fits into a SoupBinTCP login.
    """


@command.command(
    epilog=examples(
        "seqcast users add alice --role publish",
        "echo secret | seqcast users add bob --role replay --password-stdin",
    )
)
@click.argument("name")
@click.option(
    "--role",
    "roles",
    multiple=True,
    required=True,
    type=click.Choice([role.value for role in Role]),
    help="What the user may do; may be given more than once.",
)
@click.option(
    "--password-stdin", is_flag=True, help="Take the password from the first line of standard input."
)
@click.option("--replace", is_flag=True, help="Change a user who is there already.")
@configuration_option
@json_option
def add(
    *,
    name: str,
    roles: tuple[str, ...],
    password_stdin: bool,
    replace: bool,
    config: Path | None,
    as_json: bool,
) -> None:
    """Add user NAME. The password is asked for, twice, unless it comes from standard input."""
    configuration = load(config)
    path = _users_file(configuration)
    if name.upper() in {node.name for node in configuration.nodes}:
        raise Failed(f"{name.upper()} is the name of a node, and logs in with the node secret")
    if password_stdin:
        password = sys.stdin.readline(PASSWORD_LINE_CHARACTERS).rstrip("\r\n")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    user = add_user(path, name, password, roles, replace=replace)
    if as_json:
        click.echo(json.dumps({"name": user.name, "roles": role_names(user.roles)}))
    else:
        click.echo(f"user {user.name} may {', '.join(role_names(user.roles))}; written to {shown(path)}")


@command.command(epilog=examples("seqcast users remove alice"))
@click.argument("name")
@configuration_option
def remove(name: str, config: Path | None) -> None:
    """Remove user NAME. Connections that are open stay open."""
    configuration = load(config)
    path = _users_file(configuration)
    remove_user(path, name)
    click.echo(f"user {name.upper()} is removed from {shown(path)}")
    if configuration.access.open:
        click.echo("access is open: the name may still log in, without a password", err=True)


@command.command("list", epilog=examples("seqcast users list --json"))
@configuration_option
@json_option
def list_(config: Path | None, as_json: bool) -> None:
    """List the users and their roles."""
    configuration = load(config)
    path = _users_file(configuration)
    users = list_users(path)
    if as_json:
        click.echo(json.dumps([{"name": user.name, "roles": role_names(user.roles)} for user in users]))
        return
    if users:
        click.echo(
            columns([("user", "roles"), *((user.name, ", ".join(role_names(user.roles))) for user in users)])
        )
    else:
        click.echo(f"there are no users in {shown(path)}")
    if configuration.access.open:
        click.echo("access is open: anybody else may publish and replay", err=True)


def _users_file(configuration: Configuration) -> Path:
    path = configuration.access.users
    if path is None:
        raise ConfigError(f"{shown(configuration.path)}: access.users is missing: it names the users file")
    return path
