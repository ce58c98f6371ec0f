"""Writes the charts of checkpoints and categories as one picture."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ..comparison.columns import curve_title
from ..comparison.curve import Curve
from ..comparison.outcome import Outcome
from ..comparison.verdicts import CHANCE, Line, what_they_are_not
from ..languages import Translator
from ..model_adapters.errors import OptionError
from .chart_layers import SCHEMA
from .charts import parts_chart
from .curve_chart import curve_chart
from .drawing import PICTURE, Spec, drawable, draws_chinese, save_picture


def comparison_picture(outcome: Outcome, language: str = "en") -> Spec:
    """Return the charts of all trainings and suites below each other, each under what its figures are not.

    Where no font has Chinese glyphs, they are in English.

    Args:
        outcome: The comparison.
        language: One of `LANGUAGES`.

    Raises:
        OptionError: There is neither a training nor a suite of this package's.
    """
    say = Translator(language if draws_chinese() else "en")
    suites: dict[str, list[Line]] = {}
    for comparison in outcome.all_runs:
        for line in comparison.lines:
            suites.setdefault(line.suite, []).append(dataclasses.replace(line, run=drawable(line.run)))
    charts = [_of_curve(curve, say) for curve in outcome.curves] + [_of_suite(own, say) for own in suites.values()]
    if not charts:
        raise OptionError(
            "--png: these results hold no task of this package and no three checkpoints of one training, so there is "
            "no chart to write. Leave --png out; the page has the tables."
        )
    own_scales = {"scale": {"color": "independent", "shape": "independent"}}
    return {"$schema": SCHEMA, "vconcat": charts, "resolve": own_scales}


def _of_suite(lines: list[Line], say: Translator) -> Spec:
    chart = parts_chart(lines, CHANCE, say, PICTURE, both=draws_chinese())
    not_so = [drawable(say.shown(text)) for text in what_they_are_not(lines)]
    return _titled(chart, drawable(lines[0].title), not_so)


def _of_curve(curve: Curve, say: Translator) -> Spec:
    not_so = dict.fromkeys(
        f"{point.position.words}: {say.shown(caveat.short)}" for point in curve.points for caveat in point.score.caveats
    )
    return _titled(
        curve_chart(curve, say, PICTURE), drawable(say.shown(curve_title(curve))), list(map(drawable, not_so))
    )


def _titled(chart: Spec, title: str, subtitle: list[str]) -> Spec:
    return {name: value for name, value in chart.items() if name != "$schema"} | {
        "title": {"text": title, "subtitle": subtitle}
    }


def save_comparison(outcome: Outcome, path: Path, language: str = "en") -> None:
    """Write the charts of all trainings and suites, in the format of the path's ending.

    Raises:
        OptionError: There is nothing to draw.
    """
    save_picture(comparison_picture(outcome, language), path)
