"""`seqcast exporter`: metrics and health of nodes over HTTP."""

from __future__ import annotations

import signal
from contextlib import closing
from typing import TYPE_CHECKING

import click

from rewinder import notify
from seqcast.cli.common import Failed, configuration_option, examples, load

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

LISTEN = "127.0.0.1:9464"


class Address(click.ParamType[tuple[str, int]]):
    """HOST:PORT."""

    name = "address"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """Return host and port."""
        host, _, port = str(value).rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
            raise click.BadParameter(f"{value!r}: must be HOST:PORT", ctx, param)
        return host, int(port)


@click.command(
    epilog=examples(
        "seqcast exporter --config run/seqcast.toml", "seqcast exporter SEQ1 --listen 127.0.0.1:9465"
    )
)
@click.argument("names", nargs=-1, metavar="[NODE]...")
@configuration_option
@click.option(
    "--listen",
    type=Address(),
    metavar="HOST:PORT",
    default=LISTEN,
    show_default=True,
    help="Where to serve; port 0 is a free one.",
)
def command(names: tuple[str, ...], config: Path | None, listen: tuple[str, int]) -> None:
    """Serve /metrics for Prometheus, /healthz and /readyz, of all nodes or the NODEs named, until ctrl-C.

    Each node has its own paths too, with its name behind: /readyz/SEQ1. Health is 200 while a node publishes what it
    does, readiness 200 while it also does what it is there for; else 503, and the body says why. Nodes are listened
    to, not asked, and do not notice. Whoever reaches the port may read: it holds no secrets, and changes nothing.
    """
    configuration = load(config)
    nodes = [configuration.node(name) for name in names] or list(configuration.nodes)
    try:
        from seqcast.exporter import Exporter  # noqa: PLC0415  (an extra)
    except ModuleNotFoundError as error:
        raise Failed(f"this needs {error.name}: pip install 'seqcast[metrics]'") from None
    from seqcast.watch import Watch  # noqa: PLC0415

    with Watch(configuration, nodes) as watch, closing(Exporter(configuration, watch, *listen)) as exporter:

        def stop(_number: int, _frame: FrameType | None) -> None:
            exporter.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        click.echo(
            f"serving {', '.join(node.name for node in nodes)} at http://{listen[0]}:{exporter.port}/metrics"
        )
        notify.ready(f"{len(nodes)} nodes")
        exporter.run()
        notify.stopping()
