"""Answers of one token, asked as one generated token each question, and read from what the engine gives back.

An engine that generates one token after a prompt can say how likely any few tokens were there. So a question with four
labels is one request, and the prompts of a subject, which begin alike, find their beginning in the engine's cache of
prefixes; log-probabilities of a prompt's own tokens would have to be computed anew, since no cache holds them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import NonFiniteLogitsError, WrongScoresError

MOST_LABELS = 128
"""How many tokens vLLM tells of in one request (`SamplingParams.logprob_token_ids`)."""

_ROUNDING = 1e-3
"""Nats by which a label may seem likelier than the likeliest token."""


@dataclass
class Question:
    """One prompt and the tokens whose likelihood is asked for.

    Attributes:
        context: Token ids of the prompt, `[tokens]`.
        labels: For each token id that is asked for, the numbers of the requests that ask for it.
    """

    context: tuple[int, ...]
    labels: dict[int, list[int]] = field(default_factory=dict)


def questions(requests: Iterable[tuple[int, Sequence[int], int]]) -> list[Question]:
    """Puts requests with the same context together.

    Args:
        requests: Number, token ids of the context, and token id of the continuation.

    Returns:
        One or more questions a context, each of at most `MOST_LABELS` labels, in the order of their tokens, so that
        what begins alike is asked at about the same time.
    """
    by_context: dict[tuple[int, ...], dict[int, list[int]]] = {}
    for number, context, label in requests:
        by_context.setdefault(tuple(context), {}).setdefault(label, []).append(number)
    found = [Question(context, part) for context, labels in by_context.items() for part in _parts(labels)]
    return sorted(found, key=lambda question: question.context)


def _parts(labels: dict[int, list[int]]) -> Iterator[dict[int, list[int]]]:
    ids = list(labels)
    for start in range(0, len(ids), MOST_LABELS):
        yield {label: labels[label] for label in ids[start : start + MOST_LABELS]}


def label_lists(asked: Sequence[Question]) -> list[list[int]]:
    """Token ids to ask for, a list a question, all equally long: vLLM fills shorter ones up with token 0, at -inf."""
    longest = max(len(question.labels) for question in asked)
    ids = [list(question.labels) for question in asked]
    return [labels + labels[:1] * (longest - len(labels)) for labels in ids]


def read_answers(question: Question, chosen: int, logprobs: Mapping[int, Any]) -> dict[int, tuple[float, bool]]:
    """What an engine says of a question's labels.

    Args:
        question: What was asked.
        chosen: The token that the engine generated, which must be the likeliest.
        logprobs: By token id, objects with the log-probability as ``logprob``.

    Returns:
        By label: its log-probability in nats, and whether it is the token that was generated.

    Raises:
        NonFiniteLogitsError: A log-probability is no finite number.
        WrongScoresError: A label is missing, or likelier than the token that was generated as the likeliest.
    """
    answers = {}
    for label in (chosen, *question.labels):
        if label not in logprobs:
            raise WrongScoresError(
                f"The engine was asked for tokens {list(question.labels)} after a prompt of {len(question.context)} "
                f"tokens, and its answer has no token {label}, only {sorted(logprobs)}. No score is given."
            )
        value = float(logprobs[label].logprob)
        if not math.isfinite(value):
            raise NonFiniteLogitsError(
                f"The engine gives token {label} the log-probability {value} after a prompt of "
                f"{len(question.context)} tokens: the weights are damaged, or overflow in this dtype (dtype=bfloat16 "
                "or float32 does not)."
            )
        answers[label] = (value, label == chosen)
    likeliest = max(question.labels, key=lambda label: answers[label][0])
    if answers[likeliest][0] > answers[chosen][0] + _ROUNDING:
        raise WrongScoresError(
            f"The engine generated token {chosen} with log-probability {answers[chosen][0]:.4f}, where token "
            f"{likeliest} has {answers[likeliest][0]:.4f}: it does not take the likeliest. Leave out options that "
            "change logits or sampling."
        )
    return {label: answers[label] for label in question.labels}


def check_prompt_logprobs(tokens: Sequence[int], rows: Sequence[Mapping[int, Any] | None]) -> None:
    """Stops unless the engine's answer has a finite log-probability for each token of a continuation.

    Raises:
        NonFiniteLogitsError: One is NaN or infinite.
        WrongScoresError: One is missing.
    """
    if len(rows) != len(tokens):
        raise WrongScoresError(f"The engine answered {len(rows)} of {len(tokens)} tokens. No score is given.")
    for token, row in zip(tokens, rows, strict=True):
        if row is None or token not in row:
            raise WrongScoresError(f"The engine's answer has no log-probability of token {token}. No score is given.")
        value = float(row[token].logprob)
        if not math.isfinite(value):
            raise NonFiniteLogitsError(
                f"The engine gives token {token} the log-probability {value}: the weights are damaged, or overflow in "
                "this dtype (dtype=bfloat16 or float32 does not)."
            )
