"""What happened to the questions of a run that a reader of its score must know."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any


@dataclass
class RunFacts:
    """Counts of one process; under several processes each has its own, and the results state their sum.

    Attributes:
        label_encodings: Tasks by the label encoding that was used for them.
        shortened: Per task, how many prompts lost how many shots.
        truncated: Per task, the documents whose prompts were longer than the window and lost their beginning.
        tokens_sent: Tokens of all requests as a plain run would send them.
        tokens_run: Tokens that the token trie ran.
    """

    label_encodings: dict[str, set[str]] = field(default_factory=partial(defaultdict, set))
    shortened: dict[str, Counter[int]] = field(default_factory=partial(defaultdict, Counter))
    truncated: dict[str, set[int | None]] = field(default_factory=partial(defaultdict, set))
    tokens_sent: int = 0
    tokens_run: int = 0

    @classmethod
    def sum(cls, parts: Iterable[RunFacts]) -> RunFacts:
        """Adds up the facts of several processes."""
        total = cls()
        for part in parts:
            for encoding, tasks in part.label_encodings.items():
                total.label_encodings[encoding] |= tasks
            for task, dropped in part.shortened.items():
                total.shortened[task] += dropped
            for task, documents in part.truncated.items():
                total.truncated[task] |= documents
            total.tokens_sent += part.tokens_sent
            total.tokens_run += part.tokens_run
        return total

    def warnings(self) -> list[str]:
        """Sentences for the log about prompts that were not sent as the task wrote them."""
        lines = [
            f"{task}: {dropped.total()} prompts were too long and lost {_shots(dropped)} shots in all."
            for task, dropped in self.shortened.items()
        ]
        lines += [
            f"{task}: {len(documents)} prompts were longer than the model's context and lost their beginning."
            for task, documents in self.truncated.items()
        ]
        return lines

    def as_dict(self) -> dict[str, Any]:
        """The facts in a form that JSON takes, for the results file."""
        return {
            "label_tokens": {encoding: sorted(tasks) for encoding, tasks in sorted(self.label_encodings.items())},
            "shortened_prompts": {
                task: {"prompts": dropped.total(), "shots": _shots(dropped)}
                for task, dropped in sorted(self.shortened.items())
            },
            "truncated_prompts": {task: len(documents) for task, documents in sorted(self.truncated.items())},
            "tokens_sent": self.tokens_sent,
            "tokens_run": self.tokens_run,
        }


def _shots(dropped: Counter[int]) -> int:
    return sum(shots * prompts for shots, prompts in dropped.items())
