"""One line per benchmark, category and published figure: ours, published, difference, interval, verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..published import Figure, PublishedModel, PublishedTables
from ..results import Part, Run, Suite, TaskResult
from .conditions import conditions
from .intervals import Interval, mean_over_subjects, wilson

WITHIN = "within sampling error"
DIFFERS = "differs"
NOT_COMPARABLE = "not comparable"
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

    @property
    def difference(self) -> float | None:
        """Ours minus published, in percentage points."""
        return None if self.figure is None else self.ours.value - self.figure.value

    @property
    def words(self) -> str:
        """The verdict with its reasons."""
        return f"{self.verdict} because: {'; '.join(self.reasons)}" if self.reasons else self.verdict


@dataclass(frozen=True)
class Comparison:
    """A run beside a published row."""

    run: Run
    row: PublishedModel | None
    lines: tuple[Line, ...]


def compare(run: Run, against: PublishedModel | None, published: PublishedTables, confidence: float) -> Comparison:
    """Set a run beside a published row.

    Args:
        run: The run.
        against: The row, or None to find the one the model is called after.
        published: The published tables.
        confidence: Coverage of the intervals, 0 to 1.
    """
    row = against or published.find(run.model)
    lines = [
        line
        for suite in suites_of(run, published)
        for part in suite.parts
        if (results := run.results_of(part.tasks))
        for line in _lines(run, suite, part, results, row, published, confidence)
    ]
    return Comparison(run=run, row=row, lines=tuple(lines))


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
) -> list[Line]:
    ours = interval_of(part, results, confidence)
    benchmark = published.benchmarks.get(suite.benchmark)
    figures: Sequence[Figure | None] = published.of(row.name, suite.benchmark, part.name) if row else []
    lines = []
    for figure in figures or [None]:
        reasons: tuple[str, ...] = ()
        notes: tuple[str, ...] = ()
        if figure is None or row is None or benchmark is None:
            verdict = NO_ROW if row is None and benchmark is not None else NO_FIGURE
        else:
            found = conditions(part, results, figure, benchmark, row)
            reasons = tuple(condition.text for condition in found if condition.blocks)
            notes = tuple(condition.text for condition in found if not condition.blocks)
            verdict = NOT_COMPARABLE if reasons else judge(ours, figure)
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
                verdict=verdict,
                reasons=reasons,
                notes=notes,
            )
        )
    return lines


def suites_of(run: Run, published: PublishedTables) -> list[Suite]:
    """Return a run's suites in the order of the published tables; those of no published benchmark come last."""
    order = list(published.benchmarks)
    return sorted(run.suites(), key=lambda s: order.index(s.benchmark) if s.benchmark in order else len(order))


def suite_title(suite: Suite, published: PublishedTables) -> str:
    """Return a suite's title: ``C-Eval (val)``."""
    benchmark = published.benchmarks.get(suite.benchmark)
    title = benchmark.title if benchmark else suite.benchmark
    return f"{title} ({suite.variant.replace('_', ' ')})" if suite.variant else title
