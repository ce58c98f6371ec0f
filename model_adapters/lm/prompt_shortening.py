"""Drops whole shots from a few-shot context that is too long; never its instruction or its question.

A task knows where its shots begin and end, in characters, and which shot the published script drops first; only the
model knows how many tokens that is. The task's documents carry the former (fields ``description_length``,
``shot_lengths``, ``question_length``, ``max_prompt_tokens``, ``drop_shots``), which any other model ignores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..errors import RequestError

RULES = ("last", "longest")


class ShotLoss(NamedTuple):
    """What one prompt lost, and which limit asked for it."""

    shots: int
    limit: int
    """The limit in tokens."""
    by_window: bool
    """Whether the model's window took more than the published limit alone: the prompt is not the published one then."""


@dataclass(frozen=True)
class ShotLayout:
    """Where the shots of one context are, in characters, and the rule for dropping them."""

    description: str
    shots: tuple[str, ...]
    question: str
    max_prompt_tokens: int
    drop: str

    def text(self, kept: list[int]) -> str:
        """The context with only the `kept` shots, in their order."""
        return self.description + "".join(self.shots[i] for i in kept) + self.question


def shot_layout(context: str, doc: Mapping[str, Any]) -> ShotLayout | None:
    """Finds the shots of `context`, or returns None where the document does not say or the context has another form.

    Another form is a chat template's, say, or a description that the user added: then the lengths do not add up.

    Raises:
        RequestError: The document names an unknown rule.
    """
    if "shot_lengths" not in doc or "question_length" not in doc or "description_length" not in doc:
        return None
    if doc["drop_shots"] not in RULES:
        raise RequestError(f"drop_shots is {doc['drop_shots']!r}; expected one of {', '.join(RULES)}.")
    rest = len(context) - doc["description_length"] - doc["question_length"]
    ends = [doc["description_length"]]
    for length in doc["shot_lengths"]:
        if ends[-1] - ends[0] == rest:
            break
        ends.append(ends[-1] + length)
    if ends[-1] - ends[0] != rest:
        return None
    shots = tuple(context[start:end] for start, end in zip(ends[:-1], ends[1:], strict=True))
    return ShotLayout(
        context[: ends[0]], shots, context[ends[-1] :], int(doc.get("max_prompt_tokens") or 0), doc["drop_shots"]
    )


def shorten(layout: ShotLayout, encode: Callable[[str], Sized], max_tokens: int) -> tuple[str, int]:
    """Drops shots until the context has at most `max_tokens` tokens.

    Args:
        layout: The context in parts.
        encode: Text to token ids.
        max_tokens: The limit in tokens.

    Returns:
        The shortened context and the number of shots dropped. Without any shot left it may still be too long.
    """
    kept = list(range(len(layout.shots)))
    while kept and len(encode(layout.text(kept))) > max_tokens:
        if layout.drop == "last":
            kept.pop()
        else:
            kept.remove(max(kept, key=lambda i: len(encode(layout.shots[i]))))
    return layout.text(kept), len(layout.shots) - len(kept)


def fit(layout: ShotLayout, encode: Callable[[str], Sized], *, published: int, window: int) -> tuple[str, ShotLoss]:
    """Drops shots until the context fits both limits, and tells which of them made it what it is.

    Args:
        layout: The context in parts.
        encode: Text to token ids.
        published: The limit that the task publishes, in tokens; 0 where it publishes none.
        window: The tokens that the model takes.
    """
    text, shots = shorten(layout, encode, min(published or window, window))
    # Under a smaller window the prompt is still the published one where both limits cost it the same shots.
    if published and (published <= window or shorten(layout, encode, published)[1] == shots):
        return text, ShotLoss(shots, published, by_window=False)
    return text, ShotLoss(shots, window, by_window=True)
