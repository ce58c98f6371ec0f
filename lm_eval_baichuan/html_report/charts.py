"""Draws the charts with matplotlib: as SVG that takes its colours from the page, or as a picture."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..comparison.tables import part_title
from ..comparison.verdicts import Line
from ..results import AVERAGE
from .analysis import Calibration, Subject
from .fonts import chinese_font, drawable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROLES = {
    "ink": "#1d2733",
    "faint": "#8a94a0",
    "published": "#c2410c",
    "run0": "#1d5fa8",
    "run1": "#0f766e",
    "run2": "#7e3fa1",
    "run3": "#946200",
}
"""What a colour stands for, and the colour a picture has for it. The page has its own, for light and for dark."""
RUN_COLOURS = [role for role in ROLES if role.startswith("run")]

CHINESE_PARTS = {
    AVERAGE: "平均",
    "stem": "理工科",
    "hard": "困难",
    "social_science": "社会科学",
    "social_sciences": "社会科学",
    "humanities": "人文学科",
    "other": "其他",
    "china_specific": "中国特定",
}

Colours = Mapping[str, str]


def page_colours() -> dict[str, str]:
    """Stand-ins for the page's colours: unlikely ones, which `to_svg` turns into the names of the page's variables."""
    return {role: f"#01{number:02x}fe" for number, role in enumerate(ROLES)}


@contextmanager
def style(colours: Colours) -> Iterator[None]:
    """Set matplotlib up for one chart, whatever the user's own settings are."""
    import matplotlib as mpl

    settings: Any = {
        "axes.edgecolor": colours["faint"],
        "axes.labelcolor": colours["ink"],
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.unicode_minus": False,
        # A wide one first: the page draws the labels in its reader's font, and they must not outgrow their place.
        "font.family": ["DejaVu Sans", *([font] if (font := chinese_font()) else [])],
        "font.size": 10,
        "legend.frameon": False,
        "svg.fonttype": "none",
        "svg.hashsalt": "lm-eval-baichuan",  # the same chart is always written the same
        "text.color": colours["ink"],
        "text.parse_math": False,  # a name with dollar signs is no formula
        "xtick.color": colours["ink"],
        "ytick.color": colours["ink"],
    }
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(settings)
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure that no window belongs to. Sizes are in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def draw_parts(axes: Axes, lines: Sequence[Line], colours: Colours) -> None:
    """Draw the average and categories of one suite: ours with intervals for each run, and the published figures."""
    parts = list(dict.fromkeys(line.part for line in lines))
    runs = list(dict.fromkeys(line.run for line in lines))
    for number, run in enumerate(runs):
        own = {line.part: line.ours for line in lines if line.run == run}
        shift = 0.5 * ((number + 0.5) / len(runs) - 0.5)
        rows = [parts.index(part) + shift for part in own]
        values = [ours.value for ours in own.values()]
        errors = [[o.value - o.low for o in own.values()], [o.high - o.value for o in own.values()]]
        colour = colours[RUN_COLOURS[number % len(RUN_COLOURS)]]
        axes.errorbar(values, rows, xerr=errors, fmt="o", color=colour, capsize=3, label=drawable(run))
    published = sorted({(parts.index(line.part), line.figure.value) for line in lines if line.figure})
    if published:
        names = sorted({line.figure.row for line in lines if line.figure})
        axes.scatter(
            [value for _, value in published],
            [row for row, _ in published],
            marker="D",
            s=46,
            facecolors="none",
            edgecolors=colours["published"],
            linewidths=1.6,
            zorder=3,
            label=f"published: {', '.join(names)}",
        )
    axes.set_yticks(range(len(parts)), [_part_label(part) for part in parts])
    axes.set_ylim(len(parts) - 0.5, -0.5)
    axes.set_xlabel("accuracy, %")
    axes.set_title(drawable(lines[0].title), loc="left", color=colours["ink"])
    axes.grid(axis="x", color=colours["faint"], alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def parts_chart(lines: Sequence[Line], colours: Colours) -> Figure:
    """Return the chart of one suite."""
    figure = new_figure(8, 1.4 + 0.42 * len({line.part for line in lines}))
    draw_parts(figure.subplots(), lines, colours)
    return figure


def subjects_chart(found: Sequence[Subject], colours: Colours) -> Figure:
    """Return the chart of all subjects, the best on top, each with its interval."""
    figure = new_figure(8, 1.2 + 0.19 * len(found))
    axes = figure.subplots()
    categories = sorted({subject.category for subject in found})
    for number, category in enumerate(categories):
        rows = [row for row, subject in enumerate(found) if subject.category == category]
        ours = [found[row].ours for row in rows]
        axes.errorbar(
            [o.value for o in ours],
            rows,
            xerr=[[o.value - o.low for o in ours], [o.high - o.value for o in ours]],
            fmt="o",
            markersize=4,
            elinewidth=1,
            color=colours[RUN_COLOURS[number % len(RUN_COLOURS)]],
            label=part_title(category) if category else "no category",
        )
    axes.set_yticks(range(len(found)), [subject.subject.replace("_", " ") for subject in found], fontsize=8)
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel("accuracy, %")
    axes.grid(axis="x", color=colours["faint"], alpha=0.3)
    if len(categories) > 1:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def calibration_chart(measured: Calibration, colours: Colours) -> Figure:
    """Return the reliability diagram."""
    figure = new_figure(4.4, 3.6)
    axes = figure.subplots()
    axes.plot([0, 100], [0, 100], linestyle="--", color=colours["faint"], label="as sure as right")
    confidence, accuracy = ([100 * share for share in shares] for shares in (measured.confidence, measured.accuracy))
    axes.plot(confidence, accuracy, marker="o", color=colours["run0"], label="this run")
    axes.set_xlabel("confidence in the label, %")
    axes.set_ylabel("of these right, %")
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    axes.legend(loc="upper left")
    return figure


def margins_chart(right: Sequence[float], wrong: Sequence[float], colours: Colours) -> Figure:
    """Return the histogram of margins between the first and the second label, of right and of wrong answers."""
    import numpy as np

    figure = new_figure(4.4, 3.6)
    axes = figure.subplots()
    edges = np.histogram_bin_edges(np.concatenate([right, wrong]), bins=30)
    axes.hist(right, bins=list(edges), color=colours["run0"], histtype="step", linewidth=1.6, label="right")
    axes.hist(wrong, bins=list(edges), color=colours["published"], histtype="step", linewidth=1.6, label="wrong")
    axes.set_xlabel("first label ahead of the second, nats")
    axes.set_ylabel("questions")
    axes.legend(loc="upper right")
    return figure


def to_svg(figure: Figure, name: str, description: str) -> str:
    """Return a chart as an SVG element for a page, its colours the page's variables.

    Args:
        figure: The chart, drawn in `page_colours`.
        name: A name unlike those of the page's other charts: the elements of a page may not share ids.
        description: What the chart shows, for those who cannot see it.
    """
    from markupsafe import escape

    written = io.StringIO()
    figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(url\(|href=")#', rf"\1#{name}-", svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1; font-family: inherit", svg)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: inherit", svg)
    for role, stand_in in page_colours().items():
        svg = svg.replace(stand_in, f"var(--{role})")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(description)}" ', 1)


def save_picture(lines: Sequence[Line], path: Path) -> None:
    """Write the charts of all suites as one picture, in the format of the path's ending."""
    suites = list(dict.fromkeys(line.suite for line in lines))
    rows = [len({line.part for line in lines if line.suite == suite}) for suite in suites]
    with style(ROLES):
        figure = new_figure(9, sum(1.4 + 0.42 * row for row in rows))
        panels = figure.subplots(len(suites), 1, squeeze=False, height_ratios=[row + 2 for row in rows])
        for axes, suite in zip(panels[:, 0], suites, strict=True):
            draw_parts(axes, [line for line in lines if line.suite == suite], ROLES)
        figure.savefig(path, dpi=200)


def _part_label(part: str) -> str:
    chinese = CHINESE_PARTS.get(part)
    return f"{chinese} {part_title(part)}" if chinese and chinese_font() else part_title(part)
