"""What was checked before runs scored, in words."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence

from ..languages import joined, say
from ..results import Certificate

SEVERAL = 3
"""As many runs are told together, where they are alike."""

Found = Sequence[tuple[Certificate, int]]
"""A run's certificates, each with the number of tasks it is for."""


def certificate_words(found: Found, tasks: int) -> str:
    """Return what was checked before some tasks were scored, or that nothing was."""
    if len(found) == 1:
        return found[0][0].words
    return joined(
        "; ",
        (
            say("{number} of {tasks} tasks {words}", number=number, tasks=tasks, words=own.words)
            for own, number in found
        ),
    )


def alike(certificates: Sequence[Found]) -> Certificate | None:
    """Return the certificates of several runs as one, where all of them were checked wholly and alike; else None."""
    first = [own for found in certificates for own, _ in found]
    same = {own.kind for own in first}
    if len(certificates) < SEVERAL or len(same) > 1 or any(own.reason or own.generation for own in first):
        return None
    checks = [own.scores for own in first if own.scores]
    return Certificate(functools.reduce(operator.add, checks)) if checks else None


def unequal(certificates: Mapping[str, Found]) -> str | None:
    """Return a sentence on runs that were not checked alike, or None where all were.

    Args:
        certificates: Those of each run, by its name.
    """
    kinds: dict[tuple[str, ...], list[str]] = {}
    for name, found in certificates.items():
        kinds.setdefault(tuple(sorted({certificate.kind for certificate, _ in found})), []).append(name)
    if len(kinds) < 2:
        return None
    said = (joined(": ", (", ".join(names), joined(" and ", kind))) for kind, names in kinds.items())
    return say(
        "These runs were not checked alike, so a difference between their scores may lie in how they scored. {said}",
        said=joined("; ", said),
    )
