"""What the page's scripts say, in the language of the page."""

from __future__ import annotations

from ..languages import Translator


def script_texts(say: Translator) -> dict[str, str]:
    """Return the texts by the names that the scripts have for them; braces hold what the scripts fill in."""
    return {
        "all": say("all"),
        "anyLabel": say("any label"),
        "changed": say("answered otherwise by another run"),
        "count": say("{count} questions, page {page} of {pages}"),
        "right": say("said {said}, right"),
        "wrong": say("said {said}, wrong (right: {right})"),
        "ahead": say("{factor} times as likely as the next"),
        "tied": say("a tie to three digits: the tagged label counts"),
        "tagSaid": say("said"),
        "tagRight": say("right"),
        "link": say("link to this question"),
        "prompt": say("the whole prompt, with instruction and shots ({length} characters)"),
        "promptUnknown": say("the whole prompt was not logged in a form that holds this question"),
        "unknownQuestion": say("This page has no question {name}."),
        "tooOld": say(
            "The questions could not be unpacked ({reason}): this browser may be too old. They need "
            "DecompressionStream: Chromium 80, Firefox 113, Safari 16.4 or later."
        ),
    }
