"""Everything that ``compare`` found, which each format and the page draw in their own way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..languages import joined, say
from ..model_adapters.errors import PublishedError, ResultsError
from ..published import PublishedModel, PublishedTables, load_published
from ..results import (
    Answer,
    Run,
    TaskResult,
    find_suite,
    other_questions,
    read_logged,
    read_marks,
    read_runs,
    suites_of,
)
from .baseline import Against, set_against
from .columns import against_table, columns_table, curve_table
from .condition import Condition, note
from .curve import FEWEST, Curve, curves
from .pairing import Pairing, pair
from .positions import Position, positions
from .scores import scores, told_unlike
from .spread import Spread, spreads
from .table import Table
from .tables import (
    certificate_table,
    comparison_table,
    others_table,
    pairing_tables,
    paper_row,
    spread_table,
    unequal_certificates,
)
from .verdicts import Comparison, compare

Logged = Sequence[Mapping[str, list[Answer]]]
"""The samples of each run, by task; tasks without samples are left out."""


@dataclass(frozen=True)
class Outcome:
    """Everything that ``compare`` found."""

    comparisons: tuple[Comparison, ...]
    """In the order of their training where their names tell one, else as given."""
    spreads: tuple[Spread, ...]
    pairing: Pairing | None
    published: PublishedTables
    confidence: float
    baseline: Comparison | None = None
    """The run that the user named to set the others against."""
    against: tuple[Against, ...] = ()
    """Each run against the one that the user named, or the second of two against the first."""
    curves: tuple[Curve, ...] = ()
    positions: tuple[Position | None, ...] = ()
    """Where each run's checkpoint stands in its training."""

    @property
    def all_runs(self) -> tuple[Comparison, ...]:
        """The runs, the one they are set against first."""
        return (self.baseline, *self.comparisons) if self.baseline else self.comparisons

    def run_tables(self) -> list[Table]:
        """The runs' figures: as curves and columns, beside the published ones or chance, against the named run."""
        return [*self.side_by_side_tables(), *self.single_tables(), *(against_table(found) for found in self.against)]

    def side_by_side_tables(self) -> list[Table]:
        """The runs' figures as curves and columns."""
        tables = [curve_table(curve, self.confidence) for curve in self.curves]
        if len(self.all_runs) > 1:
            tables.append(columns_table([c.scores for c in self.all_runs], self.confidence, self._left_out()))
        return tables

    def single_tables(self) -> list[Table]:
        """Each run's figures beside the published ones, or a run that stands alone beside chance."""
        tables = []
        for comparison in self.comparisons:
            if comparison.published or len(self.all_runs) == 1:
                tables.append(comparison_table(comparison, self.confidence))
                others = others_table(comparison, self.confidence)
                tables += [others] if others else []
        return tables

    def _left_out(self) -> list[str]:
        return [
            joined(": ", (c.run.name, say("left out: {reason}", reason=reason)))
            for c in self.all_runs
            for reason in c.run.left_out
        ]

    def tables(self, shown_changes: int | None) -> list[Table]:
        """All of it as tables, the paper's row last."""
        tables = self.run_tables()
        checked = [comparison for comparison in self.all_runs if comparison.certificates]
        if len(checked) > 1:
            tables.append(certificate_table(checked))
        if self.spreads:
            tables.append(spread_table(self.spreads))
        if self.pairing:
            tables += pairing_tables(self.pairing, shown_changes)
        row = self.paper_row()
        return [*tables, *([row] if row else [])]

    def paper_row(self) -> Table | None:
        """The rows as papers print them; None where no run was asked what was published."""
        row = paper_row(self.comparisons, self.published)
        return row if row.rows else None


def find_outcome(
    runs: Sequence[Run],
    against: str | None,
    confidence: float,
    logged: Logged | None = None,
    x: Sequence[str] | None = None,
) -> Outcome:
    """Compare runs with a published row or another run, and with each other.

    Args:
        runs: The runs.
        against: Name of a published row, or a results file or folder of another run; None for the row that each model
            is called after.
        confidence: Coverage of the intervals, 0 to 1.
        logged: Each run's samples by task; None to read them here, where runs are paired.
        x: Where each run's checkpoint stands in its training; None to read that from the names.

    Raises:
        OptionError: ``x`` does not fit the runs.
        PublishedError: no published row is called ``against``, and no results are there.
        ResultsError: samples of two runs are damaged or do not fit together.
    """
    published = load_published()
    row, baseline = _find_against(against, published)
    if logged is None:
        # Columns alone need none, and eight runs of a large benchmark log gigabytes.
        paired = baseline is not None or len(runs) == 2 or x is not None or sum(map(bool, positions(runs))) >= FEWEST
        logged = [read_logged(one) if paired else {} for one in runs]
    if baseline:
        kept = [number for number, one in enumerate(runs) if _files(one) != _files(baseline)]
        runs, logged = [runs[number] for number in kept], [logged[number] for number in kept]
        if baseline.name in {run.name for run in runs}:
            baseline.name = f"{baseline.name} (set against)"
    found = positions(runs, x)
    everyone = [*([baseline] if baseline else []), *runs]
    samples = [*([read_logged(baseline)] if baseline else []), *logged]
    compared = [compare(one, row, published, confidence, own) for one, own in zip(everyone, samples, strict=True)]
    compared = _with_scores(_told_other_questions(_told_unequal(compared)), samples, published, confidence)
    comparisons = compared[1:] if baseline else compared
    pairing = pair(everyone[0], everyone[1], samples[0], samples[1]) if len(everyone) == 2 else None
    drawn = curves([c.scores for c in comparisons], found, confidence, given=x is not None)
    if x is not None and not drawn:
        raise ResultsError(f"--x: no task was asked of {FEWEST} of the {len(runs)} runs, so there is no curve to draw.")
    order = sorted(range(len(runs)), key=lambda n: _place(found[n], drawn))
    beside = compared[1:] if baseline or len(compared) == 2 else []
    set_beside = [set_against(c.scores, compared[0].scores, confidence) for c in beside]
    return Outcome(
        comparisons=tuple(comparisons[number] for number in order),
        spreads=tuple(spreads(comparisons)),
        pairing=pairing,
        published=published,
        confidence=confidence,
        baseline=compared[0] if baseline else None,
        against=tuple(each for each in set_beside if each),
        curves=tuple(drawn),
        positions=tuple(found[number] for number in order),
    )


def _find_against(against: str | None, published: PublishedTables) -> tuple[PublishedModel | None, Run | None]:
    """Return the published row that is meant, or the run."""
    if against is None:
        return None, None
    path = Path(against).expanduser()
    row = published.find(against)
    # A folder may be called after the model: results/Baichuan-7B is that folder, Baichuan-7B alone the row.
    if row and (path.name == against or not path.exists()):
        return row, None
    if not path.exists():
        raise PublishedError(
            f"No published row is called {against!r}, and no results are there. The rows are: "
            f"{', '.join(published.models)}."
        )
    named = read_runs([path])
    if len(named) > 1:
        raise ResultsError(
            f"{against}: {len(named)} runs ({', '.join(run.name for run in named)}), where one is to be set against; "
            "name one run's file."
        )
    (baseline,) = named
    return None, baseline


def _files(run: Run) -> set[Path]:
    return {file.path.resolve() for file in run.files}


def _told_unequal(compared: Sequence[Comparison]) -> list[Comparison]:
    """Add to every line of runs that were not checked alike that they were not."""
    sentence = unequal_certificates(compared)
    if not sentence:
        return list(compared)
    told = note(sentence, "", short=say("checked unlike the others"))
    return [
        replace(comparison, lines=tuple(replace(line, found=(*line.found, told)) for line in comparison.lines))
        for comparison in compared
    ]


def _told_other_questions(compared: Sequence[Comparison]) -> list[Comparison]:
    """Add to the lines of runs whose recorded questions or shots are not those of the first run that they are not."""
    first: dict[str, tuple[str, TaskResult]] = {}
    told: list[Comparison] = []
    for comparison in compared:
        differing: dict[str, Condition] = {}
        for task, result in comparison.run.tasks.items():
            name, known = first.setdefault(task, (comparison.run.name, result))
            suite = find_suite(task)
            if suite and (what := other_questions(known, result)):
                text = say(
                    "by the fingerprints in the results, the {what} of {task} are not those of {name}",
                    what=what,
                    task=task,
                    name=name,
                )
                short = say("other {what} than {name}", what=what, name=name)
                differing.setdefault(suite.name, note(text, "", short=short))
        lines = [
            replace(line, found=(*line.found, differing[line.suite])) if line.suite in differing else line
            for line in comparison.lines
        ]
        told.append(replace(comparison, lines=tuple(lines)))
    return told


def _with_scores(
    compared: Sequence[Comparison], samples: Logged, published: PublishedTables, confidence: float
) -> list[Comparison]:
    of_runs = [
        scores(c.run, suites_of(c.run, published), c.lines, confidence, own, read_marks(c.run))
        for c, own in zip(compared, samples, strict=True)
    ]
    return [replace(c, scores=tuple(own)) for c, own in zip(compared, told_unlike(of_runs), strict=True)]


def _place(position: Position | None, drawn: Sequence[Curve]) -> float:
    """Where a run stands among the columns: as given, but checkpoints of one training in its order."""
    trainings = {curve.training for curve in drawn}
    return position.value if position and len(trainings) == 1 and position.training in trainings else float("-inf")
