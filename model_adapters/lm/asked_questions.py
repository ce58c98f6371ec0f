"""A fingerprint of the questions that a run asked, by which two results tell whether they are of the same questions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from lm_eval.api.instance import Instance

from .cache_fingerprint import short_hash

HOW_ASKED = frozenset(
    (
        *("prompt", "shots", "instruction", "description_length", "question_length", "shot_lengths"),
        *("label_tokens", "max_prompt_tokens", "drop_shots", "submission", "submission_rows"),
    )
)
"""Fields that say how a question is put, in documents that carry their shots; one question may be put differently."""


@dataclass
class AskedQuestions:
    """Hashes of one process's questions.

    Attributes:
        documents: Per task, the hash of each document, by its number.
        shots: Per task, the hashes of the answered questions that its documents carry.
    """

    documents: dict[str, dict[int | None, str]] = field(default_factory=partial(defaultdict, dict))
    shots: dict[str, set[str]] = field(default_factory=partial(defaultdict, set))

    def note(self, requests: Iterable[Instance]) -> None:
        """Takes the documents of requests, whether the model or a cache answers them."""
        for request in requests:
            task = request.task_name or "unnamed"
            if request.doc_id in self.documents[task]:
                continue  # another answer of the same question
            doc = request.doc
            if isinstance(doc, Mapping) and "shot_lengths" in doc:
                self.shots[task].update(map(short_hash, doc.get("shots", ())))
                doc = {name: value for name, value in doc.items() if name not in HOW_ASKED}
            self.documents[task][request.doc_id] = short_hash(doc)

    def add(self, other: AskedQuestions) -> None:
        """Adds the questions of another process."""
        for task, documents in other.documents.items():
            self.documents[task] |= documents
            self.shots[task] |= other.shots[task]

    def as_dict(self) -> dict[str, Any]:
        """By task: how many questions were ``asked``, and hashes of their ``numbers``, of them and of their ``shots``.

        None of the hashes depends on the order in which the questions were asked, nor on that of the shots.
        """
        facts: dict[str, Any] = {}
        for task, documents in sorted(self.documents.items()):
            ordered = sorted(documents.items(), key=lambda item: (item[0] is None, item[0]))
            facts[task] = {
                "asked": len(ordered),
                "numbers": short_hash([number for number, _ in ordered]),
                "questions": short_hash(ordered),
                "shots": short_hash(sorted(self.shots[task])) if self.shots.get(task) else None,
            }
        return facts
