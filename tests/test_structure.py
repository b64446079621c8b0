"""The shape of the tree, held: imports go in one direction, adapters alone see C, no module closes a circle."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = {
    "native": set(),
    "moldudp": {"native"},
    "souptcp": {"native"},
    "rewinder": {"moldudp", "souptcp", "native"},
    "sequencer": {"rewinder", "moldudp", "souptcp", "native"},
    "seqcast": {"sequencer", "rewinder", "moldudp", "souptcp", "native", "bench"},
    "bench": {"seqcast", "sequencer", "rewinder", "moldudp", "souptcp", "native"},
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = sorted(path for package in LAYERS for path in (ROOT / package).rglob("*.py"))
NAMES = {module_name(path) for path in MODULES}
LINES_LIMIT = 400
"""A file beyond this has more than one responsibility; about 300 is the aim."""


def imports_of(path: Path, *, at_import_time: bool = False) -> set[str]:
    """Dotted names that a module imports; with `at_import_time` not those for types or inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if at_import_time and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            if at_import_time and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            if isinstance(child, ast.Import):
                found.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module is not None:
                inside = {f"{child.module}.{alias.name}" for alias in child.names}
                found.update(inside)
                if not inside <= NAMES:  # else only modules of the package are meant, and not what it gathers
                    found.add(child.module)
            visit(child)

    visit(tree)
    return found


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_go_right_only(path: Path) -> None:
    package = module_name(path).partition(".")[0]
    ours = {name.partition(".")[0] for name in imports_of(path)} & LAYERS.keys()
    assert ours - {package} <= LAYERS[package]


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_only_adapters_see_the_extension(path: Path) -> None:
    if path.name == "_native.py" or module_name(path).startswith("native"):
        return
    names = imports_of(path)
    assert not {"native.lib", "native.ffi", "native._seqcast", "cffi"} & names


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_files_are_small(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES_LIMIT


MACHINES = [
    "moldudp/receiver.py",
    "moldudp/bucket.py",
    "moldudp/pacing.py",
    "moldudp/requests.py",
    "moldudp/downstream.py",
    "moldudp/cadence.py",
    "souptcp/session.py",
    "souptcp/client.py",
    "souptcp/server.py",
    "rewinder/follower.py",
    "rewinder/promise.py",
    "rewinder/replication.py",
    "rewinder/voter.py",
    "rewinder/retention.py",
    "sequencer/commit.py",
    "sequencer/elector.py",
    "sequencer/followers.py",
    "sequencer/notices.py",
    "sequencer/ordering.py",
    "sequencer/primary.py",
    "sequencer/takeover.py",
    "sequencer/tracing.py",
    "seqcast/reception.py",
    "seqcast/front.py",
    "seqcast/rotation.py",
    "seqcast/lookout.py",
    "seqcast/line_watch.py",
    "seqcast/session_watch.py",
    "seqcast/picture.py",
    "seqcast/health.py",
    "seqcast/submission.py",
    "seqcast/assembly.py",
    "seqcast/packing.py",
    "seqcast/plain_feed.py",
    "seqcast/recent.py",
    "seqcast/retransmission.py",
    "seqcast/rolling.py",
]


@pytest.mark.parametrize("name", MACHINES)
def test_machines_see_no_socket_clock_thread_or_chance(name: str) -> None:
    outside = {"socket", "select", "time", "datetime", "threading", "random", "secrets", "os", "asyncio"}
    runtime = {imported.partition(".")[0] for imported in imports_of(ROOT / name, at_import_time=True)}
    assert not runtime & outside


def test_no_circles() -> None:
    names = {module_name(path): path for path in MODULES}
    graph = {
        name: {other for other in imports_of(path, at_import_time=True) if other in names and other != name}
        for name, path in names.items()
    }
    done: set[str] = set()

    def walk(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"circle: {' -> '.join((*trail[trail.index(name) :], name))}"
        if name in done:
            return
        for other in graph[name]:
            walk(other, (*trail, name))
        done.add(name)

    for name in graph:
        walk(name, ())


def test_vague_names_are_not_used() -> None:
    vague = {"utils", "util", "helpers", "helper", "manager", "misc"}
    assert not [path for path in MODULES if path.stem in vague]
