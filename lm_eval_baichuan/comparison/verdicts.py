"""One line per benchmark, category and published figure: ours, published, difference, interval, verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..languages import joined, say
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
from .chance import OPTIONS, against_chance
from .condition import Condition, note
from .conditions import conditions, no_measurement, own_benchmark
from .intervals import Interval, mean_over_subjects, wilson

if TYPE_CHECKING:
    from .scores import Score

WITHIN = say("within sampling error")
DIFFERS = say("differs")
NOT_COMPARABLE = say("not comparable")
NO_MEASUREMENT = say("no measurement")
NO_FIGURE = say("no published figure")
CHANCE = 100 / OPTIONS


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
    available: int
    """Questions of the tasks that were asked, before ``--limit`` or ``--samples`` took some."""
    figure: Figure | None
    verdict: str
    found: tuple[Condition, ...]
    """All that is to know of how it was measured."""
    ties: Ties
    facts: Mapping[str, str]
    """What runs side by side should have alike, by name."""

    @property
    def caveats(self) -> tuple[Condition, ...]:
        """What stands beside the figure wherever it is shown: what it is not."""
        return tuple(condition for condition in self.found if condition.short)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is another measure than the published one."""
        return tuple(condition.text for condition in self.found if condition.blocks)

    @property
    def notes(self) -> tuple[str, ...]:
        """What else to know of the run."""
        return tuple(condition.text for condition in self.found if not condition.blocks)

    @property
    def conditions(self) -> tuple[str, ...]:
        """All that is to know without what it counts: the same for runs made under the same conditions."""
        return tuple(condition.kind for condition in self.found if condition.kind)

    @property
    def difference(self) -> float | None:
        """Ours minus published, in percentage points."""
        return None if self.figure is None else self.ours.value - self.figure.value

    @property
    def ties_warning(self) -> str:
        """What to know of ties between the best labels; empty where there are none."""
        warned = NO_MEASUREMENT if self.ties.degenerate else say("ties")
        return joined(": ", (warned, self.ties.words)) if self.ties.words else ""


@dataclass(frozen=True)
class Comparison:
    """A run beside a published row."""

    run: Run
    row: PublishedModel | None
    lines: tuple[Line, ...]
    certificates: tuple[tuple[Certificate, int], ...]
    """What was checked before scoring, each with the number of tasks it is for."""
    scores: tuple[Score, ...] = ()
    """All its figures, those of other tasks of lm-eval's too."""

    @property
    def published(self) -> bool:
        """Whether any of its figures stands beside a published one."""
        return any(line.figure for line in self.lines)


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


def what_they_are_not(lines: Sequence[Line]) -> list[str]:
    """Return for each run and suite what its figures are not, in the few words that a picture has room for."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for line in lines:
        found.setdefault((line.run, line.title), tuple(caveat.short for caveat in line.caveats))
    return [joined(": ", (f"{run}, {title}", joined("; ", short))) for (run, title), short in found.items() if short]


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
    unrecorded = say("ties between the best labels are not recorded")
    if unknown != len(results):
        unrecorded = joined(" ", (unrecorded, say("for {some} of {all} subjects", some=unknown, all=len(results))))
    of_ties = list(no_measurement(ties))
    of_ties += [note(unrecorded, "")] if unknown else []
    ours = interval_of(part, results, confidence)
    benchmark = published.benchmarks.get(suite.benchmark) or own_benchmark(suite, results)
    figures: Sequence[Figure | None] = published.of(row.name, suite.benchmark, part.name) if row else []
    lines = []
    for figure in figures or [None]:
        found = conditions(part, results, benchmark, figure, row if figure else None) + of_ties
        if figure is None:
            verdict = NO_FIGURE if row else against_chance(ours, CHANCE)
        else:
            verdict = NOT_COMPARABLE if any(condition.blocks for condition in found) else judge(ours, figure)
        lines.append(
            Line(
                run=run.name,
                suite=suite.name,
                benchmark=suite.benchmark,
                title=suite_title(suite, published),
                part=part.name,
                ours=ours,
                asked=sum(result.asked for result in results),
                available=sum(result.available for result in results),
                figure=figure,
                verdict=NO_MEASUREMENT if ties.degenerate else verdict,
                found=tuple(dict.fromkeys(found)),
                ties=ties,
                facts=_facts(results),
            )
        )
    return lines


def _facts(results: Sequence[TaskResult]) -> dict[str, str]:
    found = {
        "dtype": {str(r.file.dtype) for r in results},
        "chat template": {"applied" if r.file.data.get("chat_template") else "none" for r in results},
    }
    return {name: " and ".join(sorted(values)) for name, values in found.items()}
