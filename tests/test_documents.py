"""What the documents show is what happens: their commands and programs run as they stand there."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import inspect
import io
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from document_blocks import Block, Shell, blocks_of, fits

from seqcast import errors
from seqcast.settings import ConfigError

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ROOT / "docs"
TUTORIAL, HOWTO, OBSERVE, ARCHIVE = (
    DOCUMENTS / f"{name}.md" for name in ("TUTORIAL", "HOWTO", "OBSERVE", "ARCHIVE")
)


LOGS = (".report", ".warn", ".notice", "logger.warning", "logger.error")
"""What writes a line of the log: its first argument is the event."""


def test_the_tutorial(tmp_path: Path) -> None:
    built = subprocess.run(["make", "-q", "native/.built"], cwd=ROOT, capture_output=True, check=False)
    with Shell(ROOT, tmp_path) as shell:
        for block in blocks_of(TUTORIAL):
            if block.section == "1. Install" and built.returncode != 0:
                shell.run("mkdir ~/first && cd ~/first")  # a test installs nothing
            elif block.language == "console":
                shell.play(block)
            else:
                assert block.language == "python", block
                (tmp_path / "first" / block.argument).write_text(block.text, encoding="utf-8")


def test_the_answers_to_problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs without a name run in this process; those of one section go on where the one before stopped."""
    monkeypatch.chdir(tmp_path)
    spaces: dict[str, dict[str, Any]] = {}
    printed = ""
    with Shell(tmp_path, tmp_path) as shell:
        for block in blocks_of(HOWTO):
            if block.language == "text":
                assert fits(block.text, printed), f"line {block.line}:\n{printed}and not\n{block.text}"
                printed = ""
                continue
            assert not printed, f"above line {block.line}: the document does not show\n{printed}"
            if block.language == "console":
                shell.play(block)
            elif block.argument:
                (tmp_path / block.argument).write_text(block.text, encoding="utf-8")
            else:
                assert block.language == "python", block
                printed = run(block, spaces.setdefault(block.section, {"__name__": "howto"}))
    assert not printed


def test_what_is_to_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = ""
    with Shell(tmp_path, tmp_path) as shell:
        for block in blocks_of(OBSERVE):
            if block.language == "console":
                shell.play(block)
            elif block.language == "python":
                monkeypatch.chdir(tmp_path / "run")
                printed = run(block, {"__name__": "observe"})
            else:
                assert fits(block.text, printed), f"line {block.line}:\n{printed}and not\n{block.text}"


def test_every_event_of_the_log_is_explained() -> None:
    text = OBSERVE.read_text(encoding="utf-8").partition("## Logs")[2].partition("\n## ")[0]
    events = set()
    for package in ("rewinder", "sequencer"):
        for path in (ROOT / package).rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(LOGS):
                    match call.args[:1]:
                        case [ast.Constant(str(event))] if "%" not in event:  # those are of receivers
                            events.add(event)
    assert len(events) > 30
    assert sorted(event for event in events if f"`{event}`" not in text) == []


def test_the_archive(tmp_path: Path) -> None:
    with Shell(tmp_path, tmp_path) as shell:
        for block in blocks_of(ARCHIVE):
            if block.language == "console":
                shell.play(block)
            else:
                assert block.language == "sh", block  # of several machines, or without an end


def run(block: Block, names: dict[str, Any]) -> str:
    """Run a program of the document; returns what it prints."""
    program = compile("\n" * block.line + block.text, str(HOWTO), "exec")
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(program, names)
    return output.getvalue()


def test_every_error_is_explained() -> None:
    table = HOWTO.read_text(encoding="utf-8").partition("## Errors")[2]
    explained = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    known = {
        name
        for name, value in inspect.getmembers(errors, inspect.isclass)
        if value.__module__ == errors.__name__
    }
    assert sorted(explained) == sorted(known | {ConfigError.__name__})


LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")


@pytest.mark.parametrize(
    "path",
    [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted(DOCUMENTS.glob("*.md"))],
    ids=lambda path: path.name,
)
def test_links_lead_somewhere(path: Path) -> None:
    for target, anchor in LINK.findall(path.read_text(encoding="utf-8")):
        if target.startswith(("http:", "https:")):
            continue
        there = path.parent / target if target else path
        assert there.exists(), target
        if anchor:
            assert anchor in anchors_of(there), f"{target}#{anchor}"


def anchors_of(path: Path) -> set[str]:
    """The names that the code host gives to the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_reference_is_what_the_docstrings_say() -> None:
    specification = importlib.util.spec_from_file_location("api", DOCUMENTS / "api.py")
    assert specification is not None
    assert specification.loader is not None
    api = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(api)
    assert api.PAGE.read_text(encoding="utf-8") == api.page(), "stale: make docs"
