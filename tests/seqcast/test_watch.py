"""Listening to nodes that are down, come, go, and publish nonsense."""

from __future__ import annotations

import json
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from published import primary, rewinder

from rewinder.control import ControlServer
from seqcast.config import Configuration, parse_configuration
from seqcast.template import render
from seqcast.watch import STALE_SECONDS, Watch

SECOND = 1_000_000_000


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    text = render(session="S", group="239.192.1.1", base_port=20_000)
    return parse_configuration(text, tmp_path / "seqcast.toml")


def node(configuration: Configuration, name: str) -> ControlServer:
    """What a node publishes through."""
    return ControlServer(configuration.control_path(name), {})


def publish_until_seen(watch: Watch, server: ControlServer, status: dict) -> None:
    """Publish again and again, as nodes do, until it has arrived."""
    while watch.sightings()[status["name"]].status != status:
        server.publish(status)
        watch.wait(20)


def test_a_node_that_comes_and_goes(configuration):
    now_ns = 7 * SECOND
    with Watch(configuration, clock_ns=lambda: now_ns) as watch:
        assert [each.trouble for each in watch.sightings().values()] == 2 * ["has not been heard of"]
        assert watch.wait(0) is False
        with closing(node(configuration, "SEQ1")) as server:
            publish_until_seen(watch, server, primary(configuration))
            seen = watch.sightings()["SEQ1"]
            assert (seen.up, seen.trouble, seen.age_seconds) == (True, None, 0)
            assert not watch.sightings()["REW1"].up
        now_ns += int(STALE_SECONDS * SECOND)
        gone = watch.sightings()["SEQ1"]
        assert (gone.up, gone.trouble) == (False, "has been silent for 3 s")
        with closing(node(configuration, "SEQ1")) as server:
            publish_until_seen(watch, server, primary(configuration, turns=2))
            assert watch.sightings()["SEQ1"].up


def test_the_last_of_many_counts(configuration):
    with Watch(configuration) as watch, closing(node(configuration, "SEQ1")) as server:
        publish_until_seen(watch, server, primary(configuration))
        for turns in range(1, 9):
            server.publish(primary(configuration, turns=turns))
        while watch.sightings()["SEQ1"].status["turns"] != 8:
            assert watch.wait(10_000)


def test_all_are_waited_for_and_no_longer(configuration):
    now_ns = 0

    def clock() -> int:
        nonlocal now_ns
        now_ns += SECOND // 10
        return now_ns

    with Watch(configuration, clock_ns=clock) as watch, ExitStack() as stack:
        watch.wait_for_all(SECOND // 5)
        assert not any(each.up for each in watch.sightings().values())
        for status in (primary(configuration), rewinder(configuration)):
            server = stack.enter_context(closing(node(configuration, status["name"])))
            publish_until_seen(watch, server, status)
        before = now_ns
        watch.wait_for_all(before + 1000 * SECOND)
        assert now_ns <= before + SECOND


@pytest.mark.parametrize(
    "nonsense", [b"", b"\xff", b"[]", b"null", b"[" * 50_000, b'{"name": "REW1"}', b'{"name": ["SEQ1"]}']
)
def test_nonsense_is_counted_and_changes_nothing(configuration, nonsense):
    with Watch(configuration) as watch, closing(node(configuration, "SEQ1")) as server:
        publish_until_seen(watch, server, primary(configuration))
        server._publisher.send(nonsense)
        while not watch.bad:
            assert watch.wait(10_000)
        assert watch.sightings()["SEQ1"].status == json.loads(json.dumps(primary(configuration)))
        assert watch.sightings()["REW1"].status is None


def test_a_directory_that_is_not_there_yet_behind_a_long_path(tmp_path):
    directory = tmp_path / ("d" * 120)
    text = render(session="S", group="239.192.1.1", base_port=20_000)
    configuration = parse_configuration(text, directory / "seqcast.toml")
    with Watch(configuration) as watch:
        with closing(node(configuration, "SEQ1")) as server:
            publish_until_seen(watch, server, primary(configuration))
        assert watch.sightings()["SEQ1"].up
