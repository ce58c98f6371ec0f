"""Which task belongs to which benchmark and category, told from the group files of the tasks themselves."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

AVERAGE = "average"
"""The part that is the whole suite."""


@dataclass(frozen=True)
class Part:
    """A set of tasks that is averaged: a whole suite or one of its categories."""

    name: str
    """``average``, or the category: ``stem``."""
    group: str
    """lm-eval's name of it: ``ceval_5shot_stem``."""
    tasks: tuple[str, ...]
    over_questions: bool
    """Averaged over the questions of all its tasks; otherwise the unweighted mean over its tasks."""


@dataclass(frozen=True)
class Suite:
    """One benchmark in one variant, such as C-Eval's val split."""

    name: str
    """lm-eval's name of the group: ``ceval_5shot_val``."""
    benchmark: str
    """The published benchmark it is a form of: ``ceval``."""
    parts: tuple[Part, ...]
    """The average first, then the categories in the order of the group file."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """All tasks of the suite."""
        return self.parts[0].tasks

    @property
    def variant(self) -> str:
        """What sets the suite apart from the benchmark's main one: ``val``, or nothing."""
        return self.name.removeprefix(f"{self.benchmark}_5shot").removeprefix("_")

    def subject(self, task: str) -> str:
        """The subject that a task asks: ``law`` of ``ceval_5shot_val_law``."""
        return task.removeprefix(self.name).removeprefix("_") or task

    def category(self, task: str) -> str:
        """The category a task stands in: the smallest part that is no subset of another category, or nothing."""
        holding = [part for part in self.parts[1:] if task in part.tasks]
        widest = [part for part in holding if not any(set(part.tasks) < set(other.tasks) for other in holding)]
        return widest[0].name if widest else ""


@functools.cache
def known_suites() -> tuple[Suite, ...]:
    """Return the suites of every benchmark folder of the tasks package."""
    from .. import tasks

    folders = sorted((f for f in resources.files(tasks).iterdir() if f.is_dir()), key=lambda folder: folder.name)
    return tuple(suite for folder in folders for suite in _suites_of(folder))


def find_suite(task: str) -> Suite | None:
    """Return the suite a task belongs to, or None for a task of another package."""
    return _suite_of_task().get(task)


@functools.cache
def _suite_of_task() -> Mapping[str, Suite]:
    return {task: suite for suite in known_suites() for task in suite.tasks}


def _suites_of(folder: Any) -> Iterator[Suite]:
    """Read one folder's group files. A suite is a group whose tasks no other group of the folder all has.

    Groups that report no mean of their own, which only gather others, do not count.
    """
    groups = _read_groups(folder)
    leaves = {name: _leaves(name, groups) for name, group in groups.items() if group.get("aggregate_metric_list")}
    benchmark = folder.name.removesuffix("_5shot")
    for name, tasks in leaves.items():
        if any(set(tasks) < set(other) for other in leaves.values()):
            continue
        own = [part for part in leaves if set(leaves[part]) < set(tasks)]
        below = list(_groups_below(name, groups))
        own.sort(key=lambda part: below.index(part) if part in below else len(below))
        parts = [_part(AVERAGE, name, tasks, groups)]
        parts += [_part(part.removeprefix(f"{name}_"), part, leaves[part], groups) for part in own]
        yield Suite(name=name, benchmark=benchmark, parts=tuple(parts))


def _part(name: str, group: str, tasks: tuple[str, ...], groups: Mapping[str, Mapping[str, Any]]) -> Part:
    over_questions = bool(groups[group]["aggregate_metric_list"][0].get("weight_by_size", True))  # lm-eval's default
    return Part(name=name, group=group, tasks=tasks, over_questions=over_questions)


def _read_groups(folder: Any) -> dict[str, dict[str, Any]]:
    import yaml

    groups = {}
    for file in sorted(folder.iterdir(), key=lambda file: str(file.name)):
        if file.name.startswith("_") and file.name.endswith(".yaml"):
            config = yaml.safe_load(file.read_text(encoding="utf-8"))
            groups[config["group"]] = config
    return groups


def _groups_below(name: str, groups: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Return the groups that a group's files name, in their order, each before those inside it."""
    for member in groups[name]["task"]:
        if member in groups:
            yield member
            yield from _groups_below(member, groups)


def _leaves(name: str, groups: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the tasks below a group, each once, in the order of the files."""
    members = groups[name]["task"]
    tasks: dict[str, None] = {}
    for member in members:
        below = _leaves(member, groups) if member in groups else (member,)
        tasks.update(dict.fromkeys(below))
    return tuple(tasks)
