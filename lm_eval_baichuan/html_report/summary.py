"""The page's first table: every run's score on every benchmark, and what one must know to read it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from ..comparison.outcome import Outcome
from ..comparison.tables import certificate_line
from ..comparison.verdicts import NO_MEASUREMENT, NOT_COMPARABLE, Comparison, Line
from ..results import AVERAGE, TaskResult, find_suite


@dataclass(frozen=True)
class Summary:
    """One run on one benchmark."""

    run: str
    model: str
    """As the run was asked for: a hub name or folder."""
    suite: str
    line: Line
    """Of the published figures the one that it can be compared with, if there is one."""
    split: str
    shots: str
    dtype: str
    date: str
    certificate: str
    reasons: tuple[str, ...]
    """What the figure is not, and why."""


def summaries(outcome: Outcome) -> list[Summary]:
    """Return what stands on top of the page, the runs in their order."""
    return [_summary(comparison, lines) for comparison in outcome.comparisons for lines in _averages(comparison)]


def _averages(comparison: Comparison) -> Iterable[list[Line]]:
    suites: dict[str, list[Line]] = {}
    for line in comparison.lines:
        if line.part == AVERAGE:
            suites.setdefault(line.suite, []).append(line)
    return suites.values()


def _summary(comparison: Comparison, lines: Sequence[Line]) -> Summary:
    line = min(lines, key=lambda line: line.verdict in (NOT_COMPARABLE, NO_MEASUREMENT))
    run = comparison.run
    results = [result for task, result in run.tasks.items() if _suite_name(task) == line.suite]
    return Summary(
        run=run.name,
        model=run.model,
        suite=line.suite,
        line=line,
        split=_each(result.split for result in results),
        shots=_each(result.shots for result in results),
        dtype=_each(str(result.file.config.get("model_dtype") or "").removeprefix("torch.") for result in results),
        date=_dates(results),
        certificate=certificate_line(comparison),
        reasons=(*([line.ties_warning] if line.ties_warning else []), *line.reasons),
    )


def _suite_name(task: str) -> str:
    suite = find_suite(task)
    return suite.name if suite else ""


def _each(values: Iterable[object]) -> str:
    """Every value once; empty where none is recorded."""
    return ", ".join(dict.fromkeys(str(value) for value in values if value not in (None, "")))


def _dates(results: Sequence[TaskResult]) -> str:
    """The day on which the tasks were run, or the first and the last, in UTC."""
    days = sorted({datetime.fromtimestamp(r.file.date[0], timezone.utc).strftime("%Y-%m-%d") for r in results})
    return "–".join(dict.fromkeys([days[0], days[-1]]))
