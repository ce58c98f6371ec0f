"""Figures by the names of their columns, as CSV, JSON and data frames have them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .baseline import Against
from .curve import Curve, Point
from .differences import Difference
from .outcome import Outcome
from .positions import Position
from .scores import Score
from .tables import certificate_line, unequal_certificates
from .verdicts import Comparison, Line


def figure_records(outcome: Outcome) -> list[dict[str, Any]]:
    """Return every figure of every run, those of one published figure each where there are several."""
    unequal = unequal_certificates(outcome.all_runs)
    return [
        record | {"certificate": certificate_line(comparison) or None, "unequal_certificates": unequal}
        for comparison, position in placed(outcome)
        for record in records_of_run(comparison, position)
    ]


def placed(outcome: Outcome) -> list[tuple[Comparison, Position | None]]:
    """Return all runs, each with where its checkpoint stands in its training."""
    positions = outcome.positions or (None,) * len(outcome.comparisons)
    own = list(zip(outcome.comparisons, positions, strict=True))
    return [(outcome.baseline, None), *own] if outcome.baseline else own


def records_of_run(comparison: Comparison, position: Position | None) -> Iterator[dict[str, Any]]:
    """Return every figure of one run."""
    scores = {score.key: score for score in comparison.scores}
    for line in comparison.lines:
        if score := scores.pop((line.suite, line.part), None):
            last = score
        yield _record(last, position) | _of_line(line)
    for score in scores.values():
        yield _record(score, position)


def _record(score: Score, position: Position | None) -> dict[str, Any]:
    known = score.ours.known
    task, *part = score.key
    return {
        "run": score.run,
        "suite": task,
        "benchmark": task,
        "part": ",".join(name for name in part if name != "none"),
        "ours": round(score.ours.value, 4),
        "low": round(score.ours.low, 4) if known else None,
        "high": round(score.ours.high, 4) if known else None,
        "interval": score.ours.method,
        "questions": score.asked,
        "available": score.available,
        "caveats": "; ".join(caveat.short for caveat in score.caveats),
        "chance": score.chance,
        "against_chance": score.verdict or None,
        "x": position.value if position else None,
        "x_unit": position.unit if position else None,
        "published": None,
        "difference": None,
        "verdict": score.verdict or None,
        "reasons": "; ".join(caveat.text for caveat in score.caveats if caveat.blocks),
        "notes": "; ".join(caveat.text for caveat in score.caveats if not caveat.blocks),
        **dict.fromkeys(("ties", "ties_of", "ties_warning", "document", "table", "row", "split", "protocol")),
    }


def _of_line(line: Line) -> dict[str, Any]:
    figure = line.figure
    return {
        "benchmark": line.benchmark,
        "published": figure.printed if figure else None,
        "difference": None if line.difference is None else round(line.difference, 4),
        "verdict": line.verdict,
        "reasons": "; ".join(line.reasons),
        "notes": "; ".join(line.notes),
        "ties": line.ties.questions,
        "ties_of": line.ties.of,
        "ties_warning": line.ties_warning,
        "document": figure.document if figure else None,
        "table": figure.table if figure else None,
        "row": figure.row if figure else None,
        "split": figure.split if figure else None,
        "protocol": figure.protocol if figure else None,
    }


def difference_record(against: Against, found: Difference) -> dict[str, Any]:
    """Return what sets one figure of a run apart from the run that the user named."""
    return {"run": against.run, "against": against.baseline, "of": found.second.title} | _difference(found)


def curve_record(curve: Curve) -> dict[str, Any]:
    """Return a curve with its points."""
    return {
        "title": curve.title,
        "training": curve.training,
        "unit": curve.unit,
        "best": curve.best.position.value,
        "like_best": [point.position.value for point in curve.like_best],
        "points": [_point(point) for point in curve.points],
    }


def _point(point: Point) -> dict[str, Any]:
    return {
        "x": point.position.value,
        **_record(point.score, point.position),
        "change": _difference(point.change) if point.change else None,
    }


def _difference(found: Difference) -> dict[str, Any]:
    flips, known = found.flips, found.told_apart is not None
    return {
        "ours": round(found.second.ours.value, 4),
        "theirs": round(found.first.ours.value, 4),
        "difference": round(found.value, 4),
        "low": round(found.low, 4) if known and found.low == found.low else None,
        "high": round(found.high, 4) if known and found.high == found.high else None,
        "gained": flips.gained if flips else None,
        "lost": flips.lost if flips else None,
        "paired": flips.of if flips else None,
        "p_value": flips.p_value if flips else None,
        "verdict": found.verdict,
        "caveats": "; ".join(dict.fromkeys(c.short for c in (*found.second.caveats, *found.first.caveats))),
    }
