"""Whether two results are of the same questions, told from the fingerprints that our models record of them."""

from __future__ import annotations

from .files import TaskResult


def other_questions(first: TaskResult, second: TaskResult) -> str | None:
    """Say what of two results of one task differs: ``questions`` or ``shots``; None where nothing recorded does.

    Results that ask different numbers of one set (``--limit``) have fingerprints of different questions, so these say
    nothing; nor does a result of another model or of an earlier release, which has none.
    """
    ours, theirs = (one.file.facts.get("questions", {}).get(one.recorded_as) for one in (first, second))
    if not ours or not theirs:
        return None
    if ours.get("numbers") == theirs.get("numbers") and ours.get("questions") != theirs.get("questions"):
        return "questions"
    if ours.get("shots") and theirs.get("shots") and ours["shots"] != theirs["shots"]:
        return "shots"
    return None
