"""The chart of a training's checkpoints, as a specification of Vega-Lite, which `drawing` has drawn."""

from __future__ import annotations

import json

from ..comparison.curve import Curve
from ..comparison.titles import unit_name
from ..languages import Translator
from .chart_layers import SCHEMA, WIDE, chance_layers_across
from .drawing import Colours, Spec


def curve_chart(curve: Curve, say: Translator, colours: Colours, width: int = WIDE) -> Spec:
    """Return a figure over the checkpoints of a training: each with its interval, the best one marked."""
    points: list[Spec] = []
    for point in curve.points:
        ours, known = point.score.ours, point.score.ours.known
        where = f"{say.shown(unit_name(curve.unit))} {point.position.words}"
        said = say("{place}: {value:.2f} %", place=where, value=ours.value)
        interval = f" ({ours.low:.1f}–{ours.high:.1f})" if known else ""
        not_so = "; ".join(say.shown(caveat.short) for caveat in point.score.caveats)
        points.append(
            {
                "x": point.position.value,
                "value": ours.value,
                "low": ours.low if known else ours.value,
                "high": ours.high if known else ours.value,
                "shown": f"{ours.value:.1f}",
                "said": f"{said}{interval}" + (f". {not_so}" if not_so else ""),
            }
        )
    best = next(row for row, point in zip(points, curve.points, strict=True) if point is curve.best)
    chances = {point.score.chance for point in curve.points}
    chance = chances.pop() if len(chances) == 1 else None
    names = {f"{point.position.value:.17g}": point.position.words for point in curve.points}
    axis = {
        "values": [point.position.value for point in curve.points],
        "labelExpr": f"{json.dumps(names)}[datum.value]",
        "labelOverlap": True,
        "labelSeparation": 8,
        "grid": False,
    }
    x = {
        "field": "x",
        "type": "quantitative",
        "scale": {"zero": False},
        "title": say.shown(unit_name(curve.unit)),
        "axis": axis,
    }
    y = {"field": "value", "type": "quantitative", "title": say("score, %"), "scale": {"zero": False}}
    place = {"x": x, "y": y}
    return {
        "$schema": SCHEMA,
        "width": width - 90,
        "height": 220,
        "data": {"values": points},
        "layer": [
            *chance_layers_across(chance, say, colours, width - 90),
            {
                "mark": {"type": "area", "color": colours["run0"], "opacity": 0.18, "aria": False},
                "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}},
            },
            {"mark": {"type": "line", "color": colours["run0"], "aria": False}, "encoding": place},
            {
                "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1, "color": colours["run0"]},
                "encoding": {**place, "description": {"field": "said"}},
            },
            {"mark": {"type": "text", "dy": -14, "aria": False}, "encoding": {**place, "text": {"field": "shown"}}},
            {
                "data": {"values": [best]},
                "mark": {"type": "text", "dy": 18, "color": colours["published"], "aria": False},
                "encoding": {**place, "text": {"value": say("best")}},
            },
        ],
    }
