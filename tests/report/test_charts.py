"""Charts are text and marks in the page's colours, tell their values, lead to questions, and need no font of ours."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from results_builder import write_results

from lm_eval_baichuan import cli
from lm_eval_baichuan.comparison.outcome import Outcome, find_outcome
from lm_eval_baichuan.comparison.verdicts import Line
from lm_eval_baichuan.html_report import charts, drawing
from lm_eval_baichuan.html_report.analysis import calibration, subjects
from lm_eval_baichuan.html_report.behaviour_charts import calibration_chart, margins_chart
from lm_eval_baichuan.html_report.chart_layers import NARROW, WIDE
from lm_eval_baichuan.html_report.curve_chart import curve_chart
from lm_eval_baichuan.html_report.picture import comparison_picture, save_comparison
from lm_eval_baichuan.languages import Translator
from lm_eval_baichuan.results import Answer, find_suite, known_suites, read_runs

ENGLISH = Translator("en")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tasks = [task for suite in known_suites() if suite.name in ("ceval_5shot", "gaokao_5shot") for task in suite.tasks]
    write_results(tmp_path, dict.fromkeys(tasks, (43, 100)), pretrained="/模型/百川-7B")
    return tmp_path


def outcome_of(folder: Path, against: str | None = "Baichuan-7B") -> Outcome:
    return find_outcome(read_runs([folder]), against, 0.95)


def lines_of(folder: Path) -> list[Line]:
    return list(outcome_of(folder).comparisons[0].lines)


def ceval(folder: Path) -> list[Line]:
    return [line for line in lines_of(folder) if line.suite == "ceval_5shot"]


@pytest.fixture
def no_chinese_font(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine without such a font: 中 is drawn as a glyph that no font has."""
    monkeypatch.setattr(drawing, "_drawn", lambda character: b"a box")
    drawing.draws_chinese.cache_clear()
    yield
    drawing.draws_chinese.cache_clear()


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_texts_are_text_and_colours_the_pages(folder: Path) -> None:
    svg = drawing.to_svg(charts.parts_chart(ceval(folder), 25.0, ENGLISH, drawing.PAGE))
    assert {"平均 Average", "社会科学 Social Sciences", "43.0", "chance 25 %", "百川-7B"} <= set(texts(svg))
    for role in ("ink", "faint", "line", "run0", "published"):
        assert f"var(--{role})" in svg
    assert not re.findall(r"#[0-9a-f]{3,8}\b|rgb\(", svg)


def test_every_colour_is_defined_by_the_page_for_light_and_dark() -> None:
    css = (Path(charts.__file__).parent / "template" / "page.css").read_text(encoding="utf-8")
    for role in drawing.PICTURE:
        assert css.count(f"--{role}: #") == 2, role


def test_a_mark_tells_its_values_and_hostile_names_stay_text(folder: Path) -> None:
    import dataclasses

    hostile = [dataclasses.replace(line, run='"/><script>alert(1)</script>') for line in ceval(folder)]
    svg = drawing.to_svg(charts.parts_chart(hostile, None, ENGLISH, drawing.PAGE))
    assert "<script" not in svg
    said = re.findall(r'aria-label="([^"]*)"', svg)
    assert any("社会科学 Social Sciences: 43.00 % (" in text and "questions" in text for text in said)
    assert any(text.startswith("published: Baichuan-7B") for text in said)


def test_names_that_are_no_text_are_drawn_as_escapes(folder: Path) -> None:
    import dataclasses

    hostile = [dataclasses.replace(line, run="\x1b[31m half \ud83d $x^$ " + "x" * 500) for line in ceval(folder)]
    for width in (WIDE, NARROW):
        svg = drawing.to_svg(charts.parts_chart(hostile, None, ENGLISH, drawing.PAGE, width))
        assert "\\u001b[31m half \\ud83d $x^$ xxx" in svg
        assert "\x1b" not in svg


def spec_of_subjects(folder: Path, width: int) -> dict[str, Any]:
    suite = find_suite("ceval_5shot_law")
    assert suite is not None
    found = subjects(read_runs([folder]), suite, 0.95)
    return charts.subjects_chart(found, ["one"], 25.0, ENGLISH, drawing.PAGE, width)


def test_the_rows_of_subjects_are_what_a_chart_tells_in_their_order(folder: Path) -> None:
    spec = spec_of_subjects(folder, WIDE)
    said = re.findall(r'aria-label="([^"]*)"', drawing.to_svg(spec))
    assert said == [row["said"] for row in spec["layer"][0]["data"]["values"]]
    assert "法学 law. one: 43.0 % (33.7–52.8), 43 of 100 right" in said


def test_subjects_of_one_name_do_not_share_a_row(folder: Path) -> None:
    # All are called 法学 here: on a phone, which shows the Chinese name alone, too.
    for width in (WIDE, NARROW):
        rows = spec_of_subjects(folder, width)["layer"][0]["data"]["values"]
        assert len({row["subject"] for row in rows}) == len(rows) == 52


def test_eight_runs_differ_by_colour_and_shape() -> None:
    assert len(set(drawing.SHAPES)) == len(set(drawing.run_colours(drawing.PICTURE))) == drawing.RUNS == 8
    assert drawing.PUBLISHED_SHAPE not in drawing.SHAPES


def test_two_runs_lie_beside_each_other(folder: Path) -> None:
    import dataclasses

    lines = ceval(folder)
    both = [*lines, *(dataclasses.replace(line, run="other") for line in lines)]
    spec = charts.parts_chart(both, 25.0, ENGLISH, drawing.PAGE)
    points = next(layer for layer in spec["layer"] if "description" in layer["encoding"])
    assert len(points["data"]["values"]) == 2 * len({line.part for line in lines})
    assert points["encoding"]["yOffset"]["sort"] == ["百川-7B", "other"]
    assert {"百川-7B", "other", "published: Baichuan-7B"} <= set(texts(drawing.to_svg(spec)))


def test_the_reliability_diagram_shows_each_share(folder: Path) -> None:
    answers = [Answer("t", n, "题", ("A", "B"), (0.0, -2.0), 0 if n < 3 else 1) for n in range(4)]
    svg = drawing.to_svg(calibration_chart(calibration(answers), ENGLISH, drawing.PAGE))
    assert "75" in texts(svg)
    assert "4 answers given with 88 % on average, 75 % of them right" in svg


def test_margins_are_told_as_how_many_times_as_likely() -> None:
    spec = margins_chart([0.0, 2.302585], [0.7], ENGLISH, drawing.PAGE)
    factors = [row["factor"] for row in spec["data"]["values"]]
    assert min(factors) == 1
    assert max(factors) == pytest.approx(10)
    assert "nats" not in json.dumps(spec)
    assert "5×" in texts(drawing.to_svg(spec))


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    for step, right in ((100, 10), (200, 25), (300, 20)):
        write_results(tmp_path / f"{step}", {"ceval_5shot_law": (right, 40)}, pretrained=f"mine/step{step}", limit=40)
    return tmp_path


def test_a_training_is_a_curve_with_its_best_point_and_chance(checkpoints: Path) -> None:
    outcome = outcome_of(checkpoints, None)
    (curve,) = outcome.curves
    for width in (WIDE, NARROW):
        svg = drawing.to_svg(curve_chart(curve, ENGLISH, drawing.PAGE, width))
        assert {"25.0", "62.5", "50.0", "best", "chance 25 %", "step", "100", "200", "300"} <= set(texts(svg))
        said = re.findall(r'aria-label="([^"]*)"', svg)
        assert len(said) == 3
        assert said[1].startswith("step 200: 62.50 % (")
        assert "1 of 52 subjects" in said[1]  # what the figure is not


def test_a_picture_has_the_curve_and_what_figures_are_not(checkpoints: Path) -> None:
    spec = json.dumps(comparison_picture(outcome_of(checkpoints, None)))
    assert "over the training of" in spec
    assert "step200, C-Eval: 1 of 52 subjects" in spec


def test_without_a_chinese_font_a_picture_is_english(folder: Path, no_chinese_font: None) -> None:
    spec = json.dumps(comparison_picture(outcome_of(folder), "zh"), ensure_ascii=False)
    assert "Social Sciences" in spec
    assert not re.search(r"[\u4e00-\u9fff]", spec)
    assert "\\\\u767e\\\\u5ddd-7B" in spec  # the run's name, as escapes


def test_with_a_chinese_font_a_picture_has_chinese_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "_drawn", lambda character: character.encode())
    drawing.draws_chinese.cache_clear()
    spec = json.dumps(comparison_picture(outcome_of(folder)), ensure_ascii=False)
    drawing.draws_chinese.cache_clear()
    assert "社会科学 Social Sciences" in spec
    assert "百川-7B" in spec


@pytest.mark.parametrize(("ending", "begins"), [("png", b"\x89PNG"), ("svg", b"<svg"), ("pdf", b"%PDF")])
def test_the_picture_is_written_in_the_format_asked_for(
    folder: Path, tmp_path: Path, ending: str, begins: bytes
) -> None:
    picture = tmp_path / f"out.{ending}"
    save_comparison(outcome_of(folder), picture)
    assert picture.read_bytes().startswith(begins)
    assert b"var(--" not in picture.read_bytes()


def test_the_picture_is_written_beside_the_page(folder: Path, tmp_path: Path) -> None:
    page, picture = tmp_path / "out.html", tmp_path / "out.png"
    arguments = ["report", str(folder), "--against", "Baichuan-7B", "-o", str(page), "--png", str(picture)]
    assert cli.main(arguments) == 0
    header = picture.read_bytes()[16:24]
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:], "big")
    assert width > 1200
    assert height > 400
    assert page.is_file()


def test_a_picture_of_another_kind_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["report", str(folder), "--png", "chart.bmp"])
    assert "chart.bmp does not end in .png" in capsys.readouterr().err
