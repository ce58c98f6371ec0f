"""The charts of how sure answers were, as specifications of Vega-Lite, which `drawing` has drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..languages import Translator
from .analysis import Calibration
from .chart_layers import NARROW, SCHEMA
from .drawing import Colours, Spec


def calibration_chart(measured: Calibration, say: Translator, colours: Colours, width: int = NARROW) -> Spec:
    """Return the reliability diagram, each point with its share."""
    points: list[Spec] = [
        {
            "confidence": 100 * confidence,
            "accuracy": 100 * accuracy,
            "asked": asked,
            "shown": f"{100 * accuracy:.0f}",
            "said": say(
                "{asked} answers given with {confidence:.0f} % on average, {accuracy:.0f} % of them right",
                asked=asked,
                confidence=100 * confidence,
                accuracy=100 * accuracy,
            ),
        }
        for confidence, accuracy, asked in zip(measured.confidence, measured.accuracy, measured.asked, strict=True)
    ]
    share = {"type": "quantitative", "scale": {"domain": [0, 100]}, "axis": {"values": [0, 25, 50, 75, 100]}}
    place = {
        "x": {**share, "field": "confidence", "title": say("confidence in the answer, %")},
        "y": {**share, "field": "accuracy", "title": say("of these right, %")},
    }
    sides = {
        above: [point for point in points if (point["accuracy"] >= point["confidence"]) == above]
        for above in (True, False)
    }
    ends = [{"confidence": end, "accuracy": end} for end in (0, 100)]
    return {
        "$schema": SCHEMA,
        "width": width - 70,
        "height": 210,
        "layer": [
            {
                "data": {"values": ends},
                "mark": {"type": "line", "strokeDash": [4, 4], "color": colours["faint"], "aria": False},
                "encoding": place,
            },
            {
                "data": {"values": [{"confidence": 98, "accuracy": 3}]},
                "mark": {
                    "type": "text",
                    "align": "right",
                    "baseline": "bottom",
                    "color": colours["faint"],
                    "aria": False,
                },
                "encoding": {**place, "text": {"value": say("dashed: as sure as right")}},
            },
            {
                "data": {"values": points},
                "mark": {"type": "line", "color": colours["run0"], "aria": False},
                "encoding": place,
            },
            {
                "data": {"values": points},
                "mark": {"type": "point", "filled": True, "opacity": 1, "color": colours["run0"]},
                "encoding": {
                    **place,
                    "size": {"field": "asked", "type": "quantitative", "scale": {"range": [30, 200]}, "legend": None},
                    "description": {"field": "said"},
                },
            },
            *(
                {
                    "data": {"values": side},
                    "mark": {"type": "text", "dy": shift, "aria": False},
                    "encoding": {**place, "text": {"field": "shown"}},
                }
                for shift, side in sides.items()
            ),
        ],
    }


def margins_chart(
    right: Sequence[float], wrong: Sequence[float], say: Translator, colours: Colours, width: int = NARROW
) -> Spec:
    """Return the histogram of how many times as likely as the second label the first was, of right and wrong answers.

    Args:
        right: How far the first label was ahead in right answers, in nats.
        wrong: The same of wrong answers.
        say: The language.
        colours: The colours.
        width: Pixels.
    """
    import numpy as np

    edges = np.histogram_bin_edges(np.concatenate([right, wrong]), bins=24)
    rows = []
    for name, margins in ((say("right"), right), (say("wrong"), wrong)):
        counts, _ = np.histogram(margins, bins=edges)
        for number, count in enumerate([*counts, counts[-1]]):
            rows.append({"outcome": name, "factor": math.exp(edges[number]), "questions": int(count)})
    outcomes = [say("right"), say("wrong")]
    return {
        "$schema": SCHEMA,
        "width": width - 70,
        "height": 210,
        "data": {"values": rows},
        "mark": {"type": "line", "interpolate": "step-after", "aria": False},
        "encoding": {
            "x": {
                "field": "factor",
                "type": "quantitative",
                "scale": {"type": "log", "nice": False},
                "title": say("times as likely as the second label"),
                "axis": {"tickCount": 5, "labelExpr": "datum.value < 1e6 ? format(datum.value, ',') + '×' : ''"},
            },
            "y": {"field": "questions", "type": "quantitative", "title": say("questions")},
            "color": {
                "field": "outcome",
                "type": "nominal",
                "scale": {"domain": outcomes, "range": [colours["run0"], colours["published"]]},
                "legend": {"title": None},
            },
            "strokeDash": {
                "field": "outcome",
                "type": "nominal",
                "scale": {"domain": outcomes, "range": [[1, 0], [5, 3]]},
            },
        },
    }
