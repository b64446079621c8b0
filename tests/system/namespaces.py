"""A network of its own for every node of a bus, and cuts in it: network namespaces, veth pairs and nftables.

    node namespaces (SEQ1, SEQ2, REW1, REW2) and one for the apps --- veth --- bridge in a namespace of its own

Nothing outside these namespaces is touched, so several tests may have such networks at once. A cut drops every
packet between one node and others, in both directions or in one; multicast and the apps are not concerned.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field

from seqcast.config import read_configuration

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from seqcast.settings import Configuration

APPS = "APPS"
NETWORK = "10.77.0"
TOOLS = {"ip": "iproute2", "nft": "nftables", "nsenter": "util-linux"}


def missing_tools() -> list[str]:
    """Packages to install before there can be namespaces with cuts."""
    return [package for tool, package in TOOLS.items() if shutil.which(tool) is None]


def may_not() -> str | None:
    """Why this process may not make network namespaces; None when it may."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    tried = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"no network namespaces here: {tried.stderr.strip()}"


def _run(*arguments: str, text: str = "") -> None:
    done = subprocess.run(arguments, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"


@define
class Namespaces:
    """The namespaces of one bus, by the name of the node; `directory` has a short path, for sockets."""

    directory: Path
    names: tuple[str, ...]
    prefix: str = field(factory=lambda: f"sq{uuid.uuid4().hex[:6]}")
    configs: dict[str, Path] = field(factory=dict)

    def namespace(self, name: str) -> str:
        return f"{self.prefix}-{name}"

    def address(self, name: str) -> str:
        return f"{NETWORK}.{1 + self.names.index(name)}"

    def enter(self, name: str) -> list[str]:
        """What to put in front of a command that is to run there."""
        return ["nsenter", f"--net=/run/netns/{self.namespace(name)}"]

    def config_path(self, name: str) -> Path:
        return self.configs[name]

    def make(self) -> None:
        hub = self.namespace("hub")
        spaces = [self.namespace(name) for name in self.names]
        _run("ip", "-batch", "-", text="".join(f"netns add {space}\n" for space in [hub, *spaces]))
        lines = ["link add br0 type bridge mcast_snooping 0", "link set br0 up"]
        for n, space in enumerate(spaces):
            lines += [
                f"link add port{n} type veth peer name eth0 netns {space}",
                f"link set port{n} master br0 up",
            ]
        _run("ip", "-n", hub, "-batch", "-", text="\n".join(lines) + "\n")
        for name, space in zip(self.names, spaces, strict=True):
            lines = [
                "link set lo up",
                f"addr add {self.address(name)}/24 dev eth0",
                "link set eth0 up",
                "route add 224.0.0.0/4 dev eth0",
            ]
            _run("ip", "-n", space, "-batch", "-", text="\n".join(lines) + "\n")

    def remove(self) -> None:
        """Take down what was made; whatever was not made is passed over."""
        for name in (*self.names, "hub"):
            subprocess.run(["ip", "netns", "del", self.namespace(name)], capture_output=True, check=False)
        shutil.rmtree(self.directory, ignore_errors=True)

    # cuts

    def cut(self, name: str, others: Iterable[str], *, hears: bool = False, speaks: bool = False) -> None:
        """Drop everything between `name` and `others`; with `hears` or `speaks` that direction stays."""
        addresses = ", ".join(self.address(other) for other in others)
        rules = "add table ip cut\n"
        if not hears:
            rules += "add chain ip cut in { type filter hook input priority 0; }\n"
            rules += f"add rule ip cut in ip saddr {{ {addresses} }} drop\n"
        if not speaks:
            rules += "add chain ip cut out { type filter hook output priority 0; }\n"
            rules += f"add rule ip cut out ip daddr {{ {addresses} }} drop\n"
        _run(*self.enter(name), "nft", "-f", "-", text=rules)

    def heal(self, name: str) -> None:
        """Undo the cuts around `name`, if there are any."""
        _run(*self.enter(name), "nft", "-f", "-", text="add table ip cut\ndelete table ip cut\n")


@contextmanager
def new_namespaces(configuration: Configuration) -> Iterator[tuple[Namespaces, Configuration]]:
    """Give every node of a configuration a network of its own; also returns the configuration for the apps.

    The file of the apps takes the place of that of the configuration; each node gets one that differs in the
    multicast interface.
    """
    names = (*(node.name for node in configuration.nodes), APPS)
    made = Namespaces(Path(tempfile.mkdtemp(prefix="sq-")), names)
    try:
        made.make()
        text = configuration.path.read_text(encoding="ascii")
        for node in configuration.nodes:
            head, section, rest = text.partition(f"[nodes.{node.name}]")
            text = (
                head + section + rest.replace('host = "127.0.0.1"', f'host = "{made.address(node.name)}"', 1)
            )
        for name in names:
            path = configuration.path.with_stem(f"seqcast-{name}") if name != APPS else configuration.path
            path.write_text(
                text.replace('interface = "127.0.0.1"', f'interface = "{made.address(name)}"'),
                encoding="ascii",
            )
            made.configs[name] = path
        yield made, read_configuration(configuration.path)
    finally:
        made.remove()
