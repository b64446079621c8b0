"""The page of results and its pictures are what the script makes of the committed results."""

from __future__ import annotations

import json
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from click.testing import CliRunner

from bench import results
from bench.errors import BenchError
from bench.machine import sentence
from bench.plots import PLOTS
from bench.results import PAGE, RESULTS, RUNS, Run, code_of, is_done, measure, page, pictures_of, read_results
from bench.scenarios import SCENARIOS
from bench.svg import OURS, Mark, Picture, Row, draw
from seqcast.cli import main as seqcast_main

THROUGHPUT = RUNS[0]


def test_the_page_and_the_pictures_are_up_to_date() -> None:
    there = read_results()
    assert page(there) == PAGE.read_text("utf-8"), "run: python -m bench.results --draw"
    drawn = pictures_of(there)
    assert {path.stem: path.read_text("utf-8") for path in RESULTS.glob("*.svg")} == drawn
    for picture in drawn.values():
        ElementTree.fromstring(picture)


def test_every_scenario_has_its_run_and_every_picture_its_place() -> None:
    assert {run.options.split()[0] for run in RUNS} == set(SCENARIOS)
    assert len({run.name for run in RUNS}) == len(RUNS)
    assert {plot.run for plot in PLOTS.values()} <= {run.name for run in RUNS}
    text = PAGE.read_text("utf-8")
    for name in pictures_of(read_results()):
        assert text.count(f"(results/{name}.svg)") == 1


def test_the_results_are_complete_and_name_their_machine_and_command() -> None:
    there = read_results()
    assert set(there) == {run.name for run in RUNS}
    for run in RUNS:
        result = there[run.name]
        assert result["problems"] == [], run.name
        assert result["complete"], run.name
        assert "cores" in sentence(result["machine"])
        assert result["run"]["command"] in {run.command(quick=quick) for quick in (True, False)}


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
@pytest.mark.parametrize("quick", [True, False])
def test_every_command_is_one(run: Run, quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def ran(names: Any, settings: Any, _show: Any) -> Any:
        asked.append((names, settings.rounds, settings.trials))
        return {"complete": True}

    monkeypatch.setattr("bench.scenarios.run", ran)
    done = CliRunner().invoke(seqcast_main, [*run.command(quick=quick).split()[1:], "--json"])
    assert done.exit_code == 0, done.output
    ((names, rounds, trials),) = asked
    assert names == (run.options.split()[0],)
    assert ((rounds, trials) == (1, 3)) == quick


def fake(tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `seqcast` be a script."""
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(results.sys, "executable", str(program))


def test_a_run_writes_its_file_when_it_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, """echo "{\\"problems\\": [], \\"arguments\\": \\"$*\\"}" """, monkeypatch)
    measure(THROUGHPUT, "abc", tmp_path / "results", quick=False)
    (path,) = (tmp_path / "results").iterdir()
    written = read_results(tmp_path / "results")["throughput"]
    assert path.name == "throughput.json"
    assert written["arguments"] == "-P -m seqcast.cli bench throughput --rounds 5 --json"
    assert written["run"]["command"] == "seqcast bench throughput --rounds 5"
    assert written["run"]["code"] == "abc"


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("""echo '{"problems": ["1 message did not come"]}'; exit 1""", "status 1: 1 message did not come"),
        ("exit 2", "status 2: see above"),
    ],
)
def test_a_run_that_fails_leaves_what_was_there(
    script: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "throughput.json").write_text("{}")
    fake(tmp_path, script, monkeypatch)
    with pytest.raises(BenchError, match=sentence):
        measure(THROUGHPUT, "abc", tmp_path, quick=False)
    assert (tmp_path / "throughput.json").read_text() == "{}"


def test_what_is_done_stays_done_until_the_code_or_the_sizes_change() -> None:
    there = {"throughput": {"run": {"command": THROUGHPUT.command(quick=False), "code": "abc"}}}
    assert is_done(THROUGHPUT, "abc", there, quick=False)
    assert not is_done(THROUGHPUT, "abd", there, quick=False)
    assert not is_done(THROUGHPUT, "abc", there, quick=True)
    assert not is_done(evolve(THROUGHPUT, sizes="--rounds 6"), "abc", there, quick=False)
    assert not is_done(THROUGHPUT, "abc", {}, quick=False)
    unknown = {"throughput": {"run": {"command": THROUGHPUT.command(quick=False), "code": ""}}}
    assert not is_done(THROUGHPUT, "", unknown, quick=False)


def test_results_are_no_code(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True, capture_output=True)

    assert code_of(tmp_path) == ""
    git("init")
    (tmp_path / "bench" / "results").mkdir(parents=True)
    (tmp_path / "bench" / "code.py").write_text("1")
    assert code_of(tmp_path) == ""
    git("add", ".")
    git("commit", "-m", "one")
    code = code_of(tmp_path)
    assert len(code) >= 7
    (tmp_path / "bench" / "results" / "one.json").write_text("{}")
    for other in ("bench/RESULTS.md", "README.md", "test.py"):
        (tmp_path / other).write_text("1")
    assert code_of(tmp_path) == code
    git("add", ".")
    git("commit", "-m", "results")
    assert code_of(tmp_path) == code
    (tmp_path / "bench" / "code.py").write_text("2")
    assert code_of(tmp_path) == ""


def test_the_command_measures_what_is_due_and_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []

    def one(run: Run, code: str, directory: Path, *, quick: bool) -> None:
        measured.append(run.name)
        if run.name == "codec":
            raise BenchError("no")
        path = directory / f"{run.name}.json"
        path.write_text(json.dumps({**there[run.name], "run": {**there[run.name]["run"], "code": code}}))

    there = read_results()
    copy = tmp_path / "results"
    copy.mkdir()
    monkeypatch.setattr(results, "RESULTS", copy)
    monkeypatch.setattr(results, "PAGE", tmp_path / "RESULTS.md")
    monkeypatch.setattr(results, "HERE", tmp_path / "bench")
    monkeypatch.setattr(results, "read_results", lambda: read_results(copy))
    monkeypatch.setattr(results, "code_of", lambda: "abc")
    monkeypatch.setattr(results, "measure", one)
    quick = [] if "--quick" not in there["memory"]["run"]["command"] else ["--quick"]
    done = CliRunner().invoke(results.main, ["memory", "throughput", *quick])
    assert (done.exit_code, measured) == (0, ["throughput", "memory"]), done.output
    assert {path.name for path in copy.iterdir()} == {"throughput.json", "throughput.svg", "memory.json"}
    assert "What does each process hold?" in (tmp_path / "RESULTS.md").read_text()
    again = CliRunner().invoke(results.main, ["memory", "throughput", "codec", *quick])
    assert measured == ["throughput", "memory", "codec"]
    assert (again.exit_code, "Error: no" in again.output) == (1, True)
    CliRunner().invoke(results.main, ["memory", "--fresh", *quick])
    CliRunner().invoke(results.main, ["--draw", *quick])
    assert measured == ["throughput", "memory", "codec", "memory"]


def test_marks_lie_where_their_values_are() -> None:
    picture = Picture("a < b?", "things", [Row("one", [Mark(10, 1, 100, OURS, "ten")])])
    root = ElementTree.fromstring(draw(picture))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a < b?", "one", "ten", "1", "10", "100"} <= set(texts)
    (circle,) = root.iter("{http://www.w3.org/2000/svg}circle")
    bar = list(root.iter("{http://www.w3.org/2000/svg}rect"))[1]
    middle = float(bar.attrib["x"]) + float(bar.attrib["width"]) / 2
    assert float(circle.attrib["cx"]) == pytest.approx(middle, abs=0.2)
