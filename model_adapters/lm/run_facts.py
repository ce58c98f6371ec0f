"""What happened to the questions of a run that a reader of its score must know."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from lm_eval.api.instance import Instance

from ..equal_answers import equally_likely
from ..trie_scorer import Certificate, joined
from .asked_questions import AskedQuestions
from .prompt_shortening import ShotLoss
from .task_tokens import TaskTokens


@dataclass
class RunFacts:
    """Counts of one process; under several processes each has its own, and the results state their sum.

    Attributes:
        label_encodings: Tasks by the label encoding that was used for them.
        shortened: Per task, how many prompts lost what: how many shots, and to which limit.
        truncated: Per task, the documents whose prompts were longer than the window and lost their beginning.
        tokens_sent: Tokens of all requests as a plain run would send them.
        tokens_run: Tokens that the token trie ran; what several tasks share is among them once.
        tokens_by_task: The same for each task by itself.
        ties: Per task, the documents whose best answers are equally likely within rounding.
        ranked: Per task, the documents whose answers were ranked.
        scores_verified: How far the trie and the model's own forward pass were apart, where that was looked at.
        generation_verified: The same of generating with and without the KV cache.
        unverified: Why scores were not verified.
        remembered: Answers that came from the cache; all else here counts their requests too, but for `tokens_sent`,
            `tokens_run` and what was verified.
        asked: Fingerprints of the questions whose answers were ranked.
    """

    label_encodings: dict[str, set[str]] = field(default_factory=partial(defaultdict, set))
    shortened: dict[str, Counter[ShotLoss]] = field(default_factory=partial(defaultdict, Counter))
    truncated: dict[str, set[int | None]] = field(default_factory=partial(defaultdict, set))
    tokens_sent: int = 0
    tokens_run: int = 0
    tokens_by_task: dict[str, TaskTokens] = field(default_factory=partial(defaultdict, TaskTokens))
    ties: dict[str, set[int | None]] = field(default_factory=partial(defaultdict, set))
    ranked: dict[str, set[int | None]] = field(default_factory=partial(defaultdict, set))
    scores_verified: Certificate | None = None
    generation_verified: Certificate | None = None
    unverified: str | None = None
    remembered: int = 0
    shared_prompts: int = 0
    shared_prompt_tokens: int = 0
    generation_shares_verified: bool = False
    asked: AskedQuestions = field(default_factory=AskedQuestions)

    @classmethod
    def sum(cls, parts: Iterable[RunFacts]) -> RunFacts:
        """Adds up the facts of several processes."""
        total = cls()
        for part in parts:
            for encoding, tasks in part.label_encodings.items():
                total.label_encodings[encoding] |= tasks
            for task, losses in part.shortened.items():
                total.shortened[task] += losses
            for documents_of in ("truncated", "ties", "ranked"):
                for task, documents in getattr(part, documents_of).items():
                    getattr(total, documents_of)[task] |= documents
            total.tokens_sent += part.tokens_sent
            total.tokens_run += part.tokens_run
            total.add_tokens(part.tokens_by_task)
            total.scores_verified = joined(total.scores_verified, part.scores_verified)
            total.generation_verified = joined(total.generation_verified, part.generation_verified)
            total.unverified = total.unverified or part.unverified
            total.remembered += part.remembered
            total.shared_prompts += part.shared_prompts
            total.shared_prompt_tokens += part.shared_prompt_tokens
            total.generation_shares_verified |= part.generation_shares_verified
            total.asked.add(part.asked)
        return total

    def add_tokens(self, by_task: Mapping[str, TaskTokens]) -> None:
        """Adds the tokens of further requests, of documents that were not counted before."""
        for task, tokens in by_task.items():
            self.tokens_by_task[task].add(tokens)

    def warnings(self) -> list[str]:
        """Sentences for the log about prompts that lost more than the published rule takes of them."""
        lines = []
        windows = {loss.limit for losses in self.shortened.values() for loss in losses if loss.by_window}
        for window in sorted(windows):
            lost = {
                task: Counter({loss: n for loss, n in losses.items() if loss.by_window and loss.limit == window})
                for task, losses in self.shortened.items()
            }
            total = _totals(sum(lost.values(), Counter()))
            lines.append(
                f"{_few(task for task, losses in lost.items() if losses)}: {total['prompts']} prompts were too long "
                f"and lost {total['shots']} shots in all, to fit the model's window of {window} tokens, more than the "
                "published rule takes."
            )
        if self.truncated:
            lines.append(
                f"{_few(self.truncated)}: {sum(map(len, self.truncated.values()))} prompts were longer than the "
                "model's context and lost their beginning."
            )
        return lines

    def count_ties(self, requests: Sequence[Instance], answers: Sequence[tuple[float, bool]]) -> list[str]:
        """Counts documents of several answers, and those whose best answers are equally likely within rounding.

        The first of them wins then, or the one that the last bit favours: the score says nothing of the model.

        Args:
            requests: Instances of log-likelihoods.
            answers: Their log-likelihoods, in the same order.

        Returns:
            Sentences for the log.
        """
        # By number of the answer: processes with fewer questions than others are asked their last one again.
        by_document: dict[tuple[str, int | None, str], dict[int, float]] = defaultdict(dict)
        for request, (logprob, _) in zip(requests, answers, strict=True):
            by_document[request.task_name or "unnamed", request.doc_id, request.args[0]][request.idx] = logprob
        for (task, document, _), by_number in by_document.items():
            logprobs = list(by_number.values())
            if len(logprobs) > 1:
                self.ranked[task].add(document)
                if equally_likely(logprobs):
                    self.ties[task].add(document)
        tied = sum(map(len, self.ties.values()))
        if not tied:
            return []
        asked = sum(len(self.ranked[task]) for task in self.ties)
        return [
            f"{tied} of {asked} questions ({_few(self.ties)}): "
            "the best answers are equally likely, so their order or rounding says which counts. Half-precision "
            "logits tie now and then (dtype=float32 would tell them apart); many ties mean a damaged model."
        ]

    def as_dict(self) -> dict[str, Any]:
        """The facts in a form that JSON takes, for the results file.

        Each task of ``shortened_prompts`` has its ``prompts`` and the ``shots`` they lost in all, and under ``limits``
        the same for each ``limit`` (in tokens) that asked for it. ``by_window`` is false where the published limit
        alone gives the same prompts, true where the model's window took more. Each task of ``ties`` has how many
        ``questions`` tied, none perhaps, ``of`` how many were ranked. ``verified`` is a text that says why there is no
        certificate; or a certificate's fields, with that text under ``scores`` where only part was verified.
        """
        return {
            "label_tokens": {encoding: sorted(tasks) for encoding, tasks in sorted(self.label_encodings.items())},
            "shortened_prompts": {
                task: _totals(losses) | {"limits": _by_limit(losses)} for task, losses in sorted(self.shortened.items())
            },
            "truncated_prompts": {task: len(documents) for task, documents in sorted(self.truncated.items())},
            "tokens_sent": self.tokens_sent,
            "tokens_run": self.tokens_run,
            "tokens_by_task": {task: tokens.as_dict() for task, tokens in sorted(self.tokens_by_task.items())},
            "ties": {
                task: {"questions": len(self.ties.get(task, ())), "of": len(documents)}
                for task, documents in sorted(self.ranked.items())
            },
            "remembered_answers": self.remembered,
            "generation_shared": {
                "prompts": self.shared_prompts,
                "tokens": self.shared_prompt_tokens,
                "verified": self.generation_shares_verified,
            },
            "questions": self.asked.as_dict(),
            "verified": self._verified(),
        }

    def _verified(self) -> dict[str, Any] | str:
        if self.generation_verified is None and (self.unverified or self.scores_verified is None):
            return self.unverified or "nothing was scored"
        facts: dict[str, Any] = {"scores": self.unverified} if self.unverified else {}
        if self.scores_verified is not None:
            facts |= asdict(self.scores_verified)
        if self.generation_verified is not None:
            generation = asdict(self.generation_verified)
            facts["generation"] = {"steps": generation.pop("requests"), **generation}
        return facts


def _few(tasks: Iterable[str]) -> str:
    """Some names, and how many more there are."""
    names = sorted(tasks)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more tasks" if len(names) > 3 else "")


def _totals(losses: Counter[ShotLoss]) -> dict[str, Any]:
    return {"prompts": losses.total(), "shots": sum(loss.shots * prompts for loss, prompts in losses.items())}


def _by_limit(losses: Counter[ShotLoss]) -> list[dict[str, Any]]:
    limits = sorted({(loss.limit, loss.by_window) for loss in losses})
    return [
        {"limit": limit, "by_window": by_window}
        | _totals(
            Counter({loss: n for loss, n in losses.items() if (loss.limit, loss.by_window) == (limit, by_window)})
        )
        for limit, by_window in limits
    ]
