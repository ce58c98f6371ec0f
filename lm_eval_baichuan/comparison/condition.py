"""One thing that sets a figure apart from the published measure, or that its reader has to know."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..languages import say


@dataclass(frozen=True)
class Condition:
    """One thing to know of how a figure came about."""

    text: str
    blocks: bool
    """Whether it makes the figure another measure than the published one; otherwise it is something to know."""
    kind: str
    """The text without what is counted, so that runs made under the same conditions have the same; may be empty."""
    short: str = ""
    """The few words that stand beside the figure wherever it is shown; empty for what may stand further below."""
    topic: str = ""
    """What a suite and its categories share: they count otherwise and mean the same."""


def blocks(text: str, kind: str | None = None, *, short: str = "", topic: str = "") -> Condition:
    """Return a condition that makes a figure another measure than the published one."""
    short = short or text.partition(";")[0].partition(":")[0]
    return Condition(text, True, text if kind is None else kind, short, topic or short)


def note(text: str, kind: str | None = None, *, short: str = "", topic: str = "") -> Condition:
    """Return a condition that is only something to know."""
    return Condition(text, False, text if kind is None else kind, short, topic or short)


def chosen_by(limits: Iterable[object]) -> str:
    """Return what left questions out: ``--limit`` with its values, as far as recorded, or a choice of samples."""
    given = sorted({f"{limit:g}" for limit in limits if isinstance(limit, int | float)})
    return f"--limit {', '.join(given)}" if given else say("chosen samples")


def partly_asked(chosen: str, asked: int, available: int) -> Condition:
    """Return that not all questions were asked."""
    text = say("{chosen}: {asked} of {available} questions", chosen=chosen, asked=asked, available=available)
    return blocks(text, short=text, topic=chosen)
