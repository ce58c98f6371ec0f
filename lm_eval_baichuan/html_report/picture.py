"""Writes the charts of categories as one picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ..comparison.verdicts import Line
from ..languages import Translator
from .chart_layers import SCHEMA
from .charts import parts_chart
from .drawing import PICTURE, Spec, drawable, draws_chinese, save_picture


def comparison_picture(lines: Sequence[Line], language: str = "en") -> Spec:
    """Return the charts of all suites below each other; where no font has Chinese glyphs, in English.

    Args:
        lines: The lines of the comparison.
        language: One of `LANGUAGES`.
    """
    say = Translator(language if draws_chinese() else "en")
    suites: dict[str, list[Line]] = {}
    for line in lines:
        suites.setdefault(line.suite, []).append(dataclasses.replace(line, run=drawable(line.run)))
    charts = [
        parts_chart(own, None, say, PICTURE, both=draws_chinese()) | {"title": drawable(own[0].title)}
        for own in suites.values()
    ]
    for chart in charts:
        del chart["$schema"]
    return {
        "$schema": SCHEMA,
        "vconcat": charts,
        "resolve": {"scale": {"color": "independent", "shape": "independent"}},
    }


def save_comparison(lines: Sequence[Line], path: Path, language: str = "en") -> None:
    """Write the charts of all suites, in the format of the path's ending."""
    save_picture(comparison_picture(lines, language), path)
