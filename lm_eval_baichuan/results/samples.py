"""Reads logged samples: what the model thought of each label of each question."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..model_adapters.equal_answers import margin
from ..model_adapters.errors import ResultsError
from .files import CHANGED, TaskResult
from .sample_lines import read_lines


@dataclass(frozen=True, slots=True)
class Answer:
    """One question of one run."""

    task: str
    doc_id: int
    question: str
    """The question as the model saw it, options included, without instruction and shots."""
    labels: tuple[str, ...]
    logprobs: tuple[float, ...]
    """The log-likelihood of each label, in nats."""
    target: int
    """The index of the right label."""
    before: str | None = None
    """What stood before the question: instruction and shots; None where the prompt does not hold it word for word."""
    after: str = ""
    """What stood behind it, such as the end of a turn in a chat form."""

    @property
    def predicted(self) -> int:
        """The index of the likeliest label; of several alike the first, as in lm-eval."""
        return max(range(len(self.logprobs)), key=self.logprobs.__getitem__)

    @property
    def correct(self) -> bool:
        """Whether the likeliest label is the right one."""
        return self.predicted == self.target

    @property
    def margin(self) -> float:
        """How far the likeliest label is ahead of the second, in nats."""
        return margin(self.logprobs)

    @property
    def confidence(self) -> float:
        """The likeliest label's share of the probability of all labels, 0 to 1."""
        highest = max(self.logprobs)
        return 1.0 / sum(math.exp(logprob - highest) for logprob in self.logprobs)


def read_answers(result: TaskResult) -> list[Answer] | None:
    """Read the samples logged for a task, or return None where none were.

    Raises:
        ResultsError: a line is damaged, or the samples do not give the accuracy that the results file states.
    """
    path = result.samples_path
    if not path.is_file():
        return None
    answers = []
    seen: set[int] = set()
    for where, sample in read_lines(path):
        if sample.get("filter", "none") != "none":
            continue
        answer = _parse(sample, result.task, where)
        if answer.doc_id >= result.available:
            raise ResultsError(
                f"{where}: doc_id is {answer.doc_id}, in a split of {result.available} questions, which are counted "
                f"from 0. {CHANGED}"
            )
        if answer.doc_id in seen:
            raise ResultsError(
                f"{where}: doc_id {answer.doc_id}: the same question stands in it twice. Two runs wrote to one file; "
                "log one anew."
            )
        seen.add(answer.doc_id)
        answers.append(answer)
    correct = sum(answer.correct for answer in answers)
    if (correct, len(answers)) != (result.correct, result.asked):
        raise ResultsError(
            f"{path}: {correct} of {len(answers)} questions right, but {result.file.path.name} says "
            f"{result.correct} of {result.asked}. The samples are incomplete or of another run: log them anew, or move "
            "the file away to go without samples."
        )
    return answers


def _parse(found: dict[str, Any], task: str, where: str) -> Answer:
    from .schema import Sample, check  # pydantic takes its time

    sample = check(Sample, found, where)
    requests = list(sample.arguments.values())
    labels = tuple(request.continuation.strip() for request in requests)
    logprobs = tuple(sample.logprobs)
    if len(labels) != len(logprobs) or len(set(labels)) != len(labels):
        raise ResultsError(f"{where}: labels {labels} with log-likelihoods {logprobs}. {CHANGED}")
    prompt = requests[0].context
    question = sample.doc.prompt or prompt
    before, found_in, after = prompt.rpartition(question) if question else ("", "", "")
    answer = Answer(
        task=task,
        doc_id=sample.doc_id,
        question=question,
        labels=labels,
        logprobs=logprobs,
        target=_target(sample.target.strip(), labels, where),
        # Thousands of questions have the same shots: each text is kept once.
        before=sys.intern(before) if found_in else None,
        after=sys.intern(after),
    )
    if answer.correct != bool(sample.right):
        raise ResultsError(
            f"{where}: logged as {'right' if sample.right else 'wrong'}, but its log-likelihoods say otherwise "
            f"(answer {answer.target}, likeliest {answer.predicted})."
        )
    return answer


def _target(stated: str, labels: Sequence[str], where: str) -> int:
    """The index of the right label, which lm-eval logs as the label or as the index itself."""
    if stated in labels:
        return labels.index(stated)
    index = int(stated) if stated.isascii() and stated.isdigit() and len(stated) < 4 else len(labels)
    if index >= len(labels):
        raise ResultsError(f"{where}: the answer {stated[:80]!r} is none of the labels {', '.join(labels)}.")
    return index
