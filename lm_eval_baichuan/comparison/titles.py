"""What categories are called."""

from __future__ import annotations


def part_title(part: str) -> str:
    """Return a category as the published tables head its column."""
    titles = {
        "jec_qa": "JEC-QA",
        "social_science": "Social Sciences",
        "social_sciences": "Social Sciences",
        "stem": "STEM",
        "without_jec_qa": "without JEC-QA",
    }
    return titles.get(part, part.replace("_", " ").capitalize())
