"""What the charts share: sizes, axes, the line of chance, intervals and values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ..languages import Translator
from .drawing import PUBLISHED_SHAPE, SHAPES, Colours, Spec, run_colours

SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"  # a name; nothing is fetched from it
WIDE, NARROW = 700, 336
"""Pixels of a chart on a desktop and on a phone."""
LETTER, IDEOGRAPH = 7.4, 12.4
"""Pixels of a character of an axis label, drawn in the reader's font: rather too many than too few."""


def series_scales(names: Sequence[str], own: int, colours: Colours, width: int) -> Spec:
    """Colour and shape of runs or categories, which come first, and of the published rows behind them."""
    palette = run_colours(colours)
    numbers = range(len(names))
    ranges = {
        "color": [palette[n % len(palette)] if n < own else colours["published"] for n in numbers],
        "shape": [SHAPES[n % len(SHAPES)] if n < own else PUBLISHED_SHAPE for n in numbers],
    }
    legend = {"title": None, "columns": 3 if width >= WIDE else 1, "labelLimit": width - 40} if len(names) > 1 else None
    return {
        channel: {
            "field": "run",
            "type": "nominal",
            "scale": {"domain": list(names), "range": values},
            "legend": legend,
        }
        for channel, values in ranges.items()
    }


def interval_layer(rows: Sequence[Spec], placed: Spec, x: Spec, series: Spec) -> Spec:
    """A line from the lower to the upper end of each interval."""
    return {
        "data": {"values": list(rows)},
        "mark": {"type": "rule", "strokeWidth": 1.5, "aria": False},
        "encoding": {
            **placed,
            "x": {**x, "field": "low"},
            "x2": {"field": "high"},
            "color": series["color"],
        },
    }


def value_layer(rows: Sequence[Spec], placed: Spec) -> Spec:
    """The value of each mark, in figures behind its interval."""
    return {
        "data": {"values": list(rows)},
        "mark": {"type": "text", "align": "left", "dx": 5, "aria": False},
        "encoding": {**placed, "x": {"field": "high", "type": "quantitative"}, "text": {"field": "shown"}},
    }


def chance_layers(chance: float | None, say: Translator, colours: Colours) -> list[Spec]:
    """The accuracy of guessing, as a dashed line with its name; nothing where it is not known."""
    place = {"align": "left", "baseline": "bottom", "dx": 3}
    return _chance(chance, say, colours, place, "x", {"y": {"value": 0}})


def chance_layers_across(chance: float | None, say: Translator, colours: Colours, end: int) -> list[Spec]:
    """The same where scores go up instead of to the right, named where the line ends."""
    place = {"align": "right", "baseline": "top", "dy": 4}
    return _chance(chance, say, colours, place, "y", {"x": {"value": end}})


def _chance(chance: float | None, say: Translator, colours: Colours, mark: Spec, axis: str, start: Spec) -> list[Spec]:
    if chance is None:
        return []
    look = {"color": colours["faint"], "aria": False}
    at = {axis: {"datum": chance}}
    named = {"text": {"value": say("chance {chance:.4g} %", chance=chance)}}
    return [
        {"data": {"values": [{}]}, "mark": {"type": "rule", "strokeDash": [4, 4], **look}, "encoding": at},
        {
            "data": {"values": [{}]},
            "mark": {"type": "text", **mark, **look},
            "encoding": {**at, **start, **named},
        },
    ]


def percent_axis(title: str, values: Iterable[float | None]) -> Spec:
    """An axis in percent that holds some values, and a little more."""
    held = [value for value in values if value is not None]
    low, high = max(0, math.floor(min(held) - 2)), min(100, math.ceil(max(held) + 2))
    scale = {"domain": [low, high], "zero": False, "nice": False}
    return {
        "field": "value",
        "type": "quantitative",
        "scale": scale,
        "title": title,
        "axis": {"tickCount": 8, "grid": True},
    }


def names_axis(names: Iterable[str], width: int) -> Spec:
    """An axis of names, without ticks and title."""
    extent = names_extent(names, width)
    return {
        "title": None,
        "minExtent": extent,
        "maxExtent": extent,
        "labelLimit": extent - 10,
        "labelPadding": 8,
        "ticks": False,
    }


def names_extent(names: Iterable[str], width: int) -> int:
    """Pixels for the names on an axis; a narrow chart gives them two fifths at most, and cuts what is longer."""
    longest = max(sum(LETTER if c.isascii() else IDEOGRAPH for c in name) for name in names) + 14
    return math.ceil(min(longest, 0.42 * width))
