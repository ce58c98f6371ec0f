"""How far several runs of one model lie apart."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from ..results import AVERAGE
from .verdicts import Comparison


@dataclass(frozen=True)
class Spread:
    """The averages of several runs of one suite by one model, in percent."""

    model: str
    title: str
    values: dict[str, float]
    """Each run's average, by the run's name."""

    @property
    def mean(self) -> float:
        """The mean over the runs."""
        return statistics.fmean(self.values.values())

    @property
    def deviation(self) -> float:
        """The sample standard deviation over the runs."""
        return statistics.stdev(self.values.values())

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest run."""
        return min(self.values.values()), max(self.values.values())


def spreads(comparisons: Sequence[Comparison]) -> list[Spread]:
    """Return the spread of every suite that several runs of one model asked under the same conditions."""
    values: dict[tuple[object, ...], dict[str, float]] = {}
    names: dict[tuple[object, ...], tuple[str, str]] = {}
    for comparison in comparisons:
        for line in comparison.lines:
            if line.part == AVERAGE:
                alike = (comparison.run.model, line.suite, line.asked, line.conditions)
                names[alike] = (comparison.run.model, line.title)
                values.setdefault(alike, {})[line.run] = line.ours.value
    return [Spread(*names[alike], runs) for alike, runs in values.items() if len(runs) > 1]
