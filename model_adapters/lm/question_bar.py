"""The progress bar of scoring: questions, tokens a second, the share of tokens saved, and one time left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

from tqdm import tqdm

from ..trie_scorer import Progress

# tqdm's own time left goes by questions, which take very different times; ours goes by tokens.
_FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} questions [{elapsed}{postfix}]"


class QuestionBar:
    """A bar that moves when the last request of a question is scored.

    Args:
        questions: For each request, the question it belongs to.
        hidden: Whether not to show it.
    """

    def __init__(self, questions: Sequence[Hashable], *, hidden: bool) -> None:
        """Starts at none."""
        self._questions = questions
        self._left = Counter(questions)
        self._bar = tqdm(total=len(self._left), desc="Scoring", disable=hidden, bar_format=_FORMAT, dynamic_ncols=True)

    def __enter__(self) -> QuestionBar:
        """Shows the bar inside a block."""
        return self

    def __exit__(self, *_: Any) -> None:
        """Leaves it as it is."""
        self._bar.close()

    def scored(self, request: int) -> None:
        """Counts a request, by its number."""
        question = self._questions[request]
        self._left[question] -= 1
        if not self._left[question]:
            self._bar.update()

    def show(self, progress: Progress) -> None:
        """Shows how fast it goes."""
        left = progress.seconds_left
        remaining = "" if left is None else f", {tqdm.format_interval(left)} left"
        self._bar.set_postfix_str(
            f"{progress.tokens_per_second:.0f} tokens/s, {progress.saved_share:.0%} of tokens saved{remaining}"
        )
