"""Questions whose likeliest labels are alike, so that not the model but their order or rounding answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..languages import joined, say
from ..model_adapters.equal_answers import equally_likely
from .files import TaskResult
from .samples import Answer

LARGE_SHARE = 0.5
"""From here on a score says more of the order of the labels than of the model. Coarse dtypes alone stay far below:
bfloat16 rounds logits to steps of a sixteenth or an eighth, which ties some answers of an unsure model, not half."""


@dataclass(frozen=True)
class Ties:
    """How many questions are ties."""

    questions: int
    of: int
    """The questions that were looked at."""

    @property
    def share(self) -> float:
        """The share of ties, 0 to 1."""
        return self.questions / self.of if self.of else 0.0

    @property
    def degenerate(self) -> bool:
        """Whether there are so many that the score is no measurement."""
        return self.share >= LARGE_SHARE

    @property
    def words(self) -> str:
        """A sentence on them; empty where there are none."""
        if not self.questions:
            return ""
        counted = say(
            "{questions} of {of} questions ({share:.1%}) have equally likely best labels, where their order or "
            "rounding says which counts",
            questions=self.questions,
            of=self.of,
            share=self.share,
        )
        advice = say(
            "so the score is mostly how often such a label is right: look for equal logits (a zeroed or missing head, "
            "a broken checkpoint)"
        )
        return joined(", ", (counted, advice)) if self.degenerate else counted


def count_ties(results: Sequence[TaskResult], logged: Mapping[str, Sequence[Answer]]) -> tuple[Ties, int]:
    """Count the ties of some tasks: as recorded, else from logged samples.

    Args:
        results: The tasks.
        logged: The samples that were read, by task.

    Returns:
        The ties, and how many of the tasks have neither.
    """
    questions = of = unknown = 0
    for result in results:
        recorded = result.file.facts.get("ties", {}).get(result.recorded_as)
        if recorded is not None:
            tied, seen = recorded["questions"], recorded["of"]
        elif result.task in logged:
            answers = logged[result.task]
            tied, seen = sum(equally_likely(answer.logprobs) for answer in answers), len(answers)
        else:
            unknown += 1
            continue
        questions += tied
        of += seen
    return Ties(questions, of), unknown
