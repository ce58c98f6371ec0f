"""Finds a font that has Chinese glyphs, so that a picture shows no boxes."""

from __future__ import annotations

import functools

from ..printable import printable

SAMPLE = "中国科学题"
KNOWN = ("Noto Sans CJK SC", "Source Han Sans SC", "PingFang SC", "Microsoft YaHei", "WenQuanYi Micro Hei", "SimHei")
"""Tried first, so that of several fonts the one drawn for simplified Chinese is taken."""
LONGEST = 64
"""The most characters of a label in a chart: a longer one would leave no place for the chart."""
EMPTY = ("lastresort", "adobeblank")
"""Fonts that claim every glyph and draw each as a box, or as nothing; matplotlib brings one itself."""


@functools.cache
def chinese_font() -> str | None:
    """Return the name of an installed font that has Chinese glyphs, or None."""
    from matplotlib.font_manager import FontEntry, fontManager, get_font

    def rank(entry: FontEntry) -> tuple[int, str]:
        return (KNOWN.index(entry.name) if entry.name in KNOWN else len(KNOWN), entry.name)

    for entry in sorted(fontManager.ttflist, key=rank):
        if entry.name.replace(" ", "").lower().startswith(EMPTY):
            continue
        try:
            characters = get_font(entry.fname).get_charmap()
        except (OSError, RuntimeError):
            continue  # a font file that cannot be read is no font to draw with
        if all(ord(character) in characters for character in SAMPLE):
            return entry.name
    return None


def drawable(text: str) -> str:
    """Return a text as the fonts at hand can draw it: Chinese kept where there is a font, else written as escapes."""
    text = printable(text[: LONGEST + 1])
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    return text if chinese_font() else text.encode("ascii", "backslashreplace").decode("ascii")
