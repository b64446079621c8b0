"""`seqcast keys`: keys for the control plane over TCP."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from rewinder.curve import KeyRole
from seqcast.cli.common import columns, configuration_option, examples, json_option, load
from seqcast.config import shown
from seqcast.keys import ADMIN, add_client, list_clients, list_nodes, make_node_keys, remove_client

if TYPE_CHECKING:
    from pathlib import Path


@click.group(
    epilog=examples("seqcast keys make", "seqcast keys add grafana", "seqcast keys list"),
)
def command() -> None:
    """Make keys, with which commands reach nodes on other machines over TCP.

    They lie in the directory `keys` beside the configuration. Without keys a node is reached on its own machine
    alone. A node listens where its secret is, keys/NODE.secret; whoever asks needs keys/NODE.key, and a secret of
    his own, keys/clients/NAME.secret, whose keys/clients/NAME.key the nodes have.
    """


@command.command(epilog=examples("seqcast keys make", "seqcast keys make --port 22400"))
@click.option(
    "--port",
    type=click.IntRange(1, 65_534),
    help="First port, of two for each node [default: after the highest one in use].",
)
@configuration_option
@json_option
def make(port: int | None, config: Path | None, as_json: bool) -> None:
    """Make keys for every node that has none, and the first client, who may do everything.

    Copy to each machine the public keys of the nodes, those of the clients, and the secrets that belong there.
    """
    configuration = load(config)
    made = make_node_keys(configuration, port)
    if ADMIN not in list_clients(configuration):
        made += add_client(configuration, ADMIN, KeyRole.ADMIN)
    _say_made(made, as_json=as_json)
    if not as_json:
        again = "nodes that run take up new keys of their own when they are started again"
        click.echo(again if made else f"every node of {shown(configuration.path)} has its key")


@command.command(epilog=examples("seqcast keys add grafana", "seqcast keys add night-shift --admin"))
@click.argument("name")
@click.option("--admin", is_flag=True, help="May give commands; otherwise it may only look.")
@configuration_option
@json_option
def add(name: str, admin: bool, config: Path | None, as_json: bool) -> None:
    """Make a key for the client NAME. Nodes know it as soon as its public key is in their keys/clients."""
    configuration = load(config)
    made = add_client(configuration, name, KeyRole.ADMIN if admin else KeyRole.OBSERVE)
    _say_made(made, as_json=as_json)


@command.command(epilog=examples("seqcast keys remove grafana"))
@click.argument("name")
@configuration_option
def remove(name: str, config: Path | None) -> None:
    """Remove the key of the client NAME here: a node turns it away as soon as it is removed there."""
    remove_client(load(config), name)
    click.echo(f"key {name} is removed here; remove it on the machine of every node")


@command.command("list", epilog=examples("seqcast keys list", "seqcast keys list --json"))
@configuration_option
@json_option
def list_(config: Path | None, as_json: bool) -> None:
    """List the keys that are here. Secrets are not shown."""
    configuration = load(config)
    nodes, clients = list_nodes(configuration), list_clients(configuration)
    if as_json:
        values = {
            "nodes": {
                name: {"public": key.public.decode("ascii"), "port": key.port} for name, key in nodes.items()
            },
            "clients": {
                name: {"public": key.public.decode("ascii"), "role": key.role.value}
                for name, key in clients.items()
            },
        }
        click.echo(json.dumps(values, indent=2))
        return
    rows: list[tuple[object, ...]] = [("key", "what", "port", "public")]
    rows += [(name, "node", key.port, key.public.decode("ascii")) for name, key in nodes.items()]
    rows += [(name, key.role.value, None, key.public.decode("ascii")) for name, key in clients.items()]
    click.echo(columns(rows) if len(rows) > 1 else "there are no keys: `seqcast keys make` makes them")


def _say_made(made: list[Path], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"made": [str(path) for path in made]}))
        return
    for path in made:
        click.echo(f"made {shown(path)}")
