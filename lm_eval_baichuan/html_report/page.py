"""Builds the self-contained page from runs, comparison and logged samples."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .. import __version__
from ..comparison.formats import latex_table, markdown_table
from ..comparison.outcome import Outcome
from ..comparison.tables import certificate_table, comparison_table, pairing_tables, paper_row, spread_table
from ..comparison.verdicts import DIFFERS, NO_MEASUREMENT, NOT_COMPARABLE, WITHIN
from ..results import Answer, Run
from .analysis import SuiteOfRun, suites_of_runs
from .charts import calibration_chart, margins_chart, page_colours, parts_chart, style, subjects_chart, to_svg
from .questions import compress, pack_questions

TEMPLATE = Path(__file__).parent / "template"
SHOWN_CHANGES = 200
CONFIGURATION = (
    "config",
    "date",
    "lm_eval_version",
    "transformers_version",
    "git_hash",
    "system_instruction",
    "chat_template",
    "fewshot_as_multiturn",
    "max_length",
    "total_evaluation_time_seconds",
    "pretty_env_info",
)

Logged = Sequence[Mapping[str, list[Answer]]]
"""The samples of each run, by task; tasks without samples are left out."""


def build_page(runs: Sequence[Run], outcome: Outcome, logged: Logged) -> str:
    """Return the page as HTML.

    Args:
        runs: The runs.
        outcome: Their comparison.
        logged: Their samples.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(loader=FileSystemLoader(TEMPLATE), autoescape=True, undefined=StrictUndefined)
    environment.tests["verdict"] = lambda cell: cell.startswith((WITHIN, DIFFERS, NOT_COMPARABLE, NO_MEASUREMENT))
    environment.tests["number"] = lambda cell: bool(cell) and cell.lstrip("+-")[:1].isdigit()
    row = paper_row(outcome.comparisons, outcome.published)
    # The style sheet and script are this package's own files, and the packed questions are base64: none needs escaping.
    own = {name: Markup((TEMPLATE / f"page.{name}").read_text(encoding="utf-8")) for name in ("css", "js")}  # noqa: S704
    suites = suites_of_runs(runs, logged, outcome.published, outcome.confidence)
    with style(page_colours()):
        charts = {
            "category_charts": _category_charts(outcome),
            "suites": _subject_charts(suites),
            "behaviours": _behaviour_charts(suites),
        }
    return environment.get_template("page.html.j2").render(
        title=f"{' and '.join(run.name for run in runs)} beside the published figures",
        made=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        version=__version__,
        comparisons=[comparison_table(comparison, outcome.confidence) for comparison in outcome.comparisons],
        certificates=certificate_table(outcome.comparisons) if len(runs) > 1 else None,
        spread=spread_table(outcome.spreads) if outcome.spreads else None,
        changes=pairing_tables(outcome.pairing, SHOWN_CHANGES) if outcome.pairing else [],
        without_samples=_without_samples(runs, logged),
        packed=compress(pack_questions(runs, logged, outcome.published)) if any(logged) else "",
        row=row,
        row_markdown=markdown_table(row),
        row_latex=latex_table(row),
        configurations=list(_configurations(runs)),
        **charts,
        **own,
    )


def _category_charts(outcome: Outcome) -> list[dict[str, Any]]:
    lines = [line for comparison in outcome.comparisons for line in comparison.lines]
    charts = []
    for number, suite in enumerate(dict.fromkeys(line.suite for line in lines)):
        own = [line for line in lines if line.suite == suite]
        said = "; ".join(f"{line.run}, {line.part}: {line.ours.value:.1f} %" for line in own)
        svg = to_svg(parts_chart(own, page_colours()), f"parts{number}", f"{own[0].title}. {said}")
        charts.append({"title": own[0].title, "svg": _markup(svg)})
    return charts


def _subject_charts(suites: Sequence[SuiteOfRun]) -> list[dict[str, Any]]:
    charts = []
    for number, suite in enumerate(suites):
        description = f"{suite.title} by subject; the table below holds the same"
        svg = to_svg(subjects_chart(suite.subjects, page_colours()), f"subjects{number}", description)
        charts.append({"title": suite.title, "run": suite.run, "subjects": suite.subjects, "svg": _markup(svg)})
    return charts


def _behaviour_charts(suites: Sequence[SuiteOfRun]) -> list[dict[str, Any]]:
    charts: list[dict[str, Any]] = []
    for suite in suites:
        if (found := suite.behaviour) is None:
            continue
        number = len(charts)
        sureness = calibration_chart(found.calibration, page_colours())
        margins = margins_chart(found.right_margins, found.wrong_margins, page_colours())
        charts.append(
            {
                "title": suite.title,
                "run": suite.run,
                "confusion": found.confusion,
                "calibration": found.calibration,
                "calibration_svg": _markup(to_svg(sureness, f"sure{number}", "Confidence against share right")),
                "margins_svg": _markup(to_svg(margins, f"margin{number}", "Margins of right and wrong answers")),
            }
        )
    return charts


def _without_samples(runs: Sequence[Run], logged: Logged) -> list[str]:
    return [
        f"{run.name}: no samples were logged for {len(run.tasks) - len(by_task)} of its {len(run.tasks)} tasks, so "
        "their labels, margins and questions are not shown. Run lm_eval with --log_samples to have them."
        for run, by_task in zip(runs, logged, strict=True)
        if len(by_task) < len(run.tasks)
    ]


def _configurations(runs: Sequence[Run]) -> list[dict[str, str]]:
    configurations = []
    for run in runs:
        for file in run.files:
            facts = {key: file.data[key] for key in CONFIGURATION if key in file.data}
            first = next((result for result in run.tasks.values() if result.file is file), None)
            if first:
                facts[f"task {first.task}"] = first.config
            text = json.dumps(facts, ensure_ascii=False, indent=1)
            configurations.append({"title": f"{run.name}: {file.path.name}", "text": text})
    return configurations


def _markup(svg: str) -> Any:
    """Mark a chart as HTML: `to_svg` has escaped every text in it."""
    from markupsafe import Markup

    return Markup(svg)  # noqa: S704
