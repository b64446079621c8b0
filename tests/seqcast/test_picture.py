"""The picture of a bus, out of what nodes publish: rates, lags, repairs, latencies, drops; as screen and as line."""

from __future__ import annotations

import ast
import io
import json
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from attrs import asdict
from published import configuration, histogram, primary, rewinder, sighted
from rich.console import Console

from moldudp.requests import RequestCounters
from seqcast.cli.screen import line, screen
from seqcast.health import why_not_ready
from seqcast.meters import METERS, Kind, meter_of
from seqcast.picture import Painter

SECOND = 1_000_000_000
ROOT = Path(__file__).resolve().parents[2]

CONFIGURATION = configuration()


def seen(*statuses, at_ns: int = SECOND, **more):
    return {status["name"]: sighted(status, at_ns=at_ns) for status in statuses} | more


def shown(picture, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, height=60)
    console.print(screen(picture))
    return console.file.getvalue()


def test_a_picture():
    painter = Painter(CONFIGURATION)
    down = {"SEQ2": sighted(None)}
    painter.paint(seen(primary(CONFIGURATION), rewinder(CONFIGURATION), **down))
    later = primary(
        CONFIGURATION,
        last=1120,
        commit=1110,
        datagrams={"a": 155, "b": 154},
        counters={"submit.logins": 9, "submit.duplicates": 25, "publish.a.refused.101": 1},
        latency={"ingress_to_commit": histogram(900, 50_000, 2_000_000, 70_000, 80_000)},
    )
    asked = rewinder(CONFIGURATION, requests={"requests": 60, "replies": 58, "messages": 500, "short": 2})
    picture = painter.paint(seen(later, asked, at_ns=3 * SECOND, **down))
    assert (picture["primary"], picture["epoch"], picture["commit"]) == ("SEQ1", 2, 1110)
    leader, follower, gone = (picture["nodes"][name] for name in ("SEQ1", "REW1", "SEQ2"))
    assert leader["rates"]["committed"] == 500
    assert leader["rates"]["datagrams"] == 100
    assert (leader["up"], leader["ready"], leader["note"]) == (True, True, None)
    assert (follower["held"], follower["lag"], follower["following"]) == (119, 1001, "SEQ1")
    assert (follower["rates"]["requests"], follower["rates"]["messages"]) == (10, 100)
    assert gone == {"up": False, "ready": False, "role": "sequencer", "note": "has not been heard of"}
    latency = picture["latency"]["ingress_to_commit"]
    assert latency["count"] == 2, "of the last seconds"
    assert 70_000 <= latency["p50_ns"] <= 74_400
    assert picture["receivers"]["slowest"][0]["lag"] == 61
    drops = {
        (row["where"], row["reason"]): (row["kind"], row["count"], row["rate"]) for row in picture["drops"]
    }
    assert drops["submit", "duplicates"] == ("drop", 25, 10)
    assert drops["publish.a", "refused.ENETUNREACH"] == ("drop", 1, 0)
    assert drops["replay", "login_rejected.not_authorized"] == ("reject", 1, 0)
    assert drops["request", "short"] == ("drop", 2, 0)
    assert ("submit", "logins") not in drops
    assert json.loads(json.dumps(picture)) == picture
    text = shown(picture)
    for part in (
        "primary SEQ1 of epoch 2",
        "committed 1,110 at 500/s",
        "has not been heard of",
        "ingress to commit",
    ):
        assert part in text
    assert "receivers at rewinders: 2, 1 behind" in text
    assert "login_rejected.not_authorized" in text
    said = line(picture)
    assert "SEQ2 has not been heard of, " not in said
    assert "REW1 rewinder lag 1,001" in said
    assert "receivers 2 (1 behind)" in said
    assert "dropping: SEQ1 submit.duplicates" in said
    shown(picture, width=40)


def test_some_of_the_nodes():
    seen_now = seen(primary(CONFIGURATION), rewinder(CONFIGURATION))
    picture = Painter(CONFIGURATION).paint(seen_now, ["REW1"])
    assert list(picture["nodes"]) == ["REW1"]
    assert (picture["primary"], picture["nodes"]["REW1"]["lag"]) == ("SEQ1", 1)
    assert {row["node"] for row in picture["drops"]} == {"REW1"}


def test_nothing_is_there():
    painter = Painter(CONFIGURATION)
    picture = painter.paint({node.name: sighted(None, name=node.name) for node in CONFIGURATION.nodes})
    assert (picture["primary"], picture["commit"], picture["drops"]) == (None, 0, [])
    assert "no primary" in shown(picture)
    assert "no primary" in line(picture)


def test_a_node_that_was_started_again_counts_from_nothing():
    painter = Painter(CONFIGURATION)
    painter.paint(seen(primary(CONFIGURATION, turns=5000, commit=90)))
    picture = painter.paint(seen(primary(CONFIGURATION, turns=3, commit=110), at_ns=2 * SECOND))
    assert picture["nodes"]["SEQ1"]["rates"]["committed"] == 0
    same = painter.paint(seen(primary(CONFIGURATION, turns=3, commit=110), at_ns=2 * SECOND))
    assert same == picture, "one publication is counted once"


def test_of_two_primaries_the_one_of_the_higher_epoch_counts():
    deposed = primary(CONFIGURATION, name="SEQ2", epoch=1)
    picture = Painter(CONFIGURATION).paint(seen(deposed, primary(CONFIGURATION)))
    assert picture["primary"] == "SEQ1"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, None),
        ({"ended": 120, "refusing": "session S has ended", "in_contact": []}, None),
        ({"session": "OTHER"}, "it serves another session, OTHER"),
        ({"fingerprint": "0"}, "it runs with another configuration"),
        ({"established": False}, "epoch 2 is not committed yet"),
        ({"refusing": "nothing can be stamped"}, "it refuses messages: nothing can be stamped"),
        ({"in_contact": []}, "it commits nothing: 1 of 2 voters that are needed take part"),
        ({"role": "candidate"}, "it tries to become primary"),
        ({"role": "standby"}, "it follows nobody"),
        ({"role": "standby", "suspicion": "SEQ1: gone"}, "it follows nobody: SEQ1: gone"),
        ({"role": "standby", "following": "SEQ2"}, None),
        ({"role": "standby", "following": "SEQ2", "vote_missing": "lost"}, "it does not vote: lost"),
        ({"role": "standby", "following": "SEQ2", "missing": 100_000}, None),
        (
            {"role": "standby", "following": "SEQ2", "missing": 100_001},
            "it lacks 100,001 records that are committed",
        ),
        ({"role": None, "in_contact": "what"}, "it follows nobody"),
    ],
)
def test_ready(changes, why):
    assert why_not_ready(CONFIGURATION, primary(CONFIGURATION, **changes)) == why


def counted_in_the_code() -> set[str]:
    """Every name that is given to `counters.add`, with `*` for what is put in."""
    names: set[str] = set()
    for package in ("rewinder", "sequencer"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("counters.add"):
                    names |= patterns(node.args[0])
    return names


def patterns(argument: ast.expr) -> set[str]:
    match argument:
        case ast.Constant(str(name)):
            return {name}
        case ast.IfExp(body=ast.Constant(str(one)), orelse=ast.Constant(str(other))):
            return {one, other}
        case ast.JoinedStr(values):
            found = {""}
            for value in values:
                if isinstance(value, ast.Constant):
                    found = {prefix + str(value.value) for prefix in found}
                else:
                    inner = patterns(value.value) if isinstance(value.value, ast.IfExp) else {"*"}
                    found = {prefix + each for prefix in found for each in inner}
            return found
    return {"*"} if isinstance(argument, ast.Attribute) else {ast.unparse(argument)}


def test_every_counter_has_a_meaning():
    names = counted_in_the_code() | {
        f"request.{name}"
        for name in asdict(RequestCounters())
        if name not in ("requests", "replies", "messages")
    }
    names.add("request.unsent")
    assert len(names) > 40
    for name in names:
        assert any(fnmatchcase(name, meter) or fnmatchcase(meter, name) for meter in METERS), name
    for meter in METERS:
        assert any(fnmatchcase(meter, name) or fnmatchcase(name, meter) for name in names), (
            f"nobody counts {meter}"
        )


def test_the_table_of_counters_is_in_the_document():
    text = (ROOT / "docs" / "OBSERVE.md").read_text(encoding="utf-8")
    for name, (kind, meaning) in METERS.items():
        assert f"| `{name}` | {kind.value} | {meaning} |" in text


def test_labels():
    meter = meter_of("publish.b.refused.101")
    assert (meter.kind, meter.where, meter.reason) == (Kind.DROP, "publish.b", "refused.ENETUNREACH")
    meter = meter_of("submit.login_rejected.refusing")
    assert (meter.kind, meter.where, meter.reason) == (Kind.REJECT, "submit", "login_rejected.refusing")
    meter = meter_of("new.thing")
    assert (meter.kind, meter.where, meter.reason, meter.meaning) == (Kind.EVENT, "new", "thing", "")
    assert meter_of("bare").where == "bare"
