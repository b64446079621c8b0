"""What every scenario is given: its settings, the baselines, and where to say what is wrong."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field

from bench.bus import Bus, make_configuration
from bench.errors import NoBaseline
from bench.figures import Spread, ratios
from bench.processes import Processes
from bench.rounds import round_on, run_round
from seqcast.latency import LatencyHistogram

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from bench.baselines import Baselines
    from bench.rounds import BusRound, Load
    from bench.settings import Settings

    Show = Callable[[str, int, int | None], None]
    """Told what is being measured, how many messages were delivered, and of how many."""

PERCENTILES = (50.0, 99.0, 99.9)


@define(eq=False)
class Bench:
    """One run. `baselines` is None where there is no compiler; `problems` takes a sentence for each that is wrong."""

    settings: Settings
    baselines: Baselines | None
    show: Show
    problems: list[str] = field(factory=list)

    def rounds(self) -> range:
        """The numbers of the rounds."""
        return range(1, self.settings.rounds + 1)

    def label(self, what: str, number: int) -> str:
        """How a round is called."""
        return f"{what} {number}/{self.settings.rounds}"

    def round(self, label: str, load: Load, voters: int = 1) -> BusRound:
        """A round on a bus of its own."""
        settings = self.settings
        self.show(label, 0, load.messages)
        done = run_round(
            load, settings.durability, self._progress(label, load), voters=voters, idle=settings.idle
        )
        return self._judged(label, done)

    def round_on(
        self, bus: Bus, label: str, load: Load, meanwhile: AbstractContextManager[object] | None = None
    ) -> BusRound:
        """A round on a bus that is there, and what happens meanwhile."""
        self.show(label, 0, load.messages)
        return self._judged(label, round_on(bus, load, self._progress(label, load), meanwhile))

    @contextmanager
    def bus(
        self, voters: int = 1, *, spares: tuple[str, ...] = (), segment_mib: int | None = None
    ) -> Iterator[Bus]:
        """A bus that serves; see `make_configuration`."""
        settings = self.settings
        with tempfile.TemporaryDirectory(prefix="seqcast-bench-") as directory, Processes() as processes:
            configuration = make_configuration(
                Path(directory), settings.durability, voters, spares=spares, segment_mib=segment_mib
            )
            bus = Bus(processes, configuration, settings.idle)
            bus.start()
            yield bus
            bus.stop()

    def baseline(self, label: str, measure: Callable[[Baselines], float]) -> float | None:
        """One figure of a baseline; None where it cannot be had on this machine."""
        if self.baselines is None:
            return None
        self.show(f"{label}, baseline", 0, None)
        try:
            return measure(self.baselines)
        except NoBaseline:
            return None

    def _progress(self, label: str, load: Load) -> Callable[[int], None]:
        return lambda count: self.show(label, count, load.messages)

    def _judged(self, label: str, done: BusRound) -> BusRound:
        self.problems += [f"{label}: {problem}" for problem in done.problems]
        return done


def beside(
    ours: Sequence[float], theirs: Sequence[float | None], name: str, digits: int = 1
) -> dict[str, Any] | None:
    """The spread of a baseline under `name`, and ours divided by it, round by round; None where it is missing."""
    known = [each for each in theirs if each is not None]
    if not known or len(known) != len(ours):
        return None
    return {name: Spread.of(known).as_plain(digits), "ratio": ratios(ours, known).as_plain(3)}


def latencies(histograms: list[LatencyHistogram]) -> dict[str, Any]:
    """All rounds together, and how much the percentiles differ from round to round; microseconds."""
    together = LatencyHistogram()
    for histogram in histograms:
        together.merge(histogram)
    spreads: dict[str, Any] = {}
    for percent in PERCENTILES:
        values = microseconds(histograms, percent)
        spreads[f"p{percent:g}_us"] = Spread.of(values).as_plain() if values else None
    return {**together.as_plain(), "rounds": spreads}


def microseconds(histograms: list[LatencyHistogram], percent: float) -> list[float]:
    """One percentile of each round that has one."""
    found = [histogram.percentile(percent) for histogram in histograms]
    return [value / 1000 for value in found if value is not None]


def latency_ratios(ours: list[LatencyHistogram], theirs: list[LatencyHistogram]) -> dict[str, Any] | None:
    """Our percentiles divided by theirs, round by round; None where there is nothing to divide by."""
    if len(theirs) != len(ours) or not ours:
        return None
    found: dict[str, Any] = {}
    for percent in PERCENTILES:
        mine, other = microseconds(ours, percent), microseconds(theirs, percent)
        if len(mine) == len(other) == len(ours):
            found[f"p{percent:g}"] = ratios(mine, other).as_plain(3)
    return found


def cpu(rounds: list[BusRound]) -> dict[str, float]:
    """Processor time of each process for one message, in microseconds: the median of the rounds."""
    return {
        name: round(
            Spread.of([each.cpu_seconds[name] * 1e6 / each.load.messages for each in rounds]).median, 3
        )
        for name in rounds[0].cpu_seconds
    }
