"""Runs beside each other as tables: models as columns, checkpoints of a training as rows, one run against another."""

from __future__ import annotations

from collections.abc import Sequence

from ..languages import joined, say
from .baseline import Against
from .chance import BELOW, LIKE
from .condition import Condition, note
from .curve import Curve
from .differences import Difference
from .intervals import Interval
from .scores import Score
from .table import INDENT, NOTHING, Marks, Table
from .titles import unit_name


def scores_table(title: str, scores: Sequence[Score], confidence: float, also: Sequence[str] = ()) -> Table:
    """Return one run's figures beside what answering at random scores.

    Args:
        title: The table's title.
        scores: The figures.
        confidence: Of their intervals, 0 to 1.
        also: Further footnotes.
    """
    marks = Marks()
    with_chance = any(score.chance is not None for score in scores)
    rows = []
    for score in scores:
        chance = (NOTHING if score.chance is None else f"{score.chance:.4g}", score.verdict or NOTHING)
        rows.append(
            (
                _title(score),
                marks.cell(f"{score.ours.value:.2f}", score.caveats, of=score_group(score)),
                bounds(score.ours),
                *(chance[:1] if with_chance else ()),
                score.questions,
                *(chance[1:] if with_chance else ()),
            )
        )
    headers: tuple[str, ...] = (say("benchmark"), say("ours"), say("{share:g} % CI", share=100 * confidence))
    headers += (say("chance"), "n", say("against chance")) if with_chance else ("n",)
    return Table(title, headers, tuple(rows), (*marks.footnotes, *also))


def columns_table(of_runs: Sequence[Sequence[Score]], confidence: float, also: Sequence[str] = ()) -> Table:
    """Return the figures of several runs, a column for each run and a row for each suite, category and other task.

    Args:
        of_runs: The figures of each run.
        confidence: Of their intervals, 0 to 1.
        also: Further footnotes.
    """
    marks = Marks()
    found = {(score.run, score.key): score for scores in of_runs for score in scores}
    names = [scores[0].run for scores in of_runs if scores]
    first: dict[tuple[str, ...], Score] = {}
    for scores in of_runs:
        _insert(first, scores)
    rows = []
    for key, row in first.items():
        cells: list[str] = []
        for name in names:
            score = found.get((name, key))
            cells.append(NOTHING if score is None else _cell(marks, score))
        chances = {s.chance for n in names if (s := found.get((n, key))) and s.chance is not None}
        cells.append(" / ".join(f"{chance:.4g}" for chance in sorted(chances)) or NOTHING)
        rows.append((_title(row), *cells))
    headers = (say("benchmark"), *names, say("chance"))
    if all(cells[-1] == NOTHING for cells in rows):
        headers, rows = headers[:-1], [cells[:-1] for cells in rows]
    of = say("± is half of the {share:g} % interval; a dash: not asked", share=100 * confidence)
    return Table(say("Runs beside each other"), headers, tuple(rows), (of, *marks.footnotes, *also), wide=True)


def curve_table(curve: Curve, confidence: float) -> Table:
    """Return the checkpoints of one training in their order."""
    marks = Marks()
    paired = any(point.change and point.change.flips for point in curve.points)
    rows = []
    for point in curve.points:
        score, change = point.score, point.change
        place = say("best") if point is curve.best else say("like best") if point in curve.like_best else ""
        rows.append(
            (
                point.position.words,
                marks.cell(f"{score.ours.value:.2f}", _with_chance(score), of=f"{score.run} {score_group(score)}"),
                bounds(score.ours),
                f"{change.value:+.2f}" if change else "",
                *(_flips(change) if paired else ()),
                *((change.verdict if change else ""),),
                score.questions,
                place,
            )
        )
    headers: tuple[str, ...] = (unit_name(curve.unit), say("score"), say("{share:g} % CI", share=100 * confidence))
    headers += (say("change"),)
    headers += (say("gained"), say("lost"), "p") if paired else ()
    headers += (say("verdict"), "n", "")
    return Table(curve_title(curve), headers, tuple(rows),
                 (*_said_of(curve, paired), *marks.footnotes))  # fmt: skip


def against_table(against: Against) -> Table:
    """Return what sets a run apart from the run that the user named."""
    marks = Marks()
    paired = any(found.flips for found in against.differences)
    rows = []
    for found in against.differences:
        first, second = found.first, found.second
        rows.append(
            (
                _title(second),
                marks.cell(f"{second.ours.value:.2f}", second.caveats, of=score_group(second)),
                marks.cell(f"{first.ours.value:.2f}", first.caveats, of=score_group(first)),
                f"{found.value:+.2f}",
                *(_flips(found) if paired else ()),
                found.verdict,
                second.questions,
            )
        )
    headers: tuple[str, ...] = (say("benchmark"), say("ours"), say("against"), say("diff."))
    headers += (say("gained"), say("lost"), "p") if paired else ()
    headers += (say("verdict"), "n")
    said = [PAIRED if paired else UNPAIRED, *_paired_on(against.differences)]
    return Table(
        say("{run} against {other}", run=against.run, other=against.baseline),
        headers,
        tuple(rows),
        (*said, *marks.footnotes),
    )


PAIRED = say(
    "gained, lost: questions that only the later, only the earlier of the two has right; p: McNemar's exact test over "
    "these questions, whatever the score is averaged over"
)
UNPAIRED = say("no samples of the same questions were logged, so a difference is told by the two intervals alone")


def curve_title(curve: Curve) -> str:
    """Return what a curve is of."""
    training = curve.training or say("these runs")
    return say("{title} over the training of {training}", title=curve.title, training=training)


def _said_of(curve: Curve, paired: bool) -> list[str]:
    best = curve.best
    where = {"position": best.position.words, "value": best.score.ours.value}
    said: list[str] = [say("best: {position} ({value:.2f}); the best of several is partly luck", **where)]
    if like := [point.position.words for point in curve.like_best]:
        said.append(say("not told apart from it: {positions}", positions=", ".join(like)))
    said.append(PAIRED if paired else UNPAIRED)
    return [*said, *_paired_on([point.change for point in curve.points if point.change], curve)]


def _paired_on(differences: Sequence[Difference], curve: Curve | None = None) -> list[str]:
    """Say where fewer questions were paired than asked: of a partial run, or where samples are missing."""
    places = {point.score.run: point.position.words for point in curve.points} if curve else {}
    return [
        say(
            "{place}: paired on the {questions} questions that both logged",
            place=places.get(found.second.run, found.second.title),
            questions=found.flips.of,
        )
        for found in differences
        if found.flips and {found.flips.of} != {found.first.asked, found.second.asked}
    ]


def _flips(found: Difference | None) -> tuple[str, str, str]:
    if found is None or found.flips is None:
        return "", "", ""
    return str(found.flips.gained), str(found.flips.lost), f"{found.flips.p_value:.3g}"


def _cell(marks: Marks, score: Score) -> str:
    half = f" ±{(score.ours.high - score.ours.low) / 2:.1f}" if score.ours.known else ""
    return marks.cell(f"{score.ours.value:.2f}{half}", _with_chance(score), of=f"{score.run} {score_group(score)}")


def _with_chance(score: Score) -> tuple[Condition, ...]:
    """What a figure is not, and that it is not above chance, for tables without a column that says so."""
    if score.verdict not in (LIKE, BELOW):
        return score.caveats
    return (
        *score.caveats,
        note(say("{verdict} ({chance:.4g} %)", verdict=score.verdict, chance=score.chance), short=score.verdict),
    )


def score_group(score: Score) -> str:
    """What a category shares with the average it belongs to."""
    return score.key[0]


def bounds(interval: Interval) -> str:
    """An interval as text."""
    return f"{interval.low:.2f}–{interval.high:.2f}" if interval.known else NOTHING


def _title(score: Score) -> str:
    return joined("", (INDENT, score.title)) if score.below else score.title


def _insert(rows: dict[tuple[str, ...], Score], scores: Sequence[Score]) -> None:
    """Add what a further run was asked, each category behind those of its suite."""
    for score in scores:
        if score.key in rows:
            continue
        group = [key for key in rows if key[0] == score.key[0]]
        behind = list(rows).index(group[-1]) + 1 if group and len(score.key) == 2 else len(rows)
        items = list(rows.items())
        rows.clear()
        rows.update([*items[:behind], (score.key, score), *items[behind:]])
