"""What a task drew by seeds: the order of its shots, and which questions are shots.

Version 1.0 of the tasks had the drawn orders as tasks of their own, ``ceval_5shot_shuffled_law``, and one seed for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SHUFFLED = "_5shot_shuffled"
SEED_SHUFFLED = 0
"""The seed of the shuffled tasks where none was passed."""
SPLIT_BY_ONE_SEED = ("gaokao_5shot", "agieval_5shot")
"""What version 1.0 split by ``shots_seed``."""


@dataclass(frozen=True, order=True)
class Draws:
    """The seeds that a task drew by; what is not drawn is as the task has it of its own."""

    shots_seed: int | None = None
    """Of the order of the shots."""
    split_seed: int | None = None
    """Of another split into shots and questions than the task's own."""

    @property
    def words(self) -> str:
        """The seeds: ``shots_seed=1, split_seed=2``; empty where there are none."""
        return ", ".join(f"{name}={seed}" for name, seed in vars(self).items() if seed is not None)


def present_name(task: str) -> str:
    """Return what a task is called now: ``ceval_5shot_law`` for ``ceval_5shot_shuffled_law``."""
    return task.replace(SHUFFLED, "_5shot", 1)


def chosen_draws(task: str, metadata: Mapping[str, Any]) -> Draws:
    """Return the seeds that a run was asked for, whether or not this task draws by them.

    Args:
        task: The task's name in the results.
        metadata: The task's, with what the user passed by ``--metadata``.
    """
    if SHUFFLED not in task and metadata.get("version") != 1.0:
        return Draws(metadata.get("shots_seed"), metadata.get("split_seed") or None)  # 0 is the task's own split
    seed = metadata.get("shots_seed", SEED_SHUFFLED)
    return Draws(
        shots_seed=seed if SHUFFLED in task else None,
        split_seed=(seed or None) if task.startswith(SPLIT_BY_ONE_SEED) else None,
    )


def draws_of(task: str, metadata: Mapping[str, Any]) -> Draws:
    """Return the seeds that a task drew by.

    Args:
        task: The task's name in the results.
        metadata: The task's, with what the user passed by ``--metadata``.
    """
    chosen = chosen_draws(task, metadata)
    split_drawn = (metadata.get("protocol") or {}).get("split_drawn") or task.startswith(SPLIT_BY_ONE_SEED)
    return chosen if split_drawn else Draws(chosen.shots_seed)
