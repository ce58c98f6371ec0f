"""The page's first table: every run's score on every benchmark, and what one must know to read it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from ..comparison.outcome import Outcome
from ..comparison.scores import Score
from ..comparison.tables import certificate_line
from ..comparison.verdicts import NO_MEASUREMENT, NOT_COMPARABLE, Comparison, Line
from ..results import AVERAGE, ResultsFile, find_suite


@dataclass(frozen=True)
class Summary:
    """One run on one benchmark."""

    run: str
    model: str
    """As the run was asked for: a hub name or folder."""
    score: Score
    line: Line | None
    """Of the published figures the one that it can be compared with, if there is one; None for other tasks."""
    split: str
    shots: str
    dtype: str
    date: str
    certificate: str
    reasons: tuple[str, ...]
    """What the figure is not, and why."""

    @property
    def verdict(self) -> str:
        """How it stands to the published figure, or to chance; empty where neither can be said."""
        return self.line.verdict if self.line else self.score.verdict


def summaries(outcome: Outcome) -> list[Summary]:
    """Return what stands on top of the page, the runs in their order."""
    return [
        _summary(comparison, score) for comparison in outcome.all_runs for score in comparison.scores if not score.below
    ]


def _summary(comparison: Comparison, score: Score) -> Summary:
    run = comparison.run
    lines = [line for line in comparison.lines if (line.suite, line.part) == score.key and line.part == AVERAGE]
    line = min(lines, key=lambda line: line.verdict in (NOT_COMPARABLE, NO_MEASUREMENT), default=None)
    results = [result for task, result in run.tasks.items() if _suite_name(task) == score.key[0]] if line else []
    measure = None if line else run.others.get(score.key)  # type: ignore[arg-type]  # a key of three parts
    files = [result.file for result in results] or ([measure.file] if measure else [])
    certificate = certificate_line(comparison) if line else score.facts.get("check", "")
    caveats = [caveat.text for caveat in score.caveats if caveat.topic != "certificate"]
    ties = [line.ties_warning] if line and line.ties_warning and not line.ties.degenerate else []
    return Summary(
        run=run.name,
        model=run.model,
        score=score,
        line=line,
        split=_each(result.split for result in results),
        shots=_each(result.shots for result in results) if line else score.facts.get("shots", ""),
        dtype=_each(file.dtype for file in files),
        date=_dates(files),
        certificate=certificate,
        reasons=(*caveats, *ties),
    )


def _suite_name(task: str) -> str:
    suite = find_suite(task)
    return suite.name if suite else ""


def _each(values: Iterable[object]) -> str:
    """Every value once; empty where none is recorded."""
    return ", ".join(dict.fromkeys(str(value) for value in values if value not in (None, "")))


def _dates(files: Sequence[ResultsFile]) -> str:
    """The day on which the tasks were run, or the first and the last, in UTC."""
    days = sorted({datetime.fromtimestamp(file.date[0], timezone.utc).strftime("%Y-%m-%d") for file in files})
    return "–".join(dict.fromkeys([days[0], days[-1]])) if days else ""
