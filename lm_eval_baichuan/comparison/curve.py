"""Checkpoints of one training in their order: where a figure was best, what changed from one to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..model_adapters.errors import OptionError
from .differences import Difference, difference
from .positions import Position
from .scores import Score

FEWEST = 3
"""Points of a curve."""


@dataclass(frozen=True)
class Point:
    """One checkpoint's figure."""

    position: Position
    score: Score
    change: Difference | None
    """From the checkpoint before; None for the first."""
    behind_best: Difference | None
    """From the best checkpoint; None for itself."""


@dataclass(frozen=True)
class Curve:
    """One figure over the checkpoints of one training."""

    title: str
    """What the figure is of."""
    training: str
    unit: str
    points: tuple[Point, ...]

    @property
    def best(self) -> Point:
        """The point with the highest figure; of several alike the first.

        One that is less whole than others of the curve is not taken for the best.
        """
        return next(point for point in self.points if point.behind_best is None)

    @property
    def like_best(self) -> list[Point]:
        """The points that are not told apart from the best."""
        return [point for point in self.points if point.behind_best and not point.behind_best.told_apart]


def curves(
    of_runs: Sequence[Sequence[Score]], found: Sequence[Position | None], confidence: float, given: bool
) -> list[Curve]:
    """Return a curve for each training and each thing that three of its checkpoints or more were asked.

    Args:
        of_runs: The figures of each run.
        found: Where each run's checkpoint stands.
        confidence: What a difference must be told apart with, 0 to 1.
        given: Whether the user gave the positions, so that none may stand twice.

    Raises:
        OptionError: two runs stand at the same given position.
    """
    trainings: dict[tuple[str, str], list[tuple[Position, Sequence[Score]]]] = {}
    for position, scores in zip(found, of_runs, strict=True):
        if position:
            trainings.setdefault((position.training, position.unit), []).append((position, scores))
    drawn = []
    for (training, unit), checkpoints in trainings.items():
        if len({position.value for position, _ in checkpoints}) < len(checkpoints):
            if given:
                raise OptionError("--x: two runs stand at the same place; expected a number of its own for each.")
            continue
        checkpoints.sort(key=lambda checkpoint: checkpoint[0].value)
        keys = dict.fromkeys(score.key for _, scores in checkpoints for score in scores if not score.below)
        for key in keys:
            points = [(position, score) for position, scores in checkpoints for score in scores if score.key == key]
            if len(points) >= FEWEST:
                drawn.append(_curve(training, unit, points, confidence))
    return drawn


def _reasons(score: Score) -> int:
    return sum(caveat.blocks for caveat in score.caveats)


def _curve(training: str, unit: str, found: Sequence[tuple[Position, Score]], confidence: float) -> Curve:
    best = max((score for _, score in found), key=lambda score: (-_reasons(score), score.ours.value))
    points = tuple(
        Point(
            position=position,
            score=score,
            change=difference(found[number - 1][1], score, confidence) if number else None,
            behind_best=None if score is best else difference(best, score, confidence),
        )
        for number, (position, score) in enumerate(found)
    )
    return Curve(found[0][1].title, training, unit, points)
