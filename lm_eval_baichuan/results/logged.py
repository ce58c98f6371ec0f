"""Reads all samples of a run."""

from __future__ import annotations

from .runs import Run
from .samples import Answer, read_answers


def read_logged(run: Run) -> dict[str, list[Answer]]:
    """Read all samples that were logged for a run, by task; tasks without samples are left out."""
    logged = {task: read_answers(result) for task, result in run.tasks.items()}
    return {task: answers for task, answers in logged.items() if answers is not None}
