"""Has charts drawn by Vega-Lite: as SVG in the colours of the page's own variables, or as a picture."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..printable import printable

RUNS = 8
"""As many runs have a colour and a shape of their own; more begin anew."""
STAR = "M0.00,-1.15L0.28,-0.39L1.09,-0.36L0.46,0.15L0.68,0.93L0.00,0.48L-0.68,0.93L-0.46,0.15L-1.09,-0.36L-0.28,-0.39Z"
SHAPES = ("circle", "square", "triangle-up", "cross", "triangle-down", "triangle-right", "triangle-left", STAR)
PUBLISHED_SHAPE = "diamond"

PICTURE = {
    "paper": "#ffffff",
    "ink": "#1d2733",
    "faint": "#5b6773",
    "line": "#d5dbe1",
    "published": "#b8390a",
    "run0": "#1d5fa8",
    "run1": "#0f766e",
    "run2": "#7e3fa1",
    "run3": "#946200",
    "run4": "#b02a6b",
    "run5": "#4d6b12",
    "run6": "#5b5bd6",
    "run7": "#6b4f3a",
}
"""What a colour stands for, and the colour a picture has for it. The page has its own, for light and for dark."""
PAGE = {role: f"var(--{role})" for role in PICTURE}

FONT = "DejaVu Sans, Verdana, sans-serif"
"""A wide one, so that texts keep their places in the font of whoever reads the page, which they are shown in."""

LONGEST = 80
"""The most characters of a name in a picture: a longer one would leave no place for the chart."""
PICTURE_FONT = f"Noto Sans CJK SC, Source Han Sans SC, PingFang SC, Microsoft YaHei, {FONT}"
"""One that has Chinese too, first of all one without serifs."""

Colours = Mapping[str, str]
Spec = dict[str, Any]


def run_colours(colours: Colours) -> list[str]:
    """Return the colours of runs, in their order."""
    return [colours[f"run{number}"] for number in range(RUNS)]


def theme(colours: Colours) -> Spec:
    """Return Vega-Lite's configuration for charts in some colours."""
    text = {"labelColor": colours["ink"], "titleColor": colours["ink"], "labelFontSize": 12, "titleFontSize": 12}
    return {
        "background": None if colours is PAGE else colours["paper"],
        "font": FONT if colours is PAGE else PICTURE_FONT,
        "view": {"stroke": None},
        "title": {
            "color": colours["ink"],
            "subtitleColor": colours["ink"],
            "fontSize": 14,
            "anchor": "start",
            "frame": "group",
        },
        "axis": {
            **text,
            "titleFontWeight": "normal",
            "gridColor": colours["line"],
            "tickColor": colours["line"],
            "domain": False,
            "aria": False,
        },
        "legend": {**text, "orient": "top", "symbolSize": 70, "columnPadding": 24, "aria": False},
        "text": {"color": colours["ink"], "fontSize": 11},
        "rule": {"color": colours["ink"]},
    }


def to_svg(spec: Spec) -> str:
    """Return a chart for the page: its texts are text, and its colours the page's variables."""
    import vl_convert

    return str(vl_convert.vegalite_to_svg(_printable(spec), config=theme(PAGE)))


def save_picture(spec: Spec, path: Path) -> None:
    """Write a chart as a picture, in the format of the path's ending."""
    import vl_convert

    spec, config = _printable(spec), theme(PICTURE)
    kind = path.suffix.lower()
    if kind == ".svg":
        path.write_text(vl_convert.vegalite_to_svg(spec, config=config), encoding="utf-8")
    elif kind == ".pdf":
        path.write_bytes(vl_convert.vegalite_to_pdf(spec, config=config))
    else:
        path.write_bytes(vl_convert.vegalite_to_png(spec, config=config, scale=2))


def _printable(spec: Any) -> Any:
    """A specification whose texts, names from files among them, command nothing and can be written as UTF-8."""
    if isinstance(spec, str):
        return printable(spec)
    if isinstance(spec, dict):
        return {key: _printable(value) for key, value in spec.items()}
    return [_printable(each) for each in spec] if isinstance(spec, list | tuple) else spec


@functools.cache
def draws_chinese() -> bool:
    """Tell whether a font here has Chinese glyphs: without one, 中 is drawn as what no font has."""
    return _drawn("中") != _drawn("\U0010ffff")


def drawable(text: str) -> str:
    """Return a text as the fonts here can draw it: Chinese kept where there is a font, else written as escapes."""
    text = printable(text[: LONGEST + 1])
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    return text if draws_chinese() else text.encode("ascii", "backslashreplace").decode("ascii")


def _drawn(character: str) -> bytes:
    import vl_convert

    text = f'<text x="5" y="22" font-family="sans-serif" font-size="16">{character}</text>'
    return bytes(vl_convert.svg_to_png(f'<svg xmlns="http://www.w3.org/2000/svg" width="30" height="30">{text}</svg>'))
