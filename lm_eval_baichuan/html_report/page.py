"""Builds the self-contained page from runs, comparison and logged samples."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .. import __version__
from ..comparison.chance import ABOVE, BELOW, LIKE
from ..comparison.columns import against_table, curve_title
from ..comparison.formats import latex_table, markdown_table
from ..comparison.outcome import Logged, Outcome
from ..comparison.tables import pairing_tables, spread_table, unequal_certificates
from ..comparison.verdicts import CHANCE, DIFFERS, NO_MEASUREMENT, NOT_COMPARABLE, WITHIN, what_they_are_not
from ..languages import Translator
from ..results import Run, read_logged
from .analysis import SuiteOfRuns, suites_of_runs
from .behaviour_charts import calibration_chart, margins_chart
from .chart_layers import NARROW, WIDE
from .charts import category_label, parts_chart, subjects_chart
from .curve_chart import curve_chart
from .drawing import PAGE, Spec, to_svg
from .page_texts import script_texts
from .questions import compress, pack_questions
from .summary import summaries

TEMPLATE = Path(__file__).parent / "template"
SCRIPTS = ("tables.js", "charts.js", "questions.js")
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
VERDICTS = {
    WITHIN: "within",
    DIFFERS: "differs",
    NOT_COMPARABLE: "not",
    NO_MEASUREMENT: "no",
    ABOVE: "within",
    LIKE: "not",
    BELOW: "differs",
}
"""The style of each verdict."""


def build_page(runs: Sequence[Run], outcome: Outcome, logged: Logged, language: str = "en") -> str:
    """Return the page as HTML.

    Args:
        runs: The runs.
        outcome: Their comparison.
        logged: Their samples.
        language: One of `LANGUAGES`.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    say = Translator(language)
    runs, logged = _as_compared(runs, outcome, logged)
    environment = Environment(loader=FileSystemLoader(TEMPLATE), autoescape=True, undefined=StrictUndefined)
    environment.filters["shown"] = say.shown
    environment.filters["verdict"] = verdict_class
    environment.tests["number"] = lambda cell: bool(cell) and cell.lstrip("+-")[:1].isdigit()
    environment.globals["say"] = say
    # The style sheet and scripts are this package's own files: none needs escaping.
    css = Markup((TEMPLATE / "page.css").read_text(encoding="utf-8"))  # noqa: S704
    js = Markup("\n".join((TEMPLATE / name).read_text(encoding="utf-8") for name in SCRIPTS))  # noqa: S704
    suites = suites_of_runs(runs, logged, outcome.published, outcome.confidence)
    row = outcome.paper_row()
    return environment.get_template("page.html.j2").render(
        language=language,
        title=_title(runs, say),
        made=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        version=__version__,
        confidence=f"{100 * outcome.confidence:g}",
        summaries=summaries(outcome),
        unequal=unequal_certificates(outcome.all_runs),
        side_by_side=outcome.side_by_side_tables(),
        curve_charts=_curve_charts(outcome, say),
        single=outcome.single_tables(),
        against=[against_table(found) for found in outcome.against],
        spread=spread_table(outcome.spreads) if outcome.spreads else None,
        changes=pairing_tables(outcome.pairing, SHOWN_CHANGES) if outcome.pairing else [],
        without_samples=_without_samples(runs, logged, say),
        packed=compress(pack_questions(runs, logged, outcome.published)) if any(logged) else "",
        texts=script_texts(say),
        row=row,
        row_markdown=markdown_table(row, say) if row else "",
        row_latex=latex_table(row, say) if row else "",
        configurations=list(_configurations(runs)),
        runs=[run.name for run in runs],
        suites=suites,
        category_charts=_category_charts(outcome, suites, say),
        subject_charts=_subject_charts(suites, runs, logged, say),
        behaviours=list(_behaviours(suites, runs, say)),
        category_label=lambda category: category_label(category, say),
        css=css,
        js=js,
    )


def _as_compared(runs: Sequence[Run], outcome: Outcome, logged: Logged) -> tuple[list[Run], Logged]:
    """Return the runs in the comparison's order, with the one that they are set against, and their samples."""
    samples = {run.name: own for run, own in zip(runs, logged, strict=True)}
    ordered = [comparison.run for comparison in outcome.all_runs]
    return ordered, [samples[run.name] if run.name in samples else read_logged(run) for run in ordered]


def verdict_class(cell: str) -> str:
    """Return the style of a cell that is a verdict; nothing for another."""
    return next((name for verdict, name in VERDICTS.items() if cell.startswith(verdict)), "")


def subject_link(run: int, task: str) -> str:
    """Where the page shows a run's questions of a task."""
    return f"#subject-{run}-{quote(task)}"


def _title(runs: Sequence[Run], say: Translator) -> str:
    names = [run.name for run in runs]
    if len(names) > 3:
        return say("{count} runs: {first} to {last}", count=len(names), first=names[0], last=names[-1])
    return say("{runs}: evaluation", runs=", ".join(names))


def _category_charts(outcome: Outcome, suites: Sequence[SuiteOfRuns], say: Translator) -> list[dict[str, Any]]:
    lines = [line for comparison in outcome.all_runs for line in comparison.lines]
    charts = []
    for suite in suites:
        own = [line for line in lines if line.suite == suite.name]
        drawn = [_svg(parts_chart(own, CHANCE, say, PAGE, width, both=width == WIDE)) for width in (WIDE, NARROW)]
        charts.append(
            {
                "title": suite.title,
                "wide": drawn[0],
                "narrow": drawn[1],
                "links": None,
                "not": what_they_are_not(own),
            }
        )
    return charts


def _curve_charts(outcome: Outcome, say: Translator) -> list[dict[str, Any]]:
    charts = []
    for curve in outcome.curves:
        drawn = [_svg(curve_chart(curve, say, PAGE, width)) for width in (WIDE, NARROW)]
        charts.append({"title": say.shown(curve_title(curve)), "wide": drawn[0], "narrow": drawn[1], "links": None})
    return charts


def _subject_charts(
    suites: Sequence[SuiteOfRuns], runs: Sequence[Run], logged: Logged, say: Translator
) -> list[dict[str, Any]]:
    charts = []
    for suite in suites:
        present = [n for n in range(len(runs)) if any(subject.scores[n] for subject in suite.subjects)]
        subjects = [subject.of_runs(present) for subject in suite.subjects]
        links = [
            next((subject_link(n, subject.task) for n in present if subject.task in logged[n]), None)
            for subject in suite.subjects
        ]
        names = [runs[n].name for n in present]
        drawn = [_svg(subjects_chart(subjects, names, CHANCE, say, PAGE, width)) for width in (WIDE, NARROW)]
        charts.append(
            {
                "title": suite.title,
                "runs": names,
                "rows": list(zip(subjects, links, strict=True)),
                "links": links if any(links) else None,
                "wide": drawn[0],
                "narrow": drawn[1],
            }
        )
    return charts


def _behaviours(suites: Sequence[SuiteOfRuns], runs: Sequence[Run], say: Translator) -> Iterator[dict[str, Any]]:
    for suite in suites:
        for run, found in zip(runs, suite.behaviours, strict=True):
            if found:
                yield {
                    "title": suite.title,
                    "run": run.name,
                    "confusion": found.confusion,
                    "calibration": found.calibration,
                    "calibration_svg": _svg(calibration_chart(found.calibration, say, PAGE)),
                    "margins_svg": _svg(margins_chart(found.right_margins, found.wrong_margins, say, PAGE)),
                }


def _without_samples(runs: Sequence[Run], logged: Logged, say: Translator) -> list[str]:
    return [
        say(
            "{run}: no samples were logged for {missing} of its {tasks} tasks, so their labels, margins and questions "
            "are not shown. Run lm_eval with --log_samples to have them.",
            run=run.name,
            missing=len(run.tasks) - len(by_task),
            tasks=len(run.tasks),
        )
        for run, by_task in zip(runs, logged, strict=True)
        if len(by_task) < len(run.tasks)
    ]


def _configurations(runs: Sequence[Run]) -> Iterator[dict[str, str]]:
    for run in runs:
        for file in run.files:
            facts = {key: file.data[key] for key in CONFIGURATION if key in file.data}
            first = next((result for result in run.tasks.values() if result.file is file), None)
            if first:
                facts[f"task {first.task}"] = first.config
            text = json.dumps(facts, ensure_ascii=False, indent=1)
            yield {"title": f"{run.name}: {file.path.name}", "text": text}


def _svg(spec: Spec) -> Any:
    """Draw a chart and mark it as HTML: Vega has escaped every text in it."""
    from markupsafe import Markup

    return Markup(to_svg(spec))  # noqa: S704
