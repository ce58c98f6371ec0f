"""One thing that sets a run apart from how the published figure was measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Condition:
    """One difference between a run and the published protocol."""

    text: str
    blocks: bool
    """Whether it makes the two figures incomparable; otherwise it is something to know."""
    kind: str
    """The text without what is counted, so that runs made under the same conditions have the same; may be empty."""


def blocks(text: str, kind: str | None = None) -> Condition:
    """Return a condition that makes the figures incomparable."""
    return Condition(text, blocks=True, kind=text if kind is None else kind)


def note(text: str, kind: str | None = None) -> Condition:
    """Return a condition that is only something to know."""
    return Condition(text, blocks=False, kind=text if kind is None else kind)
