"""Reads logged samples: what the model thought of each label of each question."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..model_adapters.errors import ResultsError
from .files import TaskResult

METRIC = "acc"


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
        first, second = sorted(self.logprobs, reverse=True)[:2]
        return first - second

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
    answers = list(_read_lines(path, result.task))
    if len({answer.doc_id for answer in answers}) != len(answers):
        raise ResultsError(f"{path}: the same question stands in it twice. Two runs wrote to one file; log one anew.")
    correct = sum(answer.correct for answer in answers)
    if (correct, len(answers)) != (result.correct, result.asked):
        raise ResultsError(
            f"{path}: {correct} of {len(answers)} questions right, but {result.file.path.name} says "
            f"{result.correct} of {result.asked}. The samples are incomplete or of another run: log them anew, or move "
            "the file away to go without samples."
        )
    return answers


def _read_lines(path: Path, task: str) -> Iterator[Answer]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            where = f"{path}, line {number}"
            try:
                sample = json.loads(line)
            except ValueError as error:
                cut = " The file ends in the middle of a line: the run was cut off." if not line.endswith(b"\n") else ""
                raise ResultsError(f"{where}: not valid JSON ({error}).{cut} Log the samples anew.") from error
            if not isinstance(sample, dict):
                raise ResultsError(f"{where}: expected one sample, found {type(sample).__name__}.")
            if sample.get("filter", "none") == "none":
                yield _parse(sample, task, where)


def _parse(sample: dict[str, Any], task: str, where: str) -> Answer:
    try:
        arguments = list(sample["arguments"].values())
        answer = Answer(
            task=task,
            doc_id=int(sample["doc_id"]),
            question=str(sample["doc"].get("prompt") or arguments[0]["arg_0"]),
            labels=tuple(str(argument["arg_1"]).strip() for argument in arguments),
            logprobs=tuple(float(response[0]) for response in sample["filtered_resps"]),
            target=int(sample["target"]) if str(sample["target"]).isdigit() else -1,
        )
        right = bool(float(sample[METRIC]))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ResultsError(
            f"{where}: not the sample of a multiple-choice question ({type(error).__name__}: {error})."
        ) from error
    if len(answer.labels) < 2 or len(answer.labels) != len(answer.logprobs) or any(map(math.isnan, answer.logprobs)):
        raise ResultsError(f"{where}: labels {answer.labels} with log-likelihoods {answer.logprobs}.")
    if answer.target < 0:
        label = str(sample["target"]).strip()
        if label not in answer.labels:
            raise ResultsError(f"{where}: the answer {label!r} is none of the labels {', '.join(answer.labels)}.")
        answer = dataclasses.replace(answer, target=answer.labels.index(label))
    if answer.target >= len(answer.labels) or answer.correct != right:
        raise ResultsError(
            f"{where}: logged as {'right' if right else 'wrong'}, but its log-likelihoods say otherwise "
            f"(answer {answer.target}, likeliest {answer.predicted})."
        )
    return answer
