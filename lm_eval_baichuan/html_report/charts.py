"""The charts of categories and subjects, as specifications of Vega-Lite, which `drawing` has drawn."""

from __future__ import annotations

from collections.abc import Sequence

from ..comparison.titles import part_title
from ..comparison.verdicts import Line
from ..languages import Translator
from .analysis import Subject
from .chart_layers import (
    SCHEMA,
    WIDE,
    chance_layers,
    interval_layer,
    names_axis,
    names_extent,
    percent_axis,
    series_scales,
    value_layer,
)
from .drawing import Colours, Spec

CHINESE = Translator("zh")
ROW = 22
"""Pixels of a row."""


def parts_chart(
    lines: Sequence[Line],
    chance: float | None,
    say: Translator,
    colours: Colours,
    width: int = WIDE,
    both: bool = True,
) -> Spec:
    """Return the chart of a suite: average and categories of each run with intervals, and the published figures.

    Args:
        lines: The suite's lines.
        chance: The accuracy of guessing, in percent.
        say: The language.
        colours: The colours.
        width: Pixels.
        both: Whether to name categories in Chinese beside the English.
    """
    runs = list(dict.fromkeys(line.run for line in lines))
    labels = {part: part_label(part, say, both) for part in dict.fromkeys(line.part for line in lines)}
    own = {(line.run, line.part): line for line in lines}.values()
    ours: list[Spec] = [
        {
            "part": labels[line.part],
            "run": line.run,
            "value": line.ours.value,
            "low": line.ours.low,
            "high": line.ours.high,
            "shown": f"{line.ours.value:.1f}",
            "said": say(
                "{run}, {part}: {value:.2f} % ({low:.1f}–{high:.1f}), {asked} questions",
                run=line.run,
                part=labels[line.part],
                value=line.ours.value,
                low=line.ours.low,
                high=line.ours.high,
                asked=line.asked,
            ),
        }
        for line in own
    ]
    figures = {(line.part, line.figure.row, line.figure.printed): line.figure for line in lines if line.figure}
    published: list[Spec] = [
        {
            "part": labels[part],
            "run": say("published: {row}", row=row),
            "value": figure.value,
            "said": say("published: {row}, {part}: {printed} %", row=row, part=labels[part], printed=printed),
        }
        for (part, row, printed), figure in figures.items()
    ]
    shown = [*runs, *dict.fromkeys(figure["run"] for figure in published)]
    series = series_scales(shown, len(runs), colours, width)
    x = percent_axis(
        say("accuracy, %"),
        [*(v for row in ours for v in (row["low"], row["high"])), *(row["value"] for row in published), chance],
    )
    y = {"field": "part", "type": "nominal", "sort": list(labels.values()), "axis": names_axis(labels.values(), width)}
    offset = {"yOffset": {"field": "run", "type": "nominal", "sort": runs}} if len(runs) > 1 else {}
    placed = {"y": y, **offset}
    return {
        "$schema": SCHEMA,
        "width": width - names_extent(labels.values(), width) - 40,
        "height": {"step": ROW if len(runs) == 1 else ROW - 6, "for": "position" if len(runs) == 1 else "offset"},
        "layer": [
            *chance_layers(chance, say, colours),
            interval_layer(ours, placed, x, series),
            {
                "data": {"values": ours},
                "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
                "encoding": {**placed, "x": x, **series, "description": {"field": "said"}},
            },
            {
                "data": {"values": published},
                "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
                "encoding": {"y": y, "x": x, **series, "description": {"field": "said"}},
            },
            value_layer(ours, placed),
        ],
    }


def subjects_chart(
    found: Sequence[Subject],
    runs: Sequence[str],
    chance: float | None,
    say: Translator,
    colours: Colours,
    width: int = WIDE,
) -> Spec:
    """Return the chart of all subjects, the best on top: one run with intervals, or a mark for each of several.

    Args:
        found: The subjects.
        runs: The runs' names, in the order of the subjects' scores.
        chance: The accuracy of guessing, in percent.
        say: The language.
        colours: The colours.
        width: Pixels.

    Returns:
        A chart whose only marks with a description are the rows, in the order of the subjects: the page's script makes
        links to their questions of them.
    """
    narrow = width < WIDE
    titles = _titles(found, narrow)
    single = len(runs) == 1
    rows: list[Spec] = []
    scores: list[Spec] = []
    for number, subject in enumerate(found):
        title = titles[number]
        said = [
            say(
                "{run}: {value:.1f} % ({low:.1f}–{high:.1f}), {correct} of {asked} right",
                run=runs[place],
                value=score.ours.value,
                low=score.ours.low,
                high=score.ours.high,
                correct=score.correct,
                asked=score.asked,
            )
            for place, score in enumerate(subject.scores)
            if score
        ]
        rows.append({"subject": title, "said": f"{subject.title}. {'; '.join(said)}"})
        for place, score in enumerate(subject.scores):
            if score:
                scores.append(
                    {
                        "subject": title,
                        "run": category_label(subject.category, say) if single else runs[place],
                        "value": score.ours.value,
                        "low": score.ours.low,
                        "high": score.ours.high,
                        "shown": f"{score.ours.value:.0f}",
                    }
                )
    names = list(dict.fromkeys(score["run"] for score in scores)) if single else list(runs)
    series = series_scales(names, len(names), colours, width)
    y = {"field": "subject", "type": "nominal", "sort": titles, "axis": names_axis(titles, width)}
    x = percent_axis(say("accuracy, %"), [0, 100]) | {"axis": {"values": [0, 25, 50, 75, 100], "grid": True}}
    return {
        "$schema": SCHEMA,
        "width": width - names_extent(titles, width) - 40,
        "height": {"step": ROW - 3},
        "layer": [
            {
                "data": {"values": rows},
                # Seen when pointed at: a whole row tells its values, and leads to its questions.
                "mark": {"type": "bar", "opacity": 0, "color": colours["faint"]},
                "encoding": {
                    "y": y,
                    "x": {"datum": 0},
                    "x2": {"datum": 100},
                    "description": {"field": "said"},
                },
            },
            *chance_layers(chance, say, colours),
            *([interval_layer(scores, {"y": y}, x, series)] if single else []),
            {
                "data": {"values": scores},
                "mark": {"type": "point", "filled": True, "size": 50, "opacity": 1, "aria": False},
                "encoding": {"y": y, "x": x, **series},
            },
            *([value_layer(scores, {"y": y})] if single else []),
        ],
    }


def part_label(part: str, say: Translator, both: bool = False) -> str:
    """Return a category's title in the language; ``both`` puts the Chinese before the English."""
    title = part_title(part)
    chinese = CHINESE.shown(title)
    return f"{chinese} {title}" if both and say.language == "en" and chinese != title else say.shown(title)


def category_label(category: str, say: Translator) -> str:
    """Return the title of a subject's category, or that it has none."""
    return part_label(category, say) if category else say("no category")


def _titles(found: Sequence[Subject], narrow: bool) -> list[str]:
    """Name subjects in little space or in full, but no two alike: a chart puts what is named alike in one row."""
    short = [subject.short_title for subject in found]
    full = [subject.title for subject in found]
    named = [own if narrow and short.count(own) == 1 else title for own, title in zip(short, full, strict=True)]
    return [
        title if named.count(title) == 1 else f"{title} ({subject.task})"
        for title, subject in zip(named, found, strict=True)
    ]
