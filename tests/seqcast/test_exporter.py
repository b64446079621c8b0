"""Metrics and health over HTTP; a dashboard and alarms that ask for nothing that is not there."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import sys
import threading
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families
from published import configuration, histogram, primary, rewinder, sighted

from seqcast import exporter as module
from seqcast.exporter import REQUESTS_AT_ONCE, Exporter
from seqcast.exposition import metrics

GRAFANA = Path(__file__).resolve().parents[2] / "examples" / "monitoring"

CONFIGURATION = configuration()


def all_of_them(**more):
    statuses = primary(CONFIGURATION), rewinder(CONFIGURATION)
    return {status["name"]: sighted(status) for status in statuses} | {"SEQ2": sighted(None)} | more


@contextmanager
def serving(sightings):
    """An exporter of what a watch would see, with its turns."""
    watch = SimpleNamespace(sightings=lambda: sightings, wait=lambda _ms: stopped.wait(0.01))
    stopped = threading.Event()
    with closing(Exporter(CONFIGURATION, watch, "127.0.0.1", 0)) as served:
        turns = threading.Thread(target=served.run)
        turns.start()
        try:
            yield served
        finally:
            served.stop()
            stopped.set()
            turns.join()


def get(served: Exporter, path: str, method: str = "GET", **headers: str):
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)) as connection:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8"), answer.getheader("Content-Type")


def samples(text: str):
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics():
    with serving(all_of_them()) as served:
        status, text, kind = get(served, "/metrics")
        assert status == 200
        assert kind.startswith("text/plain")
        found = samples(text)
        assert [found["seqcast_up", name] for name in ("SEQ1", "REW1", "SEQ2")] == [1, 1, 0]
        assert [found["seqcast_ready", name] for name in ("SEQ1", "REW1", "SEQ2")] == [1, 1, 0]
        assert found["seqcast_commit_number", "SEQ1"] == 110
        assert found["seqcast_drops_total", "SEQ1", "duplicates", "submit"] == 5
        assert found["seqcast_drops_total", "SEQ1", "refused.ENETUNREACH", "publish.a"] == 1
        assert found["seqcast_drops_total", "REW1", "short", "request"] == 2
        assert found["seqcast_rejects_total", "REW1", "login_rejected.not_authorized", "replay"] == 1
        assert found["seqcast_retries_total", "SEQ1", "full", "publish.a"] == 3
        assert found["seqcast_events_total", "logins", "SEQ1", "submit"] == 2
        assert found["seqcast_follower_lag_records", "REW2", "SEQ1", "false"] == 100
        assert found["seqcast_receiver_lag_records", "REW1", CONFIGURATION.session, "READER"] == 61
        assert ("seqcast_commit_number", "SEQ2") not in found
        assert get(served, "/metrics/rew1?x=1")[1].count("seqcast_up{") == 1
        openmetrics = get(served, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
        assert openmetrics[1].endswith("# EOF\n")


def test_latencies_are_cumulated_at_powers_of_two():
    state = histogram(1023, 1024, 1025, 40_000, 1 << 33, 1 << 36)
    one = {
        "SEQ1": sighted(primary(CONFIGURATION, latency={"ingress_to_commit": state, "commit_to_wire": {}}))
    }
    families = {family.name: family for family in metrics(CONFIGURATION, one)}
    rows = {
        sample.labels["le"]: sample.value
        for sample in families["seqcast_ingress_to_commit_seconds"].samples
        if sample.name.endswith("_bucket")
    }
    assert [rows["1.024e-06"], rows["2.048e-06"], rows["3.2768e-05"], rows["6.5536e-05"]] == [1, 3, 3, 4]
    assert [rows["17.179869184"], rows["+Inf"]] == [5, 6]
    assert not families["seqcast_commit_to_wire_seconds"].samples, "of another version: left out"


def test_health_and_readiness():
    late = sighted(rewinder(CONFIGURATION, "REW2"), age=9.0)
    idle = sighted(primary(CONFIGURATION, name="SEQ2", role="standby", suspicion="SEQ1: gone"))
    with serving(all_of_them(REW2=late, SEQ2=idle)) as served:
        assert get(served, "/healthz/SEQ1")[0] == 200
        assert get(served, "/healthz/SEQ2")[0] == 200
        assert get(served, "/readyz/REW1")[:2] == (
            200,
            '{"ok": true, "nodes": {"REW1": {"ok": true, "why": null}}}\n',
        )
        status, text, kind = get(served, "/readyz/SEQ2")
        assert (status, kind) == (503, "application/json")
        assert json.loads(text)["nodes"]["SEQ2"]["why"] == "it follows nobody: SEQ1: gone"
        status, text, _ = get(served, "/healthz")
        assert status == 503
        assert json.loads(text)["nodes"]["REW2"] == {"ok": False, "why": "has been silent for 9 s"}
        assert get(served, "/healthz/REW2")[0] == 503


def test_paths_and_methods():
    with serving(all_of_them()) as served:
        assert "/readyz/REW1" in get(served, "/")[1].splitlines()
        assert get(served, "/healthz/SEQ1", "HEAD")[:2] == (200, "")
        for path in (
            "/nothing",
            "/metrics/SEQ9",
            "/metrics/" + "x" * 5000,
            "//",
            "/%00",
            "/healthz/SEQ1/more",
        ):
            assert get(served, path)[0] in (200, 404), path
        assert get(served, "/metrics", "POST")[0] == 501


def test_a_client_that_says_nothing_is_let_go(monkeypatch):
    monkeypatch.setattr(module, "REQUEST_SECONDS", 0.2)
    with serving(all_of_them()) as served:
        idle = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(REQUESTS_AT_ONCE)]
        idle[0].sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        for each in idle:
            each.settimeout(10)
            assert each.recv(1) == b"", "it is closed"
            each.close()
        assert served.refused >= REQUESTS_AT_ONCE
        assert get(served, "/healthz/SEQ1")[0] == 200


def test_no_more_at_once_than_are_answered():
    with serving(all_of_them()) as served:
        idle = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(REQUESTS_AT_ONCE + 1)]
        idle[-1].settimeout(10)
        with suppress(ConnectionResetError):
            assert idle[-1].recv(1) == b"", "beyond the limit: closed at once"
        for each in idle:
            each.close()
        assert served.refused == 1


def test_a_port_that_is_taken_is_named():
    with (
        serving(all_of_them()) as served,
        pytest.raises(OSError, match=rf"127\.0\.0\.1:{served.port}: .*in use"),
    ):
        Exporter(CONFIGURATION, SimpleNamespace(), "127.0.0.1", served.port)


def exposed() -> set[str]:
    """The name of every sample, and of every histogram, that a bus can show."""
    names = set()
    for family in metrics(CONFIGURATION, all_of_them()):
        assert family.samples, f"{family.name}: the example shows nothing of it"
        names |= {sample.name for sample in family.samples}
    return names


def asked_for(expression: str) -> set[str]:
    return set(re.findall(r"\bseqcast_\w+", expression))


def test_the_dashboard_asks_for_what_is_there():
    dashboard = json.loads((GRAFANA / "dashboard.json").read_text(encoding="utf-8"))
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    variables = [each["query"] for each in dashboard["templating"]["list"] if each["type"] == "query"]
    asked = set().union(*map(asked_for, [*expressions, *map(str, variables)]))
    assert asked <= exposed(), asked - exposed()
    assert {"seqcast_drops_total", "seqcast_ingress_to_commit_seconds_bucket", "seqcast_up"} <= asked
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert panel["description"], panel["title"]


def test_the_alarms_ask_for_what_is_there_and_are_explained():
    text = (GRAFANA / "alarms.yml").read_text(encoding="utf-8")
    alarms = re.findall(r"^ +- alert: (\w+)$", text, re.MULTILINE)
    expressions = re.findall(r"^ +expr: (.+)$", text, re.MULTILINE)
    assert len(alarms) == len(expressions) >= 8
    for expression in expressions:
        assert asked_for(expression)
        assert asked_for(expression) <= exposed(), expression
    document = (GRAFANA.parents[1] / "docs" / "OBSERVE.md").read_text(encoding="utf-8")
    assert [name for name in alarms if f"| `{name}` |" not in document] == []
    assert [name for name in exposed() if name.endswith("_total") and f"`{name}`" not in document] == []


def test_without_the_extra_the_command_says_what_to_install(tmp_path):
    program = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from seqcast.cli import main\n"
        "main(['init', '--dir', sys.argv[1]], standalone_mode=False)\n"
        "main(['exporter', '--config', sys.argv[1]])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "run"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "pip install 'seqcast[metrics]'" in done.stderr
