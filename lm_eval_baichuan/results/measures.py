"""Reads what lm-eval's other tasks report: shares of questions answered right, under whatever name and filter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..model_adapters.errors import ResultsError
from .draws import present_name
from .files import ResultsFile
from .suites import find_suite, known_suites

SHARES = ("acc", "acc_norm", "acc_bytes", "exact_match", "em", "pass@1")
"""Metrics that are shares of questions, the more the better."""


@dataclass(frozen=True)
class Measure:
    """One metric of one task or group of tasks, behind one filter."""

    task: str
    """The task or group."""
    metric: str
    filter: str
    """``none`` where the answers went through no filter."""
    share: float
    """Of questions answered right, 0 to 1."""
    stderr: float | None
    """lm-eval's standard error of the share; None where none is recorded."""
    members: tuple[str, ...]
    """A group's tasks, or the task alone."""
    group: str
    """The group that holds it; empty where none does."""
    file: ResultsFile

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it apart from a run's other measures."""
        return self.task, self.metric, self.filter

    @property
    def title(self) -> str:
        """Task, metric and filter: ``gsm8k, exact_match (strict-match)``."""
        return f"{self.task}, {self.metric}" + (f" ({self.filter})" if self.filter != "none" else "")

    @property
    def asked(self) -> int | None:
        """How many questions were asked; None where not recorded."""
        return self._count("effective")

    @property
    def available(self) -> int | None:
        """Questions before ``--limit`` or ``--samples`` took some; None where not recorded."""
        return self._count("original")

    @property
    def correct(self) -> int | None:
        """How many questions were answered right; None where the share is no plain share of the questions."""
        if self.asked is None or len(self.members) > 1:
            return None
        correct = round(self.share * self.asked)
        return correct if abs(self.share * self.asked - correct) <= 1e-6 * self.asked else None

    def recorded(self, key: str) -> str:
        """What the results say of all its tasks under a key such as ``n-shot`` or ``versions``, as text."""
        found = self.file.data.get(key)
        values = {str(found.get(task)) for task in self.members} if isinstance(found, Mapping) else set()
        return " and ".join(sorted(values)) or "None"

    @property
    def options(self) -> int | None:
        """How many options each question has, where the task's configuration lists them."""
        numbers = {_options(self.file.data["configs"].get(task)) for task in self.members}
        return numbers.pop() if len(numbers) == 1 else None

    def _count(self, which: str) -> int | None:
        counts = [self.file.data["n-samples"].get(task) for task in self.members]
        numbers = [count.get(which) for count in counts if isinstance(count, Mapping)]
        known = [number for number in numbers if isinstance(number, int) and number > 0]
        return sum(known) if len(known) == len(self.members) else None


def read_measures(file: ResultsFile) -> Iterator[Measure | str]:
    """Return what the tasks of a file report that are not this package's, and of other metrics why they are left out.

    A group that reports a mean stands for its tasks.

    Raises:
        ResultsError: what should be a share of questions is none.
    """
    below = _members(file)
    own_groups = {part.group for suite in known_suites() for part in suite.parts}
    foreign = {
        name: tasks
        for name, tasks in below.items()
        if name not in own_groups and not any(find_suite(present_name(task)) for task in tasks)
    }
    reporting = {name for name in foreign if _metrics(file, name)}
    silent = [task for task in file.data["configs"] if task not in reporting and find_suite(present_name(task)) is None]
    yield from (f"{task}: no metrics reported" for task in silent)
    for name, tasks in foreign.items():
        holding = [group for group in reporting if group != name and name in _names_below(file, group)]
        if name not in reporting or (holding and tasks == (name,)):
            continue
        group = min(holding, key=lambda group: len(below[group]), default="")
        left_out = []
        for (metric, filter_), value in _metrics(file, name).items():
            if metric not in SHARES:
                left_out.append(metric if filter_ == "none" else f"{metric} ({filter_})")
                continue
            stderr = file.data["results"][name].get(f"{metric}_stderr,{filter_}")
            yield Measure(
                task=name,
                metric=metric,
                filter=filter_,
                share=_share(file, name, metric, value),
                stderr=_share(file, name, f"{metric}_stderr", stderr) if _is_number(stderr) else None,
                members=tasks,
                group=group,
                file=file,
            )
        if left_out:
            yield f"{name}: {', '.join(left_out)} (no share of questions answered right)"


def _members(file: ResultsFile) -> dict[str, tuple[str, ...]]:
    """The tasks below each task and group, in the file's order: a task itself, a group all its leaves."""
    return {
        name: tuple(leaf for leaf in _names_below(file, name) if not _children(file, leaf)) or (name,)
        for name in file.data["results"]
    }


def _names_below(file: ResultsFile, name: str) -> list[str]:
    """The groups and tasks below a group, each once, in the file's order, each before those inside it."""
    found: dict[str, None] = {}
    waiting = _children(file, name)[::-1]
    while waiting:
        child = waiting.pop()
        if child == name:
            raise ResultsError(f"{file.path}: group_subtasks: {name} holds itself. The file has been changed.")
        if child not in found:
            found[child] = None
            waiting += _children(file, child)[::-1]
    return list(found)


def _children(file: ResultsFile, name: str) -> list[str]:
    groups = file.data.get("group_subtasks")
    children = groups.get(name) if isinstance(groups, Mapping) else None
    return [str(child) for child in children] if isinstance(children, list) else []


def _metrics(file: ResultsFile, name: str) -> dict[tuple[str, str], Any]:
    """The metrics of a task or group, by metric and filter."""
    reported = file.data["results"].get(name)
    if not isinstance(reported, Mapping):
        return {}
    split = {tuple(key.rsplit(",", 1)): value for key, value in reported.items() if "," in str(key)}
    return {
        (metric, filter_): value
        for (metric, filter_), value in split.items()
        if not metric.endswith("_stderr") and _is_number(value)
    }


def _share(file: ResultsFile, task: str, metric: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ResultsError(
            f"{file.path}: task {task}: {metric} is {value!r:.60}, no share of questions. The file has been changed."
        )
    return float(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value  # NaN isn't


def _options(config: object) -> int | None:
    choices = config.get("doc_to_choice") if isinstance(config, Mapping) else None
    return len(choices) if isinstance(choices, list) and choices else None
