"""Whether results are of the same questions, told from the fingerprints that our models record of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..languages import say
from ..published import published_questions
from .files import TaskResult


def other_questions(first: TaskResult, second: TaskResult) -> str | None:
    """Say what of two results of one task differs: ``questions`` or ``shots``; None where nothing recorded does.

    Results that ask different numbers of one set (``--limit``) have fingerprints of different questions, so these say
    nothing; nor does a result of another model or of an earlier release, which has none.
    """
    return _differing(_recorded(first), _recorded(second))


def unpublished_questions(result: TaskResult) -> str | None:
    """Say what of a result is not as published, as `other_questions` does; None where it is, or where it isn't known.

    Another ``split_seed`` makes other questions and shots of the same set, so of that nothing is known.
    """
    if result.draws.split_seed is not None:
        return None
    return _differing(_recorded(result), published_questions().get(result.task))


def _recorded(result: TaskResult) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = result.file.facts.get("questions", {}).get(result.recorded_as)
    return found


def _differing(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> str | None:
    if not one or not other:
        return None
    if one.get("numbers") == other.get("numbers") and one.get("questions") != other.get("questions"):
        return say("questions")
    if one.get("shots") and other.get("shots") and one["shots"] != other["shots"]:
        return say("shots")
    return None
