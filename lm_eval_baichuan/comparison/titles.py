"""What categories are called."""

from __future__ import annotations

from ..languages import say


def unit_name(unit: str) -> str:
    """Return what the place of a checkpoint in its training is counted in."""
    return {"step": say("step"), "tokens": say("tokens"), "epoch": say("epoch")}.get(unit, unit)


def part_title(part: str) -> str:
    """Return a category as the published tables head its column."""
    titles = {
        "average": say("Average"),
        "china_specific": say("China specific"),
        "hard": say("Hard"),
        "humanities": say("Humanities"),
        "jec_qa": "JEC-QA",
        "other": say("Other"),
        "social_science": say("Social Sciences"),
        "social_sciences": say("Social Sciences"),
        "stem": say("STEM"),
        "without_jec_qa": say("without JEC-QA"),
    }
    return titles.get(part, part.replace("_", " ").capitalize())
