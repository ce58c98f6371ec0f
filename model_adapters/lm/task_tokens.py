"""How many tokens each task of a run sent, and how many of them had to be run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

from ..trie_scorer.trie import build_trie
from ..trie_scorer.trie.build import TokenIds


@dataclass
class TaskTokens:
    """Tokens of one task, counted as if it were the only one of its run.

    What several tasks share is run once and counted in each of them, so a task's numbers do not depend on the others;
    the sum over tasks may exceed what the run ran.

    Attributes:
        sent: With nothing shared: the sum over distinct sequences. Answers of one token behind one context are one
            sequence, as they are one forward pass for lm-eval's ``hf`` model too.
        apart: With each document by itself, where only the options of one question share.
        run: Distinct tokens.
    """

    sent: int = 0
    apart: int = 0
    run: int = 0

    def add(self, other: TaskTokens) -> None:
        """Adds what another process counted for this task, whose documents it had to itself."""
        self.sent += other.sent
        self.apart += other.apart
        self.run += other.run

    def as_dict(self) -> dict[str, Any]:
        """The counts with the shares saved, 0 to 1; a task with other shots for each document saves by options only."""
        return {
            "sent": self.sent,
            "run": self.run,
            "saved": _share(self.run, self.sent),
            "saved_within_documents": _share(self.apart, self.sent),
            "saved_between_documents": _share(self.run, self.apart),
        }


def count_by_task(requests: Iterable[tuple[str, Hashable, TokenIds, TokenIds]]) -> dict[str, TaskTokens]:
    """Counts the tokens of requests.

    Args:
        requests: Task, document, context ids and continuation ids of each.
    """
    documents: dict[str, dict[Hashable, list[tuple[TokenIds, TokenIds]]]] = defaultdict(lambda: defaultdict(list))
    for task, document, context_ids, continuation_ids in requests:
        documents[task][document].append((context_ids, continuation_ids))
    counted = {}
    for task, by_document in documents.items():
        together = build_trie([pair for pairs in by_document.values() for pair in pairs])
        apart = sum(len(build_trie(pairs)) for pairs in by_document.values())
        counted[task] = TaskTokens(together.sent_tokens, apart, len(together))
    return counted


def _share(less: int, more: int) -> float:
    return round(1 - less / more, 4) if more else 0.0
