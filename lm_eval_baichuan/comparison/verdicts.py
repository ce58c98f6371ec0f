"""One line per benchmark, category and published figure: ours, published, difference, interval, verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..published import Figure, PublishedModel, PublishedTables
from ..results import (
    Answer,
    Certificate,
    Part,
    Run,
    Suite,
    TaskResult,
    Ties,
    certificates,
    count_ties,
    suite_title,
    suites_of,
)
from .condition import Condition, note
from .conditions import conditions
from .intervals import Interval, mean_over_subjects, wilson

WITHIN = "within sampling error"
DIFFERS = "differs"
NOT_COMPARABLE = "not comparable"
NO_MEASUREMENT = "no measurement"
NO_FIGURE = "no published figure"
NO_ROW = "no published row chosen"


@dataclass(frozen=True)
class Line:
    """One line of a comparison."""

    run: str
    suite: str
    benchmark: str
    title: str
    """The benchmark's title, with the suite's variant."""
    part: str
    ours: Interval
    asked: int
    figure: Figure | None
    verdict: str
    reasons: tuple[str, ...]
    """Why it is not comparable."""
    notes: tuple[str, ...]
    """What else to know of the run."""
    ties: Ties
    conditions: tuple[str, ...]
    """Reasons and notes without what they count: the same for runs made under the same conditions."""

    @property
    def difference(self) -> float | None:
        """Ours minus published, in percentage points."""
        return None if self.figure is None else self.ours.value - self.figure.value

    @property
    def ties_warning(self) -> str:
        """What to know of ties between the best labels; empty where there are none."""
        warned = NO_MEASUREMENT if self.ties.degenerate else "ties"
        return f"{warned}: {self.ties.words}" if self.ties.words else ""


@dataclass(frozen=True)
class Comparison:
    """A run beside a published row."""

    run: Run
    row: PublishedModel | None
    lines: tuple[Line, ...]
    certificates: tuple[tuple[Certificate, int], ...]
    """What was checked before scoring, each with the number of tasks it is for."""


def compare(
    run: Run,
    against: PublishedModel | None,
    published: PublishedTables,
    confidence: float,
    logged: Mapping[str, Sequence[Answer]] | None = None,
) -> Comparison:
    """Set a run beside a published row.

    Args:
        run: The run.
        against: The row, or None to find the one the model is called after.
        published: The published tables.
        confidence: Coverage of the intervals, 0 to 1.
        logged: Its samples by task, as far as they were read: they tell ties where the results record none.
    """
    row = against or published.find(run.model)
    lines = [
        line
        for suite in suites_of(run, published)
        for part in suite.parts
        if (results := run.results_of(part.tasks))
        for line in _lines(run, suite, part, results, row, published, confidence, logged or {})
    ]
    return Comparison(run=run, row=row, lines=tuple(lines), certificates=tuple(certificates(run.tasks)))


def interval_of(part: Part, results: Sequence[TaskResult], confidence: float) -> Interval:
    """Return a part's accuracy and interval, averaged as its benchmark averages."""
    if part.over_questions or len(results) == 1:
        return wilson(sum(r.correct for r in results), sum(r.asked for r in results), confidence)
    return mean_over_subjects([(r.correct, r.asked) for r in results], confidence)


def judge(ours: Interval, figure: Figure) -> str:
    """Say whether a published figure lies in our interval, granting it what its rounding may hide."""
    inside = ours.low - figure.half_unit <= figure.value <= ours.high + figure.half_unit
    return WITHIN if inside else DIFFERS


def _lines(
    run: Run,
    suite: Suite,
    part: Part,
    results: list[TaskResult],
    row: PublishedModel | None,
    published: PublishedTables,
    confidence: float,
    logged: Mapping[str, Sequence[Answer]],
) -> list[Line]:
    ties, unknown = count_ties(results, logged)
    of = "" if unknown == len(results) else f" for {unknown} of {len(results)} subjects"
    unrecorded = [note(f"ties between the best labels are not recorded{of}", "")] if unknown else []
    ours = interval_of(part, results, confidence)
    benchmark = published.benchmarks.get(suite.benchmark)
    figures: Sequence[Figure | None] = published.of(row.name, suite.benchmark, part.name) if row else []
    lines = []
    for figure in figures or [None]:
        found: list[Condition] = []
        if figure is None or row is None or benchmark is None:
            verdict = NO_ROW if row is None and benchmark is not None else NO_FIGURE
        else:
            found = conditions(part, results, figure, benchmark, row)
            verdict = NOT_COMPARABLE if any(condition.blocks for condition in found) else judge(ours, figure)
        found += unrecorded
        lines.append(
            Line(
                run=run.name,
                suite=suite.name,
                benchmark=suite.benchmark,
                title=suite_title(suite, published),
                part=part.name,
                ours=ours,
                asked=sum(result.asked for result in results),
                figure=figure,
                verdict=NO_MEASUREMENT if ties.degenerate else verdict,
                reasons=tuple(condition.text for condition in found if condition.blocks),
                notes=tuple(condition.text for condition in found if not condition.blocks),
                ties=ties,
                conditions=tuple(condition.kind for condition in found if condition.kind),
            )
        )
    return lines
