"""Measures everything that bench/RESULTS.md shows, and makes that page and its pictures.

    python -m bench.results              # what is missing, or is of other code or sizes; then the page
    python -m bench.results --draw       # the page alone, from the results that are there
    make bench-results                   # the first of these

Each run is one command, `seqcast bench ... --json`, and has one file, `results/NAME.json`, which is written when the
command is over: who interrupts it loses one run. A file is kept when it is of the same command and of the same code,
which a commit tells; code with changes that are not committed is measured each time.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import frozen

from bench.errors import BenchError
from bench.plots import PLOTS
from bench.report import render
from bench.svg import draw

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
PAGE = HERE / "RESULTS.md"

CODE = (
    *("native", "moldudp", "souptcp", "rewinder", "sequencer", "seqcast", "bench", "setup.py"),
    *(":!bench/results", ":!*.md", ":!native/tests", ":!native/fuzz"),
)
"""What may not change without a new measurement."""

QUICK = "--quick"


@frozen
class Run:
    """One command, the name of its file, and what its figures answer; `seconds` is what it takes on two cores."""

    name: str
    options: str
    sizes: str
    question: str
    seconds: int

    def command(self, *, quick: bool) -> str:
        """What to type for the same."""
        return f"seqcast bench {self.options} {QUICK if quick else self.sizes}".rstrip()


RUNS = (
    Run("throughput", "throughput", "--rounds 5", "How many messages a second?", 90),
    Run(
        "latency-1", "latency --voters 1", "--rounds 5", "How long does a message take, with one voter?", 180
    ),
    Run("latency-3", "latency --voters 3", "--rounds 5", "How long does it take with three voters?", 200),
    Run("latency-spin", "latency --voters 1 --idle spin", "--rounds 3", "How long when nobody sleeps?", 110),
    Run(
        "replay",
        "replay",
        "--rounds 5",
        "How fast does history come, and what does it cost the live stream?",
        150,
    ),
    Run("catch_up", "catch_up", "--rounds 3", "How soon is a receiver live that comes late?", 60),
    Run("interference", "interference", "--rounds 5", "What do others do to the primary?", 260),
    Run("scale", "scale", "--rounds 3", "Is there a cliff?", 200),
    Run("overload", "overload", "--rounds 3", "What happens to twice as much as fits?", 45),
    Run("memory", "memory", "", "What does each process hold?", 10),
    Run("failover", "failover", "--trials 20", "How long does the stream stand still?", 60),
    Run("delivery", "delivery", "--rounds 3", "What does the library cost its app?", 100),
    Run("codec", "codec", "--rounds 3", "What does a codec cost?", 40),
)
"""In the order of the page."""

HEAD = """# Results

Made by `make bench-results`, from `results/*.json`; do not edit. [README.md](README.md) has the method, the bias, and
what the figures are of. Marks in the pictures are medians, bars go from minimum to maximum.
"""

QUICK_WARNING = """
**Some of these runs are short (`--quick`: one round, or three kills): they show the form of the results and are no
figures to quote.**
"""


def measure(run: Run, code: str, directory: Path, *, quick: bool) -> None:
    """Run the command and write its file. Raises BenchError when it fails, and leaves what was there."""
    command = run.command(quick=quick)
    started = time.monotonic()
    done = subprocess.run(  # noqa: S603  (the arguments are ours)
        [sys.executable, "-P", "-m", "seqcast.cli", *command.split()[1:], "--json"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        problems = json.loads(done.stdout)["problems"] if done.stdout else []
        raise BenchError(
            f"{command} ended with status {done.returncode}: {'; '.join(problems) or 'see above'}"
        )
    result = {
        "run": {
            "command": command,
            "code": code,
            "date": datetime.now(UTC).date().isoformat(),
            "seconds": round(time.monotonic() - started),
        },
        **json.loads(done.stdout),
    }
    directory.mkdir(exist_ok=True)
    path = directory / f"{run.name}.json"
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    beside.replace(path)


def is_done(run: Run, code: str, results: Mapping[str, Any], *, quick: bool) -> bool:
    """Whether there is a result of this command and this code."""
    there = results.get(run.name, {}).get("run")
    return bool(there) and there["command"] == run.command(quick=quick) and there["code"] == code != ""


def code_of(root: Path = HERE.parent) -> str:
    """The last commit that changed the code; empty where that does not say what the code is."""
    git = shutil.which("git")
    if git is None:
        return ""

    def ask(*arguments: str) -> str:
        asked = subprocess.run(  # noqa: S603  (the arguments are ours)
            [git, "-C", str(root), *arguments], capture_output=True, text=True, check=False
        )
        return asked.stdout.strip() if asked.returncode == 0 else "?"

    paths = ("--", *CODE)
    return "" if ask("status", "--porcelain", *paths) else ask("log", "-1", "--format=%h", *paths)


def page(results: Mapping[str, Any]) -> str:
    """The page, in Markdown: for each run that is there its question, pictures, command, and report."""
    parts = [HEAD]
    if any(QUICK in result["run"]["command"] for result in results.values()):
        parts.append(QUICK_WARNING)
    for run in RUNS:
        if run.name not in results:
            continue
        result = results[run.name]
        made = result["run"]
        code = f"the code of commit {made['code']}" if made["code"] else "code that is not committed"
        pictures = [name for name, plot in PLOTS.items() if plot.run == run.name]
        parts += [
            f"\n## {run.question}\n",
            *(f"\n![{name}](results/{name}.svg)\n" for name in pictures),
            f"\n`{made['command']}`, {made['date']}, {code}, {made['seconds']} s:\n",
            f"\n```text\n{render(result)}\n```\n",
        ]
    return "".join(parts)


def pictures_of(results: Mapping[str, Any]) -> dict[str, str]:
    """SVG by name, of those for which there is a result."""
    return {name: draw(plot.of(results)) for name, plot in PLOTS.items() if plot.run in results}


def read_results(directory: Path = RESULTS) -> dict[str, Any]:
    """All results, by the names of their files."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(directory.glob("*.json"))}


def write_page() -> None:
    """Make the page and all pictures anew, and remove pictures of results that are not there."""
    results = read_results()
    pictures = pictures_of(results)
    for path in RESULTS.glob("*.svg"):
        if path.stem not in pictures:
            path.unlink()
    for name, drawn in pictures.items():
        (RESULTS / f"{name}.svg").write_text(drawn, encoding="utf-8")
    PAGE.write_text(page(results), encoding="utf-8")


@click.command()
@click.argument("names", nargs=-1, type=click.Choice([run.name for run in RUNS]), metavar="[NAME]...")
@click.option("--fresh", is_flag=True, help="Measure what is there already, too.")
@click.option("--quick", is_flag=True, help="One short round of each: to see that it works, not to quote.")
@click.option("--draw", "draw_only", is_flag=True, help="Measure nothing: make the page and the pictures.")
def main(names: Sequence[str], fresh: bool, quick: bool, draw_only: bool) -> None:
    """Measure what bench/RESULTS.md shows, or those that are named, and make that page."""
    code, results = code_of(), read_results()
    wanted = [run for run in RUNS if not names or run.name in names]
    due = [run for run in wanted if fresh or not is_done(run, code, results, quick=quick)]
    if not draw_only:
        minutes = sum(run.seconds for run in due) / 60
        click.echo(
            f"{len(due)} of {len(wanted)} to measure" + ("" if quick else f", some {minutes:.0f} minutes")
        )
        for number, run in enumerate(due, 1):
            click.echo(f"{number}/{len(due)} {run.command(quick=quick)}")
            try:
                measure(run, code, RESULTS, quick=quick)
            except BenchError as error:
                write_page()
                raise click.ClickException(str(error)) from error
    write_page()
    click.echo(f"wrote {PAGE.relative_to(HERE.parent)}")


if __name__ == "__main__":
    main()
