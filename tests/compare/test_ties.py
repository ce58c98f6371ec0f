"""Answers that are only the first of equal labels are counted, and a score made of them is no measurement."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from results_builder import LABELS, sample, write_results

from lm_eval_baichuan import cli
from lm_eval_baichuan.comparison.command import exit_status
from lm_eval_baichuan.comparison.outcome import find_outcome
from lm_eval_baichuan.comparison.verdicts import Line
from lm_eval_baichuan.results import ResultsError, known_suites, read_logged, read_runs

TASKS = next(suite.tasks for suite in known_suites() if suite.name == "ceval_5shot")
STEM = next(
    part.tasks for suite in known_suites() if suite.name == "ceval_5shot" for part in suite.parts if part.name == "stem"
)
RIGHT, ASKED = 86, 200


def ties(count: int, tasks: tuple[str, ...] = TASKS) -> dict[str, Any]:
    return {"ties": {task: {"questions": count if task in tasks else 0, "of": ASKED} for task in TASKS}}


def write(folder: Path, facts: dict[str, Any], **options: Any) -> Path:
    return write_results(folder, dict.fromkeys(TASKS, (RIGHT, ASKED)), facts=facts, **options)


def lines_of(path: Path) -> dict[str, Line]:
    outcome = find_outcome(read_runs([path]), None, 0.95)
    return {line.part: line for line in outcome.comparisons[0].lines}


def test_a_model_whose_labels_are_all_alike_measures_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, ties(ASKED))
    lines = lines_of(path)
    assert {line.verdict for line in lines.values()} == {"no measurement"}
    assert lines["average"].ties_warning.startswith(
        "no measurement: 10400 of 10400 questions (100.0%) have equally likely"
    )
    assert exit_status(find_outcome(read_runs([path]), None, 0.95)) == 3


@pytest.mark.parametrize(("count", "verdict"), [(99, "within sampling error"), (100, "no measurement")])
def test_half_of_the_questions_are_too_many(tmp_path: Path, count: int, verdict: str) -> None:
    assert lines_of(write(tmp_path, ties(count)))["average"].verdict == verdict


def test_a_few_are_warned_of_with_count_and_share(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, ties(3))
    assert lines_of(path)["average"].verdict == "within sampling error"
    assert cli.main(["compare", str(path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "C-Eval: ties: 156 of 10400 questions (1.5%) have equally likely best labels" in shown


def test_none_are_not_spoken_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", str(write(tmp_path, ties(0)))]) == 0
    assert "equally likely" not in capsys.readouterr().out


def test_a_category_of_ties_has_its_own_verdict(tmp_path: Path) -> None:
    lines = lines_of(write(tmp_path, ties(ASKED, STEM)))
    assert lines["stem"].verdict == "no measurement"
    assert lines["average"].verdict == "within sampling error"
    assert lines["average"].ties.questions == len(STEM) * ASKED


def test_no_published_row_is_needed_to_see_it(tmp_path: Path) -> None:
    assert lines_of(write(tmp_path, ties(ASKED), pretrained="my/finetune"))["average"].verdict == "no measurement"


@pytest.mark.parametrize("form", ["table", "markdown", "latex", "csv", "json"])
def test_every_format_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str) -> None:
    assert cli.main(["compare", str(write(tmp_path, ties(ASKED))), "--format", form]) == 0
    shown = capsys.readouterr().out
    assert "no measurement" in shown
    assert "within sampling error" not in shown
    if form == "csv":
        (row, *_) = csv.DictReader(io.StringIO(shown))
        assert (row["ties"], row["ties_of"]) == ("10400", "10400")
        assert "10400 of 10400 questions (100.0%)" in row["ties_warning"]
    if form == "latex":
        assert r"43.00\textsuperscript{a}" in shown


def test_the_page_shows_it(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert cli.main(["report", str(write(tmp_path, ties(ASKED))), "-o", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert 'class="verdict no">no measurement' in text
    assert "10400 of 10400 questions (100.0%)" in text


def log_alike(folder: Path) -> None:
    """Samples of one task whose labels are all alike, of which the first is right for `RIGHT` of them."""
    lines = [sample(n, f"题{n}", 0 if n < RIGHT else 1, [-1.5] * len(LABELS)) for n in range(ASKED)]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (folder / f"samples_{TASKS[0]}_2026-11-23T10-00-00.000001.jsonl").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("model", ["baichuan", "hf"])
def test_logged_samples_tell_what_the_results_do_not(tmp_path: Path, model: str) -> None:
    path = write_results(tmp_path, {TASKS[0]: (RIGHT, ASKED)}, model=model, facts={"ties": {}})
    assert "ties between the best labels are not recorded" in lines_of(path)["average"].notes
    log_alike(tmp_path)
    runs = read_runs([path])
    outcome = find_outcome(runs, "Baichuan-7B", 0.95, [read_logged(run) for run in runs])
    (line, *_) = outcome.comparisons[0].lines
    assert line.verdict == "no measurement"
    assert (line.ties.questions, line.ties.of) == (ASKED, ASKED)
    assert not any("not recorded" in note for note in line.notes if "ties" in note)


def test_subjects_without_a_count_are_named(tmp_path: Path) -> None:
    facts = ties(0)
    del facts["ties"][TASKS[0]]
    notes = lines_of(write(tmp_path, facts))["average"].notes
    assert "ties between the best labels are not recorded for 1 of 52 subjects" in notes


@pytest.mark.parametrize(
    "recorded",
    [{"questions": 3}, {"questions": 5, "of": 4}, {"questions": -1, "of": 4}, {"questions": "x", "of": 4}, 3],
)
def test_a_damaged_count_is_refused(tmp_path: Path, recorded: Any) -> None:
    path = write(tmp_path, {"ties": {TASKS[0]: recorded}})
    with pytest.raises(ResultsError, match=rf"{path.name}: config\.baichuan\.ties\.{TASKS[0]}"):
        lines_of(path)
