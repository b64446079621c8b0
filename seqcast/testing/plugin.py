"""The pytest plugin: a `bus` fixture, and a marker that runs a test with many seeds.

    @pytest.mark.bus(seeds=50, voters=3, loss=0.05)
    def test_my_app(bus):
        ...

`--bus-seed N` runs such tests with that seed alone, which is how a failure is looked at again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seqcast.testing.bus import Bus

TRACE_LINES = 40
"""Lines of the bus's trace that are shown with a failure."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--bus-seed`."""
    parser.getgroup("seqcast").addoption(
        "--bus-seed", type=int, metavar="N", help="run tests that use the seqcast bus with this seed alone"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker."""
    config.addinivalue_line(
        "markers",
        "bus(seeds=1, **settings): run with so many seeds; settings are those of seqcast.testing.Bus",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a marked test once for each seed."""
    marker = metafunc.definition.get_closest_marker("bus")
    if marker is None or "bus" not in metafunc.fixturenames:
        return
    only = metafunc.config.getoption("--bus-seed")
    seeds = [only] if only is not None else range(marker.kwargs.get("seeds", 1))
    metafunc.parametrize("bus", seeds, indirect=True, ids=lambda seed: f"seed={seed}")


@pytest.fixture
def bus(request: pytest.FixtureRequest) -> Iterator[Bus]:
    """A bus on virtual time. What it is made of comes from the marker `bus`, its seed from there or `--bus-seed`."""
    from seqcast.testing.bus import Bus  # noqa: PLC0415  (only tests that use it pay for it)

    marker = request.node.get_closest_marker("bus")
    settings = {key: value for key, value in (marker.kwargs if marker else {}).items() if key != "seeds"}
    seed = getattr(request, "param", None)
    if seed is None:
        seed = request.config.getoption("--bus-seed") or 0
    with Bus(seed, **settings) as made:
        yield made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:  # noqa: ARG001
    """Show with a failure what had happened on the bus, and how to see it again."""
    report = yield
    bus: Any = getattr(item, "funcargs", {}).get("bus")
    if report.when == "call" and report.failed and hasattr(bus, "trace"):
        lines = bus.trace[-TRACE_LINES:]
        report.sections.append((f"bus, seed {bus.seed}: again with --bus-seed {bus.seed}", "\n".join(lines)))
    return report
